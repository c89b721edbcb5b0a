"""The two learners of tables: one that fits at once, and one that descends a gradient.

FitTable     one step: the estimator's answer for all training rows
TrainTable   L = Σ_i w_i ℓ(f(x_i), y_i) / Σ_i w_i,      ℓ cross-entropy, or (f(x) − (y − μ)/σ)²
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from gradus.data.table import TableSchema
from gradus.engine.state import State, collect, restore
from gradus.engine.updater import Updater
from gradus.tabular.encoder import Encoder
from gradus.tabular.network import empty

__all__ = ["Facts", "FitTable", "TrainTable"]

Batch = Mapping[str, Tensor]
Fit = Callable[[Batch], tuple[nn.Module, dict[str, Any]]]
CHANGED = "the data has changed since the run began: it goes on with what is there now"


def losses(outputs: Float[Tensor, "rows outputs"], target: Shaped[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Return each row's cross-entropy where targets are classes, else its squared error."""
    if target.is_floating_point():
        return (outputs[:, 0] - target).square()
    return F.cross_entropy(outputs, target, reduction="none")


def _metrics(loss: Tensor, outputs: Tensor, target: Tensor) -> dict[str, Tensor | float]:
    """Return the loss and, for classes, the accuracy."""
    if target.is_floating_point():
        return {"loss": loss.detach()}
    return {"loss": loss.detach(), "accuracy": (outputs.detach().argmax(1) == target).float().mean()}


class Facts(NamedTuple):
    """What the product needs besides the network.

    Attributes:
        schema: how a file is read.
        encoder: rows to features.
        centre: μ of the targets that the network learns as (y − μ)/σ.
        scale: σ.
    """

    schema: TableSchema
    encoder: Encoder
    centre: float = 0.0
    scale: float = 1.0


class FitTable:
    """The learner of methods with an answer: its step finds it.

    Args:
        fit: returns the fitted model, and what was chosen for it, for a batch of all rows.
        facts: for the product.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(self, fit: Fit, facts: Facts, fingerprint: str = "") -> None:
        self.fit, self.facts, self.fingerprint = fit, facts, fingerprint
        self.chosen: dict[str, Any] = {}
        self._found: State | None = None

    def __repr__(self) -> str:
        return f"FitTable({'not fitted yet' if self._found is None else self.network})"

    @property
    def network(self) -> nn.Module:
        """The fitted model."""
        assert self._found is not None, "no step has been made"
        model = empty(self._found["form"], self._found["facts"]).double()
        model.load_state_dict(self._found["weights"])
        return model.eval()

    def step(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Fit all rows; returns the mean loss on them."""
        model, self.chosen = self.fit(batch)
        self._found = {"form": model.form, "facts": model.facts(), "weights": dict(model.state_dict())}  # type: ignore[operator]
        outputs = model(batch["features"]).double()
        return _metrics(losses(outputs, batch["target"]).mean(), outputs, batch["target"])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Do nothing: there is one answer."""
        yield

    def state_dict(self) -> State:
        """Return the fitted model."""
        return {"found": self._found, "chosen": self.chosen, "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put it back."""
        self._found, self.chosen = state["found"], state["chosen"]
        if state["fingerprint"] != self.fingerprint:
            warnings.warn(CHANGED, stacklevel=2)


class TrainTable:
    """The learner of networks on tables.

    Args:
        network: features to scores, or to one standardised number; prepared by the run.
        update: owns its parameters.
        facts: for the product.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(self, network: nn.Module, update: Updater, facts: Facts, fingerprint: str = "") -> None:
        self.network, self.update, self.facts, self.fingerprint = network, update, facts, fingerprint
        self.chosen: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"TrainTable({type(self.network).__name__}, {self.update})"

    def step(self, batch: Batch) -> Mapping[str, Tensor | float]:
        """Make one update; returns loss, accuracy where there are classes, and learning rate."""
        if not self.network.training:
            self.network.train()
        lr, target = self.update.lr, batch["target"]
        outputs = self.network(batch["features"])
        each = losses(outputs.float(), target)
        loss = each.mean() if "weights" not in batch else (each * batch["weights"]).sum() / batch["weights"].sum()
        info = self.update(loss)
        metrics = {**_metrics(info.loss, outputs, target), "lr": lr}
        return metrics if info.grad_norm is None else {**metrics, "grad_norm": info.grad_norm}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights, where there are any, into the network in evaluation mode for a while."""
        self.network.eval()
        with self.update.ema.swap() if self.update.ema is not None else nullcontext():
            yield

    def state_dict(self) -> State:
        """Return the network's and the Updater's state."""
        return {**collect(network=self.network, update=self.update), "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        restore(state, network=self.network, update=self.update)
        if state["fingerprint"] != self.fingerprint:
            warnings.warn(CHANGED, stacklevel=2)
