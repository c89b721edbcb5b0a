"""fastText: a word is the mean of its own vector and those of its character n-grams, so that unseen words have vectors.

    h_w = 1/|G_w| Σ_(g ∈ G_w) z_g,      G_w = {w} ∪ n-grams of <w>,  n = 3 … 6

trained as skip-gram with negative sampling. N-grams share rows by hash: the bucket of an n-gram is FNV-1a of its bytes,

    h ← 2166136261;  for every byte b:  h ← (h ⊕ b) · 16777619 mod 2³²;      bucket = h mod 2,000,000

where a byte above 127 is sign-extended before ⊕, as the fastText program does. Only buckets that n-grams of the
vocabulary fall into have a row; the others were never trained.

References:
    Bojanowski et al. 2017, Enriching word vectors with subword information.

Deviations:
    The paper sums the parts, the program takes their mean; here it is the mean. As in the program, the step of each
    part is the whole step of h_w: the gradient 1/|G_w| ∂L/∂h_w at the rate |G_w| · lr.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gradus.canon import canon
from gradus.data.ragged import Ragged
from gradus.errors import GradusError
from gradus.sequence.embedding.skip_gram import SkipGram
from gradus.sequence.embedding.tables import Gradient, started
from gradus.sequence.embedding.vocabulary import Vocabulary

__all__ = ["Subwords", "buckets_of", "fasttext", "ngrams"]

OFFSET, PRIME = 2166136261, 16777619


def ngrams(word: str, min_n: int = 3, max_n: int = 6) -> list[str]:
    """Return the character n-grams of a word between the marks < and >, in fastText's order.

    Args:
        word: of any characters.
        min_n: length of the shortest.
        max_n: length of the longest; 0 for none at all.
    """
    marked = f"<{word}>"
    spans = ((i, i + n) for i in range(len(marked)) for n in range(min_n, max_n + 1) if i + n <= len(marked))
    return [marked[i:j] for i, j in spans if j - i > 1 or 0 < i < len(marked) - 1]


def buckets_of(grams: Sequence[str], bucket: int = 2_000_000) -> Int64[np.ndarray, " grams"]:
    """Return the bucket of each n-gram.

    Args:
        grams: of any characters.
        bucket: how many buckets there are.
    """
    coded = [gram.encode("utf-8", "surrogatepass") for gram in grams]
    lengths = np.array([len(code) for code in coded], dtype=np.int64)
    hashes = np.full(len(coded), OFFSET, dtype=np.uint64)
    padded = np.zeros((len(coded), int(lengths.max(initial=0))), dtype=np.uint8)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(coded), dtype=np.uint8)
    for place in range(padded.shape[1]):
        byte = padded[:, place].view(np.int8).astype(np.int64).astype(np.uint64) & np.uint64(0xFFFFFFFF)
        stepped = ((hashes ^ byte) * np.uint64(PRIME)) & np.uint64(0xFFFFFFFF)
        hashes = np.where(place < lengths, stepped, hashes)
    return (hashes % np.uint64(bucket)).astype(np.int64)


class Subwords(nn.Module):
    """A row for each word and for each bucket of its n-grams; a word is the mean of its rows.

    Args:
        words: the known ones.
        size: numbers of a vector.
        min_n: length of the shortest n-gram.
        max_n: length of the longest; 0 for none.
        bucket: how many buckets there are.
        generator: of the start.
    """

    def __init__(
        self,
        words: Sequence[str],
        size: int,
        *,
        min_n: int = 3,
        max_n: int = 6,
        bucket: int = 2_000_000,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not (1 <= min_n <= max_n or max_n == 0) or bucket < 1:
            raise GradusError(f"n-grams of {min_n} to {max_n} characters in {bucket} buckets are none: set min_n lower")
        self.min_n, self.max_n, self.bucket = min_n, max_n, bucket
        each = [ngrams(word, min_n, max_n) for word in words]
        distinct = list(dict.fromkeys(gram for grams in each for gram in grams))
        hashed = buckets_of(distinct, bucket)
        self.kept, rows = np.unique(hashed, return_inverse=True)
        row = dict(zip(distinct, (rows + len(words)).tolist(), strict=True))
        self.parts = Ragged.of([[i, *(row[gram] for gram in grams)] for i, grams in enumerate(each)])
        self.rows = started(len(words) + len(self.kept), size, generator)

    @property
    def vectors(self) -> Float[Tensor, "words size"]:
        """The vector of each known word."""
        return self.look_up(torch.arange(len(self.parts), device=self.rows.device))

    def look_up(self, words: Int64[Tensor, " count"]) -> Float[Tensor, "count size"]:
        """Return the mean of each word's rows."""
        taken = self.parts.take(words.cpu())
        place = self.rows.device
        return F.embedding_bag(taken.values.to(place), self.rows, taken.offsets[:-1].to(place), mode="mean")

    def spread(self, words: Int64[Tensor, " count"], gradient: Float[Tensor, "count size"]) -> list[Gradient]:
        """Return the gradient of the rows, given that of some words' vectors, to be taken at the rate |G_w|."""
        met, places = words.cpu().unique(return_inverse=True)
        summed = gradient.new_zeros(len(met), gradient.shape[1]).index_add_(0, places.to(gradient.device), gradient)
        taken = self.parts.take(met)
        lengths = taken.lengths
        many = lengths.to(summed)
        of = torch.repeat_interleave(lengths).to(summed.device)
        return [Gradient(self.rows, taken.values.to(summed.device), (summed / many[:, None])[of], many[of])]

    def made_up(self, word: str) -> Float[Tensor, " size"] | None:
        """Return the vector of a word by its n-grams alone; None if the training text had none of them."""
        hashed = buckets_of(ngrams(word, self.min_n, self.max_n), self.bucket)
        places = np.searchsorted(self.kept, hashed).clip(max=max(0, len(self.kept) - 1))
        found = places[self.kept[places] == hashed] if len(self.kept) else places[:0]
        if not len(found):
            return None
        return self.rows.detach()[torch.from_numpy(found + len(self.parts)).to(self.rows.device)].mean(0)


@canon(
    "sequence/fasttext",
    kind="embedding",
    paper="Bojanowski et al. 2017, Enriching word vectors with subword information",
)
def fasttext(
    vocabulary: Vocabulary,
    *,
    vector_size: int = 100,
    negative: int = 5,
    min_n: int = 3,
    max_n: int = 6,
    bucket: int = 2_000_000,
    generator: torch.Generator | None = None,
) -> SkipGram:
    """Skip-gram with negative sampling over character n-grams (fastText): words never seen have vectors too.

    Args:
        vocabulary: the words.
        vector_size: numbers of a vector.
        negative: noise words for each word predicted.
        min_n: length of the shortest n-gram.
        max_n: length of the longest.
        bucket: how many buckets n-grams are hashed into.
        generator: of the start.
    """
    inputs = Subwords(
        vocabulary.words, vector_size, min_n=min_n, max_n=max_n, bucket=bucket, generator=generator
    )  # fmt: skip
    return SkipGram(inputs, len(vocabulary.words), vector_size, negative)
