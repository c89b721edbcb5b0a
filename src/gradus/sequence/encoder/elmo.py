"""ELMo: the states of two language models, one reading ahead and one reading back, as features of words in context.

    ahead   p(w_{t+1} | w_1 … w_t) = softmax(W h→_t)         h→ˡ = LSTM→ˡ(h→ˡ⁻¹)
    back    p(w_{t−1} | w_t … w_n) = softmax(W h←_t)         h←ˡ = LSTM←ˡ(h←ˡ⁻¹)
    h⁰_t = [x_t; x_t],  hˡ_t = [h→ˡ_t; h←ˡ_t]                x the word's vector, from a table or from its letters
    features for a task = γ Σ_l softmax(s)_l hˡ              s, γ learned with the task

Both directions share the words' vectors and the softmax, and nothing else: neither ever sees what it is to predict.

References:
    Peters, Neumann, Iyyer, Gardner, Clark, Lee, Zettlemoyer 2018, Deep contextualized word representations.
    Kim, Jernite, Sontag, Rush 2016, Character-aware neural language models (words from their letters).
    Srivastava, Greff, Schmidhuber 2015, Highway networks.

Deviations:
    LSTMs without recurrent projections; a full softmax instead of a sampled one; letters are the bytes of a word of the
    vocabulary, so that words outside of it are [UNK] with letters too.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.recurrent import Recurrent

__all__ = ["Elmo", "ElmoPretraining", "ScalarMix", "Spelled", "turned"]

Tokens = Int[Tensor, "batch time"]
Lengths = Int[Tensor, " batch"]

NOTHING, BEGIN, END = 0, 257, 258  # beside the bytes, which are 1 … 256
LETTER = 16
FILTERS = ((1, 16), (2, 32), (3, 48), (4, 64), (5, 80))


def turned(x: Shaped[Tensor, "batch time *rest"], lengths: Lengths | None) -> Shaped[Tensor, "batch time *rest"]:
    """Return every sequence back to front, its padding in place.

    Args:
        x: sequences, padded behind their ends.
        lengths: of the sequences; all as long as the batch by default.
    """
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.to(x.device)[:, None] - 1 - time
    index = torch.where(mirrored >= 0, mirrored, time)
    return x.gather(1, index.view(*index.shape, *[1] * (x.ndim - 2)).expand(x.shape))


class Spelled(nn.Module):
    """Vectors of words from their letters: convolutions, the highest response to each filter, two highways.

    Args:
        vocabulary: number of words.
        width: features of a word.
        longest: letters that are read of a word.

    Raises:
        GradusError: if not even a letter is read.
    """

    spellings: Tensor

    def __init__(self, vocabulary: int, width: int, longest: int = 16) -> None:
        super().__init__()
        if longest < 1:
            raise GradusError(f"words are read by {longest} letters: read at least one")
        self.longest = longest
        self.register_buffer("spellings", torch.zeros(vocabulary, longest + 2, dtype=torch.int64))
        self.letters = nn.Embedding(END + 1, LETTER)
        self.filters = nn.ModuleList(nn.Conv1d(LETTER, count, size, padding=size // 2) for size, count in FILTERS)
        inner = sum(count for _, count in FILTERS)
        self.highways = nn.ModuleList(nn.Linear(inner, 2 * inner) for _ in range(2))
        for highway in self.highways:
            nn.init.constant_(highway.bias[inner:], 1.0)  # type: ignore[index]  # begin by letting through
        self.out = nn.Linear(inner, width)

    def spell(self, words: Sequence[str]) -> None:
        """Take down the letters of every word of the vocabulary.

        Args:
            words: by token id.

        Raises:
            GradusError: if there are more or fewer than there are tokens.
        """
        if len(words) != len(self.spellings):
            raise GradusError(f"{len(words)} spellings are not those of {len(self.spellings)} words: give one a word")
        rows = [[BEGIN, *(byte + 1 for byte in word.encode()[: self.longest]), END] for word in words]
        filled = [row + [NOTHING] * (self.longest + 2 - len(row)) for row in rows]
        self.spellings.copy_(torch.tensor(filled))

    def forward(self, tokens: Tokens) -> Float[Tensor, "batch time width"]:
        """Return the vectors of words."""
        if tokens.device.type != "cpu":  # finding the different words would wait for the device
            return self.read(tokens.flatten()).unflatten(0, tokens.shape)
        different, places = tokens.unique(return_inverse=True)
        return self.read(different)[places]

    def read(self, words: Int[Tensor, " words"]) -> Float[Tensor, "words width"]:
        """Return the vectors of some words, each read by itself."""
        letters = self.letters(self.spellings[words]).transpose(1, 2)
        x = torch.cat([conv(letters).amax(2) for conv in self.filters], 1).relu()
        for highway in self.highways:
            new, carried = highway(x).chunk(2, 1)
            gate = carried.sigmoid()
            x = gate * x + (1 - gate) * new.relu()
        return self.out(x)


class ScalarMix(nn.Module):
    """One layer from several: γ Σ_l softmax(s)_l hˡ.

    Args:
        layers: how many there are; they count the same at first, and γ is 1.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, states: Sequence[Float[Tensor, "batch time width"]]) -> Float[Tensor, "batch time width"]:
        """Return the mix.

        Args:
            states: of every layer.

        Raises:
            GradusError: if there are more or fewer than were announced.
        """
        if len(states) != len(self.scores):
            raise GradusError(f"{len(states)} layers do not mix by {len(self.scores)} weights: give as many")
        return self.scale * torch.einsum("l,lbtw->btw", self.scores.softmax(0), torch.stack(list(states)))

    def extra_repr(self) -> str:
        return str(len(self.scores))


