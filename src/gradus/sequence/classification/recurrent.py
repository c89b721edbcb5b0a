"""Recurrent classifiers of texts: many steps in, one answer out.

    x_t = E[token_t],   h_t = cell(x_t, h_{t−1}),   s = W pool(h_1 … h_n) + b ,   pool ∈ {last, mean, max}

In both directions where asked for, and stacked. The order of the words is seen; padding is not.

References:
    Elman 1990, Finding structure in time. Hochreiter, Schmidhuber 1997, Long short-term memory.
    Cho et al. 2014, Learning phrase representations using RNN encoder–decoder.
    Schuster, Paliwal 1997, Bidirectional recurrent neural networks.
    Conneau et al. 2017, Supervised learning of universal sentence representations (pooling by the maximum).
"""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.nn.places import inside, pooled
from gradus.nn.recurrent import Recurrent
from gradus.sequence.classification.word_vectors import WordClassifier, WordVectors

__all__ = ["Pooling", "RecurrentClassifier", "recurrent"]

Pooling = Literal["last", "mean", "max"]
POOLINGS = ("last", "mean", "max")


class _Trunk(nn.Module):
    """Tokens to one vector for each text."""

    def __init__(self, vectors: WordVectors, layers: Recurrent, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.vectors, self.layers, self.pooling = vectors, layers, pooling
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch features"]:
        there = inside(embedded, lengths)
        outputs, state = self.layers(self.dropout(embedded * there[..., None]), lengths=lengths)
        if self.pooling == "last":
            hidden = state[0] if isinstance(state, tuple) else state
            return hidden[-self.layers.directions :].transpose(0, 1).flatten(1)
        return pooled(outputs, there, self.pooling)

    def extra_repr(self) -> str:
        return f"pooling={self.pooling!r}"


class RecurrentClassifier(WordClassifier):
    """Word vectors, recurrent layers, a pool, and a linear layer.

    Args:
        kind: of the cells: rnn, gru or lstm.
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding.
        width: features of a word's vector.
        hidden: hidden units of each layer and direction.
        layers: how many.
        bidirectional: whether the text is read in both directions.
        pooling: what of the states is kept: the last, the mean or the largest of each unit.
        dropout: probability of dropping a feature of the words, between layers and in front of the scores.

    Raises:
        GradusError: for an unknown pooling, or what the recurrent layers refuse.
    """

    def __init__(
        self,
        kind: str,
        vocabulary: int,
        classes: int,
        padding: int = 0,
        *,
        width: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        pooling: Pooling,
        dropout: float,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise GradusError(f"there is no pooling {pooling!r}{nearest(pooling, POOLINGS)}")
        stack = Recurrent(kind, width, hidden, layers=layers, bidirectional=bidirectional, dropout=dropout)
        self.trunk = _Trunk(WordVectors(vocabulary, width, padding), stack, pooling, dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(stack.features, classes)

    def from_embedded(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given the vectors of the tokens."""
        return self.head(self.dropout(self.trunk(embedded, lengths)))


@canon(
    "sequence/recurrent-classifier",
    kind="text-classifier",
    paper="Hochreiter & Schmidhuber 1997, Long short-term memory",
    names=("rnn", "gru", "lstm"),
    example=lambda: recurrent(vocabulary=30, classes=3, width=6, hidden=5),
)
def recurrent(
    name: str = "lstm",
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    width: int = 128,
    hidden: int = 128,
    layers: int = 1,
    bidirectional: bool = True,
    pooling: Literal["last", "mean", "max"] = "max",
    dropout: float = 0.5,
) -> RecurrentClassifier:
    """A recurrent network that reads a text and classifies it: of tanh units, gated units or long short-term memory.

    Args:
        name: rnn, gru or lstm.
        vocabulary: number of tokens.
        classes: number of classes.
        padding: id of the padding.
        width: features of a word's vector.
        hidden: hidden units of each layer and direction.
        layers: how many.
        bidirectional: whether the text is read in both directions.
        pooling: last, mean or max of the states.
        dropout: probability of dropping a feature of the words, between layers and in front of the scores.

    References:
        Elman 1990, Finding structure in time. Cho et al. 2014, Learning phrase representations using RNN
        encoder–decoder. Hochreiter & Schmidhuber 1997, Long short-term memory.
    """
    return RecurrentClassifier(
        name, vocabulary, classes, padding, width=width, hidden=hidden, layers=layers, bidirectional=bidirectional,
        pooling=pooling, dropout=dropout,
    )  # fmt: skip
