"""The adjoint method: gradients by a second differential equation, solved backwards, in memory that does not grow.

    da/dt = −aᵀ ∂f/∂y,    a(t_i) jumps by ∂L/∂y(t_i),    dL/dθ = −∫ from t_1 to t_0 of aᵀ ∂f/∂θ dt

y is solved backwards beside a, so that no state of the forward solve is kept but the ones that were asked for. dL/dθ
takes no part in the dynamics: its stages are never formed, only its result and its error.

References:
    Chen, Rubanova, Bettencourt and Duvenaud 2018, Neural ordinary differential equations.
    Kidger, Chen and Lyons 2021, "Hey, that's not an ODE": faster ODE adjoints via seminorms.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradus.ode.adaptive import adapt, march
from gradus.ode.problem import Problem
from gradus.ode.pull import pull
from gradus.ode.settings import Statistics
from gradus.ode.state import Field, Layout
from gradus.ode.stepping import ErrorNorm, Preallocated

__all__ = ["solve_by_adjoint"]


def solve_by_adjoint(problem: Problem, y: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    """Return the packed states at the problem's times, stacked, with the adjoint as gradient.

    Args:
        problem: with an explicit method.
        y: packed initial state.
        params: what f depends on and gradients are wanted for.
    """
    return _Adjoint.apply(problem, y, *params)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, problem: Problem, y: Tensor, *params: Tensor) -> Tensor:
        found = problem.without_gradients(y)
        ctx.problem = problem
        ctx.save_for_backward(found, *params)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        found, *params = ctx.saved_tensors
        return None, *_backward(ctx.problem, found, grad, tuple(params))


def _backward(problem: Problem, found: Tensor, grad: Tensor, params: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the gradients with respect to the initial state and the parameters."""
    layout, options = problem.layout, problem.options
    n, shape = layout.size, found.shape[1:]
    found, grad = found.reshape(len(found), n), grad.reshape(len(grad), n)
    field = _Augmented(problem.field, found[0], params)
    sizes = layout.sizes * 2 + ([p.numel() for p in params] if options.adjoint_norm == "mixed" else [])
    rtol, atol = options.adjoint_rtol or problem.rtol, options.adjoint_atol or problem.atol
    state = found.new_zeros(field.writes)
    state[n : 2 * n] = grad[-1]
    stepper, norm = Preallocated(field, problem.tableau, state), ErrorNorm(rtol, atol, state, sizes)
    control = replace(options, first_step=None)
    h: float | None = None
    for i in range(len(found) - 1, 0, -1):
        state[:n] = found[i]
        times = [problem.times[i], problem.times[i - 1]]
        stepper.forget()
        if options.fixed or not problem.tableau.adaptive:
            reached = march(stepper, state, times, options, field.statistics)
        else:
            reached, h = adapt(stepper, norm, state, times, control, field.statistics, h=h)
        state = reached[-1].clone()
        state[n : 2 * n] += grad[i - 1]
    problem.statistics.backward += field.statistics.nfev
    parts = field.layout.views(state)[2 * len(layout.sizes) :]
    return [state[n : 2 * n].view(shape), *parts]


class _Augmented(Field):
    """(y, a, dL/dθ) → (f, −aᵀ ∂f/∂y, −aᵀ ∂f/∂θ); it reads y and a only.

    Args:
        field: f.
        like: a flat state.
        params: θ.
    """

    def __init__(self, field: Field, like: Tensor, params: tuple[Tensor, ...]) -> None:
        parts = field.layout.views(like)
        super().__init__(field.func, Layout([*parts, *parts, *(param.detach() for param in params)]), Statistics())
        self.inner, self.params, self.count = field.layout, params, len(parts)
        self.n = field.layout.size
        self.reads = 2 * self.n

    def into(self, rows: list[Tensor], t: Tensor, flat: Tensor) -> None:
        """Write the derivative at a flat (y, a) into `rows`."""
        self.statistics.nfev += 1
        inner, count = self.inner, self.count
        adjoint = flat[self.n :].neg()
        with torch.enable_grad():
            points = [part.detach().requires_grad_() for part in inner.views(flat[: self.n])]
            slopes = inner.match(self.func(t, inner.join(points)), "the field's value")
        pulls = [(slope, seed) for slope, seed in zip(slopes, inner.views(adjoint), strict=True) if slope.requires_grad]
        found: list[Tensor | None] = [None] * (count + len(self.params))
        if pulls:
            ends, seeds = zip(*pulls, strict=True)
            found = list(pull(ends, (*points, *self.params), seeds))
        for row, grad in zip(rows[count:], found, strict=True):
            if grad is None:
                row.zero_()
            else:
                row.copy_(grad)
        for row, slope in zip(rows, slopes, strict=False):
            row.copy_(slope)
