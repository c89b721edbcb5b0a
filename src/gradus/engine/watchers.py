"""Watchers: small callables `(clock, metrics) -> metrics | None` that evaluate, keep the best, stop and show.

A watcher with `state_dict` is checkpointed with the run, so that patience survives `kill -9`. A watcher asks for a
checkpoint by `run.save_requested = True`; `fit` writes it after every watcher has seen the step.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

from gradus.engine.learner import Clock, Stop
from gradus.engine.run import Run
from gradus.engine.state import State
from gradus.optim.plateau import watched
from gradus.optim.schedules import Schedule

__all__ = ["Checkpoint", "EarlyStopping", "Evaluate", "KeepBest", "MaxTime", "Watched", "is_better"]

Mode = Literal["min", "max"]
Values = Mapping[str, float]


def is_better(value: float, best: float | None, mode: Mode, margin: float = 0.0) -> bool:
    """Return whether a value beats the best so far by more than a margin; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best + margin if mode == "max" else value < best - margin


def agreed(run: Run, metrics: Values, flag: bool) -> bool:
    """Return a decision that depends on this machine's time, agreed over the ranks when something was logged."""
    if run.ranks.world == 1:
        return flag
    return bool(metrics) and run.ranks.any(flag)


class Evaluate:
    """Calls an evaluation every so often and at the end, in the run's "eval" stream, and returns its values.

    Args:
        run: whose random state is kept out of the evaluation.
        function: returns named values, such as `val/accuracy`.
        every_steps: steps between two evaluations.
        every_epochs: epochs between two evaluations, where `every_steps` is not given.
    """

    def __init__(
        self, run: Run, function: Callable[[], Values], *, every_steps: int | None = None, every_epochs: int | None = 1
    ) -> None:
        self.run, self.function, self.every_steps, self.every_epochs = run, function, every_steps, every_epochs

    def __call__(self, clock: Clock, metrics: Values) -> Values | None:
        if clock.stop or clock.due(self.every_steps, self.every_epochs):
            with self.run.stream("eval"):
                return self.function()
        return None


class Checkpoint:
    """Asks for a checkpoint every so often; the one at the end comes without asking.

    Args:
        run: the run to save.
        every_steps: steps between two checkpoints.
        every_epochs: epochs between two, where `every_steps` is not given.
        every_seconds: and whenever this much time has passed since the last.
    """

    def __init__(
        self,
        run: Run,
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        every_seconds: float | None = None,
    ) -> None:
        self.run, self.every_steps, self.every_epochs, self.every_seconds = (
            run,
            every_steps,
            every_epochs,
            every_seconds,
        )
        self._last = time.monotonic()

    def __call__(self, clock: Clock, metrics: Values) -> None:
        late = self.every_seconds is not None and agreed(
            self.run, metrics, time.monotonic() - self._last > self.every_seconds
        )
        if late or clock.due(self.every_steps, self.every_epochs):
            self.run.save_requested, self._last = True, time.monotonic()


class KeepBest:
    """Keeps the checkpoint with the best value of a metric beside the last one; of equal ones the latest.

    Args:
        run: the run to save.
        monitor: name of the metric.
        mode: whether more or less is better.
    """

    metrics_only = True

    def __init__(self, run: Run, monitor: str, mode: Mode = "max") -> None:
        self.run, self.monitor, self.mode = run, monitor, mode

    def __call__(self, clock: Clock, metrics: Values) -> None:
        value = metrics.get(self.monitor)
        best = self.run.best["value"] if self.run.best else None
        if value is not None and (value == best or is_better(value, best, self.mode)):
            self.run.best = {"step": clock.step, "metric": self.monitor, "value": value}
            self.run.save_requested = True


class EarlyStopping:
    """Stops when a metric has not improved for a number of evaluations.

    Args:
        monitor: name of the metric.
        patience: evaluations without improvement that are borne.
        mode: whether more or less is better.
        margin: how much better counts as better.
    """

    metrics_only = True

    def __init__(self, monitor: str, patience: int, mode: Mode = "max", margin: float = 0.0) -> None:
        self.monitor, self.patience, self.mode, self.margin = monitor, patience, mode, margin
        self.best: float | None = None
        self.waited = 0

    def __call__(self, clock: Clock, metrics: Values) -> None:
        value = metrics.get(self.monitor)
        if value is None:
            return
        if is_better(value, self.best, self.mode, self.margin):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited >= self.patience:
            raise Stop(f"{self.monitor} did not improve for {self.patience} evaluations")

    def state_dict(self) -> State:
        """Return the best value and how long it has stood."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned."""
        self.best, self.waited = state["best"], state["waited"]


class Watched:
    """Shows a schedule the metric that it falls by; for every other schedule it does nothing.

    Args:
        schedule: of an Updater.
        monitor: name of the metric.
        mode: whether more or less is better.
    """

    metrics_only = True

    def __init__(self, schedule: Schedule | None, monitor: str, mode: Mode = "max") -> None:
        self.plateau, self.monitor, self.sign = watched(schedule), monitor, -1 if mode == "max" else 1

    def __call__(self, clock: Clock, metrics: Values) -> None:
        value = metrics.get(self.monitor)
        if self.plateau is not None and value is not None:
            self.plateau.observe(self.sign * value)

    def state_dict(self) -> State:
        """Return the schedule's state."""
        return {} if self.plateau is None else self.plateau.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned."""
        if self.plateau is not None:
            self.plateau.load_state_dict(state)


class MaxTime:
    """Stops when the run has taken this many seconds, earlier sessions included.

    Args:
        run: whose ranks must agree.
        seconds: the limit.
    """

    def __init__(self, run: Run, seconds: float) -> None:
        self.run, self.seconds = run, seconds
        self._started = time.perf_counter()
        self._before: float | None = None

    def __call__(self, clock: Clock, metrics: Values) -> None:
        if self._before is None:
            self._before = clock.seconds
        if agreed(self.run, metrics, self._before + time.perf_counter() - self._started >= self.seconds):
            raise Stop(f"the time limit of {self.seconds:g} s was reached")
