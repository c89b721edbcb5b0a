"""Threat models: the set an attack may search, {x′ ∈ [0, 1]ⁿ : ‖x′ − x‖ ≤ ε}, kept exactly in floating point.

A ball is data: how to shrink a step into it, which way is steepest, how to draw from it. Exactness rests on one
primitive, `move`: a sum rounded towards x changes no coordinate by more than was asked, so a step inside the ball
stays inside, whatever the precision.

References:
    Madry et al. 2018, Towards deep learning models resistant to adversarial attacks.
    Knuth 1969, The art of computer programming, volume 2, section 4.2.2 (the error of a sum, exactly).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError, nearest

__all__ = ["BALLS", "Ball", "ball_of", "check_eps", "move"]


@dataclass(frozen=True)
class Ball:
    """One norm's geometry; rows are samples.

    Attributes:
        shrink: (steps, ε) → the nearest steps of norm ≤ ε.
        steepest: gradients → steps of norm 1 that raise the objective most; zero where the gradient is.
        draw: (like, ε, generator) → steps drawn uniformly from the ball.
    """

    shrink: Callable[[Tensor, float], Tensor]
    steepest: Callable[[Tensor], Tensor]
    draw: Callable[[Tensor, float, torch.Generator], Tensor]


def move(inputs: Float[Tensor, "*shape"], steps: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return inputs + steps, each coordinate rounded towards the input and then held in [0, 1].

    |x′ᵢ − xᵢ| ≤ |sᵢ| holds in exact arithmetic: the rounding error of a sum is itself a number, and where it points
    away from x the result is moved by one unit in the last place.

    Args:
        inputs: values in [0, 1].
        steps: what to add.
    """
    total = inputs + steps
    added = total - inputs
    error = (inputs - (total - added)) + (steps - added)
    overshot = error * steps.sign() < 0
    return torch.where(overshot, torch.nextafter(total, inputs), total).clamp(0, 1)


def check_eps(eps: float) -> None:
    """Raise a GradusError unless a budget is finite and not negative."""
    if not (math.isfinite(eps) and eps >= 0):
        raise GradusError(f"eps must be a finite number of at least 0, not {eps}")


def ball_of(norm: str) -> Ball:
    """Return the ball of a norm's name; a GradusError names the nearest."""
    if norm not in BALLS:
        raise GradusError(f"there is no norm {norm!r}{nearest(norm, BALLS)}")
    return BALLS[norm]


def _floor(eps: float, dtype: torch.dtype) -> float:
    """Return the largest number of a dtype that is no more than ε."""
    rounded = torch.tensor(eps, dtype=dtype)
    below = torch.nextafter(rounded, torch.zeros_like(rounded))
    return (rounded if rounded.item() <= eps else below).item()


def _norms(steps: Tensor) -> Tensor:
    """Return Euclidean norms `[batch, 1, …]` by a scaled sum, which neither overflows nor underflows."""
    rows = steps.flatten(1)
    scale = rows.abs().amax(1, keepdim=True)
    unit = rows / torch.where(scale > 0, scale, 1)
    return (scale * torch.linalg.vector_norm(unit, dim=1, keepdim=True)).view(-1, *[1] * (steps.dim() - 1))


def _shrink_linf(steps: Tensor, eps: float) -> Tensor:
    radius = _floor(eps, steps.dtype)
    return steps.clamp(-radius, radius)


def _shrink_l2(steps: Tensor, eps: float) -> Tensor:
    # The slack covers the rounding of the norm, here and in whoever measures it afterwards.
    radius = eps * (1 - 64 * torch.finfo(steps.dtype).eps)
    norms = _norms(steps)
    return steps * torch.where(norms > radius, radius / norms.clamp_min(torch.finfo(steps.dtype).tiny), 1)


def _unit_l2(steps: Tensor) -> Tensor:
    norms = _norms(steps)
    return torch.where(norms > 0, steps / norms, 0)


def _draw_linf(like: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    return _empty(like, generator).uniform_(-eps, eps, generator=generator).to(like.device)


def _draw_l2(like: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    direction = _unit_l2(_empty(like, generator).normal_(generator=generator))
    fraction = torch.rand(len(like), dtype=like.dtype, device=generator.device, generator=generator)
    radius = eps * fraction ** (1 / math.prod(like.shape[1:]))
    return (direction * radius.view(-1, *[1] * (like.dim() - 1))).to(like.device)


def _empty(like: Tensor, generator: torch.Generator) -> Tensor:
    # On the generator's device: one seeded on the CPU draws the same start for every device.
    return torch.empty_like(like, device=generator.device)


BALLS = {
    "linf": Ball(shrink=_shrink_linf, steepest=torch.sign, draw=_draw_linf),
    "l2": Ball(shrink=_shrink_l2, steepest=_unit_l2, draw=_draw_l2),
}
