"""Masked words: which of a text's tokens are to be guessed, and what stands there instead.

    n = max(1, round(rate · candidates)) tokens of every text, at random; each becomes
        [MASK] with probability 0.8,   a random token with 0.1,   and stays what it is with 0.1

Special tokens and padding are never chosen and never put in. With whole words, the pieces of a word are chosen
together: words in a random order, the one at the edge of the n as likely as the part of it that lies within.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding; whole words: the update of its code of May 2019.

Deviations:
    A text is masked anew whenever it is read (as in Liu et al. 2019, RoBERTa), not ten times beforehand.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus.data.tokenizer import Tokenizer
from gradus.errors import GradusError

__all__ = ["Masked", "Masking"]

HIDDEN, SWAPPED = 0.8, 0.1


class Masked(NamedTuple):
    """Texts to be guessed at.

    Attributes:
        tokens: what is read.
        places: what is asked for, counted through the batch row by row.
        targets: the true tokens there.
    """

    tokens: Int64[Tensor, "batch time"]
    places: Int64[Tensor, " places"]
    targets: Int64[Tensor, " places"]


class Masking:
    """Chooses tokens and hides them.

    Args:
        tokens: names by id.
        specials: which of them are never chosen.
        rate: share of a text's tokens that is chosen.
        whole_words: choose all pieces of a word, or none; pieces that go on a word begin with ##.

    Raises:
        GradusError: if there is no [MASK], nothing to choose from, or the rate is no share.
    """

    def __init__(
        self, tokens: Sequence[str], specials: Sequence[str], *, rate: float = 0.15, whole_words: bool = False
    ) -> None:
        if "[MASK]" not in specials:
            raise GradusError(
                "the tokenizer has no [MASK]: train one with it, as `train_tokenizer(..., specials=…)` does"
            )
        if not 0 < rate < 1:
            raise GradusError(f"--mask {rate}: give the share of the tokens to hide, above 0 and below 1")
        names = set(specials)
        self.rate, self.whole_words = rate, whole_words
        self.mask = tokens.index("[MASK]")
        self.ordinary = torch.tensor([token not in names for token in tokens])
        self.goes_on = torch.tensor([token.startswith("##") and token not in names for token in tokens])
        self.pool = self.ordinary.nonzero().squeeze(1)
        if not len(self.pool):
            raise GradusError("the tokenizer has special tokens only: train one on text")

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, rate: float = 0.15, whole_words: bool = False) -> "Masking":
        """Return the masking of a tokenizer's texts; arguments and refusals are those of the class."""
        return cls(tokenizer.tokens, tokenizer.specials, rate=rate, whole_words=whole_words)

    def __repr__(self) -> str:
        return f"Masking({self.rate:g}{', whole words' if self.whole_words else ''})"

    def __call__(
        self, tokens: Int64[Tensor, "batch time"], lengths: Int64[Tensor, " batch"], generator: torch.Generator
    ) -> Masked:
        """Return the texts with some of their tokens hidden; on the CPU.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the texts.
            generator: of all that is random here.
        """
        order, edge, fate, other = torch.rand(4, *tokens.shape, generator=generator).unbind()
        chosen = self._chosen(tokens, lengths, order, edge)
        swapped = self.pool[(other * len(self.pool)).long().clamp_(max=len(self.pool) - 1)]
        read = torch.where(chosen & (fate < HIDDEN), self.mask, tokens)
        read = torch.where(chosen & (fate >= HIDDEN) & (fate < HIDDEN + SWAPPED), swapped, read)
        places = chosen.flatten().nonzero().squeeze(1)
        return Masked(read, places, tokens.flatten()[places])

    def _chosen(self, tokens: Tensor, lengths: Tensor, order: Tensor, edge: Tensor) -> Tensor:
        time = torch.arange(tokens.shape[1])
        candidate = self.ordinary[tokens] & (time < lengths[:, None])
        first = candidate.clone()
        if self.whole_words:
            first[:, 1:] &= ~(self.goes_on[tokens[:, 1:]] & candidate[:, :-1])
        # The place of a word's first piece stands for the word: its draw decides, ranks and sizes are counted there.
        start = torch.where(first, time, 0).cummax(1).values
        key = order.gather(1, start).masked_fill(~candidate, 2.0)
        rank = key.argsort(dim=1, stable=True).argsort(dim=1)
        before = rank.gather(1, start)
        size = torch.zeros_like(rank).scatter_add_(1, start, candidate.long()).gather(1, start)
        wanted = (candidate.sum(1, keepdim=True) * self.rate).round().clamp(min=1)
        return candidate & ((before + size * edge.gather(1, start) < wanted) | (before == 0))
