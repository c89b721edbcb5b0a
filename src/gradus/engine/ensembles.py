"""Ensembles: several products as one.

    mean     p(y | x) = 1/n Σ_i p_i(y | x)
    vote     p(y | x) = (1/K + #{i : argmax p_i = y}) / (n + 1)
    weights  p(y | x) = p(y | x; 1/n Σ_i θ_i)

A vote spreads one more vote evenly over the K classes, so that no class is impossible and the log-likelihood is finite.
Averaging weights means something for members that share a trajectory (snapshots of one run); independently trained
networks lie in different basins.

References:
    Hansen and Salamon 1990, Neural network ensembles.
    Lakshminarayanan et al. 2017, Simple and scalable predictive uncertainty estimation using deep ensembles.
    Huang et al. 2017, Snapshot ensembles: train 1, get M for free.
    Izmailov et al. 2018, Averaging weights leads to wider optima and better generalization.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradus.canon import canon
from gradus.engine.capabilities import Explains, Exports, InputBatch, Predicts
from gradus.engine.product import load_from, save_product
from gradus.engine.state import State
from gradus.errors import GradusError

__all__ = ["Combine", "Ensemble", "SeeingEnsemble", "average_weights", "together", "vote"]

Combine = Literal["mean", "vote", "weights"]


def vote(probabilities: Tensor) -> Tensor:
    """Return the share of votes of each class, one vote spread evenly.

    Args:
        probabilities: of the members, (members, batch, classes).
    """
    count, _, classes = probabilities.shape
    chosen = nn.functional.one_hot(probabilities.argmax(-1), classes).sum(0)
    return (chosen + 1 / classes) / (count + 1)


def average_weights(modules: Sequence[nn.Module], name: str) -> nn.Module:
    """Return a module whose weights are the mean of the members'; what is no real number is the first one's.

    Args:
        modules: of one architecture.
        name: of the ensemble, for the error.

    Raises:
        GradusError: if the members have other weights than the first.
    """
    states = [module.state_dict() for module in modules]
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise GradusError(f"the members of {name!r} are of different architectures: combine them by mean or vote")
    merged = copy.deepcopy(modules[0])
    mean = {
        key: torch.stack([state[key] for state in states]).mean(0) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    merged.load_state_dict(mean)
    return merged


class _Combined(nn.Module):
    """The logarithm of the members' combined probability, as scores of one model."""

    def __init__(self, members: Sequence[nn.Module], combine: Combine) -> None:
        super().__init__()
        self.members, self.combine = nn.ModuleList(members), combine

    def forward(self, inputs: Tensor) -> Tensor:
        """Return log p(y | x)."""
        logs = torch.stack([member(inputs).float().log_softmax(-1) for member in self.members])
        if self.combine == "vote":
            return vote(logs).log()
        return logs.logsumexp(0) - math.log(len(self.members))


@canon("engine/ensemble", kind="product")
class Ensemble:
    """Several products as one.

    Args:
        products: of the members.
        name: of the group or run, for messages.
        combine: mean of the probabilities, vote, or mean of the weights.

    Raises:
        GradusError: if the members cannot predict, know other classes, or their weights do not fit together.
    """

    kind = "an ensemble"

    def __init__(self, products: Sequence[Any], name: str, combine: Combine = "mean") -> None:
        if not products or not all(isinstance(product, Predicts) for product in products):
            raise GradusError(f"the members of group {name!r} cannot predict together: name one, {name}/members/0")
        if len({tuple(product.classes) for product in products}) > 1:
            raise GradusError(f"the members of group {name!r} know different classes: name one, {name}/members/0")
        self.products, self.name, self.combine = list(products), name, combine
        self.classes: Sequence[str] = products[0].classes
        modules = [product.module for product in products]
        self.module: nn.Module = average_weights(modules, name) if combine == "weights" else _Combined(modules, combine)

    def __repr__(self) -> str:
        return f"Ensemble({len(self.products)} × {self.products[0]!r}, {self.combine})"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    def combined(self, combine: Combine) -> "Ensemble":
        """Return the same members, combined in another way."""
        return type(self)(self.products, self.name, combine)

    def scores(self, inputs: Tensor) -> Tensor:
        """Return the logarithm of the combined probabilities; differentiable but for votes."""
        return self.module(inputs)

    def predict(self, inputs: Any) -> Tensor:
        """Return the combined class probabilities of raw inputs."""
        if self.combine == "weights":
            merged = copy.copy(self.products[0])
            merged.module = self.module
            return merged.predict(inputs)
        found = torch.stack([product.predict(inputs) for product in self.products])
        return vote(found) if self.combine == "vote" else found.mean(0)

    def read(self, path: Path) -> Iterator[InputBatch]:
        """Read inputs as the first member does."""
        return self.products[0].read(path)

    def save(self, folder: Path) -> None:
        """Write `product/`: every member's product, and how they are combined."""
        for i, product in enumerate(self.products):
            product.save(folder / "members" / str(i))
        facts = {"members": len(self.products), "name": self.name, "combine": self.combine}
        save_product(folder, "ensemble", {**facts, "classes": list(self.classes)}, {})

    @classmethod
    def load(cls, folder: Path, facts: State) -> "Ensemble":
        """Load every member again."""
        places = [folder / "members" / str(i) for i in range(facts["members"])]
        return together([load_from(place) for place in places], facts["name"], facts["combine"])


class SeeingEnsemble(Ensemble):
    """An ensemble whose members are differentiable functions of raw inputs: it is explained, attacked and exported."""

    @property
    def feature_map(self) -> nn.Module:
        """The layer for Grad-CAM; of members side by side, the first one's."""
        layer = self.products[0].feature_map
        if self.combine != "weights":
            return layer
        name = next(name for name, module in self.products[0].module.named_modules() if module is layer)
        return self.module.get_submodule(name)

    def exportable(self) -> tuple[nn.Module, Tensor]:
        """Return the module of all members and an example input."""
        return self.module, self.products[0].exportable()[1]


def together(products: Sequence[Any], name: str, combine: Combine = "mean") -> Ensemble:
    """Return several products as one that can do what they can; raises as `Ensemble` does."""
    seeing = all(isinstance(product, Explains) and isinstance(product, Exports) for product in products)
    return (SeeingEnsemble if seeing else Ensemble)(products, name, combine)