class Elmo(nn.Module):
    """The two readers.

    Args:
        vocabulary: number of words.
        layers: of LSTMs, the second and later ones with a residual connection.
        width: features of a word in every layer, half of them from each direction; even.
        dropout: probability, in front of every LSTM.
        characters: make the words' vectors from their letters.
        longest: letters that are read of a word.

    Raises:
        GradusError: for an odd width or sizes below one.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int = 2,
        width: int = 128,
        dropout: float = 0.1,
        characters: bool = False,
        longest: int = 16,
    ) -> None:
        super().__init__()
        if min(vocabulary, layers, width) < 1 or width % 2:
            raise GradusError(
                f"{vocabulary} words, {layers} layers and a width of {width}: ELMo needs at least one of each, and an "
                "even width, half of it for each direction"
            )
        half = width // 2
        self.vocabulary, self.width = vocabulary, width
        self.words = Spelled(vocabulary, half, longest) if characters else nn.Embedding(vocabulary, half)
        self.ahead = nn.ModuleList(Recurrent("lstm", half, half) for _ in range(layers))
        self.back = nn.ModuleList(Recurrent("lstm", half, half) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)

    def embed(self, tokens: Tokens) -> Float[Tensor, "batch time half"]:
        """Return the vectors of words, which know nothing of their neighbours."""
        return self.words(tokens)

    def encode(
        self, embedded: Float[Tensor, "batch time half"], lengths: Lengths | None = None
    ) -> list[Float[Tensor, "batch time width"]]:
        """Return h⁰ … h^L, given the vectors of words.

        Args:
            embedded: of `embed`.
            lengths: of the sequences, on the CPU; all as long as the batch by default.
        """
        forwards = self._read(self.ahead, embedded, lengths)
        backwards = self._read(self.back, turned(embedded, lengths), lengths)
        pairs = zip(forwards, backwards, strict=True)
        return [torch.cat([embedded, embedded], -1), *(torch.cat([a, turned(b, lengths)], -1) for a, b in pairs)]

    def _read(self, layers: nn.ModuleList, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
        states: list[Tensor] = []
        for layer in layers:
            y, _ = layer(self.dropout(x), lengths=lengths)
            x = y if not states else x + y
            states.append(x)
        return states

    def forward(
        self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None
    ) -> list[Float[Tensor, "batch time width"]]:
        """Return the features of every layer, the words' own vectors (twice) first.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the sequences, on the CPU; all as long as the batch by default.
            segments: not used: the readers know one text only.
        """
        return self.encode(self.embed(tokens), lengths)

    def extra_repr(self) -> str:
        return f"{self.vocabulary} words, width {self.width}"


class ElmoPretraining(nn.Module):
    """ELMo with the softmax that both directions share.

    Args:
        trunk: the two readers.
    """

    frame = ("[BOS]", "[EOS]")
    context: int | None = None

    def __init__(self, trunk: Elmo) -> None:
        super().__init__()
        self.trunk = trunk
        self.decoder = nn.Linear(trunk.width // 2, trunk.vocabulary)

    @property
    def width(self) -> int:
        """Features of a word in every layer."""
        return self.trunk.width

    def features(
        self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None
    ) -> list[Float[Tensor, "batch time width"]]:
        """Return the features of every layer, the words' own vectors (twice) first."""
        return self.trunk(tokens, lengths)

    def forward(
        self, tokens: Tokens, lengths: Lengths, places: Int[Tensor, " places"]
    ) -> Float[Tensor, "2 places vocabulary"]:
        """Return both directions' scores of the words beside places: of those behind, then of the places' own.

        Args:
            tokens: ids.
            lengths: of the sequences, on the CPU.
            places: of words that are not their sequence's last, counted through the batch row by row; the reader ahead
                is asked at each, and the one that reads back at the next.
        """
        ahead, back = self.trunk(tokens, lengths)[-1].flatten(0, 1).chunk(2, -1)
        return self.decoder(F.dropout(
            torch.stack([ahead.index_select(0, places), back.index_select(0, places + 1)]),
            self.trunk.dropout.p, self.training,
        ))  # fmt: skip
