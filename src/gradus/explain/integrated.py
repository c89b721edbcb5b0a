"""Integrated gradients: the gradient averaged along the straight path from a baseline, times the distance travelled.

    aᵢ = (xᵢ − x′ᵢ) ∫₀¹ ∂f(x′ + α (x − x′)) / ∂xᵢ dα ,      Σᵢ aᵢ = f(x) − f(x′)   (completeness)

The integral is a weighted sum over nodes; a quadrature is data: a rule that gives `steps` nodes and weights on [0, 1].
All nodes of all rows go through the model in blocks of `chunk`.

References:
    Sundararajan, Taly and Yan 2017, Axiomatic attribution for deep networks.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.explain.baseline import baseline_like
from gradus.explain.perturbation import blocks, spread
from gradus.nn.probe import input_gradient, target_scores

__all__ = ["QUADRATURES", "completeness_residual", "integrated_gradients"]

Quadrature = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _legendre(steps: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _riemann(offset: float) -> Quadrature:
    return lambda steps: ((np.arange(steps) + offset) / steps, np.full(steps, 1 / steps))


def _trapezoid(steps: int) -> tuple[np.ndarray, np.ndarray]:
    if steps < 2:
        raise GradusError(f"the trapezoid rule needs at least 2 steps, not {steps}")
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


QUADRATURES: dict[str, Quadrature] = {
    "legendre": _legendre,
    "left": _riemann(0.0),
    "middle": _riemann(0.5),
    "right": _riemann(1.0),
    "trapezoid": _trapezoid,
}


@canon(
    "explain/integrated-gradients",
    kind="explainer",
    paper="Sundararajan et al. 2017, Axiomatic attribution for deep networks",
    names=("integrated-gradients", "ig"),
)
def integrated_gradients(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    *,
    target: int | Int[Tensor, " batch"],
    baselines: Float[Tensor, "..."] | float | None = None,
    steps: int = 50,
    quadrature: str = "legendre",
    chunk: int = 256,
) -> Float[Tensor, "batch *shape"]:
    """Attribute the change of score between a baseline and the input.

    a = (x − x′) ⊙ Σₖ wₖ ∇f(x′ + αₖ (x − x′))

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        inputs: x, what to explain.
        target: the class to explain, or one for each row.
        baselines: x′: one value, a tensor that broadcasts to the inputs, or None for zero.
        steps: nodes of the quadrature.
        quadrature: a name in `QUADRATURES`; Gauss–Legendre is exact for polynomials of degree 2 steps − 1.
        chunk: most points in one call of `fn`; it bounds memory and does not change the result.

    Returns:
        Attributions in units of the score, shaped as the inputs.

    Raises:
        GradusError: if a setting is out of range, a target is not among the classes, or `fn` is not differentiable.

    References:
        Sundararajan et al. 2017, equations 1 and 3.

    Deviations:
        The paper takes the right Riemann sum, here `quadrature="right"`.
    """
    if quadrature not in QUADRATURES:
        raise GradusError(f"there is no quadrature {quadrature!r}{nearest(quadrature, QUADRATURES)}")
    if steps < 1:
        raise GradusError(f"steps must be at least 1, not {steps}")
    start = baseline_like(inputs, baselines)
    path = (inputs - start).detach()
    nodes, weights = (torch.as_tensor(part).to(inputs) for part in QUADRATURES[quadrature](steps))
    average = torch.zeros_like(path)
    for rows, some in blocks(len(inputs), steps, chunk):
        alpha = nodes[some].view(-1, *[1] * inputs.dim())
        points = start[rows] + alpha * path[rows]
        slopes = input_gradient(fn, points.flatten(0, 1), spread(target, rows, len(points)))
        average[rows] += torch.tensordot(weights[some], slopes.view_as(points), dims=1)
    return path * average


def completeness_residual(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    attributions: Float[Tensor, "batch *shape"],
    *,
    target: int | Int[Tensor, " batch"],
    baselines: Float[Tensor, "..."] | float | None = None,
) -> Float[Tensor, " batch"]:
    """Return how far attributions are from summing to the change of score.

    r = Σᵢ aᵢ − (f(x) − f(x′))

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        inputs: x, what was explained.
        attributions: a, shaped as the inputs.
        target: the class explained, or one for each row.
        baselines: x′, as given to the explainer.
    """
    with torch.no_grad():
        ends = [target_scores(fn(end), target) for end in (inputs, baseline_like(inputs, baselines).contiguous())]
    return attributions.flatten(1).sum(1) - (ends[0] - ends[1])
