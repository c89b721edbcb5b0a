"""The loops over steps: with given lengths, and with lengths chosen so that the estimated error meets the tolerance.

    h_new = h · min(max_factor, max(min_factor, safety · ‖e‖^{−1/(q+1)}))      a step is accepted when ‖e‖ ≤ 1

Time is a Python float, so that the device is waited for once a step, for ‖e‖. Steps go past output times, which the
dense output serves, but end at the last one. A step is a `Step`; whoever replays the same list makes the same numbers.

References:
    Hairer, Nørsett and Wanner 1993, Solving ordinary differential equations I, section II.4 (control, first step).
    Gustafsson 1991, Control theoretic techniques for stepsize selection in explicit Runge–Kutta methods.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gradus.ode.diagnosis import StiffnessTest, check_finite, no_newton, not_finite, stopped, too_many
from gradus.ode.settings import Options, Statistics
from gradus.ode.stepping import ErrorNorm, Stepper

__all__ = ["Step", "Watch", "adapt", "first_step", "grid", "march", "replay"]


class Step(NamedTuple):
    """From t by h, which is negative backwards in time, to `end`: t + h, or an output time exactly."""

    t: float
    h: float
    end: float


Watch = Callable[[Stepper, Step, Tensor, Tensor], float | None]
"""Sees a step that is about to be accepted, with the state before and after it; a time within it ends the solve."""


def grid(times: list[float], options: Options) -> Iterator[Step]:
    """Yield fixed steps that end at every output time; for ever, where the last one is infinite."""
    for start, end in pairwise(times):
        if math.isinf(end):
            h, j = math.copysign(options.step_size or 1.0, end), 0
            while True:
                yield Step(start + j * h, h, start + (j + 1) * h)
                j += 1
        count = options.steps or 1
        if options.step_size is not None:
            # A hair less than the quotient, so that 1 / 0.1 makes ten steps and not eleven.
            count = max(1, math.ceil(abs(end - start) / options.step_size * (1 - 1e-12)))
        h = (end - start) / count
        for j in range(count):
            yield Step(start + j * h, h, end if j == count - 1 else start + (j + 1) * h)


def _read_out(
    stepper: Stepper, step: Step, y: Tensor, new: Tensor, wanted: list[float], stop: float | None = None
) -> Iterator[Tensor]:
    """Yield the states at the first of the `wanted` times, as far as the step goes, or the solve where it stops."""
    last = step.end if stop is None else stop
    for time in wanted:
        if (time - last) * step.h > 0:
            return
        theta = (time - step.t) / step.h
        yield new if time == step.end else stepper.between(step.t, step.h, y, (step.end, new), theta)


def march(
    stepper: Stepper,
    y: Tensor,
    times: list[float],
    options: Options,
    statistics: Statistics,
    watch: Watch | None = None,
) -> list[Tensor]:
    """Take fixed steps; return the states at the times reached.

    Args:
        stepper: makes the steps.
        y: state at the first time, in the stepper's form.
        times: increasing or decreasing.
        options: length or number of the steps.
        statistics: counts them.
        watch: sees every step.

    Raises:
        GradusError: for a state that is not finite, or a stage without solution.
    """
    found, longest = [y], 0.0
    for step in grid(times, options):
        new = stepper.advance(*step, y)
        if new is None:
            raise no_newton(stepper, step.t, step.h)
        stop = None if watch is None else watch(stepper, step, y, new)
        found += _read_out(stepper, step, y, new, times[len(found) :], stop)
        stepper.accept()
        y, longest = new, max(longest, abs(step.h))
        statistics.accepted += 1
        if stop is not None:
            break
        if math.isinf(times[-1]) and statistics.accepted >= options.max_steps:
            raise too_many(stepper, step.t, step.h, y, 1.0, options)
    check_finite(stepper, times, found, longest)
    return found


def replay(stepper: Stepper, y: Tensor, steps: Iterable[Step], times: list[float]) -> tuple[Tensor, list[Tensor]]:
    """Take the steps of a list; return the last state, and those at the times within."""
    found: list[Tensor] = []
    for step in steps:
        new = stepper.advance(*step, y)
        assert new is not None, "a step that was taken before cannot be taken again"
        found += _read_out(stepper, step, y, new, times[len(found) :])
        stepper.accept()
        y = new
    return y, found


def first_step(stepper: Stepper, norm: ErrorNorm, t: float, y: Tensor, span: float, longest: float) -> float:
    """Return a first step from the sizes of y, of its derivative and of an estimate of its second one.

    Args:
        stepper: evaluates the field; it keeps f(t, y).
        norm: in units of the tolerance.
        t: start.
        y: state there.
        span: signed length of the solve, possibly infinite.
        longest: bound of the step.
    """
    slope = stepper.slope(t, y)
    with torch.no_grad():
        size, speed = norm.against(y, y), norm.against(slope, y)
        if not (math.isfinite(size) and math.isfinite(speed)):
            raise not_finite(stepper, t, state=not torch.isfinite(y).all())
        h = 1e-6 if size < 1e-5 or speed < 1e-5 else 0.01 * size / speed
        h = min(h, abs(span))
        signed = math.copysign(h, span)
        ahead = stepper.evaluate(t + signed, y + signed * slope)
        bend = norm.against(ahead - slope, y) / h
    if not math.isfinite(bend):
        return min(h, longest)
    power = 1 / (stepper.tableau.embedded + 1)
    other = max(1e-6, h * 1e-3) if max(speed, bend) <= 1e-15 else (0.01 / max(speed, bend)) ** power
    return min(100 * h, other, abs(span), longest)


class Control:
    """The lengths of steps: each from the one before and the size of its error.

    Args:
        options: safety, bounds and β.
        power: 1/(q + 1).
        span: start and end of the solve; the end may be infinite.
        h: length of the first step.
    """

    def __init__(self, options: Options, power: float, span: tuple[float, float], h: float) -> None:
        self.options, self.last, self.h = options, span[1], h
        self.sign = 1.0 if span[1] > span[0] else -1.0
        self.beta, self.power = options.pi, power - 0.75 * options.pi
        self.past, self.refused, self.infinite, self.tried = 1e-4, False, False, 0
        self.tiny = math.ulp(span[1] - span[0]) if math.isfinite(span[1]) else 0.0

    def stuck(self, t: float) -> bool:
        """Return whether the step has been made too short to move time, and lengthen it where it just is that short."""
        self.h = min(self.h, self.options.max_step)
        least = 10 * math.ulp(max(abs(t), self.tiny))
        if self.h >= least:
            return False
        self.h = least
        return self.refused

    def propose(self, t: float) -> Step:
        """Return the next step to try; the last one ends at the end."""
        self.tried += 1
        h = self.sign * self.h
        return Step(t, self.last - t, self.last) if (t + h - self.last) * self.sign >= 0 else Step(t, h, t + h)

    def accepted(self, step: Step, size: float) -> None:
        """Set the length after a step that was good."""
        options, factor = self.options, self.options.max_factor
        if size > 0:
            factor = options.safety * size**-self.power * self.past**self.beta
        high = 1.0 if self.refused and options.hold else options.max_factor
        h = abs(step.h) * min(high, max(options.min_factor, factor))
        # A last step cut short says little about the next: what was planned before it stands.
        self.h = max(self.h, h) if step.end == self.last else h
        self.past, self.refused, self.infinite = max(size, 1e-4), False, False

    def rejected(self, step: Step, size: float) -> None:
        """Set the length after a step that was not good, or not finite."""
        factor = self.options.safety * size**-self.power if math.isfinite(size) else 0.0
        self.h = abs(step.h) * max(self.options.min_factor, factor)
        self.refused, self.infinite = True, math.isnan(size)


def _may_go_on(stepper: Stepper, control: Control, t: float, y: Tensor, rtol: float) -> None:
    """Refuse to go on from y at t where steps have become too short or too many."""
    if control.stuck(t):
        raise stopped(stepper, t, control.sign * control.h, y, rtol, infinite=control.infinite)
    if control.tried >= control.options.max_steps:
        raise too_many(stepper, t, control.sign * control.h, y, rtol, control.options)


def _attempt(stepper: Stepper, norm: ErrorNorm, step: Step, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the state after a step, its error, and the error's size: NaN where f is not finite, ∞ without solution."""
    new = stepper.advance(*step, y)
    if new is None:
        return y, y, math.inf
    error = stepper.deviation(step.h)
    size = norm(error, y, new)
    return new, error, size if math.isfinite(size) else math.nan


