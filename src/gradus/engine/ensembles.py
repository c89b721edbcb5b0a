"""Ensembles: the members of a group as one product, p(y | x) = 1/n Σ_i p_i(y | x).

References:
    Hansen and Salamon 1990, Neural network ensembles.
    Lakshminarayanan et al. 2017, Simple and scalable predictive uncertainty estimation using deep ensembles.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gradus.engine.capabilities import InputBatch, Predicts
from gradus.errors import GradusError

__all__ = ["Ensemble"]


class _Averaged(nn.Module):
    """The logarithm of the members' mean probability, as scores of one model."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return log mean_i softmax f_i(x)."""
        logs = torch.stack([member(inputs).float().log_softmax(-1) for member in self.members])
        return logs.logsumexp(0) - torch.log(torch.tensor(float(len(self.members)), device=logs.device))


class Ensemble:
    """A group's products as one: it predicts the mean of their probabilities.

    Args:
        products: of the members.
        name: of the group.

    Raises:
        GradusError: if the members cannot predict, or know other classes.
    """

    kind = "an ensemble"

    def __init__(self, products: Sequence[Any], name: str) -> None:
        if not products or not all(isinstance(product, Predicts) for product in products):
            raise GradusError(f"the members of group {name!r} cannot predict together: name one, {name}/members/0")
        if len({tuple(product.classes) for product in products}) > 1:
            raise GradusError(f"the members of group {name!r} know different classes: name one, {name}/members/0")
        self.products = list(products)
        self.classes: Sequence[str] = products[0].classes
        self.module: nn.Module = _Averaged([product.module for product in products])

    def __repr__(self) -> str:
        return f"Ensemble({len(self.products)} × {self.products[0]!r})"

    def scores(self, inputs: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities; differentiable."""
        return self.module(inputs)

    def predict(self, inputs: Any) -> Tensor:
        """Return the mean of the members' class probabilities."""
        return torch.stack([product.predict(inputs) for product in self.products]).mean(0)

    def read(self, path: Path) -> Iterator[InputBatch]:
        """Read inputs as the first member does."""
        return self.products[0].read(path)

    def save(self, folder: Path) -> None:
        """Refuse: the members' own products are what is kept."""
        raise GradusError(f"an ensemble is kept as its members' products; it writes none of its own to {folder}")
