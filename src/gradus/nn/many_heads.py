"""An ensemble with one body: several heads on a shared trunk, p(y | x) = 1/n Σ_i softmax h_i(t(x)).

Each head is trained on its own loss, L = 1/n Σ_i L_i, so the heads differ by where they started, and cost little more
than one. The trunk hears from all of them.

References:
    Lee et al. 2015, Why M heads are better than one: training a diverse ensemble of deep networks.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["ManyHeads"]


class _Heads(nn.Module):
    """The logarithm of the heads' mean probability."""

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def each(self, features: Tensor) -> list[Tensor]:
        """Return every head's logits."""
        return [head(features) for head in self.heads]

    def forward(self, features: Tensor) -> Tensor:
        """Return log p(y | x)."""
        logs = torch.stack([logits.log_softmax(-1) for logits in self.each(features)])
        return logs.logsumexp(0) - math.log(len(logs))


class ManyHeads(nn.Module):
    """A classifier with several heads on the first one's trunk.

    Args:
        networks: classifiers of one architecture, in halves `trunk` and `head`; the heads are taken.

    Raises:
        GradusError: if the architecture has auxiliary heads of its own.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        first: Any = networks[0]
        if hasattr(first, "training_outputs"):
            raise GradusError(f"{type(first).__name__} has auxiliary heads of its own: leave --heads out")
        self.trunk, self.head = first.trunk, _Heads([cast(Any, network).head for network in networks])
        self.minimum_size, self.feature_map_path = first.minimum_size, first.feature_map_path

    @property
    def feature_map(self) -> nn.Module:
        """The module whose output is the last map of features with positions."""
        return self.get_submodule(self.feature_map_path)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logarithm of the heads' mean probability."""
        return self.head(self.trunk(x))

    def training_outputs(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> list[tuple[float, Float[Tensor, "batch classes"]]]:
        """Return every head's logits with its share of the loss."""
        found = self.head.each(self.trunk(x))
        return [(1 / len(found), logits) for logits in found]
