"""Events: the times at which a function of the solution passes zero, found on the dense output.

    g(t*, y(t*)) = 0

A change of sign within a step brackets t*; Chandrupatla's method closes in on it by inverse quadratic interpolation
where that is safe and by bisection where it is not. What moves the solution moves the event:

    dt* = −(∂g/∂y · dy) / (∂g/∂t + ∂g/∂y · f)

References:
    Chandrupatla 1997, A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function.
    Chen, Amos and Nickel 2021, Learning neural event functions for ordinary differential equations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.ode.adaptive import Step
from gradus.ode.state import Layout, State
from gradus.ode.stepping import Stepper

__all__ = ["Event", "EventWatch", "root"]


@dataclass(frozen=True)
class Event:
    """Something to look for along a solution.

    Attributes:
        function: g(t, y), one number, which changes its sign at the event.
        terminal: the solve ends at the first one.
        direction: 1 for g rising along the solve, −1 for g falling, 0 for both.
    """

    function: Callable[[Tensor, State], Tensor]
    terminal: bool = False
    direction: int = 0

    def __post_init__(self) -> None:
        if self.direction not in (-1, 0, 1):
            raise GradusError(f"an event's direction is -1, 0 or 1, not {self.direction}")

    def crossed(self, before: float, after: float) -> bool:
        """Return whether g went through zero the right way; what starts at zero has to leave it first."""
        rises, falls = before < 0 <= after, before > 0 >= after
        return (rises and self.direction >= 0) or (falls and self.direction <= 0)


def root(g: Callable[[float], float], low: float, high: float, at_low: float, at_high: float, tol: float) -> float:
    """Return where a continuous g passes zero, between two points of different sign.

    Args:
        g: the function.
        low: one end of the bracket.
        high: the other end.
        at_low: g(low).
        at_high: g(high).
        tol: length of the final bracket.
    """
    a, b, c = high, low, high
    fa, fb, fc = at_high, at_low, at_high
    share = 0.5
    for _ in range(200):
        if fb == 0 or abs(b - a) <= tol:
            break
        x = a + share * (b - a)
        fx = g(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, b, fc, fb = b, a, fb, fa
        a, fa = x, fx
        if fa == 0:
            return a
        share = _share((a, fa), (b, fb), (c, fc), tol)
    return a if abs(fa) < abs(fb) else b


def _share(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], tol: float) -> float:
    """Return where between a and b to look next: by inverse quadratic interpolation where that is sound."""
    if a[0] == b[0]:
        return 0.5
    xi, phi = (a[0] - b[0]) / (c[0] - b[0]), (a[1] - b[1]) / (c[1] - b[1]) if c[1] != b[1] else 2.0
    share = 0.5
    if phi**2 < xi and (1 - phi) ** 2 < 1 - xi:
        share = a[1] / (b[1] - a[1]) * c[1] / (b[1] - c[1])
        share += (c[0] - a[0]) / (b[0] - a[0]) * a[1] / (c[1] - a[1]) * b[1] / (c[1] - b[1])
    least = min(0.5, 0.5 * tol / abs(b[0] - a[0]))
    return min(1 - least, max(least, share))


class EventWatch:
    """Looks for events in every step; a watch of the loops.

    Args:
        events: what to look for.
        layout: of the state.
        stepper: for times as tensors.
        t: start.
        y: packed state there.
    """

    def __init__(self, events: Sequence[Event], layout: Layout, t: float, y: Tensor) -> None:
        self.events, self.layout = list(events), layout
        self.dtype, self.device = y.dtype, y.device
        self.before = [self._value(event, t, y) for event in self.events]
        self.found: list[list[tuple[float, Tensor]]] = [[] for _ in self.events]
        self.end: float | None = None

    def _value(self, event: Event, t: float, packed: Tensor) -> float:
        value = event.function(torch.tensor(t, dtype=self.dtype, device=self.device), self.layout.unpack(packed))
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise GradusError("an event function returns one number, as a tensor; give one event for each number")
        return value.item()

    def __call__(self, stepper: Stepper, step: Step, y: Tensor, new: Tensor) -> float | None:
        """Note the events of a step; return the time of a terminal one, which ends the solve."""
        after = [self._value(event, step.end, stepper.leave(new)) for event in self.events]
        hits: list[tuple[float, int]] = []
        for index, (event, low, high) in enumerate(zip(self.events, self.before, after, strict=True)):
            if event.crossed(low, high):
                hits.append((self._locate(event, stepper, step, y, new, (low, high)), index))
        self.before = after
        for theta, index in sorted(hits):
            end = theta == 1
            state = new if end else stepper.between(step.t, step.h, y, (step.end, new), theta)
            time = step.end if end else step.t + theta * step.h
            self.found[index].append((time, stepper.leave(state)))
            if self.events[index].terminal:
                self.end = time
                return time
        return None

    def _locate(
        self, event: Event, stepper: Stepper, step: Step, y: Tensor, new: Tensor, ends: tuple[float, float]
    ) -> float:
        def g(theta: float) -> float:
            state = stepper.between(step.t, step.h, y, (step.end, new), theta)
            return self._value(event, step.t + theta * step.h, stepper.leave(state))

        if ends[1] == 0:
            return 1.0
        tol = 4 * torch.finfo(torch.float64).eps * max(1.0, abs(step.t / step.h))
        return root(g, 0.0, 1.0, *ends, tol)
