"""Recurrent language models: the past in a state of fixed size.

    h_t = cell(√e E x_t, h_{t−1}),      p(x_{t+1} | x_1 … x_t) = softmax(W P h_t + b)

With tied embeddings W is E: what a token is read as is what it is written as. P brings h to the width e of the
embedding where the two differ. E starts at N(0, 1/e), which suits what is written; √e makes a token that is read as
loud as a cell needs it, without which learning is slow for long.

Dropout forgets features of what is read, of what goes from layer to layer, and of what is written. Variational dropout
draws the first and the last of these masks once a sequence instead of anew at every step, so that a feature that is
forgotten stays so.

References:
    Elman 1990, Finding structure in time. Cho et al. 2014, Learning phrase representations using RNN encoder–decoder.
    Hochreiter and Schmidhuber 1997, Long short-term memory.
    Mikolov et al. 2010, Recurrent neural network based language model.
    Zaremba, Sutskever and Vinyals 2014, Recurrent neural network regularization.
    Gal and Ghahramani 2016, A theoretically grounded application of dropout in recurrent neural networks.
    Press and Wolf 2017, Using the output embedding to improve language models.
    Vaswani et al. 2017, Attention is all you need (√e).

Deviations:
    The mask between layers is drawn at every step, variational or not.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.nn.recurrent import Recurrent, State

__all__ = ["RecurrentModel", "recurrent"]

KINDS = ("rnn", "gru", "lstm")


Chosen = (
    Float[Tensor, "stack chosen size"] | tuple[Float[Tensor, "stack chosen size"], Float[Tensor, "stack chosen size"]]
)
"""A state of some of the rows."""


class RecurrentModel(nn.Module):
    """Embedding, recurrent layers, softmax.

    Args:
        kind: rnn, gru or lstm.
        vocabulary: number of tokens.
        width: hidden units of each layer.
        layers: how many.
        embedding: features a token is read as; the width when left out.
        tie: whether tokens are written as they are read.
        dropout: probability of forgetting a feature.
        variational: whether what is forgotten of input and output stays so for the whole sequence.
        initial: state at the start of a text: zero, learned, or in training drawn at random (sampled).

    Raises:
        GradusError: if these make no model.
    """

    context: int | None = None

    def __init__(
        self,
        kind: str,
        vocabulary: int,
        *,
        width: int = 256,
        layers: int = 1,
        embedding: int | None = None,
        tie: bool = True,
        dropout: float = 0.0,
        variational: bool = False,
        initial: Literal["zero", "learned", "sampled"] = "zero",
    ) -> None:
        super().__init__()
        size = width if embedding is None else embedding
        if kind not in KINDS:
            raise GradusError(f"there is no recurrent language model {kind!r}{nearest(kind, KINDS)}")
        if min(vocabulary, size) < 1:
            raise GradusError(f"a language model needs at least one token and one feature, not {vocabulary}, {size}")
        self.vocabulary, self.tie, self.dropout, self.variational = vocabulary, tie, dropout, variational
        self.embedding = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.embedding.weight, std=size**-0.5)
        self.layers = Recurrent(kind, size, width, layers=layers, dropout=dropout, initial=initial)
        self.project = nn.Linear(width, size, bias=False) if tie and width != size else None
        self.output = None if tie else nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def extra_repr(self) -> str:
        told = f"vocabulary={self.vocabulary}, {'tied' if self.tie else 'not tied'}, dropout={self.dropout}"
        return told + (", variational" if self.variational else "")

    def start(self, batch: int, device: torch.device | str = "cpu") -> State:
        """Return the state before any token."""
        weight = self.embedding.weight
        return self.layers(torch.zeros(batch, 0, weight.shape[1], dtype=weight.dtype, device=device))[1]

    def restart(self, state: State, fresh: Bool[Tensor, " batch"]) -> State:
        """Return the state with some rows at their start again; gradients flow to a learned start.

        Args:
            state: of all rows.
            fresh: which rows begin a text.
        """
        begun = self.start(len(fresh), fresh.device)
        chosen = fresh[:, None]
        if isinstance(state, tuple) and isinstance(begun, tuple):
            return torch.where(chosen, begun[0], state[0]), torch.where(chosen, begun[1], state[1])
        assert isinstance(state, Tensor)
        assert isinstance(begun, Tensor)
        return torch.where(chosen, begun, state)

    def reorder(self, state: State, rows: Int[Tensor, " chosen"]) -> Chosen:
        """Return the state in which row i goes on as a copy of row `rows[i]`."""
        if isinstance(state, tuple):
            return state[0].index_select(1, rows), state[1].index_select(1, rows)
        return state.index_select(1, rows)

    def forward(
        self, tokens: Int[Tensor, "batch time"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch time vocabulary"], State]:
        """Return the logits of the next token at every position, and the state behind the last.

        Args:
            tokens: sequences.
            state: behind what was before them; that of a beginning by default.
        """
        read = self.embedding(tokens) * self.embedding.embedding_dim**0.5
        h, state = self.layers(self._forget(read), state)
        h = self._forget(h)
        if self.output is not None:
            return self.output(h) + self.bias, state
        h = h if self.project is None else self.project(h)
        return F.linear(h, self.embedding.weight, self.bias), state

    def _forget(self, x: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch time features"]:
        if not (self.training and self.dropout):
            return x
        if self.variational:
            return x * F.dropout(torch.ones_like(x[:, :1]), self.dropout)
        return F.dropout(x, self.dropout)


@canon(
    "sequence/recurrent-language-model",
    kind="language-model",
    paper="Mikolov et al. 2010, Recurrent neural network based language model",
    names=("rnn", "gru", "lstm"),
    example=lambda **settings: recurrent(**{"vocabulary": 11, "width": 8, "layers": 2, "embedding": 6, **settings}),
)
def recurrent(
    name: str = "lstm",
    *,
    vocabulary: int,
    width: int = 256,
    layers: int = 1,
    embedding: int | None = None,
    tie: bool = True,
    dropout: float = 0.0,
    variational: bool = False,
    initial: Literal["zero", "learned", "sampled"] = "zero",
) -> RecurrentModel:
    """Return a recurrent network that guesses the next token.

    Args:
        name: rnn, gru or lstm.
        vocabulary: number of tokens.
        width: hidden units of each layer.
        layers: how many.
        embedding: features a token is read as; the width when left out.
        tie: whether tokens are written as they are read.
        dropout: probability of forgetting a feature.
        variational: whether what is forgotten of input and output stays so for the whole sequence.
        initial: state at the start of a text: zero, learned, or in training drawn at random (sampled).

    Raises:
        GradusError: if these make no model.
    """
    return RecurrentModel(
        name, vocabulary, width=width, layers=layers, embedding=embedding, tie=tie, dropout=dropout,
        variational=variational, initial=initial,
    )  # fmt: skip
