"""The objective f of a minimiser and the answer it gives: evaluation on flat points, counts, and SciPy's fields.

A `Point` holds x, f(x) and, from when it is asked for, ∇f(x): a trial that a line search turns down costs no backward
pass. Values and slopes are Python floats, vectors stay tensors on their device.

References:
    Virtanen et al. 2020, SciPy 1.0: fundamental algorithms for scientific computing in Python (names of the fields).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = [
    "CONVERGED", "EXHAUSTED", "STALLED", "STOPPED", "Callback", "Function", "Gradient", "Minimum", "Objective", "Point",
    "differentiating", "report",
]  # fmt: skip

CONVERGED, EXHAUSTED, STALLED, STOPPED = 0, 1, 2, 99
MESSAGES = {
    CONVERGED: "Converged: the residual is within gtol.",
    EXHAUSTED: "Stopped: the maximum number of iterations was reached before the residual fell to gtol.",
    STALLED: "Stopped: no acceptable step was found; rounding hides further descent, or the gradient is not f's.",
    STOPPED: "Stopped: the callback raised StopIteration.",
}

Function = Callable[[Tensor], Any]
Gradient = Callable[[Tensor], Tensor] | bool | None


@dataclass(frozen=True)
class Minimum:
    """Where a minimiser ended, in SciPy's fields and a few more.

    Attributes:
        x: the point, of the shape and dtype of the first one.
        fun: the objective there.
        jac: its gradient there, of x's shape.
        nit: iterations.
        nfev: evaluations of the objective.
        njev: evaluations of its gradient.
        success: whether the residual is within gtol.
        status: 0 converged, 1 out of iterations, 2 no acceptable step, 99 stopped by the callback.
        message: the status in words.
        residual: what was compared with gtol: the largest |∂f/∂xᵢ|, or its like where there are constraints.
        nhev: evaluations of the Hessian.
        multipliers: Lagrange multipliers by kind of constraint; empty where there are none.
    """

    x: Float[Tensor, "*shape"]
    fun: float
    jac: Float[Tensor, "*shape"]
    nit: int
    nfev: int
    njev: int
    success: bool
    status: int
    message: str
    residual: float
    nhev: int = 0
    multipliers: Mapping[str, Tensor] = field(default_factory=dict)


Callback = Callable[[Minimum], object] | None


@contextmanager
def differentiating() -> Iterator[None]:
    """Let autograd record inside, whatever the caller's mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


class Point:
    """A flat x with f(x), and ∇f(x) from when it is asked for."""

    __slots__ = ("_answer", "_grad", "_objective", "value", "x")

    def __init__(self, objective: "Objective", x: Tensor, value: float, answer: Any, grad: Tensor | None) -> None:
        self.x, self.value = x, value
        self._objective, self._answer, self._grad = objective, answer, grad

    @property
    def grad(self) -> Tensor:
        """∇f(x), flat."""
        if self._grad is None:
            self._grad = self._objective.differentiate(self.x, self._answer)
            self._answer = None
        return self._grad


