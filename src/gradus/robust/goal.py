"""What an attack wants: a wrong answer (untargeted), or one particular answer (targeted).

    untargeted  ℓ(x) = CE(f(x), y)      reached when argmax f(x) ≠ y
    targeted    ℓ(x) = −CE(f(x), t)     reached when argmax f(x) = t

Attacks climb ℓ.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from gradus.errors import GradusError
from gradus.nn.probe import check_labels, row_gradients

__all__ = ["Goal"]


@dataclass(frozen=True)
class Goal:
    """An attack's objective on one batch.

    Args:
        fn: maps a batch in [0, 1] to scores `[batch, classes]`.
        inputs: the batch.
        labels: the true classes, or, when targeted, the wanted ones.
        targeted: whether `labels` is what the model shall say.

    Raises:
        GradusError: if inputs lie outside [0, 1], or there is not one label for each; on first use, if a label is
            not among the classes.
    """

    fn: Callable[[Tensor], Tensor]
    inputs: Float[Tensor, "batch *shape"]
    labels: Int[Tensor, " batch"]
    targeted: bool = False

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise GradusError(
                f"an attack needs one label for each input, not {len(self.labels)} for {len(self.inputs)}"
            )
        if not ((self.inputs >= 0) & (self.inputs <= 1)).all():
            raise GradusError("an attack needs inputs in [0, 1]; put preprocessing inside the function it attacks")

    def judge(
        self, points: Float[Tensor, "some *shape"], rows: Int[Tensor, " some"]
    ) -> tuple[Float[Tensor, " some"], Bool[Tensor, " some"]]:
        """Return ℓ and whether the goal is reached, for points that stand for some rows."""
        with torch.no_grad():
            return self._judge(points, self.labels[rows])

    def climb(
        self, points: Float[Tensor, "some *shape"], rows: Int[Tensor, " some"]
    ) -> tuple[Float[Tensor, " some"], Bool[Tensor, " some"], Float[Tensor, "some *shape"]]:
        """Return ℓ, whether the goal is reached, and ∂ℓ/∂x."""
        labels = self.labels[rows]
        reached: list[Tensor] = []

        def objective(leaf: Tensor) -> Tensor:
            losses, hits = self._judge(leaf, labels)
            reached.append(hits)
            return losses

        losses, gradients = row_gradients(objective, points)
        # Where a model overflows its gradient is not a number; a step of NaN would leave the ball.
        return losses, reached[0], gradients.nan_to_num()

    def _judge(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.fn(points)
        check_labels(labels, scores.shape[1])
        # A copy, because autograd keeps the labels and refuses any that were made under inference mode.
        losses = F.cross_entropy(scores, labels.long().clone(), reduction="none")
        hits = scores.argmax(1) == labels
        return (-losses, hits) if self.targeted else (losses, ~hits)
