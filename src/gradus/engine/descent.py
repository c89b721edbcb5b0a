"""The learner of one network by one objective and one Updater, which most of the canon needs no more than.

    θ ← update(θ, ∇_θ L(θ; batch))

What is minimised is an *objective*, a function of the network and a batch: cross-entropy of the next token, of a class,
of a masked word, a row's squared error. An objective may carry a state from step to step (the hidden state of truncated
backpropagation through time, the step that a scheduled sampling has reached); one that has a `state_dict` is saved with
the learner.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from gradus.engine.state import State, collect, notice_change, restore
from gradus.engine.updater import Updater

__all__ = ["Batch", "Descend", "Objective"]

Batch = Any
Objective = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]
"""From the network and a batch to the loss, and to what else is worth logging, detached."""


class Descend:
    """A network that descends the gradient of an objective.

    Args:
        network: what is trained; prepared by the run.
        update: owns its parameters.
        objective: the loss of the network on a batch.
        facts: whatever the product needs besides the network (a tokenizer, classes, a table's columns).
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(
        self, network: nn.Module, update: Updater, objective: Objective, facts: Any = None, fingerprint: str = ""
    ) -> None:
        self.network, self.update, self.objective = network, update, objective
        self.facts, self.fingerprint = facts, fingerprint

    def __repr__(self) -> str:
        return f"Descend({type(self.network).__name__}, {self.update})"

    @property
    def _stateful(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"network": self.network, "update": self.update}
        return {**parts, "objective": self.objective} if hasattr(self.objective, "state_dict") else parts

    def step(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Make one update; returns the loss, what the objective logs, the learning rate and the gradient's norm."""
        if not self.network.training:
            self.network.train()
        loss, logged = self.objective(self.network, batch)
        info = self.update(loss)
        metrics: dict[str, Tensor | float] = {"loss": info.loss, **logged, "lr": info.lr}
        return metrics if info.grad_norm is None else {**metrics, "grad_norm": info.grad_norm}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights, where there are any, into the network in evaluation mode for a while."""
        self.network.eval()
        with self.update.ema.swap() if self.update.ema is not None else nullcontext():
            yield

    def state_dict(self) -> State:
        """Return the state of the network, the Updater and the objective."""
        return {**collect(**self._stateful), "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put all back in place."""
        restore(state, **self._stateful)
        notice_change(state["fingerprint"], self.fingerprint)
