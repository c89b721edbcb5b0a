"""Wasserstein distances: the least work of moving one distribution onto another.

    W₁(p, q) = min over couplings of E |x − y|  =  ∫ |F_p(t) − F_q(t)| dt    on the line
    Sinkhorn:  min ⟨P, C⟩ + ε KL(P ‖ a bᵀ)   over P 1 = a, Pᵀ 1 = b

Unlike KL and JS, W₁ feels how far apart disjoint supports are. On the line it is exact, by one sort. Elsewhere
Sinkhorn's iteration scales rows and columns of exp(−C/ε) in turn, here as potentials in the log domain, for batches of
problems at once, until the marginals are met.

References:
    Vallender 1974, Calculation of the Wasserstein distance between probability distributions on the line.
    Cuturi 2013, Sinkhorn distances: lightspeed computation of optimal transport.
    Peyré and Cuturi 2019, Computational optimal transport.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError

__all__ = ["Transport", "sinkhorn", "wasserstein_distance", "wasserstein_on_grid"]

LOOK_EVERY = 10


def wasserstein_distance(
    x: Float[Tensor, "*#batch n"],
    y: Float[Tensor, "*#batch m"],
    x_weights: Float[Tensor, "*#batch n"] | None = None,
    y_weights: Float[Tensor, "*#batch m"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return W₁ of two distributions on the line, exactly, from points with weights.

    Args:
        x: points of the first.
        y: points of the second; as many or not.
        x_weights: ≥ 0, of any sum; equal when left out.
        y_weights: ≥ 0, of any sum; equal when left out.

    Raises:
        GradusError: for no points, numbers that are not finite, or weights that are negative or all zero.
    """
    if x.shape[-1] == 0 or y.shape[-1] == 0:
        raise GradusError("a distribution without points has no distance; give at least one on each side")
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise GradusError("a point is not finite; leave missing values out before taking distances")
    batch = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    first, second = (_weights(points, weights) for points, weights in ((x, x_weights), (y, y_weights)))
    points = torch.cat([x.expand(*batch, -1), y.expand(*batch, -1)], dim=-1)
    masses = torch.cat([first.expand(*batch, -1), -second.expand(*batch, -1)], dim=-1)
    ordered, order = points.sort(-1)
    difference = masses.gather(-1, order).cumsum(-1)[..., :-1]
    return (difference.abs() * ordered.diff(dim=-1)).sum(-1)


def _weights(points: Tensor, weights: Tensor | None) -> Tensor:
    """Return weights that sum to one."""
    if weights is None:
        return torch.full_like(points, 1 / points.shape[-1])
    total = weights.sum(-1, keepdim=True)
    if bool((weights < 0).any()) or not bool(((total > 0) & total.isfinite()).all()):
        raise GradusError("weights must be finite, none negative and not all zero; they need not sum to one")
    return (weights / total).expand(torch.broadcast_shapes(weights.shape, points.shape))


@canon(
    "prob/wasserstein",
    kind="divergence",
    paper="Vallender 1974, Calculation of the Wasserstein distance between probability distributions on the line",
)
def wasserstein_on_grid(
    p: Float[Tensor, "*#batch k"], q: Float[Tensor, "*#batch k"], spacing: float = 1.0
) -> Float[Tensor, "*batch"]:
    """Return W₁ of two probability vectors over the points 0, h, …, (k − 1) h: h Σ |F_p − F_q|.

    Args:
        p: probabilities.
        q: probabilities.
        spacing: h.
    """
    return spacing * (p - q).cumsum(-1)[..., :-1].abs().sum(-1)


class Transport(NamedTuple):
    """An entropic transport plan.

    Attributes:
        plan: P, with columns that sum to b, and rows that sum to a up to `error`.
        cost: ⟨P, C⟩.
        error: Σ |P 1 − a|, the largest of the batch's.
        iterations: made.
    """

    plan: Float[Tensor, "*batch n m"]
    cost: Float[Tensor, "*batch"]
    error: float
    iterations: int


def sinkhorn(
    cost: Float[Tensor, "*batch n m"],
    a: Float[Tensor, "*#batch n"] | None = None,
    b: Float[Tensor, "*#batch m"] | None = None,
    *,
    epsilon: float = 0.01,
    tolerance: float = 1e-6,
    iterations: int = 10_000,
) -> Transport:
    """Return the plan that minimises ⟨P, C⟩ + ε KL(P ‖ a bᵀ) with marginals a and b.

    Args:
        cost: C, one matrix for each problem of the batch.
        a: weights of the rows, of any sum; equal when left out.
        b: weights of the columns, of any sum; equal when left out.
        epsilon: ε, in units of the cost; as it falls the plan becomes the optimal one, and the iteration slow.
        tolerance: stop when Σ |P 1 − a| is below it in all problems.
        iterations: at most so many.

    Raises:
        GradusError: for numbers that are not finite or out of range, and where the tolerance is not reached.
    """
    if not bool(cost.isfinite().all()):
        raise GradusError("a cost is not finite; give a large number where moving is forbidden")
    if not epsilon > 0:
        raise GradusError(f"epsilon={epsilon} gives no entropy; give a positive number, in units of the cost")
    if iterations < 1:
        raise GradusError(f"iterations={iterations} leaves no plan; give at least 1")
    rows, columns = _weights(cost[..., 0], a), _weights(cost[..., 0, :], b)
    log_a, log_b, kernel = rows.log(), columns.log(), -cost / epsilon
    f, g = torch.zeros_like(rows), torch.zeros_like(columns)
    error, done = float("inf"), 0
    while done < iterations and error > tolerance:
        for _ in range(min(LOOK_EVERY, iterations - done)):
            f = -torch.logsumexp(kernel + (g + log_b).unsqueeze(-2), dim=-1)
            g = -torch.logsumexp(kernel + (f + log_a).unsqueeze(-1), dim=-2)
            done += 1
        plan = (kernel + (f + log_a).unsqueeze(-1) + (g + log_b).unsqueeze(-2)).exp()
        # Reading the error waits for the device, so it is looked at now and then only.
        error = float((plan.sum(-1) - rows).abs().sum(-1).max())
    if not error <= tolerance:
        raise GradusError(
            f"after {done} iterations the marginals are {error:.1e} off, more than {tolerance:.1e}; raise epsilon "
            f"(now {epsilon:g}), the tolerance or the iterations"
        )
    return Transport(plan, (plan * cost).sum((-2, -1)), error, done)
