"""The registered models around ELMo: pretrained readers, and classifiers of texts and words on a mix of their layers.

    h = γ Σ_l softmax(s)_l hˡ,   g = BiLSTM(h)   (or h itself)
    class of a text   W · 1/n Σ_t g_t        tag of a word   W g_t

References:
    Peters et al. 2018, Deep contextualized word representations.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.nn.places import inside, pooled
from gradus.nn.recurrent import Recurrent
from gradus.sequence.encoder.elmo import Elmo, ElmoPretraining, ScalarMix

__all__ = ["ElmoClassifier", "ElmoTagger", "elmo", "elmo_classifier", "elmo_tagger"]


class OnElmo(nn.Module):
    """What every model on ELMo's readers has: a learned mix of their layers, and perhaps an LSTM that reads it.

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

    def mixed(
        self, embedded: Float[Tensor, "batch time half"], lengths: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch time features"]:
        """Return what is known of each word in its place, given the vectors of words."""
        mixed = self.dropout(self.mix(self.trunk.encode(embedded, lengths)))
        return mixed if self.reader is None else self.reader(mixed, lengths=lengths)[0]


class ElmoClassifier(OnElmo):
    """A class for a text, from a mix of the readers' layers; see `OnElmo`."""

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
        mixed = self.mixed(embedded, lengths)
        return self.head(self.dropout(pooled(mixed, inside(mixed, lengths), "mean")))

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


class ElmoTagger(OnElmo):
    """A class for every token, from a mix of the readers' layers; see `OnElmo`."""

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time classes"]:
        """Return the scores of the tags at every token.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the sentences, on the CPU.
            segments: not used: the readers know one text only.
        """
        return self.head(self.dropout(self.mixed(self.trunk.embed(tokens), lengths)))


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


@canon(
    "sequence/elmo-tagger",
    kind="tagger",
    paper="Peters et al. 2018, Deep contextualized word representations",
    names=("elmo",),
    example=lambda: elmo_tagger(vocabulary=30, classes=3, layers=2, width=16, reader=8),
)
def elmo_tagger(
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
) -> ElmoTagger:
    """A tagger of words on a learned mix of ELMo's layers.

    Args:
        vocabulary: number of words.
        classes: number of tags.
        padding: id of the padding; lengths say where it stands.
        layers: of LSTMs in each direction.
        width: features of a word in every layer, half of them from each direction.
        dropout: probability.
        characters: make the words' vectors from their letters; the spellings come with pretrained weights.
        longest: letters that are read of a word.
        reader: units in each direction of an LSTM on the mix; 0 tags the mix itself.
    """
    trunk = Elmo(vocabulary, layers=layers, width=width, dropout=dropout, characters=characters, longest=longest)
    return ElmoTagger(trunk, classes, layers=layers + 1, reader=reader, dropout=dropout)
