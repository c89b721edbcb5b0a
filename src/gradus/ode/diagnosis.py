"""Why a solve cannot go on, told in one sentence: stiffness, a singularity, a derivative that is not finite.

An explicit method is stable while h|λ| stays below a bound r of its own (3.3 for Dormand and Prince's), λ the
eigenvalue of ∂f/∂y farthest to the left. Where the step is held by that bound and not by accuracy, the problem is
stiff. On two states at the same time that differ mostly in the stiff direction, as the results of a pair do,

    h|λ| ≈ h ‖f(t, y) − f(t, ŷ)‖ / ‖y − ŷ‖,    y − ŷ the estimated error.

References:
    Hairer and Wanner 1996, Solving ordinary differential equations II, section IV.2: fifteen steps near the bound, not
    cleared by six in a row below it, make a problem stiff.
Deviations:
    They compare the last two stages of Dormand and Prince's step; comparing the two results instead costs one
    evaluation a test, works for every pair, and amplifies the stiff direction just as much.
"""

import math

import torch
from torch import Tensor

from gradus.errors import GradusError
from gradus.ode.settings import Options
from gradus.ode.stepping import Stepper

__all__ = ["StiffnessTest", "check_finite", "no_newton", "not_finite", "spectral_radius", "stopped", "too_many"]

NEAR, STIFF, CLEARED = 0.98, 15, 6
REMEDY = "use method='trbdf2', or 'implicit_euler' with options={'step_size': …}"


class StiffnessTest:
    """Watches the accepted steps of an explicit pair.

    Args:
        stepper: what makes the steps.
        options: `stiffness_every` says when to look; once suspicious, every step is looked at.
    """

    def __init__(self, stepper: Stepper, options: Options) -> None:
        self.every = options.stiffness_every if stepper.tableau.explicit else 0
        self.stepper, self.limit = stepper, stepper.tableau.stability
        self.near, self.clear, self.seen = 0, 0, 0

    def due(self) -> bool:
        """Count an accepted step, and say whether it is to be looked at."""
        self.seen += 1
        return self.every > 0 and (self.near > 0 or self.seen % self.every == 0)

    def look(self, t: float, h: float, y: Tensor, error: Tensor) -> None:
        """Look at a step that ended in y at t.

        Args:
            t: end of the step.
            h: its length.
            y: state at its end, whose derivative the stepper holds.
            error: estimate of the local error.

        Raises:
            GradusError: when the problem is stiff.
        """
        ratio = self.ratio(t, h, y, error)
        if ratio > NEAR * self.limit:
            self.near, self.clear = self.near + 1, 0
        else:
            self.clear += 1
            if self.clear >= CLEARED:
                self.near = 0
        if self.near >= STIFF:
            raise GradusError(
                f"this problem is stiff: near t = {t:.6g}, {self.stepper.tableau.name}'s step of {abs(h):.3g} is held "
                f"by stability (h·|λ| ≈ {ratio:.2g}, its limit is {self.limit:.2g}) and not by accuracy; {REMEDY}"
            )

    def ratio(self, t: float, h: float, y: Tensor, error: Tensor) -> float:
        """Return the estimate of h|λ|, arguments as those of `look`; 0 where there is none."""
        with torch.no_grad():
            reads, slope = self.stepper.field.reads, self.stepper.slope(t, y)
            size = error.norm().item()
            if not 0 < size < math.inf:
                return 0.0
            # Where tolerances are as fine as rounding, the difference of f would be noise: look farther that way.
            other = y - error * max(1.0, torch.finfo(y.dtype).eps ** 0.5 * y.norm().item() / size)
            apart = (y - other).reshape(-1)[:reads].norm().item()
            if not 0 < apart < math.inf:
                return 0.0
            change = (slope - self.stepper.evaluate(t, other)).reshape(-1)[:reads].norm().item()
        return abs(h) * change / apart


def spectral_radius(stepper: Stepper, t: float, y: Tensor, h: float, iterations: int = 12) -> float:
    """Return an estimate of the largest |λ| of ∂f/∂y, by the power method on differences of f.

    It is 0 where there is none, and where the largest eigenvalue makes solutions grow: that limits accuracy, and is no
    stiffness.

    Args:
        stepper: evaluates f.
        t: time.
        y: state in the stepper's form.
        h: a step, for the direction of time.
        iterations: evaluations.
    """
    with torch.no_grad():
        base = stepper.evaluate(t, y)
        reads = stepper.field.reads
        direction, radius, growth = base, 0.0, 0.0
        tiny = torch.finfo(y.dtype).eps ** 0.5 * (1.0 + y.norm().item())
        for _ in range(iterations):
            size = direction.reshape(-1)[:reads].norm().item()
            if not 0 < size < math.inf:
                return radius
            change = (stepper.evaluate(t, y + direction * (tiny / size)) - base) / tiny
            growth = (change * direction).reshape(-1)[:reads].sum().item() / size
            direction, radius = change, change.reshape(-1)[:reads].norm().item()
    grows = growth * h > 0.5 * radius * abs(h)
    return radius if math.isfinite(radius) and not grows else 0.0


