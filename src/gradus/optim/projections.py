"""Projections: the nearest point of a convex set, P(x) = argmin_{z ∈ C} ‖z − x‖.

    box         min(max(x, l), u)
    ball        c + (x − c) min(1, r / ‖x − c‖)
    simplex     max(x − τ, 0), with τ such that the coordinates sum to s: s > 0
    l1 ball     sign(x) · P_simplex(|x|), where ‖x‖₁ > r

A box is kept coordinate by coordinate; the others along the last dimension, every row on its own.

References:
    Held, Wolfe and Crowder 1974, Validation of subgradient optimization (the simplex, by sorting).
    Duchi et al. 2008, Efficient projections onto the l1-ball for learning in high dimensions.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["project_ball", "project_box", "project_l1_ball", "project_simplex"]


def project_box(
    x: Float[Tensor, "*shape"], low: float | Tensor = -math.inf, high: float | Tensor = math.inf
) -> Float[Tensor, "*shape"]:
    """Return the nearest point with low ≤ xᵢ ≤ high.

    Args:
        x: points.
        low: lower bounds, one or as many as broadcast to x.
        high: upper bounds, likewise.

    Raises:
        GradusError: where a lower bound is above its upper one.
    """
    bounds = [torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (low, high)]
    if not bool((bounds[0] <= bounds[1]).all()):
        raise GradusError("this box is empty: a lower bound is above its upper bound, or not a number")
    return torch.minimum(torch.maximum(x, bounds[0]), bounds[1])


def project_ball(
    x: Float[Tensor, "*batch n"], radius: float = 1.0, centre: float | Tensor = 0.0
) -> Float[Tensor, "*batch n"]:
    """Return the nearest point with ‖x − c‖₂ ≤ r.

    Args:
        x: points.
        radius: r ≥ 0.
        centre: c, one number or as many as broadcast to x.
    """
    _positive("radius", radius, zero=True)
    away = x - centre
    size = torch.linalg.vector_norm(away, dim=-1, keepdim=True)
    return torch.where(size > radius, centre + away * (radius / size.clamp_min(torch.finfo(x.dtype).tiny)), x)


def project_simplex(x: Float[Tensor, "*batch n"], total: float = 1.0) -> Float[Tensor, "*batch n"]:
    """Return the nearest point with xᵢ ≥ 0 and Σ xᵢ = s.

    Args:
        x: points.
        total: s > 0.
    """
    _positive("total", total)
    # Shifting by the largest coordinate changes nothing but keeps the sums small beside s.
    x = x - x.amax(-1, keepdim=True)
    ordered = x.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - total
    rank = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    support = (ordered * rank > excess).sum(-1, keepdim=True)
    threshold = excess.gather(-1, support - 1) / support
    return (x - threshold).clamp_min(0)


def project_l1_ball(x: Float[Tensor, "*batch n"], radius: float = 1.0) -> Float[Tensor, "*batch n"]:
    """Return the nearest point with Σ |xᵢ| ≤ r.

    Args:
        x: points.
        radius: r > 0.
    """
    _positive("radius", radius)
    outside = x.abs().sum(-1, keepdim=True) > radius
    return torch.where(outside, x.sign() * project_simplex(x.abs(), radius), x)


def _positive(name: str, value: float, zero: bool = False) -> None:
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise GradusError(f"a projection's {name} must be finite and {'not negative' if zero else 'positive'}: {value}")
