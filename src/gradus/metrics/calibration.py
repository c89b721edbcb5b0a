"""Calibration: of the answers given with confidence p, is a share p right?

    ECE = Σ_b |B_b| / N · |acc(B_b) − conf(B_b)| ,    Brier = 1/N Σₙ Σ_k (pₙₖ − [yₙ = k])²

Confidence is the highest probability; bins cut (0, 1] into equal intervals (lower, upper].

References:
    Guo, Pleiss, Sun and Weinberger 2017, On calibration of modern neural networks.
    Brier 1950, Verification of forecasts expressed in terms of probability.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, hard_labels, wide

__all__ = ["Calibration", "Reliability"]


class Reliability(NamedTuple):
    """What a reliability diagram shows.

    Attributes:
        ece: expected calibration error.
        mce: the largest gap of any bin that holds samples.
        brier: mean squared distance between the probabilities and the one-hot label.
        samples: how many fell in each bin.
        confidence: mean confidence in each bin; NaN where empty.
        accuracy: share of right answers in each bin; NaN where empty.
    """

    ece: Float[Tensor, ""]
    mce: Float[Tensor, ""]
    brier: Float[Tensor, ""]
    samples: Float[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]


@canon(
    "metrics/calibration",
    kind="metric",
    paper="Guo et al. 2017, On calibration of modern neural networks",
    names=("calibration", "ece"),
)
class Calibration(Metric):
    """Expected and maximum calibration error, Brier score and the reliability diagram.

    ECE = Σ_b |B_b| / N · |acc(B_b) − conf(B_b)|

    Args:
        bins: equal intervals of confidence.
        from_logits: turn scores into probabilities by a softmax; else they are probabilities already.

    Raises:
        GradusError: if there is no bin.
    """

    def __init__(self, bins: int = 15, from_logits: bool = True) -> None:
        if bins < 1:
            raise GradusError(f"calibration needs at least 1 bin, not {bins}")
        names = ("count", "confidence", "correct")
        sums = {name: torch.zeros(bins, dtype=torch.float64) for name in names}
        super().__init__({**sums, "brier": torch.zeros((), dtype=torch.float64)}, bins=bins, from_logits=from_logits)

    def update(
        self, scores: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"]
    ) -> None:
        """Add a batch.

        Args:
            scores: logits, or probabilities without `from_logits`.
            labels: class indices, or soft labels, which count as their most probable class.
        """
        scores = scores.detach().to(wide(scores.device))
        probabilities = scores.softmax(1) if self.settings["from_logits"] else scores
        classes = torch.arange(scores.shape[1], device=scores.device)
        truth = (hard_labels(labels).unsqueeze(1) == classes).to(scores)
        confidence, guess = probabilities.max(1)
        correct = truth.gather(1, guess.unsqueeze(1)).squeeze(1)
        bins = self.settings["bins"]
        edges = torch.linspace(0, 1, bins + 1, dtype=scores.dtype, device=scores.device)
        # A product with the membership matrix: scattered float additions come in no fixed order on a GPU.
        member = torch.bucketize(confidence, edges[1:-1]).unsqueeze(1) == torch.arange(bins, device=scores.device)
        count, total, hits = (
            torch.stack([torch.ones_like(confidence), confidence, correct]) @ member.to(scores)
        ).unbind()
        self._add(count=count, confidence=total, correct=hits, brier=(probabilities - truth).square().sum())

    def compute(self) -> Reliability:
        """Return the errors and the reliability diagram."""
        count = self.sums["count"]
        samples = count.sum()
        gap = (self.sums["correct"] - self.sums["confidence"]).abs()
        mce = torch.where(count > 0, gap / count, 0).max() + 0 / samples
        return Reliability(
            ece=gap.sum() / samples,
            mce=mce,
            brier=self.sums["brier"] / samples,
            samples=count.clone(),
            confidence=self.sums["confidence"] / count,
            accuracy=self.sums["correct"] / count,
        )
