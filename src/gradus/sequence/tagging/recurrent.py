"""Recurrent taggers: as many tags out as tokens go in.

    x_t = E[token_t],   h_t = [→cell(x_t, →h_{t−1}); ←cell(x_t, ←h_{t+1})],   s_t = W h_t + b

What stands behind a token says as much about it as what stands before, so both directions are read unless asked not to.

References:
    Schuster, Paliwal 1997, Bidirectional recurrent neural networks.
    Huang, Xu, Yu 2015, Bidirectional LSTM-CRF models for sequence tagging (without its last layer).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.nn.recurrent import Recurrent

__all__ = ["RecurrentTagger", "recurrent_tagger"]

SPREAD = 0.1  # standard deviation that the vectors of words start with


class RecurrentTagger(nn.Module):
    """Word vectors, recurrent layers, and a linear layer at every token.

    Args:
        kind: of the cells: rnn, gru or lstm.
        vocabulary: number of tokens.
        classes: number of tags.
        padding: id of the padding.
        width: features of a word's vector.
        hidden: hidden units of each layer and direction.
        layers: how many.
        bidirectional: whether a sentence is read in both directions.
        dropout: probability of dropping a feature of the words, between layers and in front of the scores.
    """

    context = None

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
        dropout: float,
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(vocabulary, width, padding_idx=padding)
        with torch.no_grad():
            self.vectors.weight.normal_(0, SPREAD)[padding] = 0
        self.trunk = Recurrent(kind, width, hidden, layers=layers, bidirectional=bidirectional, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.trunk.features, classes)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time classes"]:
        """Return the scores of the tags at every token.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the rows, on the CPU; all as long as the batch by default.
            segments: not looked at.
        """
        outputs, _ = self.trunk(self.dropout(self.vectors(tokens)), lengths=lengths)
        return self.head(self.dropout(outputs))


@canon(
    "sequence/recurrent-tagger",
    kind="tagger",
    paper="Schuster & Paliwal 1997, Bidirectional recurrent neural networks",
    names=("rnn", "gru", "lstm"),
    example=lambda: recurrent_tagger(vocabulary=30, classes=3, width=6, hidden=5),
)
def recurrent_tagger(
    name: str = "lstm",
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    width: int = 64,
    hidden: int = 64,
    layers: int = 1,
    bidirectional: bool = True,
    dropout: float = 0.3,
) -> RecurrentTagger:
    """A recurrent network that gives every token a tag: of tanh units, gated units or long short-term memory.

    Args:
        name: rnn, gru or lstm.
        vocabulary: number of tokens.
        classes: number of tags.
        padding: id of the padding.
        width: features of a word's vector.
        hidden: hidden units of each layer and direction.
        layers: how many.
        bidirectional: whether a sentence is read in both directions.
        dropout: probability of dropping a feature of the words, between layers and in front of the scores.

    References:
        Schuster, Paliwal 1997, Bidirectional recurrent neural networks.
    """
    return RecurrentTagger(
        name, vocabulary, classes, padding, width=width, hidden=hidden, layers=layers, bidirectional=bidirectional,
        dropout=dropout,
    )  # fmt: skip
