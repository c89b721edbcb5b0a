"""How tables are learned from: the objective of networks, and the learner that fits at once.

row_loss     L = Σ_i w_i ℓ(f(x_i), y_i) / Σ_i w_i,      ℓ cross-entropy, or (f(x) − (y − μ)/σ)²
FitTable     one step: the estimator's answer for all training rows
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from gradus.data.table import TableSchema
from gradus.engine.state import State, notice_change
from gradus.tabular.encoder import Encoder
from gradus.tabular.network import empty

__all__ = ["Facts", "FitTable", "row_loss"]

Batch = Mapping[str, Tensor]
Fit = Callable[[Batch], tuple[nn.Module, dict[str, Any]]]


def losses(outputs: Float[Tensor, "rows outputs"], target: Shaped[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Return each row's cross-entropy where targets are classes, else its squared error."""
    if target.is_floating_point():
        return (outputs[:, 0] - target).square()
    return F.cross_entropy(outputs, target, reduction="none")


def row_loss(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted mean loss of some rows, and for classes which answers are right.

    Args:
        network: features to scores, or to one standardised number.
        batch: `features`, `target`, and `weights` where rows are weighed.
    """
    outputs, target = network(batch["features"]), batch["target"]
    each = losses(outputs.float(), target)
    loss = each.mean() if "weights" not in batch else (each * batch["weights"]).sum() / batch["weights"].sum()
    return loss, _hits(outputs, target)


def _hits(outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
    return {} if target.is_floating_point() else {"accuracy": outputs.argmax(1) == target}


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
        return {"loss": losses(outputs, batch["target"]).mean(), **_hits(outputs, batch["target"])}

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
        notice_change(state["fingerprint"], self.fingerprint)
