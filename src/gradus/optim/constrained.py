"""Constraints by multipliers: minimise f(x) where h(x) = 0 and g(x) ≤ 0.

    L(x, λ, ν) = f(x) + λ·h(x) + ν·g(x),   ν ≥ 0                                                  the Lagrangian
    L_μ(x, λ, ν) = f + λ·h + μ/2 ‖h‖² + 1/(2μ) Σ (max(0, ν + μ g)² − ν²)                          the augmented one

The augmented Lagrangian is minimised over x without constraints; then λ ← λ + μ h, ν ← max(0, ν + μ g), which is what
makes ∇f + λ·∇h + ν·∇g vanish there. The penalty μ grows only where the violation does not shrink by itself, so it stays
moderate, where a penalty alone leaves the violation λ*/μ and needs μ → ∞.

It ends when the residual of the Karush–Kuhn–Tucker conditions is within gtol:

    max(‖∇ₓL‖_∞, ‖h‖_∞, ‖min(−g, ν)‖_∞)          stationary, feasible, and ν_j g_j = 0 with ν, −g ≥ 0

References:
    Hestenes 1969, Multiplier and gradient methods; Powell 1969, A method for nonlinear constraints.
    Rockafellar 1973, The multiplier method of Hestenes and Powell applied to convex programming (inequalities).
    Nocedal and Wright 2006, Numerical optimization, chapter 17.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.objective import (
    CONVERGED,
    EXHAUSTED,
    STALLED,
    STOPPED,
    Callback,
    Function,
    Minimum,
    Objective,
    differentiating,
    report,
)
from gradus.optim.settings import accept, inside

__all__ = ["augmented_lagrangian", "complete"]

Constraint = Callable[[Tensor], Tensor] | None
LARGEST_PENALTY = 1e12
PASSED = ("fn", "x0", "grad", "gtol", "max_iterations", "callback", "equality", "inequality")


@dataclass
class Multipliers:
    """λ, ν and μ, with the constraints they belong to.

    Attributes:
        functions: h and g by kind.
        values: λ and ν by kind, of the shapes of h and g.
        penalty: μ.
    """

    functions: Mapping[str, Callable[[Tensor], Tensor]]
    values: dict[str, Tensor]
    penalty: float

    def constraint(self, kind: str, x: Tensor) -> Tensor:
        """Return h or g at x.

        Raises:
            GradusError: where it is no tensor, of another shape than before, or not finite at the first point.
        """
        found = self.functions[kind](x)
        if not isinstance(found, Tensor) or not found.is_floating_point():
            raise GradusError(f"the {kind} constraint must return a floating-point tensor; use torch.stack for several")
        if kind in self.values and found.shape != self.values[kind].shape:
            raise GradusError(f"the {kind} constraint changed its shape from {tuple(self.values[kind].shape)}")
        return found

    def term(self, x: Tensor) -> Tensor | float:
        """Return what the augmented Lagrangian adds to f."""
        total: Tensor | float = 0.0
        for kind, held in self.values.items():
            found = self.constraint(kind, x)
            if kind == "equality":
                total = total + (held * found).sum() + self.penalty / 2 * found.square().sum()
            else:
                pushed = (held + self.penalty * found).clamp_min(0)
                total = total + (pushed.square().sum() - held.square().sum()) / (2 * self.penalty)
        return total

    def update(self, x: Tensor) -> float:
        """Move λ and ν; return the violation max(‖h‖_∞, ‖min(−g, ν)‖_∞) with the new ones."""
        violation = 0.0
        for kind, held in self.values.items():
            found = self.constraint(kind, x)
            moved = held + self.penalty * found
            self.values[kind] = moved if kind == "equality" else moved.clamp_min(0)
            amount = found if kind == "equality" else torch.minimum(-found, self.values[kind])
            if amount.numel():
                violation = max(violation, amount.abs().max().item())
        return violation


@canon(
    "optim/augmented-lagrangian",
    kind="minimizer",
    paper="Hestenes 1969, Multiplier and gradient methods",
    names=("augmented-lagrangian",),
)
def augmented_lagrangian(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    equality: Constraint = None,
    inequality: Constraint = None,
    gtol: float = 1e-6,
    max_iterations: int | None = None,
    callback: Callback = None,
    inner: str = "bfgs",
    settings: Mapping[str, Any] | None = None,
    penalty: float = 10.0,
) -> Minimum:
    """Augmented Lagrangian: minimise f + λ·h + μ/2 ‖h‖² + …, then λ ← λ + μ h, ν ← max(0, ν + μ g).

    Args:
        fn: f; autograd differentiates it and the constraints.
        x0: the first point; it need not be feasible.
        equality: h, x to a tensor of any shape that is to be zero.
        inequality: g, x to a tensor of any shape that is to be at most zero (SciPy's `ineq` has the other sign).
        gtol: bound on the residual of the Karush–Kuhn–Tucker conditions.
        max_iterations: bound on the updates of the multipliers; 100 when None.
        callback: called after every update.
        inner: the minimiser of the augmented Lagrangian, by name.
        settings: its own settings.
        penalty: the first μ.

    Returns:
        `jac` is ∇f, `multipliers` holds λ as `equality` and ν as `inequality`, `residual` is the one above.

    Raises:
        GradusError: as the inner minimiser does, or for constraints that are not finite tensors.
    """
    inside("minimize", "gtol", gtol, 0)
    if not 0 < penalty < math.inf:
        raise GradusError(f"penalty={penalty} must be positive and finite")
    most = 100 if max_iterations is None else int(inside("minimize", "max_iterations", max_iterations, 0))
    entry = registry.lookup("minimizer", inner)
    complete(entry, settings or {})
    with differentiating():
        objective = Objective(fn, x0)
        held = _begin({"equality": equality, "inequality": inequality}, objective.start.view(x0.shape), penalty)
        outer = Outer(objective, held, registry.load(entry), dict(settings or {}))
        return outer.run(gtol, most, callback)


def _begin(constraints: Mapping[str, Constraint], x: Tensor, penalty: float) -> Multipliers:
    """Return multipliers of zero in the shapes of the constraints."""
    found = Multipliers({kind: c for kind, c in constraints.items() if c is not None}, {}, penalty)
    values = {kind: found.constraint(kind, x).detach() for kind in found.functions}
    for kind, value in values.items():
        if not bool(value.isfinite().all()):
            raise GradusError(f"the {kind} constraint is not finite at x0; start where it is")
        found.values[kind] = torch.zeros_like(value)
    return found


class Outer:
    """The loop over multipliers.

    Args:
        objective: f.
        held: the multipliers.
        inner: minimises over x.
        settings: its own settings.
    """

    def __init__(
        self, objective: Objective, held: Multipliers, inner: Callable[..., Minimum], settings: Mapping[str, Any]
    ) -> None:
        self.objective, self.held, self.inner, self.settings = objective, held, inner, settings
        self.x, self.residual, self.iteration = objective.start, math.inf, 0

    def run(self, gtol: float, most: int, callback: Callback) -> Minimum:
        """Alternate until the residual is within gtol."""
        violation = math.inf
        while self.iteration < most:
            self.iteration += 1
            last, (violation, slope) = violation, self._once(max(gtol / 2, 0.1**self.iteration))
            self.residual = max(violation, slope)
            if callback is not None:
                try:
                    callback(self._made(EXHAUSTED, "Under way."))
                except StopIteration:
                    return self._made(STOPPED)
            if self.residual <= gtol:
                return self._made(CONVERGED)
            if violation > max(last / 4, gtol):
                self.held.penalty *= 10
                if self.held.penalty > LARGEST_PENALTY:
                    return self._made(STALLED, "Stopped: the constraints are still violated; they may be infeasible.")
        return self._made(EXHAUSTED)

    def _once(self, tolerance: float) -> tuple[float, float]:
        """Minimise over x and update the multipliers; return the violation and ‖∇ₓL‖_∞."""
        objective, held = self.objective, self.held
        before = objective.nhev

        def augmented(x: Tensor) -> Any:
            return objective.fn(x) + held.term(x)

        found = self.inner(augmented, self.x.view(objective.shape), gtol=tolerance, **self.settings)
        self.x = found.x.reshape(-1)
        objective.nfev, objective.njev = objective.nfev + found.nfev, objective.njev + found.njev
        objective.nhev = before + found.nhev
        with torch.no_grad():
            return held.update(found.x), found.jac.abs().max().item()

    def _made(self, status: int, message: str | None = None) -> Minimum:
        multipliers = {kind: value.clone() for kind, value in self.held.values.items()}
        return report(
            self.objective, self.objective.at(self.x), nit=self.iteration, status=status, residual=self.residual,
            message=message, multipliers=multipliers,
        )  # fmt: skip


def complete(entry: registry.Entry, settings: Mapping[str, Any]) -> None:
    """Refuse settings that a method does not take, and the lack of one that it needs."""
    accept(entry, settings, reserved=PASSED)
    for name, parameter in entry.parameters.items():
        if parameter.default == registry.REQUIRED and name not in PASSED and name not in settings:
            raise GradusError(
                f"minimizer {entry.names[0]!r} needs {name}=: help(gradus.optim.minimize) says what it is"
            )
