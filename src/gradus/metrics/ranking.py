"""Ranking quality, whatever the threshold: the ROC curve and the precision–recall curve, binned.

    TPR(t) = #{y = 1, s ≥ t} / #{y = 1} ,   FPR(t) = #{y = 0, s ≥ t} / #{y = 0} ,   AUC = ∫ TPR dFPR

Exact curves need every score ever seen; these keep a histogram of scores for positives and for negatives, cut at
`thresholds` equally spaced values from 0 to 1. Scores between two neighbours tie: the error of the area is at most half
the probability that a positive and a negative share a bin.

References:
    Fawcett 2006, An introduction to ROC analysis.
    Davis and Goadrich 2006, The relationship between precision-recall and ROC curves.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, check_known, hard_labels, wide

__all__ = ["PrecisionRecall", "PrecisionRecallCurve", "ROC", "Roc"]


class Roc(NamedTuple):
    """A ROC curve for each class, from the strictest threshold to the loosest.

    Attributes:
        auc: mean area over the classes that have positives and negatives; NaN if none has.
        auc_by_class: the area for each class, NaN where it is not defined.
        fpr: false positive rates, beginning at 0.
        tpr: true positive rates, beginning at 0.
        thresholds: infinity, then 1 down to 0.
    """

    auc: Float[Tensor, ""]
    auc_by_class: Float[Tensor, " classes"]
    fpr: Float[Tensor, "classes points"]
    tpr: Float[Tensor, "classes points"]
    thresholds: Float[Tensor, " points"]


class PrecisionRecall(NamedTuple):
    """A precision–recall curve for each class, from the strictest threshold to the loosest.

    Attributes:
        average_precision: mean over the classes that have positives; NaN if none has.
        average_precision_by_class: Σ (Rᵢ − Rᵢ₋₁) Pᵢ for each class, NaN where it is not defined.
        precision: beginning at 1; 1 where nothing reaches the threshold.
        recall: beginning at 0.
        thresholds: infinity, then 1 down to 0.
    """

    average_precision: Float[Tensor, ""]
    average_precision_by_class: Float[Tensor, " classes"]
    precision: Float[Tensor, "classes points"]
    recall: Float[Tensor, "classes points"]
    thresholds: Float[Tensor, " points"]


class _Histogram(Metric):
    """Scores of negatives and positives of each class, one against the rest, counted between thresholds."""

    def __init__(self, classes: int, thresholds: int, from_logits: bool) -> None:
        if classes < 1 or thresholds < 2:
            raise GradusError(f"a curve needs at least 1 class and 2 thresholds, not {classes} and {thresholds}")
        counts = torch.zeros(2, classes, thresholds + 1, dtype=torch.int64)
        unknown = torch.zeros((), dtype=torch.int64)
        super().__init__(
            {"counts": counts, "unknown": unknown}, classes=classes, thresholds=thresholds, from_logits=from_logits
        )

    def update(
        self,
        scores: Float[Tensor, " batch"] | Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    ) -> None:
        """Add a batch.

        Args:
            scores: for one class, the score of being positive; else one score for each class.
            labels: 0 or 1 for one class; else class indices, or soft labels, which count as their most probable class.

        Raises:
            GradusError: if the scores are of another number of classes.
        """
        classes = self.settings["classes"]
        columns = scores.unsqueeze(1) if scores.dim() == 1 else scores
        if columns.shape[1] != classes:
            raise GradusError(f"scores of {columns.shape[1]} classes were given to a metric of {classes} classes")
        columns = columns.detach().to(wide(columns.device))
        if self.settings["from_logits"]:
            columns = columns.sigmoid() if classes == 1 else columns.softmax(1)
        truth = hard_labels(labels).unsqueeze(1)
        names = torch.arange(classes, device=columns.device)
        positive = truth == (1 if classes == 1 else names)
        cells = (positive.long() * classes + names) * (self.settings["thresholds"] + 1)
        cells = cells + torch.bucketize(columns, self._thresholds(columns.device), right=True)
        counts = torch.zeros(self.sums["counts"].numel(), dtype=torch.int64, device=cells.device)
        counts.scatter_add_(0, cells.flatten(), torch.ones_like(cells.flatten()))
        unknown = ((truth < 0) | (truth >= max(2, classes))).sum()
        self._add(counts=counts.view(2, classes, -1), unknown=unknown)

    def _thresholds(self, device: torch.device) -> Float[Tensor, " thresholds"]:
        return torch.linspace(0, 1, self.settings["thresholds"], dtype=wide(device), device=device)

    def _curves(
        self,
    ) -> tuple[Float[Tensor, "classes points"], Float[Tensor, "classes points"], Float[Tensor, " points"]]:
        """Return false and true positives at or above each threshold, strictest first, beginning above them all."""
        check_known(self.sums["unknown"], max(2, self.settings["classes"]))
        counts = self.sums["counts"].to(wide(self.sums["counts"].device))
        # Bin i holds scores that reach i thresholds, so those that reach threshold i are in the bins above i.
        above = counts[:, :, 1:].flip(-1).cumsum(-1)
        false, true = torch.cat([torch.zeros_like(above[..., :1]), above], dim=-1).unbind()
        thresholds = self._thresholds(counts.device).flip(0)
        return false, true, torch.cat([torch.full_like(thresholds[:1], torch.inf), thresholds])

    def _totals(self) -> tuple[Float[Tensor, "classes 1"], Float[Tensor, "classes 1"]]:
        negatives, positives = self.sums["counts"].sum(-1, keepdim=True).to(wide(self.sums["counts"].device)).unbind()
        return negatives, positives


@canon(
    "metrics/roc",
    kind="metric",
    paper="Fawcett 2006, An introduction to ROC analysis",
    names=("roc", "auc"),
    example=lambda: ROC(3),
)
class ROC(_Histogram):
    """ROC curve and the area under it, one class against the rest.

    AUC = ∫ TPR dFPR, by the trapezoid rule: the probability that a positive outranks a negative, ties by half.

    Args:
        classes: 1 for a binary score, else one score for each class.
        thresholds: equally spaced from 0 to 1.
        from_logits: turn scores into probabilities by a sigmoid or softmax; else they are in [0, 1] already.

    Raises:
        GradusError: if there is no class or fewer than two thresholds.
    """

    def __init__(self, classes: int = 1, thresholds: int = 201, from_logits: bool = True) -> None:
        super().__init__(classes, thresholds, from_logits)

    def compute(self) -> Roc:
        """Return curves and areas; raises a GradusError if a label was outside the classes."""
        false, true, thresholds = self._curves()
        negatives, positives = self._totals()
        fpr, tpr = false / negatives, true / positives
        areas = torch.trapezoid(tpr, fpr, dim=1)
        return Roc(areas.nanmean(), areas, fpr, tpr, thresholds)


@canon(
    "metrics/precision-recall-curve",
    kind="metric",
    paper="Davis and Goadrich 2006, The relationship between precision-recall and ROC curves",
    names=("precision-recall-curve", "average-precision"),
    example=lambda: PrecisionRecallCurve(3),
)
class PrecisionRecallCurve(_Histogram):
    """Precision–recall curve and average precision, one class against the rest.

    AP = Σᵢ (Rᵢ − Rᵢ₋₁) Pᵢ

    Args:
        classes: 1 for a binary score, else one score for each class.
        thresholds: equally spaced from 0 to 1.
        from_logits: turn scores into probabilities by a sigmoid or softmax; else they are in [0, 1] already.

    Raises:
        GradusError: if there is no class or fewer than two thresholds.
    """

    def __init__(self, classes: int = 1, thresholds: int = 201, from_logits: bool = True) -> None:
        super().__init__(classes, thresholds, from_logits)

    def compute(self) -> PrecisionRecall:
        """Return curves and average precision; raises a GradusError if a label was outside the classes."""
        false, true, thresholds = self._curves()
        _, positives = self._totals()
        recall = true / positives
        precision = torch.where(false + true > 0, true / (false + true), 1.0)
        average = (recall.diff(dim=1) * precision[:, 1:]).sum(1)
        return PrecisionRecall(average.nanmean(), average, precision, recall, thresholds)
