"""The perceptron: a threshold unit, and the rule that learns it from its mistakes.

    ŷ = [⟨w, x⟩ + b > 0],      at each mistake   w ← w + η s x,   b ← b + η s,   s = +1 where y = 1, −1 where y = 0

Where a line through (w*, b*) of length one parts the classes by a margin γ, and no (x, 1) is longer than R, the rule
makes at most (R/γ)² mistakes, in whatever order the samples come. Where there is none it goes on for ever: its weights
stay bounded, so on integer data they return to where they were, which is noticed.

References:
    McCulloch, Pitts 1943, A logical calculus of the ideas immanent in nervous activity.
    Rosenblatt 1958, The perceptron. Novikoff 1962, On convergence proofs on perceptrons.
    Minsky, Papert 1969, Perceptrons. Block, Levin 1970, On the boundedness of an iterative procedure.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError

__all__ = ["Fit", "Perceptron", "threshold"]

BLOCK = 256


def threshold(
    x: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "units inputs"], bias: Float[Tensor, " units"]
) -> Float[Tensor, "*batch units"]:
    """Return what a layer of threshold units says: 1 where W x + b > 0, else 0.

    Args:
        x: samples.
        weight: W.
        bias: b, minus the thresholds.
    """
    return (nn.functional.linear(x, weight, bias) > 0).to(x.dtype)


@dataclass(frozen=True)
class Fit:
    """How the perceptron rule ended.

    Attributes:
        converged: whether every sample is right.
        mistakes: how many corrections were made.
        epochs: how often all samples were gone through, the last time (without a mistake) included.
        cycle: after how many epochs the weights return, over and over; 0 if that was not seen.
    """

    converged: bool
    mistakes: int
    epochs: int
    cycle: int = 0


class Perceptron(nn.Module):
    """One threshold unit, learned by the perceptron rule.

    Args:
        inputs: features of a sample.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        # Buffers: nothing here has a gradient.
        self.register_buffer("weight", torch.zeros(inputs))
        self.register_buffer("bias", torch.zeros(()))

    def forward(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, " batch"]:
        """Return the score ⟨w, x⟩ + b."""
        return x @ self.weight + self.bias

    def predict(self, x: Float[Tensor, "batch inputs"]) -> Int[Tensor, " batch"]:
        """Return 1 where the score is positive, else 0."""
        return (self(x) > 0).long()

    @torch.no_grad()
    def fit(
        self,
        x: Float[Tensor, "batch inputs"],
        y: Int[Tensor, " batch"] | Bool[Tensor, " batch"],
        *,
        rate: float = 1.0,
        max_epochs: int = 1000,
    ) -> Fit:
        """Learn from mistakes, sample by sample, until an epoch without any, a cycle, or `max_epochs`.

        The scores of a block are one product, and each mistake updates the scores still ahead by one more: the very
        steps of the rule, without a Python step for every sample that is right.

        Args:
            x: samples, in the order in which they are gone through.
            y: classes, 0 and 1.
            rate: η; without effect on the course when weights start at zero.
            max_epochs: when to give up.

        Raises:
            GradusError: if a class is neither 0 nor 1, a feature is not finite, or the shapes do not fit.
        """
        if x.shape[1] != len(self.weight) or len(x) != len(y):
            raise GradusError(
                f"a perceptron of {len(self.weight)} inputs takes samples of as many features and one class each, "
                f"not {tuple(x.shape)} and {tuple(y.shape)}"
            )
        if not bool(((y == 0) | (y == 1)).all()):
            raise GradusError("a perceptron tells two classes apart: label them 0 and 1")
        if not bool(x.isfinite().all()):
            raise GradusError("a feature is not finite; fill in or drop such samples first")
        side = 2 * y.to(x.dtype) - 1
        mistakes, marked, mark_at = 0, self._where(), 0
        for epoch in range(1, max_epochs + 1):
            made = sum(self._correct(x[i : i + BLOCK], side[i : i + BLOCK], rate) for i in range(0, len(x), BLOCK))
            mistakes += made
            if made == 0:
                return Fit(True, mistakes, epoch)
            if torch.equal(self._where(), marked):
                return Fit(False, mistakes, epoch, cycle=epoch - mark_at)
            # Brent's way to find a cycle with one place remembered: move the mark at every power of two.
            if epoch & (epoch - 1) == 0:
                marked, mark_at = self._where(), epoch
        return Fit(False, mistakes, max_epochs)

    def _correct(self, x: Tensor, side: Tensor, rate: float) -> int:
        """Go once through a block; return the number of mistakes."""
        margins = side * self(x)
        mistakes = start = 0
        while True:
            # A score of zero counts as a mistake on both sides, so that zero weights are no answer.
            wrong = (margins[start:] <= 0).nonzero()
            if not len(wrong):
                return mistakes
            i = start + int(wrong[0])
            push = rate * side[i]
            self.weight += push * x[i]
            self.bias += push
            margins += push * side * (x @ x[i] + 1)
            mistakes, start = mistakes + 1, i + 1

    def _where(self) -> Tensor:
        return torch.cat([self.weight, self.bias[None]])

    def extra_repr(self) -> str:
        return f"{len(self.weight)}"
