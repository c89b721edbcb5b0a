"""GloVe: vectors whose products are the logarithms of how often words occur near each other.

    J = Σ_(X_ab > 0) f(X_ab) (w_a · w̃_b + b_a + b̃_b − log X_ab)²,      f(x) = min(1, (x/x_max)^α)

With d_ab = 2 f(X_ab) (w_a · w̃_b + b_a + b̃_b − log X_ab),

    ∂J/∂w_a = Σ_b d_ab w̃_b,    ∂J/∂w̃_b = Σ_a d_ab w_a,    ∂J/∂b_a = Σ_b d_ab,    ∂J/∂b̃_b = Σ_a d_ab

learned by AdaGrad over the entries in random order; the vector of a word is w + w̃.

References:
    Pennington, Socher and Manning 2014, GloVe: global vectors for word representation.

Deviations:
    A step takes a few hundred entries, whose gradients in one row count together; the paper's takes one.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.sequence.embedding.cooccurrence import Cooccurrences
from gradus.sequence.embedding.tables import AdaGrad, Embedding, Gradient, Rule, started
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["GlobalVectors", "glove"]


class GlobalVectors(Embedding):
    """GloVe.

    Args:
        words: how many there are.
        size: numbers of a vector.
        x_max: the count from which an entry counts in full.
        power: α.
        generator: of the start.
    """

    reads = "cooccurrences"

    def __init__(
        self, words: int, size: int, x_max: float, power: float, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if not x_max > 0:
            raise GradusError(f"x_max must be positive, got {x_max}")
        self.x_max, self.power = x_max, power
        self.left, self.right = started(words, size, generator), started(words, size, generator)
        self.left_bias, self.right_bias = nn.Parameter(torch.zeros(words)), nn.Parameter(torch.zeros(words))

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """w + w̃ of each word."""
        return self.left + self.right

    def rule(self) -> Rule:
        """Return AdaGrad over all four tables."""
        return AdaGrad(dict(self.named_parameters()))

    def predictions(self, batch: Cooccurrences) -> Float[Tensor, ""]:
        """Return the number of entries."""
        return torch.tensor(float(len(batch.counts)))

    def _errors(self, batch: Cooccurrences) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return w_a, w̃_b, f(X_ab) and the difference of each entry."""
        left, right = self.left.index_select(0, batch.rows), self.right.index_select(0, batch.columns)
        biases = self.left_bias.index_select(0, batch.rows) + self.right_bias.index_select(0, batch.columns)
        weights = (batch.counts / self.x_max).pow(self.power).clamp(max=1)
        return left, right, weights, (left * right).sum(1) + biases - batch.counts.log()

    def objective(self, batch: Cooccurrences) -> Float[Tensor, ""]:
        """Return Σ f · difference²."""
        _, _, weights, errors = self._errors(batch)
        return (weights * errors.square()).sum()

    def gradients(self, batch: Cooccurrences) -> list[Gradient]:
        """Return the gradients of vectors and biases in the rows of the entries' words."""
        with torch.no_grad():
            left, right, weights, errors = self._errors(batch)
            d = 2 * weights * errors
            return [
                Gradient(self.left, batch.rows, d[:, None] * right),
                Gradient(self.right, batch.columns, d[:, None] * left),
                Gradient(self.left_bias, batch.rows, d),
                Gradient(self.right_bias, batch.columns, d),
            ]


@canon(
    "sequence/glove",
    kind="embedding",
    paper="Pennington, Socher and Manning 2014, GloVe: global vectors for word representation",
)
def glove(
    vocabulary: Vocabulary,
    *,
    vector_size: int = 100,
    x_max: float = 100.0,
    power: float = 0.75,
    generator: torch.Generator | None = None,
) -> GlobalVectors:
    """GloVe: products of vectors are logarithms of co-occurrence counts.

    Args:
        vocabulary: the words.
        vector_size: numbers of a vector.
        x_max: the count from which an entry counts in full.
        power: by which an entry's weight grows with its count.
        generator: of the start.
    """
    return GlobalVectors(len(vocabulary.words), vector_size, x_max, power, generator)
