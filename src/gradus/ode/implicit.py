"""Diagonally implicit Runge–Kutta steps: every implicit stage is an equation, solved by Newton's method.

    Y = r + hγ f(t, Y),    (I − hγ J) δ = r + hγ f(t, Y) − Y,    Y ← Y + δ,    k = (Y − r) / (hγ)

J = ∂f/∂Y is a matrix (all rows by one batched vector–Jacobian product), a batch of small ones where the rows of the
state are independent systems, or only a product inside GMRES. Gradients do not go through the iterations: at the
solution the implicit function theorem gives dY = (I − hγ J)⁻¹ (dr + hγ ∂_θ f dθ), whatever path led there.

References:
    Hairer and Wanner 1996, Solving ordinary differential equations II, section IV.8.
    Knoll and Keyes 2004, Jacobian-free Newton–Krylov methods.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.ode.krylov import gmres
from gradus.ode.pull import pull, pull_rows
from gradus.ode.settings import Options
from gradus.ode.state import Field
from gradus.ode.stepping import Staged, combine
from gradus.ode.tableaus import Tableau

__all__ = ["DiagonallyImplicit"]

DENSE_LIMIT, SLOW = 512, 0.1

Solve = Callable[[Tensor, bool], Tensor]
"""(right-hand side, transposed) → (I − hγ J)⁻¹ times it, or with the transpose."""


class DiagonallyImplicit(Staged):
    """Steps of a tableau with a diagonal, out of place, on packed states; autograd can follow.

    Args:
        field: what is integrated.
        tableau: any diagonally implicit method.
        like: a packed state, for dtype and device.
        options: Newton's tolerance and iterations, and the linear solver.
    """

    def __init__(self, field: Field, tableau: Tableau, like: Tensor, options: Options) -> None:
        super().__init__(field, tableau, like)
        self.options = options
        self.tol = options.newton_tol or torch.finfo(like.dtype).eps ** (2 / 3)
        self.solve: Solve | None = None
        self.jacobian: Callable[[float], Solve] | None = None
        self.linear = options.linear
        if self.linear == "auto":
            self.linear = "dense" if field.layout.size <= DENSE_LIMIT else "krylov"
        if self.linear == "rows" and not field.layout.single:
            self.linear = "dense"

    def advance(self, t: float, h: float, end: float, y: Tensor) -> Tensor | None:
        """Return y at `end` = t + h; None where Newton's method does not converge."""
        tableau = self.tableau
        # A Jacobian older than the step would make its numbers hang on the past, and a replay could not repeat them.
        self.stages, value, self.jacobian = [], y, None
        for i in range(tableau.stages):
            moment = end if tableau.c[i] == 1 else t + tableau.c[i] * h
            rest = combine(y, self.stages, tableau.a[i][:i], h)
            gamma = h * tableau.diagonal(i)
            if gamma == 0:
                value = rest
                self.stages.append(self.slope(t, y) if i == 0 else self.field(self._time(moment), rest))
                continue
            found = self._stage(self._time(moment), rest, gamma, value)
            if found is None:
                return None
            value = found
            self.stages.append((value - rest) / gamma)
        self.next = self.stages[-1] if tableau.fsal else None
        return value if tableau.stiffly_accurate else combine(y, self.stages, tableau.b, h)

    def _stage(self, t: Tensor, rest: Tensor, gamma: float, guess: Tensor) -> Tensor | None:
        """Return Y = r + γ f(t, Y), differentiable in what r and f depend on."""
        value = self._newton(t, rest.detach(), gamma, guess.detach())
        if value is None or not torch.is_grad_enabled():
            return value
        solve = self._linearise(t, value)(gamma)
        return _Implicit.apply(rest + gamma * self.field(t, value), value, solve)

    def _newton(self, t: Tensor, rest: Tensor, gamma: float, guess: Tensor) -> Tensor | None:
        """Return Y; one Jacobian serves all iterations of a step while they contract well."""
        value, last = guess, math.inf
        for _ in range(self.options.newton_iterations):
            if self.jacobian is None:
                self.jacobian, last = self._linearise(t, value), math.inf
            with torch.no_grad():
                self.solve = self.jacobian(gamma)
                correction = self.solve(rest + gamma * self.field(t, value) - value, False)
                value = value + correction
                size = correction.abs().max().item()
                scale = 1 + value.abs().max().item()
            if not math.isfinite(size):
                return None
            rate = min(size / last, 1.0)
            if size * (rate / (1 - rate) if 0 < rate < 1 else 1.0) <= self.tol * scale:
                return value
            if rate > SLOW and last < math.inf:
                self.jacobian = None
            last = size
        return None

    def _linearise(self, t: Tensor, y: Tensor) -> Callable[[float], Solve]:
        """Return γ ↦ the solver of (I − γ J) x = b, J = ∂f/∂y at y."""
        self.field.statistics.jacobians += 1
        with torch.enable_grad():
            point = y.detach().requires_grad_()
            slope = self.field(t, point)
        if not slope.requires_grad:
            return _Unmoved()
        if self.linear == "krylov":
            return _Krylov(slope, point)
        rows = slope.reshape(slope.shape[0], -1) if self.linear == "rows" and slope.dim() else slope.reshape(1, -1)
        batch, n = rows.shape
        directions = torch.eye(n, dtype=y.dtype, device=y.device)[:, None].expand(n, batch, n).reshape(n, *y.shape)
        found = pull_rows(slope, point, directions)
        if found is None:
            return _Unmoved()
        return _Dense(found.reshape(n, batch, n).transpose(0, 1))

    def deviation(self, h: float) -> Tensor:
        """Return the estimate of the last step's local error, with its stiff part damped by (I − hγ J)⁻¹."""
        assert self.tableau.error is not None
        assert self.solve is not None
        with torch.no_grad():
            return self.solve(combine(torch.zeros_like(self.stages[0]), self.stages, self.tableau.error, h), False)


