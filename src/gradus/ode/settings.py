"""What a solve may be told beyond its tolerances, and what it counts while it runs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gradus.errors import GradusError, nearest

__all__ = ["Options", "Statistics", "read"]


@dataclass
class Statistics:
    """What a solve took.

    Attributes:
        nfev: evaluations of the field in the forward solve.
        accepted: steps taken.
        rejected: steps tried and thrown away.
        jacobians: linearisations of the field, by implicit methods.
        backward: evaluations of the field while gradients were computed (adjoint and checkpointed).
    """

    nfev: int = 0
    accepted: int = 0
    rejected: int = 0
    jacobians: int = 0
    backward: int = 0


@dataclass(frozen=True)
class Options:
    """Settings of the steps; None and infinity leave the choice to the solver.

    Attributes:
        step_size: length of fixed steps, shortened so that a whole number of them fits between two output times.
        steps: number of fixed steps between two output times, instead.
        first_step: length of the first adaptive step.
        max_step: longest adaptive step.
        max_steps: steps tried before giving up.
        safety: factor on the step that would just meet the tolerance.
        min_factor: least factor between two steps.
        max_factor: largest factor between two steps.
        hold: no growth right after a step that was thrown away, as in Hairer's codes and SciPy.
        pi: β of Gustafsson's proportional–integral control; 0 is the classical integral control.
        stiffness_every: test for stiffness every so many accepted steps; 0 never does.
        newton_tol: size of the last Newton correction relative to 1 + |y|; by default ε^(2/3) of the dtype.
        newton_iterations: Newton's corrections before a step is given up.
        linear: how Newton's linear systems are solved: "dense", "rows" (the first axis holds independent systems),
            "krylov" (GMRES, no matrix), or "auto": dense up to 512 unknowns.
        adjoint_rtol: relative tolerance of the adjoint's solve; by default the forward one.
        adjoint_atol: absolute tolerance of the adjoint's solve; by default the forward one.
        adjoint_norm: "mixed" controls the error of parameter gradients too, "seminorm" (Kidger 2021) does not.
    """

    step_size: float | None = None
    steps: int | None = None
    first_step: float | None = None
    max_step: float = math.inf
    max_steps: int = 100_000
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    hold: bool = False
    pi: float = 0.0
    stiffness_every: int = 1000
    newton_tol: float | None = None
    newton_iterations: int = 12
    linear: str = "auto"
    adjoint_rtol: float | None = None
    adjoint_atol: float | None = None
    adjoint_norm: str = "mixed"

    def __post_init__(self) -> None:
        for name in ("step_size", "steps", "first_step", "max_step", "max_steps", "newton_tol", "newton_iterations"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise GradusError(f"odeint: {name}={value} is no positive number")
        if self.step_size is not None and self.steps is not None:
            raise GradusError("odeint: step_size and steps both set the fixed step; give one of them")
        if not (0 < self.safety < 1 and 0 < self.min_factor < 1 < self.max_factor and 0 <= self.pi < 1):
            raise GradusError("odeint: step control needs 0 < safety < 1, 0 < min_factor < 1 < max_factor, 0 <= pi < 1")
        for name, known in (("linear", ("auto", "dense", "rows", "krylov")), ("adjoint_norm", ("mixed", "seminorm"))):
            value = getattr(self, name)
            if value not in known:
                raise GradusError(f"odeint: {name}={value!r} is unknown{nearest(str(value), known)}")

    @property
    def fixed(self) -> bool:
        """Whether the length of the steps is given."""
        return self.step_size is not None or self.steps is not None


def read(options: Mapping[str, Any] | Options | None) -> Options:
    """Return settings from what a user wrote.

    Raises:
        GradusError: for an unknown name, with the nearest known one, or a value out of range.
    """
    if isinstance(options, Options):
        return options
    known = [field.name for field in fields(Options)]
    for name in options or {}:
        if name not in known:
            raise GradusError(f"odeint has no option {name!r}{nearest(name, known)}")
    return Options(**(options or {}))
