"""Follow the ridge: minimax dynamics that come to rest at local minimax points, and nowhere else.

    x ← x − η_x ∇_x f,   y ← y + η_y ∇_y f + η_x H_yy⁻¹ H_yx ∇_x f

Where y answers x, ∇_y f = 0; moving x by −η_x ∇_x f would leave this ridge, and the last term is what keeps y on it to
first order. A *local minimax* is a point where ∇f = 0, H_yy ≺ 0 and H_xx − H_xy H_yy⁻¹ H_yx ≻ 0: y is a maximum, and x
a minimum of the value after y's answer. At a point where ∇f = 0 the Jacobian of these dynamics is block triangular in
suitable coordinates, with −η_x times the second matrix and η_y times the first on its diagonal, so it is stable exactly
there; gradient descent-ascent leaves some of these points, and settles in points that are none.

References:
    Wang, Zhang and Ba 2020, On solving minimax optimization locally: a follow-the-ridge approach.
    Jin, Netrapalli and Jordan 2020, What is local optimality in nonconvex-nonconcave minimax optimization?
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.optim.minimax import Dynamics, Pair, Payoff, State, nothing, rates_of, tracked
from gradus.optim.settings import inside

__all__ = ["follow_the_ridge", "is_local_minimax"]


@canon(
    "optim/follow_the_ridge",
    kind="minimax",
    paper="Wang, Zhang and Ba 2020, On solving minimax optimization locally: a follow-the-ridge approach",
)
def follow_the_ridge(
    lr: float = 0.05, lr_y: float | None = None, damping: float = 0.0, dense: int = 64, iterations: int = 32
) -> Dynamics:
    """Follow the ridge: x ← x − η_x ∇_x f, y ← y + η_y ∇_y f + η_x H_yy⁻¹ H_yx ∇_x f.

    H_yy⁻¹ b is the z of least ‖H_yy z − b‖² + δ² ‖z‖²: by the eigenvalues of H_yy where y is small, else by conjugate
    gradients on its normal equations, with Hessian-vector products.

    Args:
        lr: η_x.
        lr_y: η_y; η_x when left out.
        damping: δ.
        dense: the largest y whose Hessian is written out.
        iterations: of the conjugate gradients, at most.

    Raises:
        GradusError: for a setting out of range.
    """
    rates = rates_of("follow_the_ridge", lr, lr_y)
    solver: dict[str, Any] = {
        "damping": inside("follow_the_ridge", "damping", damping, 0),
        "dense": inside("follow_the_ridge", "dense", dense, 0),
        "iterations": inside("follow_the_ridge", "iterations", iterations, 1),
    }
    settings = {"lr": lr, "lr_y": lr_y, **solver}
    return Dynamics("follow_the_ridge", nothing, partial(_ridge, rates=rates, **solver), settings)


def is_local_minimax(fn: Payoff, x: Float[Tensor, "*shape"], y: Float[Tensor, "*other"], tol: float = 1e-6) -> bool:
    """Say whether a point is a strict local minimax: ∇f = 0, H_yy ≺ 0 and H_xx − H_xy H_yy⁻¹ H_yx ≻ 0.

    Args:
        fn: f, twice differentiable.
        x: of the player who descends.
        y: of the player who ascends.
        tol: what counts as a vanishing gradient, and as a curvature away from zero.
    """
    x, y, value = tracked(fn, x, y)
    gradients = torch.autograd.grad(value, (x, y), create_graph=True, materialize_grads=True)
    if any(gradient.detach().norm() > tol for gradient in gradients):
        return False
    whole = torch.cat([_rows(gradient, (x, y)) for gradient in gradients])
    n = x.numel()
    answers = whole[n:, n:]
    if torch.linalg.eigvalsh(answers).max() >= -tol:
        return False
    reduced = whole[:n, :n] - whole[:n, n:] @ torch.linalg.solve(answers, whole[n:, :n])
    return bool(torch.linalg.eigvalsh((reduced + reduced.T) / 2).min() > tol)


def _ridge(
    fn: Payoff,
    x: Tensor,
    y: Tensor,
    state: State,
    gradients: Pair | None = None,
    *,
    rates: tuple[float, float],
    damping: float,
    dense: int,
    iterations: int,
) -> Pair:
    x, y, value = tracked(fn, x, y)
    down, up = torch.autograd.grad(value, (x, y), create_graph=True, materialize_grads=True)
    step = down.detach()
    pull = _product(down, y, step).flatten()
    if y.numel() <= dense:
        shift = _solve_dense(_rows(up, (y,)), pull, damping)
    else:
        shift = _solve_iterated(lambda z: _product(up, y, z.view_as(y)).flatten(), pull, damping, iterations)
    return (x - rates[0] * step).detach(), (y + rates[1] * up + rates[0] * shift.view_as(y)).detach()


def _product(gradient: Tensor, at: Tensor, vector: Tensor) -> Tensor:
    """Return ∂(gradient · vector) / ∂at, a product with a block of the Hessian."""
    if not gradient.requires_grad:
        return torch.zeros_like(at)
    return torch.autograd.grad(gradient, at, vector, retain_graph=True, materialize_grads=True)[0]


def _rows(gradient: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """Return the rows of the Hessian that belong to a gradient, one column a number of `at`."""
    count = gradient.numel()
    if not gradient.requires_grad:
        return gradient.new_zeros(count, sum(t.numel() for t in at))
    units = torch.eye(count, dtype=gradient.dtype, device=gradient.device).view(count, *gradient.shape)
    blocks = torch.autograd.grad(gradient, at, units, retain_graph=True, is_grads_batched=True, materialize_grads=True)
    return torch.cat([block.reshape(count, -1) for block in blocks], dim=1)


def _solve_dense(matrix: Tensor, right: Tensor, damping: float) -> Tensor:
    """Return the z of least ‖M z − b‖² + δ² ‖z‖² for a symmetric M; without damping, of least norm."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    floor = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    weights = torch.where(values.abs() > floor, values / (values**2 + damping**2), 0)
    return vectors @ (weights * (vectors.T @ right))


def _solve_iterated(product: Callable[[Tensor], Tensor], right: Tensor, damping: float, iterations: int) -> Tensor:
    """Return that z by conjugate gradients on (M² + δ²) z = M b: M may be indefinite, its square is not."""
    found = torch.zeros_like(right)
    left = product(right)
    direction, size = left.clone(), left.dot(left)
    enough = size * torch.finfo(right.dtype).eps ** 2
    for _ in range(iterations):
        if size <= enough:
            break
        image = product(product(direction)) + damping**2 * direction
        length = size / direction.dot(image)
        found, left = found + length * direction, left - length * image
        last, size = size, left.dot(left)
        direction = left + size / last * direction
    return found