class _Unmoved:
    """(I − γ J)⁻¹ where J = 0."""

    def __call__(self, gamma: float) -> Solve:
        return lambda b, transposed: b


class _Dense:
    """γ ↦ the solver of (I − γ J) x = b by factorisation, for a batch of systems side by side.

    Args:
        jacobian: J, of shape (batch, n, n).
    """

    def __init__(self, jacobian: Float[Tensor, "batch n n"]) -> None:
        self.jacobian = jacobian
        self.one = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
        self.gamma: float | None = None

    def __call__(self, gamma: float) -> Solve:
        if gamma != self.gamma:
            self.gamma = gamma
            self.factors, self.pivots, _ = torch.linalg.lu_factor_ex(self.one - gamma * self.jacobian)
        return self._solve

    def _solve(self, b: Tensor, transposed: bool) -> Tensor:
        columns = b.reshape(*self.jacobian.shape[:2], 1)
        return torch.linalg.lu_solve(self.factors, self.pivots, columns, adjoint=transposed).view(b.shape)


class _Krylov:
    """γ ↦ the matrix-free solver of (I − γ J) x = b; J v is the derivative of u ↦ Jᵀ u along v.

    Args:
        slope: f(t, y), with its graph.
        point: y.
    """

    def __init__(self, slope: Tensor, point: Tensor) -> None:
        with torch.enable_grad():
            probe = torch.zeros_like(slope, requires_grad=True)
            (pulled,) = pull((slope,), (point,), (probe,), create=True)
        linear = pulled is not None and pulled.requires_grad
        self.forwards = (pulled, probe) if linear else None
        self.backwards = (slope, point)
        self.tol = 10 * torch.finfo(slope.dtype).eps

    def __call__(self, gamma: float) -> Solve:
        return lambda b, transposed: self._solve(b, gamma, self.backwards if transposed else self.forwards)

    def _solve(self, b: Tensor, gamma: float, ends: Any) -> Tensor:
        if ends is None:
            return b
        found = gmres(lambda v: v - gamma * self._product(v.view(b.shape), *ends), b.reshape(-1), tol=self.tol)
        return found.view(b.shape)

    @staticmethod
    def _product(v: Tensor, end: Tensor, start: Tensor) -> Tensor:
        (image,) = pull((end,), (start,), (v,), retain=True)
        return torch.zeros_like(v).reshape(-1) if image is None else image.reshape(-1)


class _Implicit(torch.autograd.Function):
    """Gives the solution its value, and the residual's inputs the gradient (I − hγ J)⁻ᵀ g."""

    @staticmethod
    def forward(ctx: Any, reached: Tensor, value: Tensor, solve: Solve) -> Tensor:
        ctx.solve = solve
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.solve(grad.contiguous(), True), None, None
