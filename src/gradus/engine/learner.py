"""The nouns that everything that learns is made of, as protocols: Source, Learner, Watcher; and the Clock they share.

Everything that learns, learns in steps: an SGD step, a GAN round, a PPO iteration, a CFR sweep. A `Learner` owns its
networks, tables and Updaters and makes one step from one batch; a `Source` yields batches, episodes, tasks, rollouts
or deals without end; a `Watcher` looks at the clock and the metrics after every step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from gradus.engine.state import State

__all__ = ["Clock", "Learner", "Metrics", "Source", "Stop", "Watcher"]

B = TypeVar("B")
Metrics = Mapping[str, Tensor | float]


@runtime_checkable
class Source(Protocol[B]):  # type: ignore[misc]
    """An endless, resumable stream of batches; epochs are a number on the clock.

    A source with a finite data set has `batches_per_epoch`, from which the clock counts epochs.
    """

    def __iter__(self) -> Iterator[B]: ...

    def __next__(self) -> B: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


@runtime_checkable
class Learner(Protocol[B]):  # type: ignore[misc]
    """An algorithm. `step` is the atom of checkpointing and resume; a learner never opens a file.

    The metrics that `step` returns are named without prefix. Tensors are averaged over the logging interval and read
    only then: numbers, or hits (truth values, one a sample), of which a step counts by their share. Plain numbers are
    logged as they last were.
    """

    def step(self, batch: B) -> Metrics: ...

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State) -> None: ...


@dataclass
class Clock:
    """Where a run is.

    Attributes:
        step: steps done.
        total: steps to do; None for endless.
        batches_per_epoch: length of an epoch; None where there is none.
        seconds: wall time spent in this and earlier sessions of the run.
        stop: why the run ends with this step; None while it goes on.
    """

    step: int = 0
    total: int | None = None
    batches_per_epoch: int | None = None
    seconds: float = 0.0
    stop: str | None = None

    @property
    def epoch(self) -> float | None:
        """Epochs done, with their fraction; None where there are none."""
        return self.step / self.batches_per_epoch if self.batches_per_epoch else None

    def due(self, every_steps: int | None = None, every_epochs: int | None = None) -> bool:
        """Return whether something that happens every so often happens at this step."""
        if every_steps is not None:
            return self.step % every_steps == 0
        if every_epochs is not None and self.batches_per_epoch:
            return self.step % (every_epochs * self.batches_per_epoch) == 0
        return False


# Called after every step; one with `metrics_only` set, only where there are metrics to look at.
Watcher = Callable[[Clock, Mapping[str, float]], Mapping[str, float] | None]
Watchers = tuple[Watcher, ...] | list[Watcher]
AnyState = Any


class Stop(Exception):
    """Raised by a watcher to end the run with this step.

    Args:
        reason: in the past tense, for people: "val/loss did not improve for 5 evaluations".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
