"""Test functions of optimisation: what they are, where their minimum is, and the window they are drawn in.

    sphere      Σ xᵢ²
    ellipsoid   Σ κ^{(i−1)/(n−1)} xᵢ²
    rosenbrock  Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²
    rastrigin   Σ xᵢ² + 10 (1 − cos 2πxᵢ)
    beale       (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²
    booth       (x + 2y − 7)² + (2x + y − 5)²
    himmelblau  (x² + y − 11)² + (x + y² − 7)²
    saddle      x² − y²

Each maps points `[*batch, n]` to values `[*batch]`, so that a population or a grid is one call. The first four take
any n (Rosenbrock n ≥ 2), the others the plane.

References:
    Rosenbrock 1960, An automatic method for finding the greatest or least value of a function.
    Beale 1958, On an iterative method for finding a local minimum of a function of more than one variable.
    Himmelblau 1972, Applied nonlinear programming.
    Rastrigin 1974, Systems of extremal control.
    Hansen et al. 2009, Real-parameter black-box optimization benchmarking: noiseless functions definitions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = [
    "SURFACES", "Surface", "beale", "booth", "ellipsoid", "himmelblau", "rastrigin", "rosenbrock", "saddle", "sphere",
]  # fmt: skip


@dataclass(frozen=True)
class Surface:
    """A test function with what is known of it.

    Attributes:
        function: points `[*batch, n]` to values `[*batch]`.
        minimum: its least value; −∞ where there is none.
        minimiser: where in the plane it is taken, one place of several if need be; None where there is no minimum.
            A function of any n has its minimiser at the same number in every coordinate.
        box: (low, high) of x, then of y: what a picture shows.
        start: where the paths of a picture set out.
        planar: whether only n = 2 makes sense.
    """

    function: Callable[[Tensor], Tensor]
    minimum: float
    minimiser: tuple[float, float] | None
    box: tuple[tuple[float, float], tuple[float, float]]
    start: tuple[float, float]
    planar: bool = True


def sphere(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Return Σ xᵢ²."""
    return x.square().sum(-1)


def ellipsoid(x: Float[Tensor, "*batch n"], condition: float = 1e6) -> Float[Tensor, "*batch"]:
    """Return Σ κ^{(i−1)/(n−1)} xᵢ²: axes whose curvatures are spread evenly, in the logarithm, from 1 to κ.

    Args:
        x: points.
        condition: κ.
    """
    exponents = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype, device=x.device)
    return (x.square() * condition**exponents).sum(-1)


def rosenbrock(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Return Σ 100 (xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²: a bent valley, flat along its floor.

    Raises:
        GradusError: for fewer than two coordinates.
    """
    if x.shape[-1] < 2:
        raise GradusError(f"rosenbrock takes points of at least 2 coordinates, not {x.shape[-1]}")
    left, right = x[..., :-1], x[..., 1:]
    return (100 * (right - left.square()).square() + (1 - left).square()).sum(-1)


def rastrigin(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """Return Σ xᵢ² + 10 (1 − cos 2πxᵢ): a bowl with a dent near every whole number."""
    return (x.square() + 10 * (1 - torch.cos(2 * math.pi * x))).sum(-1)


def beale(x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Return (1.5 − x + xy)² + (2.25 − x + xy²)² + (2.625 − x + xy³)²: plateaus with steep corners."""
    x, y = x.unbind(-1)
    return (1.5 - x + x * y).square() + (2.25 - x + x * y**2).square() + (2.625 - x + x * y**3).square()


def booth(x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Return (x + 2y − 7)² + (2x + y − 5)²: a tilted bowl."""
    x, y = x.unbind(-1)
    return (x + 2 * y - 7).square() + (2 * x + y - 5).square()


def himmelblau(x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Return (x² + y − 11)² + (x + y² − 7)²: four minima of value 0."""
    x, y = x.unbind(-1)
    return (x.square() + y - 11).square() + (x + y.square() - 7).square()


def saddle(x: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Return x² − y²: the gradient vanishes at the origin, and there is no minimum."""
    x, y = x.unbind(-1)
    return x.square() - y.square()


SURFACES: dict[str, Surface] = {
    "sphere": Surface(sphere, 0.0, (0.0, 0.0), ((-2.0, 2.0), (-2.0, 2.0)), (-1.5, 1.0), planar=False),
    "ellipsoid": Surface(ellipsoid, 0.0, (0.0, 0.0), ((-2.0, 2.0), (-0.02, 0.02)), (-1.5, 0.01), planar=False),
    "rosenbrock": Surface(rosenbrock, 0.0, (1.0, 1.0), ((-2.0, 2.0), (-1.0, 3.0)), (-1.2, 1.0), planar=False),
    "rastrigin": Surface(rastrigin, 0.0, (0.0, 0.0), ((-5.12, 5.12), (-5.12, 5.12)), (-3.3, 2.4), planar=False),
    "beale": Surface(beale, 0.0, (3.0, 0.5), ((-4.5, 4.5), (-4.5, 4.5)), (1.0, 1.5)),
    "booth": Surface(booth, 0.0, (1.0, 3.0), ((-10.0, 10.0), (-10.0, 10.0)), (-8.0, -6.0)),
    "himmelblau": Surface(himmelblau, 0.0, (3.0, 2.0), ((-6.0, 6.0), (-6.0, 6.0)), (0.5, -0.5)),
    "saddle": Surface(saddle, -math.inf, None, ((-1.5, 1.5), (-1.5, 1.5)), (-1.2, 1e-3)),
}
