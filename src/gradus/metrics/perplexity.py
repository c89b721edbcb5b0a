"""Perplexity and bits per dimension: how many nats a model needs for each token, each number of an image.

    PPL = exp(L) ,   L = −1/N Σₙ log p(yₙ) ,        bits/dim = L_x / (D log 2)

Nats divided by log 2 are bits; a perplexity of V is what a uniform guess among V tokens has.

References:
    Jelinek, Mercer, Bahl and Baker 1977, Perplexity: a measure of the difficulty of speech recognition tasks.
    Theis, van den Oord and Bethge 2016, A note on the evaluation of generative models.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, wide

__all__ = ["BitsPerDimension", "Perplexity", "TokenCost"]

# Scores are widened in pieces of about this many numbers: a vocabulary in float64 would need as much again.
_PIECE = 2**22


class TokenCost(NamedTuple):
    """What a token costs.

    Attributes:
        perplexity: exp of the nats.
        nats: mean −log p(y) of a token.
        tokens: how many were counted, those ignored left out.
    """

    perplexity: Float[Tensor, ""]
    nats: Float[Tensor, ""]
    tokens: Int[Tensor, ""]


@canon(
    "metrics/perplexity",
    kind="metric",
    paper="Jelinek et al. 1977, Perplexity: a measure of the difficulty of speech recognition tasks",
    names=("perplexity",),
)
class Perplexity(Metric):
    """Perplexity of a language model over every token of the stream, batches of any length.

    PPL = exp(−1/N Σₙ log p(yₙ))

    Args:
        ignore: the label of tokens that do not count, such as padding; None counts all.
    """

    def __init__(self, ignore: int | None = -100) -> None:
        sums = {name: torch.zeros((), dtype=torch.int64) for name in ("tokens", "unknown")}
        super().__init__({"nats": torch.zeros((), dtype=torch.float64), **sums}, ignore=ignore)

    def update(self, scores: Float[Tensor, "*batch classes"], labels: Int[Tensor, "*batch"]) -> None:
        """Add a batch.

        Args:
            scores: logits, or log-probabilities, of the next token.
            labels: the token that came.
        """
        classes, ignore = scores.shape[-1], self.settings["ignore"]
        rows, truth = scores.detach().reshape(-1, classes), labels.reshape(-1).long()
        counted = torch.ones_like(truth, dtype=torch.bool) if ignore is None else truth != ignore
        known = (truth >= 0) & (truth < classes)
        nats = torch.zeros((), dtype=wide(rows.device), device=rows.device)
        pieces = zip(rows.split(max(1, _PIECE // classes)), truth.split(max(1, _PIECE // classes)), strict=True)
        # An ignored token may lie outside the classes and may have scores of NaN, so it is chosen away, not multiplied.
        costs = [_nats(piece.to(nats.dtype), targets) for piece, targets in pieces]
        if costs:
            nats = torch.where(counted & known, torch.cat(costs), 0.0).sum()
        self._add(nats=nats, tokens=counted.sum(), unknown=(counted & ~known).sum())

    def compute(self) -> TokenCost:
        """Return perplexity, nats and count; raises a GradusError if a label was outside the vocabulary."""
        unknown = int(self.sums["unknown"])
        if unknown:
            raise GradusError(f"{unknown} labels are outside the vocabulary: name the padding's label as ignore")
        nats = self.sums["nats"] / self.sums["tokens"]
        return TokenCost(nats.exp(), nats, self.sums["tokens"].clone())


def _nats(scores: Float[Tensor, "rows classes"], truth: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    own = truth.clamp(0, scores.shape[1] - 1).unsqueeze(1)
    return scores.logsumexp(1) - scores.gather(1, own).squeeze(1)


@canon(
    "metrics/bits-per-dimension",
    kind="metric",
    paper="Theis et al. 2016, A note on the evaluation of generative models",
    names=("bits-per-dimension", "bits-per-dim"),
    example=lambda: BitsPerDimension(3),
)
class BitsPerDimension(Metric):
    """Bits that a generative model needs for each number of a sample.

    bits/dim = 1/N Σₙ (−log p(xₙ)) / (D log 2) + log₂(1 / width)

    A density of data scaled by 1/256 counts each level as 1/256 wide: `width` brings it back to the bits of a level.

    Args:
        dimensions: D, the numbers of a sample: channels × height × width of an image.
        width: of one level of the data as the density saw it; 1 where it saw whole levels or is a probability.

    Raises:
        GradusError: if there is no dimension or no width.
    """

    def __init__(self, dimensions: int, width: float = 1.0) -> None:
        if dimensions < 1 or not 0 < width < math.inf:
            raise GradusError(f"bits per dimension need at least 1 dimension and a width, not {dimensions}, {width}")
        sums = {"nats": torch.zeros((), dtype=torch.float64), "count": torch.zeros((), dtype=torch.int64)}
        super().__init__(sums, dimensions=dimensions, width=width)

    def update(self, values: Float[Tensor, "*batch"]) -> None:
        """Add samples.

        Args:
            values: −log p(x) of each in nats, or an upper bound such as a negative evidence lower bound.
        """
        nats = values.to(wide(values.device)).sum()
        self._add(nats=nats, count=torch.full((), values.numel(), dtype=torch.int64, device=nats.device))

    def compute(self) -> Float[Tensor, ""]:
        """Return the mean bits per dimension."""
        nats = self.sums["nats"] / self.sums["count"]
        return nats / (self.settings["dimensions"] * math.log(2)) - math.log2(self.settings["width"])
