"""One initial-value problem, ready to be solved: what every way to its gradient starts from."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradus.ode.adaptive import Watch, adapt, march
from gradus.ode.implicit import DiagonallyImplicit
from gradus.ode.settings import Options, Statistics
from gradus.ode.state import Field, Layout
from gradus.ode.stepping import ErrorNorm, Functional, Preallocated, Stepper
from gradus.ode.tableaus import Tableau

__all__ = ["Problem"]


@dataclass(frozen=True, eq=False)
class Problem:
    """dy/dt = f(t, y) from times[0] on, with method and tolerances.

    Attributes:
        field: f on packed states, counting into `statistics`.
        times: where the solution is wanted, the start included.
        tableau: the method.
        rtol: relative tolerance.
        atol: absolute tolerance.
        options: everything else about the steps.
        statistics: what the forward solve counts into.
    """

    field: Field
    times: list[float]
    tableau: Tableau
    rtol: float
    atol: float
    options: Options
    statistics: Statistics

    @property
    def layout(self) -> Layout:
        """Layout of the state."""
        return self.field.layout

    def until(self, times: list[float]) -> "Problem":
        """Return the same problem with other times."""
        return replace(self, times=times)

    def functional(self, like: Tensor) -> Functional | DiagonallyImplicit:
        """Return a stepper that autograd can follow."""
        if self.tableau.explicit:
            return Functional(self.field, self.tableau, like)
        return DiagonallyImplicit(self.field, self.tableau, like, self.options)

    def fastest(self, like: Tensor) -> Preallocated | DiagonallyImplicit:
        """Return the stepper to take where nobody asks for gradients."""
        if self.tableau.explicit:
            return Preallocated(self.field, self.tableau, like)
        return DiagonallyImplicit(self.field, self.tableau, like, self.options)

    def run(self, stepper: Stepper, y: Tensor, watch: Watch | None = None) -> list[Tensor]:
        """Return the packed states at the times reached.

        Args:
            stepper: of this problem.
            y: packed initial state.
            watch: sees every accepted step.
        """
        start = stepper.enter(y)
        if not self.tableau.adaptive or self.options.fixed:
            found = march(stepper, start, self.times, self.options, self.statistics, watch)
        else:
            norm = ErrorNorm(self.rtol, self.atol, y, self.layout.sizes)
            found, _ = adapt(stepper, norm, start, self.times, self.options, self.statistics, watch)
        return [stepper.leave(state) for state in found]

    def without_gradients(self, y: Tensor, watch: Watch | None = None) -> Tensor:
        """Return the packed states at the times reached, stacked, on the fast path."""
        with torch.no_grad():
            return torch.stack(self.run(self.fastest(y), y.detach(), watch))
