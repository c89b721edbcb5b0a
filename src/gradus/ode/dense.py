"""Dense output: the solution at any time of a solve, from what its steps left behind.

    y(t_n + θh) = y_n + h Σ_i p_i(θ) k_i

References:
    Shampine 1986, Some practical Runge–Kutta formulas; Hairer, Nørsett and Wanner 1993, section II.6.
"""

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.ode.adaptive import Step
from gradus.ode.state import Layout, State
from gradus.ode.stepping import Stepper
from gradus.ode.tableaus import Tableau

__all__ = ["DenseOutput"]


class DenseOutput:
    """A continuous solution, callable at times; recorded step by step while a solve runs.

    Args:
        tableau: whose interpolant is used: of order 4 for `dopri5`, 3 for other methods that start explicitly.
        layout: of the state.
    """

    def __init__(self, tableau: Tableau, layout: Layout) -> None:
        self.tableau, self.layout = tableau, layout
        self.steps: list[Step] = []
        self.starts: list[Tensor] = []
        self.slopes: list[Tensor] = []

    def __repr__(self) -> str:
        span = f" on [{self.steps[0].t:.6g}, {self.steps[-1].end:.6g}]" if self.steps else ""
        return f"DenseOutput({self.tableau.name}, {len(self.steps)} steps{span})"

    def record(self, stepper: Stepper, step: Step, y: Tensor, new: Tensor) -> None:
        """Keep a step that is about to be accepted; a watch of the loops."""
        slopes = stepper.close((step.end, new))
        self.slopes.append(slopes.clone() if isinstance(slopes, Tensor) else torch.stack(slopes))
        self.slopes[-1] = self.slopes[-1].reshape(len(self.slopes[-1]), *self.layout.shape)
        self.steps.append(step)
        self.starts.append(stepper.leave(y))

    def __call__(self, t: float | Tensor) -> State:
        """Return the state at t.

        Args:
            t: a time, or a vector of them, within the span of the solve.

        Returns:
            The state, with a leading axis where t has one.

        Raises:
            GradusError: for a time outside the span.
        """
        times = t.detach().reshape(-1).tolist() if isinstance(t, Tensor) else [float(t)]
        sign = 1.0 if self.steps[-1].h > 0 else -1.0
        bounds = torch.tensor([sign * step.end for step in self.steps], dtype=torch.float64)
        for time in times:
            if not sign * self.steps[0].t <= sign * time <= sign * self.steps[-1].end:
                raise GradusError(
                    f"t = {time:.6g} lies outside the solved span [{self.steps[0].t:.6g}, {self.steps[-1].end:.6g}]; "
                    "solve further"
                )
        where = torch.searchsorted(bounds, torch.tensor([sign * time for time in times], dtype=torch.float64)).tolist()
        states = [self._at(index, time) for index, time in zip(where, times, strict=True)]
        if isinstance(t, Tensor) and t.dim():
            return self.layout.unpack(torch.stack(states), (len(states),))
        return self.layout.unpack(states[0])

    def _at(self, index: int, time: float) -> Tensor:
        step, y, slopes = self.steps[index], self.starts[index], self.slopes[index]
        weights = self.tableau.dense_weights((time - step.t) / step.h)
        scaled = torch.tensor([step.h * weight for weight in weights], dtype=y.dtype, device=y.device)
        return y + torch.tensordot(scaled, slopes, dims=1)
