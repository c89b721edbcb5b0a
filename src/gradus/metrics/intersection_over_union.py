"""Overlap of segments: intersection over union, Dice and the share of right pixels, from one confusion matrix.

    IoU_k = C_kk / (Σⱼ C_kj + Σᵢ C_ik − C_kk) ,    Dice_k = 2 C_kk / (Σⱼ C_kj + Σᵢ C_ik)

Only counts of (true, predicted) pairs are kept: K² + 1 integers, however many pixels there are.

References:
    Jaccard 1912, The distribution of the flora in the alpine zone.
    Dice 1945, Measures of the amount of ecologic association between species.
    Long, Shelhamer and Darrell 2015, Fully convolutional networks for semantic segmentation.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.confusion import count_pairs, matrix
from gradus.metrics.metric import Metric, wide

__all__ = ["IntersectionOverUnion", "Overlap"]


class Overlap(NamedTuple):
    """How well predicted segments cover true ones.

    Attributes:
        iou: mean over the classes that occur in labels or predictions.
        dice: mean over the same classes.
        pixel_accuracy: share of pixels of the right class.
        iou_by_class: NaN for a class that occurs in neither.
        dice_by_class: NaN for a class that occurs in neither.
    """

    iou: Float[Tensor, ""]
    dice: Float[Tensor, ""]
    pixel_accuracy: Float[Tensor, ""]
    iou_by_class: Float[Tensor, " classes"]
    dice_by_class: Float[Tensor, " classes"]


@canon(
    "metrics/intersection-over-union",
    kind="metric",
    paper="Long et al. 2015, Fully convolutional networks for semantic segmentation",
    names=("intersection-over-union", "iou", "dice"),
    example=lambda: IntersectionOverUnion(3),
)
class IntersectionOverUnion(Metric):
    """Intersection over union, Dice and pixel accuracy of semantic segmentation.

    IoU_k = C_kk / (Σⱼ C_kj + Σᵢ C_ik − C_kk)

    The intersection and union are of all pixels of the stream, not means over images.

    Args:
        classes: how many there are.
        ignore: the label of pixels that do not count, such as borders; None counts all.

    Raises:
        GradusError: if there is no class.
    """

    def __init__(self, classes: int, ignore: int | None = None) -> None:
        if classes < 1:
            raise GradusError(f"intersection over union needs at least 1 class, not {classes}")
        pairs = torch.zeros(classes * classes + 1, dtype=torch.int64)
        super().__init__({"pairs": pairs}, classes=classes, ignore=ignore)

    def update(
        self,
        scores: Float[Tensor, "batch classes *space"] | Int[Tensor, "batch *space"],
        labels: Int[Tensor, "batch *space"],
    ) -> None:
        """Add a batch.

        Args:
            scores: logits or probabilities of each pixel, or its predicted class.
            labels: its true class.

        Raises:
            GradusError: if the scores are of another number of classes.
        """
        classes, ignore = self.settings["classes"], self.settings["ignore"]
        if scores.is_floating_point():
            if scores.shape[1] != classes:
                raise GradusError(f"scores of {scores.shape[1]} classes were given to a metric of {classes} classes")
            scores = scores.argmax(1)
        truth = labels.long().flatten()
        if ignore is None:
            self._add(pairs=count_pairs(scores.flatten(), truth, classes))
            return
        # Ignored pixels fall into the cell of unknown labels, whatever their label, and are taken out of it again.
        ignored = truth == ignore
        pairs = count_pairs(scores.flatten(), torch.where(ignored, -1, truth), classes)
        pairs[-1] -= ignored.sum()
        self._add(pairs=pairs)

    def compute(self) -> Overlap:
        """Return the overlaps; raises a GradusError if a label was outside the classes."""
        counts = matrix(self.sums["pairs"], self.settings["classes"])
        counts = counts.to(wide(counts.device))
        hits, both = counts.diagonal(), counts.sum(0) + counts.sum(1)
        iou, dice = hits / (both - hits), 2 * hits / both
        return Overlap(iou.nanmean(), dice.nanmean(), hits.sum() / counts.sum(), iou, dice)
