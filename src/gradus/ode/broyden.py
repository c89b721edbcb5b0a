"""Broyden's method: a quasi-Newton search for the root of g(z) = f(z) − z, its inverse Jacobian kept as a sum.

    z ← z − B g(z),    B = −I + Σ u_i v_iᵀ,    u = (Δz − B Δg) / (v·Δg),    vᵀ = Δzᵀ B

B starts as the inverse Jacobian of a constant f, so the first step is z ← f(z). Every sample has its own B.

References:
    Broyden 1965, A class of methods for solving nonlinear simultaneous equations.
    Bai, Kolter and Koltun 2019, Deep equilibrium models.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.ode.fixed_points import FixedPoint, Map, Search

__all__ = ["broyden"]


@canon("ode/broyden", kind="fixed_point", paper="Broyden 1965, Methods for solving nonlinear simultaneous equations")
@torch.no_grad()
def broyden(
    f: Map,
    z0: Float[Tensor, "batch *shape"],
    tol: float = 1e-5,
    max_iterations: int = 100,
    memory: int = 30,
) -> FixedPoint:
    """Follow a quasi-Newton step, and correct it by what it brought.

    Args:
        f: keeps the shape.
        z0: where to start.
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖).
        max_iterations: evaluations of f at most.
        memory: terms of B kept; it starts anew when they are used up.

    Raises:
        GradusError: where f is not finite at z0 or changes the shape, or for a setting out of range.
    """
    if memory < 1:
        raise GradusError(f"broyden: memory={memory} is out of range; give a positive number")
    search, z = Search(f, z0, tol, max_iterations), z0.reshape(len(z0), -1)
    batch, n = z.shape
    left, right = z.new_zeros(2, batch, memory, n).unbind()
    terms, residual = 0, search.value(z) - z
    while search.running:
        step = -_apply(left[:, :terms], right[:, :terms], residual)
        step = torch.where(search.open[:, None], step, torch.zeros_like(step))
        z = z + step
        before, residual = residual, search.value(z) - z
        change = torch.where(search.open[:, None], residual - before, torch.zeros_like(residual))
        if terms == memory:
            terms = 0
        row = _apply(right[:, :terms], left[:, :terms], step)
        slope = (row * change).sum(1, keepdim=True)
        # An update whose denominator is nothing next to its parts would be all rounding: that sample's B stays.
        parts = row.norm(dim=1, keepdim=True) * change.norm(dim=1, keepdim=True)
        sound = slope.abs() > torch.finfo(z.dtype).eps * parts
        column = (step - _apply(left[:, :terms], right[:, :terms], change)) / torch.where(sound, slope, 1.0)
        left[:, terms], right[:, terms] = torch.where(sound, column, 0.0), torch.where(sound, row, 0.0)
        terms += 1
    return search.result()


def _apply(
    left: Float[Tensor, "batch m n"], right: Float[Tensor, "batch m n"], vector: Float[Tensor, "batch n"]
) -> Float[Tensor, "batch n"]:
    """Return (−I + Σ u_i v_iᵀ) x; with the sides exchanged, the transpose."""
    return torch.einsum("bm,bmn->bn", torch.einsum("bmn,bn->bm", right, vector), left) - vector
