"""Bag of words and TF-IDF: a text as what it says how often, and a linear softmax of that.

    f(k) = k, or 1 + ln k          of a term that a text has k times
    idf_w = ln((1 + n) / (1 + n_w)) + 1         n texts, n_w of which have the term w
    v_w = f(k_w) idf_w / ‖f(k) ⊙ idf‖₂          s = b + Σ_w v_w W_w ,   p = softmax(s)

The order of the words is not seen: "Alice sent Bob" is "Bob sent Alice". A text is the list of its terms' ids, and no
matrix of texts by terms is ever made: where a term stands k times, each place bears a k-th of its weight v_w, so the
scores are a sum over the places, which says exactly what each word of a text speaks for.

References:
    Luhn 1957, A statistical approach to mechanized encoding and searching of literary information.
    Spärck Jones 1972, A statistical interpretation of term specificity and its application in retrieval.
    Salton, Buckley 1988, Term-weighting approaches in automatic text retrieval (sublinear counts, lengths).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.data.ragged import Ragged
from gradus.nn.places import inside

__all__ = ["BagOfWords", "bag", "inverse_frequency", "occurrences"]


def occurrences(tokens: Int[Tensor, "batch time"], counted: Bool[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Return at each place how often its token stands in its row, by sorting the row.

    Args:
        tokens: ids.
        counted: which places count; what is said of the others means nothing.
    """
    ordered, order = tokens.masked_fill(~counted, -1).sort(1)
    begins = torch.ones_like(counted)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = begins.long().cumsum(1) - 1
    sizes = torch.zeros_like(run).scatter_add_(1, run, torch.ones_like(run)).gather(1, run)
    return torch.zeros_like(run).scatter_(1, order, sizes)


def inverse_frequency(tokens: Ragged, vocabulary: int) -> Float[Tensor, " vocabulary"]:
    """Return ln((1 + n) / (1 + n_w)) + 1 of every term.

    Args:
        tokens: ids of the terms of n texts.
        vocabulary: how many terms there are.
    """
    texts = torch.arange(len(tokens)).repeat_interleave(tokens.lengths)
    different = (texts * vocabulary + tokens.values.long()).unique() % vocabulary
    have = torch.bincount(different, minlength=vocabulary).double()
    return ((1 + len(tokens)) / (1 + have)).log() + 1


class BagOfWords(nn.Module):
    """A linear softmax of weighted counts.

    Args:
        vocabulary: number of terms, padding included.
        classes: number of classes.
        padding: id of the padding, which weighs nothing.
        sublinear: count 1 + ln k in place of k.
        normalise: divide by the length ‖v‖₂ of a text.
        inverse: weigh a term by idf, which `observe` takes from the training texts.
    """

    idf: Tensor

    def __init__(
        self, vocabulary: int, classes: int, padding: int, *, sublinear: bool, normalise: bool, inverse: bool
    ) -> None:
        super().__init__()
        self.sublinear, self.normalise, self.inverse, self.padding = sublinear, normalise, inverse, padding
        self.head = nn.Linear(vocabulary, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.trunk = nn.Identity()
        idf = torch.ones(vocabulary)
        idf[padding] = 0
        self.register_buffer("idf", idf)

    def observe(self, tokens: Ragged) -> None:
        """Take what is to be known of the training texts: in how many of them each term is."""
        if self.inverse:
            found = inverse_frequency(tokens, len(self.idf))
            found[self.padding] = 0
            self.idf.copy_(found)

    def weights(
        self, tokens: Int[Tensor, "batch time"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch time"]:
        """Return what each place bears of its term's weight v_w; a term's places together bear v_w.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the rows, on the CPU; all as long as the batch by default.
        """
        counted = inside(tokens, lengths) & (tokens != self.padding)
        times = occurrences(tokens, counted).to(self.idf.dtype)
        of_term = (1 + times.log() if self.sublinear else times) * self.idf[tokens] * counted
        if self.normalise:
            length = (of_term.square() / times).sum(1, keepdim=True).sqrt()
            of_term = of_term / torch.where(length > 0, length, 1)
        return of_term / times

    def embed(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time classes"]:
        """Return what each place adds to the score of each class."""
        return self.weights(tokens, lengths)[..., None] * F.embedding(tokens, self.head.weight.T)

    def from_embedded(
        self, embedded: Float[Tensor, "batch time classes"], lengths: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given what each place adds."""
        return (embedded * inside(embedded, lengths)[..., None]).sum(1) + self.head.bias

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the rows, on the CPU.
            segments: not looked at; the terms of both texts of a pair are counted together.
        """
        return self.from_embedded(self.embed(tokens, lengths), lengths)

    def extra_repr(self) -> str:
        names = ("sublinear", "normalise", "inverse")
        return ", ".join(name for name in names if getattr(self, name))


@canon(
    "sequence/bag-of-words",
    kind="text-classifier",
    paper="Spärck Jones 1972, A statistical interpretation of term specificity and its application in retrieval",
    names=("bow", "tfidf"),
    example=lambda: bag("tfidf", vocabulary=30, classes=3),
)
def bag(
    name: str = "tfidf",
    *,
    vocabulary: int,
    classes: int,
    padding: int = 0,
    sublinear: bool | None = None,
    normalise: bool = True,
) -> BagOfWords:
    """A linear softmax of the counts of a text's terms, plain (bow) or weighed by how few texts have them (tfidf).

    Args:
        name: bow or tfidf.
        vocabulary: number of terms, padding included.
        classes: number of classes.
        padding: id of the padding.
        sublinear: count 1 + ln k in place of k; tfidf does where nothing is said.
        normalise: divide the weights by their length ‖v‖₂.

    References:
        Luhn 1957, A statistical approach to mechanized encoding and searching of literary information.
        Spärck Jones 1972, A statistical interpretation of term specificity and its application in retrieval.
        Salton, Buckley 1988, Term-weighting approaches in automatic text retrieval.

    Deviations:
        Spärck Jones weighs by log₂(n / n_w) + 1; here, as is usual since, one text that has every term is added, so
        that no logarithm is of infinity.
    """
    inverse = name == "tfidf"
    return BagOfWords(
        vocabulary, classes, padding, sublinear=inverse if sublinear is None else sublinear, normalise=normalise,
        inverse=inverse,
    )  # fmt: skip
