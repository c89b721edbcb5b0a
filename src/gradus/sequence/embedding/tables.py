"""What every way to word vectors has in common: tables of vectors, a loss of a batch, and its gradient by hand.

    table[rows] ← table[rows] − rate · ∂L/∂table[rows]

A batch touches few rows, and nothing else is read or written: a step costs what the batch costs, however many words
there are. `objective` is the loss as its paper has it, for autograd and for evaluation; `gradients` is the same thing
worked out, which is what learning uses. The contract of the kind "embedding" holds the two together.

References:
    Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality; Duchi, Hazan and
    Singer 2011, Adaptive subgradient methods for online learning and stochastic optimization (AdaGrad).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gradus.engine.state import State

__all__ = ["AdaGrad", "Descent", "Embedding", "Gradient", "Rule", "merged", "started"]


class Gradient(NamedTuple):
    """The gradient of a table in some of its rows; a row may come several times, and the sum counts.

    Attributes:
        table: the parameter.
        rows: which; None for all of them.
        values: ∂L/∂table in those rows.
        rate: what the learning rate of each is multiplied with; None for 1.
    """

    table: nn.Parameter
    rows: Int64[Tensor, " touched"] | None
    values: Float[Tensor, "touched *shape"]
    rate: Float[Tensor, " touched"] | None = None


class Embedding(nn.Module, ABC):
    """A way to word vectors, with its tables.

    Attributes:
        reads: "bands" of a text, or "cooccurrences".
        predicts: of a place in the text: each word "near" it, or its "own" word.
    """

    reads: ClassVar[Literal["bands", "cooccurrences"]] = "bands"
    predicts: ClassVar[Literal["near", "own"]] = "near"
    negative: int = 0

    @property
    @abstractmethod
    def vectors(self) -> Float[Tensor, "words size"]:
        """The vector of each word."""

    @abstractmethod
    def objective(self, batch: Any) -> Float[Tensor, ""]:
        """Return the loss of a batch, summed over what is predicted; differentiable."""

    @abstractmethod
    def gradients(self, batch: Any) -> list[Gradient]:
        """Return the gradient of `objective` in the rows that the batch touches."""

    @abstractmethod
    def predictions(self, batch: Any) -> Float[Tensor, ""]:
        """Return how many terms `objective` sums."""

    def rule(self) -> "Rule":
        """Return the rule by which the tables learn."""
        return Descent()

    def extra_repr(self) -> str:
        """Return the sizes of the tables."""
        return ", ".join(f"{name} {'×'.join(map(str, p.shape))}" for name, p in self.named_parameters())


class Rule(ABC):
    """How a gradient in some rows changes a table."""

    @abstractmethod
    def __call__(self, gradients: Sequence[Gradient], lr: float) -> None:
        """Change the tables in place."""

    @abstractmethod
    def state_dict(self) -> State:
        """Return what the rule remembers."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""


class Descent(Rule):
    """θ ← θ − rate · g, as in word2vec."""

    def __repr__(self) -> str:
        return "Descent()"

    def __call__(self, gradients: Sequence[Gradient], lr: float) -> None:
        """Change the tables in place."""
        with torch.no_grad():
            for table, rows, values, rate in gradients:
                if rate is not None:
                    values = values * rate.view(-1, *[1] * (values.ndim - 1))
                if rows is None:
                    table.add_(values, alpha=-lr)
                else:
                    table.index_add_(0, rows, values, alpha=-lr)

    def state_dict(self) -> State:
        """Return nothing: the rule has no memory."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put nothing back."""


class AdaGrad(Rule):
    """s ← s + g²,  θ ← θ − rate · g/√s, in the rows touched; s starts at 1, as in the GloVe program.

    Args:
        tables: that learn by it.
    """

    def __init__(self, tables: Mapping[str, nn.Parameter]) -> None:
        self.tables = dict(tables)
        self.squares = {name: torch.ones_like(table.data) for name, table in self.tables.items()}

    def __repr__(self) -> str:
        return "AdaGrad()"

    def __call__(self, gradients: Sequence[Gradient], lr: float) -> None:
        """Change the tables in place; gradients of the same row count together."""
        names = {id(table): name for name, table in self.tables.items()}
        with torch.no_grad():
            for gradient in gradients:
                squares = self.squares[names[id(gradient.table)]]
                rows, values = merged(gradient)
                held = squares.index_select(0, rows).addcmul_(values, values)
                squares.index_copy_(0, rows, held)
                gradient.table.index_add_(0, rows, values / held.sqrt_(), alpha=-lr)

    def state_dict(self) -> State:
        """Return the sums of squares."""
        return dict(self.squares)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back in place."""
        for name, squares in self.squares.items():
            squares.copy_(state[name])


def merged(gradient: Gradient) -> tuple[Int64[Tensor, " rows"], Float[Tensor, "rows *shape"]]:
    """Return each touched row once, with the sum of its gradients."""
    values = gradient.values
    if gradient.rows is None:
        return torch.arange(len(values), device=values.device), values
    rows, places = gradient.rows.unique(return_inverse=True)
    return rows, values.new_zeros(len(rows), *values.shape[1:]).index_add_(0, places, values)


def started(rows: int, size: int, generator: torch.Generator | None = None) -> nn.Parameter:
    """Return a table of vectors uniform on (−1/2d, 1/2d), as word2vec starts from.

    Args:
        rows: how many.
        size: d, numbers of a vector.
        generator: of the draws.
    """
    return nn.Parameter((torch.rand(rows, size, generator=generator) - 0.5) / size)
