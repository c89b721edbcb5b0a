"""Precision, recall and their harmonic mean, by class or averaged.

    P = TP / (TP + FP) ,   R = TP / (TP + FN) ,   F₁ = 2 P R / (P + R) = 2 TP / (2 TP + FP + FN)

References:
    van Rijsbergen 1979, Information retrieval, chapter 7.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.metrics.confusion import count_pairs, matrix
from gradus.metrics.metric import Metric, wide

__all__ = ["PrecisionRecallF1", "Retrieval"]

_AVERAGES = ("macro", "micro", "weighted", "none")


class Retrieval(NamedTuple):
    """Precision, recall and F₁: numbers, or one for each class."""

    precision: Float[Tensor, "*classes"]
    recall: Float[Tensor, "*classes"]
    f1: Float[Tensor, "*classes"]


@canon(
    "metrics/precision-recall-f1",
    kind="metric",
    paper="van Rijsbergen 1979, Information retrieval",
    names=("precision-recall-f1", "f1"),
    example=lambda: PrecisionRecallF1(3),
)
class PrecisionRecallF1(Metric):
    """Precision, recall and F₁ of class predictions.

    P = TP / (TP + FP), R = TP / (TP + FN), F₁ = 2 TP / (2 TP + FP + FN); where a denominator is 0, so is the quotient.

    Args:
        classes: how many classes there are.
        average: "macro" (the mean over the classes seen in labels or predictions), "weighted" (by how often each is
            true), "micro" (of the summed counts), or "none" (one number for each class).

    Raises:
        GradusError: if there is no class or no such average.
    """

    def __init__(self, classes: int, average: str = "macro") -> None:
        if classes < 1:
            raise GradusError(f"precision and recall need at least 1 class, not {classes}")
        if average not in _AVERAGES:
            raise GradusError(f"there is no average {average!r}{nearest(average, _AVERAGES)}")
        pairs = torch.zeros(classes * classes + 1, dtype=torch.int64)
        super().__init__({"pairs": pairs}, classes=classes, average=average)

    def update(
        self,
        scores: Float[Tensor, "batch classes"] | Int[Tensor, " batch"],
        labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
    ) -> None:
        """Add a batch, given as to `Confusion.update`."""
        self._add(pairs=count_pairs(scores, labels, self.settings["classes"]))

    def compute(self) -> Retrieval:
        """Return precision, recall and F₁; raises a GradusError if a label was outside the classes."""
        counts = matrix(self.sums["pairs"], self.settings["classes"])
        counts = counts.to(wide(counts.device))
        hits, guessed, true = counts.diagonal(), counts.sum(0), counts.sum(1)
        average = self.settings["average"]
        if average == "micro":
            hits, guessed, true = hits.sum(), guessed.sum(), true.sum()
        parts = (_ratio(hits, guessed), _ratio(hits, true), _ratio(2 * hits, guessed + true))
        if average in ("micro", "none"):
            return Retrieval(*parts)
        weights = true if average == "weighted" else (guessed + true > 0).to(counts)
        return Retrieval(*((weights * part).sum() / weights.sum() for part in parts))


def _ratio(part: Float[Tensor, "*classes"], whole: Float[Tensor, "*classes"]) -> Float[Tensor, "*classes"]:
    return torch.where(whole > 0, part / whole, 0.0)
