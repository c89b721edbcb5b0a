"""What word2vec draws: which occurrences of frequent words are kept, how far windows reach, which words are noise.

    P(an occurrence of w is kept) = min(1, (√(f_w/t) + 1) · t/f_w)      f_w = share of w in the text, t = `sample`
    window of a place ~ uniform on 1 … window
    P(noise = w) ∝ count_w^0.75

References:
    Mikolov et al. 2013, Distributed representations of words and phrases and their compositionality; Levy, Goldberg and
    Dagan 2015, Improving distributional similarity with lessons learned from word embeddings (what each draw does).

Deviations:
    The chance of keeping an occurrence is that of the word2vec program, √(t/f) + t/f; the paper has √(t/f).
"""

import torch
from jaxtyping import Bool, Float64, Int, Int64
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Noise", "kept", "keep_chances", "reduced_windows"]

Generator = torch.Generator | None


def keep_chances(counts: Int[Tensor, " words"], sample: float) -> Float64[Tensor, " words"]:
    """Return the chance that an occurrence of each word is kept.

    Args:
        counts: of the words in the text.
        sample: t, the share above which words are thinned out; 0 keeps all.
    """
    if sample == 0:
        return torch.ones(len(counts), dtype=torch.float64)
    shares = counts.double() / counts.sum()
    return ((shares / sample).sqrt().add(1) * sample / shares).clamp(max=1)


def kept(words: Int[Tensor, " places"], chances: Float64[Tensor, " words"], generator: Generator = None) -> (
    Bool[Tensor, " places"]
):  # fmt: skip
    """Return which places of a text are kept, each by its word's chance."""
    return torch.rand(len(words), generator=generator) < chances.float()[words]


def reduced_windows(places: int, window: int, generator: Generator = None) -> Int64[Tensor, " places"]:
    """Return how far the window of each place reaches: 1 to `window`, all alike likely.

    Args:
        places: how many.
        window: the farthest.
        generator: of the draws.
    """
    return torch.randint(1, window + 1, (places,), generator=generator)


class Noise:
    """Draws words by their counts to a power.

    Args:
        counts: of the words.
        power: 0.75 in word2vec; 1 draws as the text does, 0 all words alike.

    Raises:
        GradusError: if there is nothing to draw.
    """

    def __init__(self, counts: Int[Tensor, " words"], power: float = 0.75) -> None:
        weights = counts.double() ** power
        if not len(counts) or not float(weights.sum()) > 0:
            raise GradusError("there is no noise to draw: the vocabulary is empty")
        self.chances: Float64[Tensor, " words"] = weights / weights.sum()
        self._below = self.chances.cumsum(0)

    def __repr__(self) -> str:
        return f"Noise({len(self.chances)} words)"

    def __call__(self, *shape: int, generator: Generator = None) -> Int64[Tensor, "..."]:
        """Return words of a shape, drawn independently."""
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._below, uniform, right=True).clamp_(max=len(self._below) - 1)
