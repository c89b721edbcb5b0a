"""Deletion and insertion: does the score follow the places that an attribution calls important?

    deletion   s(q) = f(x with its q most important places covered)       a faithful ranking falls early: small area
    insertion  s(q) = f(baseline with the q most important places of x)   a faithful ranking rises early: large area

The area is ∫₀¹ s(q) dq over the fraction q of places. Every row and every fraction is one row of a large batch.

References:
    Petsiuk, Das and Saenko 2018, RISE: randomized input sampling for explanation of black-box models.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.errors import GradusError
from gradus.explain.baseline import baseline_like
from gradus.explain.perturbation import variant_scores

__all__ = ["FidelityCurve", "deletion", "insertion"]


class FidelityCurve(NamedTuple):
    """The target's probability against the fraction of places deleted or inserted.

    Attributes:
        fractions: from 0 to 1.
        scores: one curve for each row.
    """

    fractions: Float[Tensor, " points"]
    scores: Float[Tensor, "batch points"]

    @property
    def area(self) -> Float[Tensor, " batch"]:
        """Area under each row's curve, by the trapezoid rule."""
        return torch.trapezoid(self.scores, self.fractions, dim=1)


def deletion(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch channels *places"],
    attributions: Float[Tensor, "batch depth *places"],
    *,
    target: int | Int[Tensor, " batch"],
    baselines: Float[Tensor, "..."] | float | None = None,
    steps: int = 20,
    chunk: int = 256,
) -> FidelityCurve:
    """Cover places from the most important on, and follow the target's probability.

    s(q) = softmax(f(x with its q most important places covered))_target

    Args:
        fn: maps a batch to logits `[batch, classes]`.
        inputs: what was explained.
        attributions: importance, summed over its channels; a table's features are its channels.
        target: the class explained, or one for each row.
        baselines: what covers: one value, a tensor that broadcasts to the inputs, or None for zero.
        steps: intervals of the curve.
        chunk: most inputs in one call of `fn`.

    Raises:
        GradusError: if a setting is out of range or a target is not among the classes.

    References:
        Petsiuk et al. 2018, algorithm 1.
    """
    return _curve(fn, inputs, attributions, baselines, target, steps, chunk, cover_first=True)


def insertion(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch channels *places"],
    attributions: Float[Tensor, "batch depth *places"],
    *,
    target: int | Int[Tensor, " batch"],
    baselines: Float[Tensor, "..."] | float | None = None,
    steps: int = 20,
    chunk: int = 256,
) -> FidelityCurve:
    """Uncover places from the most important on, and follow the target's probability.

    s(q) = softmax(f(baseline with the q most important places of x))_target

    Arguments and errors are those of `deletion`.

    References:
        Petsiuk et al. 2018, section 4.1.

    Deviations:
        The paper inserts into a blurred image; pass it as `baselines`.
    """
    return _curve(fn, inputs, attributions, baselines, target, steps, chunk, cover_first=False)


def _curve(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch channels *places"],
    attributions: Float[Tensor, "batch depth *places"],
    baselines: Float[Tensor, "..."] | float | None,
    target: int | Int[Tensor, " batch"],
    steps: int,
    chunk: int,
    *,
    cover_first: bool,
) -> FidelityCurve:
    if steps < 1:
        raise GradusError(f"steps must be at least 1, not {steps}")
    # A table has no axes beyond its features: there every channel is a place.
    importance = attributions if inputs.dim() == 2 else attributions.sum(1, keepdim=True)
    order = importance.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1).view_as(importance)
    places = order.shape[1]
    counts = (torch.arange(steps + 1, device=inputs.device) * places).div(steps, rounding_mode="floor")
    start = baseline_like(inputs, baselines)

    def build(rows: slice, some: slice) -> Tensor:
        important = rank[rows] < counts[some].view(-1, *[1] * inputs.dim())
        return torch.where(important == cover_first, start[rows], inputs[rows])

    scores = variant_scores(lambda x: fn(x).softmax(dim=1), build, len(inputs), steps + 1, target=target, chunk=chunk)
    return FidelityCurve(counts.to(scores.dtype) / places, scores.T.contiguous())