class Objective:
    """f on flat vectors, with counts of what was evaluated.

    Args:
        fn: maps a tensor of x0's shape to a scalar tensor (or, with `grad=True`, to the value and the gradient).
        x0: the first point; it is copied, and its shape and dtype are those of every point `fn` sees.
        grad: None for autograd, True where `fn` gives both, or the gradient as a function.

    Raises:
        GradusError: where x0 is not a finite, non-empty tensor of float32 or float64.
    """

    def __init__(self, fn: Function, x0: Tensor, grad: Gradient = None) -> None:
        if x0.dtype not in (torch.float32, torch.float64):
            raise GradusError(f"a minimiser takes x0 in float32 or float64, not {x0.dtype}; convert it with .double()")
        if not x0.numel():
            raise GradusError("x0 is empty: there is nothing to minimise over")
        self.start = x0.detach().reshape(-1).clone()
        if not bool(self.start.isfinite().all()):
            raise GradusError("x0 holds numbers that are not finite; start from finite ones")
        self.fn, self.gradient, self.shape = fn, grad or None, x0.shape
        self.eps = torch.finfo(x0.dtype).eps
        self.nfev = self.njev = self.nhev = 0

    def at(self, x: Tensor) -> Point:
        """Return the point at a flat x, which the point keeps.

        Raises:
            GradusError: where `fn` gives no scalar, or one that autograd cannot follow, or −∞.
        """
        self.nfev += 1
        if self.gradient is None:
            leaf = x.view(self.shape).detach().requires_grad_()
            output = self.fn(leaf)
            answer = (leaf, output)
        else:
            answer, output = None, self.fn(x.view(self.shape))
        grad = None
        if self.gradient is True:
            if not (isinstance(output, tuple) and len(output) == 2):
                raise GradusError("with grad=True the objective returns (value, gradient); it returned something else")
            output, grad = output
            self.njev += 1
            grad = self._flat(grad)
        value = self._number(output)
        if value == -math.inf:
            raise GradusError(f"the objective is unbounded below: it is -inf at x = {shown(x)}")
        return Point(self, x, value, answer, grad)

    def _number(self, output: Any) -> float:
        if isinstance(output, Tensor) and output.numel() == 1 and not output.is_complex():
            return output.item()
        if self.gradient is not None and isinstance(output, float | int):
            return float(output)
        found = f"a tensor of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise GradusError(f"the objective must return one real number as a tensor, not {found}; sum or average it")

    def differentiate(self, x: Tensor, answer: Any) -> Tensor:
        """Return ∇f at a flat x whose evaluation left `answer`."""
        self.njev += 1
        if self.gradient is not None:
            assert callable(self.gradient)
            return self._flat(self.gradient(x.view(self.shape)))
        leaf, output = answer
        if not output.requires_grad:
            raise GradusError(
                "the objective does not depend on x by operations that autograd follows; "
                "write it in torch, or give its gradient as grad="
            )
        (found,) = torch.autograd.grad(output, leaf, allow_unused=True)
        return torch.zeros_like(x) if found is None else found.reshape(-1)

    def _flat(self, grad: Any) -> Tensor:
        if not isinstance(grad, Tensor) or grad.shape != self.shape:
            found = tuple(grad.shape) if isinstance(grad, Tensor) else type(grad).__name__
            raise GradusError(f"the gradient must be a tensor of x's shape {tuple(self.shape)}, not {found}")
        # A copy, because people's functions may hand out one buffer again and again.
        return grad.detach().reshape(-1).to(self.start.dtype, copy=True)

    def check(self, point: Point, residual: float, iteration: int) -> None:
        """Raise a GradusError where a point that is to be left from is not finite."""
        if not math.isfinite(point.value):
            raise GradusError(
                f"the objective is {point.value} at iteration {iteration}, x = {shown(point.x)}; "
                "start where it is finite, or bound its arguments"
            )
        if not math.isfinite(residual):
            bad = int((~point.grad.isfinite()).nonzero()[0]) if not bool(point.grad.isfinite().all()) else 0
            raise GradusError(
                f"the gradient is not finite in coordinate {bad} at iteration {iteration}, x = {shown(point.x)}; "
                "smooth the objective there (sqrt and log have infinite slopes at 0)"
            )


def shown(x: Tensor, most: int = 4) -> str:
    """Return the first coordinates of a flat point for an error sentence."""
    numbers = ", ".join(f"{value:.6g}" for value in x[:most].tolist())
    return f"[{numbers}{', …' if x.numel() > most else ''}]"


def report(
    objective: Objective,
    point: Point,
    *,
    nit: int,
    status: int,
    residual: float,
    fun: float | None = None,
    message: str | None = None,
    multipliers: Mapping[str, Tensor] | None = None,
) -> Minimum:
    """Return a `Minimum` from where a minimiser is; `fun` where it is more than the objective alone."""
    jac = point.grad.view(objective.shape).clone()
    return Minimum(
        x=point.x.view(objective.shape).clone(), fun=point.value if fun is None else fun, jac=jac, nit=nit,
        nfev=objective.nfev, njev=objective.njev, nhev=objective.nhev, success=status == CONVERGED, status=status,
        message=message or MESSAGES[status], residual=residual, multipliers=multipliers or {},
    )  # fmt: skip
