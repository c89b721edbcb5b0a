"""Accuracy: the share of samples whose class is among the k highest scores.

A = 1/N Σₙ [yₙ ∈ top-k of f(xₙ)]
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, hard_labels, wide

__all__ = ["Accuracy"]


@canon("metrics/accuracy", kind="metric", names=("accuracy", "top-k"))
class Accuracy(Metric):
    """Top-k accuracy.

    A = 1/N Σₙ [yₙ ∈ top-k of f(xₙ)]

    Args:
        k: how many guesses each sample has.

    Raises:
        GradusError: if k is not positive.
    """

    def __init__(self, k: int = 1) -> None:
        if k < 1:
            raise GradusError(f"accuracy needs k of at least 1, not {k}")
        super().__init__({"hits": torch.zeros((), dtype=torch.int64), "count": torch.zeros((), dtype=torch.int64)}, k=k)

    def update(
        self, scores: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"]
    ) -> None:
        """Add a batch.

        Args:
            scores: logits or probabilities.
            labels: class indices, or soft labels, which count as their most probable class.

        Raises:
            GradusError: if there are fewer than k classes.
        """
        k = self.settings["k"]
        if k > scores.shape[1]:
            raise GradusError(f"top-{k} accuracy needs at least {k} classes, not {scores.shape[1]}")
        # Not a rank by counting higher scores: ties would make a constant model perfect.
        guesses = scores.topk(k, dim=1).indices if k > 1 else scores.argmax(1, keepdim=True)
        hits = (guesses == hard_labels(labels).unsqueeze(1)).sum()
        self._add(hits=hits, count=torch.full_like(hits, len(scores)))

    def compute(self) -> Float[Tensor, ""]:
        """Return the share of hits."""
        hits = self.sums["hits"]
        return hits.to(wide(hits.device)) / self.sums["count"]
