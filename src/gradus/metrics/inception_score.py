"""The inception score: are samples each of one class for sure, and together of all classes?

    IS = exp( 1/N Σₙ KL(p(y|xₙ) ‖ p(y)) ) ,   p(y) = 1/N Σₙ p(y|xₙ)

It lies between 1 and the number of classes. As Σₙ KL = Σₙ Σ_k p_nk log p_nk − N Σ_k p_k log p_k, sums suffice.

References:
    Salimans, Goodfellow, Zaremba, Cheung, Radford and Chen 2016, Improved techniques for training GANs.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, wide

__all__ = ["Inception", "InceptionScore"]


class Inception(NamedTuple):
    """The score over splits.

    Attributes:
        score: mean of the splits' scores.
        std: their standard deviation (over n − 1); NaN for one split.
        by_split: the score of each, NaN where it is empty.
    """

    score: Float[Tensor, ""]
    std: Float[Tensor, ""]
    by_split: Float[Tensor, " splits"]


@canon(
    "metrics/inception-score",
    kind="metric",
    paper="Salimans et al. 2016, Improved techniques for training GANs",
    names=("inception-score",),
    example=lambda: InceptionScore(3, splits=3),
)
class InceptionScore(Metric):
    """Inception score under any classifier, streamed.

    IS = exp( 1/N Σₙ KL(p(y|xₙ) ‖ p(y)) )

    The score grows with N, as the marginal of few samples is never even; published scores are means over 10 splits of
    5000 samples. Here each sample's split is said with it, so that the answer hangs on no order; kept are
    splits × (classes + 2) numbers.

    Args:
        classes: of the classifier.
        splits: how many parts are scored apart.
        from_logits: turn scores into probabilities by a softmax; else they are probabilities already.

    Raises:
        GradusError: if there is no class or no split.
    """

    def __init__(self, classes: int, splits: int = 1, from_logits: bool = True) -> None:
        if classes < 1 or splits < 1:
            raise GradusError(f"an inception score needs at least 1 class and 1 split, not {classes} and {splits}")
        sums = {name: torch.zeros(splits, dtype=torch.float64) for name in ("count", "negative_entropy")}
        sums["probability"] = torch.zeros(splits, classes, dtype=torch.float64)
        unknown = torch.zeros((), dtype=torch.int64)
        super().__init__({**sums, "unknown": unknown}, classes=classes, splits=splits, from_logits=from_logits)

    def update(self, scores: Float[Tensor, "batch classes"], split: int | Int[Tensor, " batch"] = 0) -> None:
        """Add a batch.

        Args:
            scores: the classifier's logits of generated samples, or probabilities without `from_logits`.
            split: to which part each sample belongs, from 0.

        Raises:
            GradusError: if the scores are of another number of classes.
        """
        classes, splits = self.settings["classes"], self.settings["splits"]
        if scores.shape[1] != classes:
            raise GradusError(f"scores of {scores.shape[1]} classes were given to a score of {classes} classes")
        scores = scores.detach().to(wide(scores.device))
        p = scores.softmax(1) if self.settings["from_logits"] else scores
        part = torch.full((len(p),), split, device=p.device) if isinstance(split, int) else split
        member = (part == torch.arange(splits, device=p.device).unsqueeze(1)).to(p)
        self._add(
            count=member.sum(1),
            probability=member @ p,
            negative_entropy=member @ torch.xlogy(p, p).sum(1),
            unknown=((part < 0) | (part >= splits)).sum(),
        )

    def compute(self) -> Inception:
        """Return the scores; raises a GradusError if a sample was given to a split that there is not."""
        unknown, splits = int(self.sums["unknown"]), self.settings["splits"]
        if unknown:
            raise GradusError(f"{unknown} samples were given to splits outside the {splits} splits, 0 to {splits - 1}")
        count = self.sums["count"]
        marginal = self.sums["probability"] / count.unsqueeze(1)
        score = (self.sums["negative_entropy"] / count - torch.xlogy(marginal, marginal).sum(1)).exp()
        mean, filled = score.nanmean(), count > 0
        spread = torch.where(filled, score - mean, 0.0).square().sum() / (filled.sum() - 1)
        return Inception(mean, spread.sqrt(), score)
