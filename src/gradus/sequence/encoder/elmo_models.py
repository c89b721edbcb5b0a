"""The registered models around ELMo: the pretrained readers, and a classifier of texts on a mix of their layers.

    h = γ Σ_l softmax(s)_l hˡ,   scores = W · mean over time of BiLSTM(h)   (or of h itself)

References:
    Peters et al. 2018, Deep contextualized word representations.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.nn.recurrent import Recurrent
from gradus.sequence.encoder.elmo import Elmo, ElmoPretraining, ScalarMix

__all__ = ["ElmoClassifier", "elmo", "elmo_classifier"]


class ElmoClassifier(nn.Module):
    """A class for a text, from a mix of the readers' layers.

    Args:
        trunk: the readers.
        classes: number of classes.
        layers: of the trunk, the words' own vectors included.
        reader: units in each direction of an LSTM on the mix; 0 takes the mix itself.
        dropout: probability, on the mix and in front of the scores.
    """

    frame = ("[BOS]", "[EOS]")

    def __init__(self, trunk: Elmo, classes: int, *, layers: int, reader: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.trunk = trunk
        self.mix = ScalarMix(layers)
        self.reader = Recurrent("lstm", trunk.width, reader, bidirectional=True) if reader else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * reader or trunk.width, classes)

    def embed(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time half"]:
        """Return the vectors of words."""
        return self.trunk.embed(tokens)

    def from_embedded(
        self, embedded: Float[Tensor, "batch time half"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given the vectors of words."""
        mixed = self.dropout(self.mix(self.trunk.encode(embedded, lengths)))
        if self.reader is not None:
            mixed, _ = self.reader(mixed, lengths=lengths)
        if lengths is None:
            return self.head(self.dropout(mixed.mean(1)))
        there = torch.arange(mixed.shape[1]) < lengths.cpu()[:, None]
        weights = (there / lengths.cpu()[:, None].clamp(min=1)).to(mixed)
        return self.head(self.dropout(torch.einsum("bt,btw->bw", weights, mixed)))

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the texts, on the CPU.
            segments: not used: the readers know one text only.
        """
        return self.from_embedded(self.embed(tokens, lengths, segments), lengths)


@canon(
    "sequence/elmo",
    kind="text-encoder",
    paper="Peters et al. 2018, Deep contextualized word representations",
    names=("elmo",),
    example=lambda: elmo(30, layers=2, width=16),
)
def elmo(
    vocabulary: int,
    *,
    padding: int = 0,
    layers: int = 2,
    width: int = 256,
    dropout: float = 0.1,
    characters: bool = False,
    longest: int = 16,
) -> ElmoPretraining:
    """ELMo: two LSTM language models, one in each direction, that share words and softmax.

    Args:
        vocabulary: number of words.
        padding: id of the padding; lengths say where it stands.
        layers: of LSTMs in each direction.
        width: features of a word in every layer, half of them from each direction.
        dropout: probability.
        characters: make the words' vectors from their letters.
        longest: letters that are read of a word.
    """
    trunk = Elmo(vocabulary, layers=layers, width=width, dropout=dropout, characters=characters, longest=longest)
    return ElmoPretraining(trunk)


@canon(
    "sequence/elmo-classifier",
    kind="text-classifier",
    paper="Peters et al. 2018, Deep contextualized word representations",
    names=("elmo",),
    example=lambda: elmo_classifier(vocabulary=30, classes=3, layers=2, width=16, reader=8),
)
def elmo_classifier(
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    layers: int = 2,
    width: int = 256,
    dropout: float = 0.1,
    characters: bool = False,
    longest: int = 16,
    reader: int = 0,
) -> ElmoClassifier:
    """A classifier of texts on a learned mix of ELMo's layers.

    Args:
        vocabulary: number of words.
        classes: number of classes.
        padding: id of the padding; lengths say where it stands.
        layers: of LSTMs in each direction.
        width: features of a word in every layer, half of them from each direction.
        dropout: probability.
        characters: make the words' vectors from their letters; the spellings come with pretrained weights.
        longest: letters that are read of a word.
        reader: units in each direction of an LSTM on the mix; 0 takes the mean of the mix.
    """
    trunk = Elmo(vocabulary, layers=layers, width=width, dropout=dropout, characters=characters, longest=longest)
    return ElmoClassifier(trunk, classes, layers=layers + 1, reader=reader, dropout=dropout)