def not_finite(stepper: Stepper, t: float, *, state: bool = False) -> GradusError:
    """Return what to say where the derivative, or the state given, is not finite at t."""
    if state:
        return GradusError(f"the state y0 at t = {t:.6g} holds NaN or infinity; start from finite numbers")
    return GradusError(
        f"the derivative is not finite at t = {t:.6g}: look for a division by zero, or a root or logarithm of a "
        "negative number in the field, or end the time span before"
    )


def check_finite(stepper: Stepper, times: list[float], states: list[Tensor], step: float) -> None:
    """Refuse the result of fixed steps that is not finite.

    Args:
        stepper: what made the steps.
        times: of the states.
        states: in the stepper's form, from the start on.
        step: the longest step taken.

    Raises:
        GradusError: naming the time, and stiffness where the step is beyond what the method is stable for.
    """
    with torch.no_grad():
        finite = torch.stack([state.isfinite().all() for state in states]).tolist()
        if all(finite):
            return
        first = finite.index(False)
        if first == 0:
            raise not_finite(stepper, times[0], state=True)
        name, limit = stepper.tableau.name, stepper.tableau.stability
        start, y = times[first - 1], states[first - 1]
        if not torch.isfinite(stepper.evaluate(start, y)).all():
            raise not_finite(stepper, start)
        radius = spectral_radius(stepper, start, y, times[first] - start)
    if step * radius > limit:
        raise GradusError(
            f"{name} became unstable between t = {start:.6g} and {times[first]:.6g}: the problem is stiff, h·|λ| ≈ "
            f"{step * radius:.3g} and {name} is stable up to {limit:.3g}; take steps below {limit / radius:.3g}, or "
            f"{REMEDY}"
        )
    raise GradusError(
        f"the state is not finite from t = {times[first]:.6g} on (it was at {start:.6g}): the solution may have a "
        "singularity there, or the field is not defined; take shorter steps or end the time span before"
    )


def stopped(stepper: Stepper, t: float, h: float, y: Tensor, rtol: float, *, infinite: bool) -> GradusError:
    """Return what to say where steps have become too short to move time.

    Args:
        stepper: what made the steps.
        t: time reached.
        h: the step that is too short.
        y: state there, in the stepper's form.
        rtol: relative tolerance.
        infinite: whether steps were refused because f was not finite.
    """
    if infinite:
        return not_finite(stepper, t)
    if (cause := _cause(stepper, t, h, y, rtol)) is not None:
        return GradusError(f"the step fell to {abs(h):.2g} at t = {t:.6g}: {cause}")
    return GradusError(
        f"the step fell to {abs(h):.2g} at t = {t:.6g}, too short to move time: the solution seems to have a "
        "singularity there (or a jump in the field); end the time span before it"
    )


def too_many(stepper: Stepper, t: float, h: float, y: Tensor, rtol: float, options: Options) -> GradusError:
    """Return what to say when `max_steps` have been tried; arguments as those of `stopped`."""
    cause = _cause(stepper, t, h, y, rtol)
    return GradusError(
        f"{stepper.tableau.name} has tried {options.max_steps} steps and reached t = {t:.6g} with h = {abs(h):.2g}: "
        + (cause or "loosen rtol and atol, shorten the time span, or raise options={'max_steps': …}")
    )


def _cause(stepper: Stepper, t: float, h: float, y: Tensor, rtol: float) -> str | None:
    radius = spectral_radius(stepper, t, y, h)
    if stepper.tableau.explicit and abs(h) * radius > 0.5 * stepper.tableau.stability:
        return f"the problem is stiff (h·|λ| ≈ {abs(h) * radius:.2g} at an explicit method's limit); {REMEDY}"
    eps = torch.finfo(y.dtype).eps
    if rtol < 4 * eps:
        kind = str(y.dtype).removeprefix("torch.")
        return f"rtol={rtol:g} is finer than {kind} can tell ({eps:.1g}); use float64 or rtol ≥ {10 * eps:.0g}"
    return None


def no_newton(stepper: Stepper, t: float, h: float) -> GradusError:
    """Return what to say where Newton's method has found no implicit stage."""
    return GradusError(
        f"{stepper.tableau.name}: Newton's method did not converge in the step of {abs(h):.3g} from t = {t:.6g}; take "
        "shorter steps, or raise options={'newton_iterations': …}"
    )
