"""Networks on tables: a multilayer perceptron over features, its categories one-hot or embedded.

    h₀ = [numbers, E₁ᵀ onehot(c₁), E₂ᵀ onehot(c₂), …]          E_j (categories × dimensions), a matrix each
    y  = MLP(h₀)

An embedding is a linear map of a one-hot vector; a category that training never saw is all zeros there, and so is its
embedding.

References:
    Guo and Berkhahn 2016, Entity embeddings of categorical variables.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.mlp import MLP
from gradus.tabular.decision_tree import Tree
from gradus.tabular.encoder import Encoder
from gradus.tabular.linear import Affine

__all__ = ["TableModel", "TableNetwork", "empty"]


class TableNetwork(nn.Module):
    """A multilayer perceptron over the features of a table.

    Args:
        features: how many there are.
        outputs: scores of the classes, or one number.
        groups: the features of each category column.
        embedding: dimensions of a category; 0 leaves it one-hot. A column of fewer categories gets no more.
        hidden: units of each hidden layer.
        activation: name of the nonlinearity.
        dropout: probability of dropping a hidden unit.
        norm: normalisation in front of each nonlinearity.
    """

    form = "network"
    kept: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        groups: Sequence[Sequence[int]] = (),
        embedding: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        self.groups = [list(group) for group in groups] if embedding else []
        taken = {feature for group in self.groups for feature in group}
        kept = torch.tensor([i for i in range(features) if i not in taken], dtype=torch.int64)
        self.register_buffer("kept", kept, persistent=False)
        self.embeddings = nn.ModuleList(
            nn.Linear(len(group), min(embedding, len(group)), bias=False) for group in self.groups
        )
        width = len(kept) + sum(table.out_features for table in self.embeddings)  # type: ignore[misc]
        self.mlp = MLP(width, outputs, hidden=hidden, activation=activation, dropout=dropout, norm=norm)
        self._facts = {
            "features": features, "outputs": outputs, "groups": self.groups, "embedding": embedding,
            "hidden": list(hidden), "activation": activation, "dropout": dropout, "norm": norm,
        }  # fmt: skip

    def forward(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """Return the outputs for features."""
        if not self.groups:
            return self.mlp(x)
        parts = [table(x[:, group]) for table, group in zip(self.embeddings, self.groups, strict=True)]
        return self.mlp(torch.cat([x[:, self.kept], *parts], dim=1))

    def facts(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(self._facts)


def empty(form: str, facts: dict[str, Any]) -> nn.Module:
    """Return a model of a form and a size, to be filled with weights.

    Args:
        form: affine, tree or network.
        facts: as the model's own `facts` gave them.
    """
    return {"affine": Affine.empty, "tree": Tree.empty, "network": TableNetwork}[form](**facts)  # type: ignore[operator]


class TableModel(nn.Module):
    """A model with its preprocessing: raw rows in, scores or numbers out.

    Args:
        encoder: rows to features.
        network: features to outputs.
        centre: μ of the targets that the network learned as (y − μ)/σ.
        scale: σ.
    """

    def __init__(self, encoder: Encoder, network: nn.Module, centre: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.encoder, self.network, self.centre, self.scale = encoder, network, centre, scale

    def forward(self, rows: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows outputs"]:
        """Return the outputs for raw rows, in the units of the targets."""
        place = next(self.network.parameters())
        return self.network(self.encoder(rows).to(place)) * self.scale + self.centre