def adapt(
    stepper: Stepper,
    norm: ErrorNorm,
    y: Tensor,
    times: list[float],
    options: Options,
    statistics: Statistics,
    watch: Watch | None = None,
    h: float | None = None,
) -> tuple[list[Tensor], float]:
    """Take steps of the lengths that the tolerance asks for; return the states at the times reached, and the next h.

    Args:
        stepper: makes the steps.
        norm: size of an error in units of the tolerance.
        y: state at the first time, in the stepper's form.
        times: increasing or decreasing; the last may be infinite.
        options: control, bounds and limits.
        statistics: counts the steps.
        watch: sees every step that is accepted.
        h: first step, positive.

    Raises:
        GradusError: for stiffness, a derivative that is not finite, a singularity, or too many steps.
    """
    t, span = times[0], (times[0], times[-1])
    h = h or options.first_step or first_step(stepper, norm, t, y, span[1] - t, options.max_step)
    control = Control(options, 1 / (stepper.tableau.embedded + 1), span, h)
    stiffness = StiffnessTest(stepper, options)
    found = [y]
    while len(found) < len(times):
        _may_go_on(stepper, control, t, y, norm.rtol)
        step = control.propose(t)
        new, error, size = _attempt(stepper, norm, step, y)
        if not size <= 1:
            statistics.rejected += 1
            control.rejected(step, size)
            continue
        stop = None if watch is None else watch(stepper, step, y, new)
        found += _read_out(stepper, step, y, new, times[len(found) :], stop)
        stepper.accept()
        norm.accept()
        statistics.accepted += 1
        if stiffness.due():
            stiffness.look(step.end, step.h, new, error)
        control.accepted(step, size)
        t, y = step.end, new
        if stop is not None:
            break
    return found, control.h
