"""Layers whose output solves an equation: neural ODEs, plain and augmented, and deep equilibria.

    NeuralODE:  y(t_1) where dy/dt = f_θ(t, y), y(t_0) = x
    augmented:  y(t_0) = (x, 0), so that flows may pass each other in dimensions of their own
    DeepEquilibrium:  z* = f_θ(z*, x)

A residual stack x ← x + h f_n(x) is Euler's method on the first; a weight-tied stack without end is the last.

References:
    Chen, Rubanova, Bettencourt and Duvenaud 2018, Neural ordinary differential equations.
    Dupont, Doucet and Teh 2019, Augmented neural ODEs.
    Bai, Kolter and Koltun 2019, Deep equilibrium models.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.ode.fixed_points import FixedPoint
from gradus.ode.implicit_gradient import implicit_fixed_point
from gradus.ode.settings import Statistics, read
from gradus.ode.solving import GRADIENTS, odeint
from gradus.ode.tableaus import make

__all__ = ["DeepEquilibrium", "NeuralODE"]


class NeuralODE(nn.Module):
    """The flow of a learned field: x ↦ y(t_1).

    Args:
        field: (t, y) → dy/dt, keeping the shape of y (augmented, where it is).
        span: (t_0, t_1).
        method: name of a solver.
        rtol: relative tolerance.
        atol: absolute tolerance.
        gradient: "adjoint", "backprop" or "checkpointed".
        augment: zeros appended along axis 1 of the input: features, or channels of images.
        options: of the solve.

    Attributes:
        statistics: evaluations and steps of the last call, those of its backward pass included.
    """

    def __init__(
        self,
        field: nn.Module,
        span: tuple[float, float] = (0.0, 1.0),
        *,
        method: str = "dopri5",
        rtol: float = 1e-3,
        atol: float = 1e-4,
        gradient: str = "adjoint",
        augment: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if augment < 0:
            raise GradusError(f"NeuralODE: augment={augment} is negative; give how many zeros to append")
        if span[0] == span[1]:
            raise GradusError(f"NeuralODE: the span {span} has no length; give two different times")
        if gradient not in GRADIENTS:
            raise GradusError(f"NeuralODE: there is no gradient {gradient!r}; there is: {', '.join(GRADIENTS)}")
        make(method)
        self.field, self.span, self.augment = field, (float(span[0]), float(span[1])), augment
        self.method, self.rtol, self.atol, self.gradient = method, rtol, atol, gradient
        self.options = read(options)
        self.statistics = Statistics()

    def extra_repr(self) -> str:
        """Say what is solved how."""
        augment = f", augment={self.augment}" if self.augment else ""
        return f"span={self.span}, method={self.method!r}, rtol={self.rtol}, gradient={self.gradient!r}{augment}"

    @property
    def nfev(self) -> int:
        """Evaluations of the field in the last forward pass."""
        return self.statistics.nfev

    @property
    def nfev_backward(self) -> int:
        """Evaluations of the field in the last backward pass, as far as it has come."""
        return self.statistics.backward

    def widen(self, x: Float[Tensor, "batch width *rest"]) -> Float[Tensor, "batch wider *rest"]:
        """Return the input with its zeros appended."""
        if not self.augment:
            return x
        return torch.cat([x, x.new_zeros(x.shape[0], self.augment, *x.shape[2:])], dim=1)

    def trajectory(
        self, x: Float[Tensor, "batch width *rest"], t: Float[Tensor, "times"]
    ) -> Float[Tensor, "times batch wider *rest"]:
        """Return the states at times t, from x at the first of them.

        Args:
            x: inputs.
            t: increasing or decreasing times.
        """
        return self._solve(x, t)

    def forward(self, x: Float[Tensor, "batch width *rest"]) -> Float[Tensor, "batch wider *rest"]:
        """Return the state at t_1, `augment` wider than x."""
        return self._solve(x, self.span)[-1]

    def _solve(self, x: Tensor, t: Tensor | Sequence[float]) -> Tensor:
        self.statistics = Statistics()
        found = odeint(
            self.field, self.widen(x), t,
            rtol=self.rtol, atol=self.atol, method=self.method, gradient=self.gradient, options=self.options,
            params=tuple(self.field.parameters()), statistics=self.statistics,
        )  # fmt: skip
        assert isinstance(found, Tensor)
        return found


class DeepEquilibrium(nn.Module):
    """The fixed point of a learned cell: x ↦ z* = cell(z*, x).

    Args:
        cell: (z, x) → z, keeping the shape of z.
        method: "anderson", "broyden" or "iterate".
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖), forward and backward.
        max_iterations: evaluations at most, each way.
        settings: the method's own.

    Attributes:
        info: how the last search went.
        backward_info: how the search of the last backward pass went.
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        method: str = "anderson",
        tol: float = 1e-4,
        max_iterations: int = 50,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.cell, self.method, self.tol, self.max_iterations = cell, method, tol, max_iterations
        self.settings = dict(settings or {})
        self.info: FixedPoint | None = None
        self.backward_info: FixedPoint | None = None

    def extra_repr(self) -> str:
        """Say what is solved how."""
        return f"method={self.method!r}, tol={self.tol}, max_iterations={self.max_iterations}"

    @property
    def nfev(self) -> int:
        """Evaluations of the cell in the last search."""
        return self.info.nfev if self.info else 0

    def _note(self, found: FixedPoint) -> None:
        self.backward_info = found

    def forward(
        self, x: Float[Tensor, "batch *features"], z0: Float[Tensor, "batch *shape"] | None = None
    ) -> Float[Tensor, "batch *shape"]:
        """Return the equilibrium.

        Args:
            x: inputs, injected into every application of the cell.
            z0: where to start; by default zeros in the shape of x.
        """
        start = torch.zeros_like(x) if z0 is None else z0
        z, self.info = implicit_fixed_point(
            lambda z: self.cell(z, x), start.detach(),
            method=self.method, tol=self.tol, max_iterations=self.max_iterations, on_backward=self._note,
            **self.settings,
        )  # fmt: skip
        return z
