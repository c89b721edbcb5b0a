"""The confusion matrix: how often class i was taken for class j.

Cᵢⱼ = #{n : yₙ = i, ŷₙ = j}
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, check_known, hard_labels

__all__ = ["Confusion", "count_pairs", "matrix"]


@canon("metrics/confusion", kind="metric", names=("confusion",), example=lambda: Confusion(3))
class Confusion(Metric):
    """Confusion matrix: rows are true classes, columns predictions.

    Cᵢⱼ = #{n : yₙ = i, ŷₙ = j}

    Args:
        classes: how many classes there are.

    Raises:
        GradusError: if there is no class.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise GradusError(f"a confusion matrix needs at least 1 class, not {classes}")
        super().__init__({"pairs": torch.zeros(classes * classes + 1, dtype=torch.int64)}, classes=classes)

    def update(
        self,
        scores: Float[Tensor, "batch classes"] | Int[Tensor, " batch"],
        labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    ) -> None:
        """Add a batch.

        Args:
            scores: logits or probabilities, or predicted classes.
            labels: class indices, or soft labels, which count as their most probable class.

        Raises:
            GradusError: if the scores are of another number of classes.
        """
        self._add(pairs=count_pairs(scores, labels, self.settings["classes"]))

    def compute(self) -> Int[Tensor, "classes classes"]:
        """Return the matrix; raises a GradusError if a label was outside the classes."""
        return matrix(self.sums["pairs"], self.settings["classes"])


def count_pairs(
    scores: Float[Tensor, "batch classes"] | Int[Tensor, " batch"],
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    classes: int,
) -> Int[Tensor, " cells"]:
    """Return the counts of (true, predicted) pairs, flat, and last the count of pairs outside the classes.

    Whether a label is out of range is known on the device only, so such pairs get a cell of their own.
    """
    if scores.dim() == 2 and scores.shape[1] != classes:
        raise GradusError(f"scores of {scores.shape[1]} classes were given to a metric of {classes} classes")
    truth, guess = hard_labels(labels), scores.argmax(1) if scores.dim() == 2 else scores.long()
    known = (truth >= 0) & (truth < classes) & (guess >= 0) & (guess < classes)
    cells = torch.where(known, truth * classes + guess, classes * classes)
    counts = torch.zeros(classes * classes + 1, dtype=torch.int64, device=cells.device)
    return counts.scatter_add_(0, cells, torch.ones_like(cells))


def matrix(pairs: Int[Tensor, " cells"], classes: int) -> Int[Tensor, "classes classes"]:
    """Return flat counts as a matrix; raises a GradusError if the last cell is not empty."""
    check_known(pairs[-1], classes)
    return pairs[:-1].view(classes, classes).clone()
