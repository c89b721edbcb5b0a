"""Gradients through a fixed point by the implicit function theorem: nothing of the search is kept.

    z* = f(z*; θ)    ⇒    dz*/dθ = (I − ∂f/∂z)⁻¹ ∂f/∂θ
    backwards: u = g + (∂f/∂z)ᵀ u, a fixed point itself, then dL/dθ = (∂f/∂θ)ᵀ u

References:
    Bai, Kolter and Koltun 2019, Deep equilibrium models.
    Krantz and Parks 2002, The implicit function theorem.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.ode.fixed_points import FixedPoint, Map, fixed_point
from gradus.ode.pull import pull

__all__ = ["implicit_fixed_point"]


def implicit_fixed_point(
    f: Map,
    z0: Float[Tensor, "batch *shape"],
    *,
    method: str = "anderson",
    tol: float = 1e-5,
    max_iterations: int = 100,
    backward_method: str | None = None,
    backward_tol: float | None = None,
    backward_iterations: int | None = None,
    on_backward: Callable[[FixedPoint], None] | None = None,
    **settings: Any,
) -> tuple[Float[Tensor, "batch *shape"], FixedPoint]:
    """Find z* = f(z*), differentiable in everything that f depends on, in the memory of one evaluation of f.

    Args:
        f: keeps the shape; it may close over parameters and inputs.
        z0: where to start; it gets no gradient, since z* does not depend on it.
        method: "anderson", "broyden" or "iterate".
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖).
        max_iterations: evaluations of f at most.
        backward_method: for the adjoint fixed point; by default, as the next two, the same as forwards.
        backward_tol: its tolerance.
        backward_iterations: its evaluations at most.
        on_backward: is told how the adjoint search went.
        settings: the method's own, backwards too where the methods agree.

    Returns:
        z* with its gradient, and how the search went.

    Raises:
        GradusError: as `fixed_point` does.
    """
    info = fixed_point(f, z0, method=method, tol=tol, max_iterations=max_iterations, **settings)
    if not torch.is_grad_enabled():
        return info.z, info
    point = info.z.detach()
    value = f(point)
    if not value.requires_grad:
        return point, info
    own = settings if backward_method in (None, method) else {}

    def search(g: Map, start: Tensor) -> Tensor:
        kind, bound, budget = backward_method or method, backward_tol or tol, backward_iterations or max_iterations
        found = fixed_point(g, start, method=kind, tol=bound, max_iterations=budget, **own)
        if on_backward is not None:
            on_backward(found)
        return found.z

    return _Equilibrium.apply(value, point, f, search), info


class _Equilibrium(torch.autograd.Function):
    """The identity on the value of f at z*, whose gradient solves the adjoint fixed point."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, point: Tensor, f: Map, search: Callable[[Map, Tensor], Tensor]) -> Tensor:
        ctx.f, ctx.search = f, search
        ctx.save_for_backward(point)
        return point.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (point,) = ctx.saved_tensors
        with torch.enable_grad():
            start = point.detach().requires_grad_()
            value = ctx.f(start)
        if not value.requires_grad:
            return grad, None, None, None

        # A gradient may be of any size, and the tolerance is relative to 1 + ‖u‖: solve in units of the gradient.
        scale = grad.norm().item() / grad.numel() ** 0.5 or 1.0
        unit = grad / scale

        def adjoint(u: Tensor) -> Tensor:
            (pulled,) = pull((value,), (start,), (u,), retain=True)
            return unit if pulled is None else unit + pulled

        return ctx.search(adjoint, unit) * scale, None, None, None
