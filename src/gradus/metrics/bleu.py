"""BLEU: how many of a translation's n-grams do its references have?

    BLEU = 100 · BP · exp( 1/4 Σₙ log pₙ ) ,   pₙ = Σ matched n-grams / Σ n-grams ,   BP = min(1, exp(1 − r/c))

An n-gram matches at most as often as it occurs in that reference which has it most often; c is the length of the
translations and r that of the references nearest in length (of two as near, the shorter). All are sums over
sentences, taken before any quotient: kept are 2 · order + 3 integers.

Sentences of token numbers are counted where they lie, without waiting for the device: an n-gram is compared with all
others by windows, S_n[i, j] = S_{n−1}[i, j] ∧ (token i+n−1 = token j+n−1). Sentences of text are numbered first.

References:
    Papineni, Roukos, Ward and Zhu 2002, BLEU: a method for automatic evaluation of machine translation.
    Chen and Cherry 2014, A systematic comparison of smoothing techniques for sentence-level BLEU.
    Post 2018, A call for clarity in reporting BLEU scores.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.metrics.metric import Metric

__all__ = ["BLEU", "Bleu", "tokenise"]

_SMOOTHING = {"none": 0.0, "exp": 0.0, "floor": 0.1, "add-k": 1.0}
_TOKENISERS = ("13a", "none")
# Windows compared at once; sentences beyond it are counted in pieces.
_CELLS = 2**24

# The steps of the WMT scorer mteval-v13a for Western languages, in its order.
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SPLITS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"([ !-&(-+/:-@\[-`{-~])", r" \1 "),
        (r"([^0-9])([.,])", r"\1 \2 "),
        (r"([.,])([^0-9])", r" \1 \2"),
        (r"([0-9])(-)", r"\1 \2 "),
    )
)


def tokenise(sentence: str, tokeniser: str = "13a") -> list[str]:
    """Return the tokens of a sentence.

    Args:
        sentence: text.
        tokeniser: "13a" parts punctuation from words (but not within numbers) and resolves entities, as the WMT scorer
            does; "none" splits at white space.
    """
    if tokeniser == "13a":
        text = sentence.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
        for entity, sign in _ENTITIES:
            text = text.replace(entity, sign)
        sentence = f" {text} "
        for pattern, replacement in _SPLITS:
            sentence = pattern.sub(replacement, sentence)
    return sentence.split()


class Bleu(NamedTuple):
    """The score and its parts.

    Attributes:
        score: 0 to 100.
        precisions: pₙ after smoothing, 0 to 100.
        brevity_penalty: BP.
        length: c, tokens of the translations.
        reference_length: r.
    """

    score: Float[Tensor, ""]
    precisions: Float[Tensor, " order"]
    brevity_penalty: Float[Tensor, ""]
    length: Int[Tensor, ""]
    reference_length: Int[Tensor, ""]


@canon(
    "metrics/bleu",
    kind="metric",
    paper="Papineni et al. 2002, BLEU: a method for automatic evaluation of machine translation",
    names=("bleu",),
)
class BLEU(Metric):
    """Corpus BLEU with any number of references.

    BLEU = 100 · BP · exp( 1/N Σₙ log pₙ )

    Args:
        order: N, the longest n-gram.
        smoothing: what becomes of a pₙ of no match: "none" leaves 0; "exp" gives 1/2, 1/4, … of a match to the first,
            second, … such n; "floor" gives `smoothing_value` of a match; "add-k" adds `smoothing_value` to matches and
            n-grams of every n above 1. If nothing matches at all, the score is 0.
        smoothing_value: None takes 0.1 for "floor" and 1 for "add-k".
        tokeniser: of text, "13a" or "none".
        lowercase: turn text to lower case.

    Raises:
        GradusError: if there is no such smoothing or tokeniser, or no n-gram.
    """

    def __init__(
        self,
        order: int = 4,
        smoothing: str = "exp",
        smoothing_value: float | None = None,
        tokeniser: str = "13a",
        lowercase: bool = False,
    ) -> None:
        for what, name, known in (("smoothing", smoothing, _SMOOTHING), ("tokeniser", tokeniser, _TOKENISERS)):
            if name not in known:
                raise GradusError(f"BLEU has no {what} {name!r}{nearest(name, known)}")
        value = _SMOOTHING[smoothing] if smoothing_value is None else smoothing_value
        if order < 1 or not 0 <= value < math.inf:
            raise GradusError(
                f"BLEU needs n-grams of at least 1 and a smoothing value of 0 or more, not {order}, {value}"
            )
        sums = {name: torch.zeros((), dtype=torch.int64) for name in ("sentences", "length", "reference_length")}
        counts = {name: torch.zeros(order, dtype=torch.int64) for name in ("matched", "total")}
        super().__init__(
            {**sums, **counts},
            order=order,
            smoothing=smoothing,
            smoothing_value=value,
            tokeniser=tokeniser,
            lowercase=lowercase,
        )

    def update(
        self,
        hypotheses: Sequence[str] | Int[Tensor, "batch length"],
        references: Sequence[Sequence[str]] | Int[Tensor, "batch references reference_length"],
    ) -> None:
        """Add sentences.

        Args:
            hypotheses: translations as text, or as numbers of tokens, padded at the end with negative ones.
            references: the references of each translation, at least one, in the same form.

        Raises:
            GradusError: if there are not as many references as hypotheses, or a sentence has none.
        """
        if len(hypotheses) != len(references):
            raise GradusError(f"{len(hypotheses)} hypotheses were given with references for {len(references)}")
        if isinstance(hypotheses, Tensor) and isinstance(references, Tensor):
            if not references.shape[1]:
                raise GradusError("BLEU needs at least one reference for each sentence")
            self._count(hypotheses, references)
        elif isinstance(hypotheses, Tensor) or isinstance(references, Tensor):
            raise GradusError("BLEU takes hypotheses and references in one form: both text, or both token numbers")
        elif len(hypotheses):
            self._count(*self._numbered(hypotheses, references))

    def _numbered(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
    ) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch references reference_length"]]:
        """Return sentences as numbers that mean the same word within this batch only."""
        if isinstance(hypotheses, str) or any(isinstance(of_one, str) or not of_one for of_one in references):
            raise GradusError("BLEU needs a list of sentences, and for each sentence a list of at least one reference")
        words: dict[str, int] = {}

        def numbers(sentence: str) -> list[int]:
            text = sentence.lower() if self.settings["lowercase"] else sentence
            return [words.setdefault(word, len(words)) for word in tokenise(text, self.settings["tokeniser"])]

        width = max(len(of_one) for of_one in references)
        # A sentence of fewer references repeats its first, which changes neither the most matches nor the length.
        true = [[numbers(text) for text in (*of_one, *[of_one[0]] * (width - len(of_one)))] for of_one in references]
        found = [numbers(text) for text in hypotheses]
        longest = max(len(sentence) for of_one in true for sentence in of_one)
        return _padded(found, max(map(len, found))), torch.stack([_padded(of_one, longest) for of_one in true])

    def _count(
        self,
        hypotheses: Int[Tensor, "batch length"],
        references: Int[Tensor, "batch references reference_length"],
    ) -> None:
        rows = max(1, _CELLS // max(1, hypotheses.shape[1] * max(hypotheses.shape[1], references[0:1].numel())))
        for found, true in zip(hypotheses.split(rows), references.split(rows), strict=True):
            length, lengths = (found >= 0).sum(1), (true >= 0).sum(2)
            # Nearest first, then shorter: one number orders both.
            apart = (lengths - length.unsqueeze(1)).abs() * (2 * true.shape[2] + 1) + lengths
            closest = lengths.gather(1, apart.argmin(1, keepdim=True))
            matched, total = _matches(found, true, self.settings["order"])
            self._add(
                matched=matched,
                total=total,
                length=length.sum(),
                reference_length=closest.sum(),
                sentences=torch.full((), len(found), dtype=torch.int64, device=found.device),
            )

    def compute(self) -> Bleu:
        """Return the score, its precisions, brevity penalty and lengths."""
        length, reference = int(self.sums["length"]), int(self.sums["reference_length"])
        precisions = self._precisions()
        penalty = 1.0 if length >= reference else math.exp(1 - reference / length) if length else 0.0
        score = 0.0
        if not int(self.sums["sentences"]):
            score = math.nan
        elif all(p > 0 for p in precisions):
            score = penalty * math.exp(sum(math.log(p) for p in precisions) / len(precisions))
        return Bleu(
            torch.tensor(score, dtype=torch.float64),
            torch.tensor(precisions, dtype=torch.float64),
            torch.tensor(penalty, dtype=torch.float64),
            self.sums["length"].clone(),
            self.sums["reference_length"].clone(),
        )

    def _precisions(self) -> list[float]:
        matched, total = self.sums["matched"].tolist(), self.sums["total"].tolist()
        smoothing, value = self.settings["smoothing"], self.settings["smoothing_value"]
        precisions, share = [0.0] * len(total), 1.0
        if not any(matched):
            return precisions
        for n, (hits, ngrams) in enumerate(zip(matched, total, strict=True)):
            if smoothing == "add-k" and n > 0:
                hits, ngrams = hits + value, ngrams + value
            if not ngrams:
                break
            if not hits and smoothing == "exp":
                share /= 2
                hits = share
            elif not hits and smoothing == "floor":
                hits = value
            precisions[n] = 100 * hits / ngrams
        return precisions


def _padded(sentences: Sequence[list[int]], length: int) -> Int[Tensor, "batch length"]:
    rows = [sentence + [-1] * (length - len(sentence)) for sentence in sentences]
    return torch.tensor(rows, dtype=torch.int64).view(len(rows), length)


def _matches(
    hypotheses: Int[Tensor, "batch length"], references: Int[Tensor, "batch references reference_length"], order: int
) -> tuple[Int[Tensor, " order"], Int[Tensor, " order"]]:
    """Return the clipped matches and the n-grams of n = 1 … order, summed over the batch."""
    known = hypotheses >= 0
    words = hypotheses[:, :, None]
    own = own_words = (words == hypotheses[:, None, :]) & known[:, :, None]
    # [batch, references, position in hypothesis, position in reference]
    other = other_words = (words[:, None] == references[:, :, None, :]) & known[:, None, :, None]
    matched, total = [], []
    for n in range(order):
        if n:
            own = own[:, :-1, :-1] & own_words[:, n:, n:]
            other = other[..., :-1, :-1] & other_words[..., n:, n:]
        # An n-gram equals itself unless padding is within; of equal ones the first stands for all.
        whole = own.diagonal(dim1=1, dim2=2)
        first = whole & ~own.tril(-1).any(2)
        most = other.sum(3).amax(1)
        matched.append((torch.minimum(own.sum(2), most) * first).sum())
        total.append(whole.sum())
    return torch.stack(matched), torch.stack(total)
