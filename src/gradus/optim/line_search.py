"""Line searches: how far to go along a descent direction p, from φ(t) = f(x + t p) and its slope φ′(t) = ∇f(x + t p)·p.

    Armijo         φ(t) ≤ φ(0) + c₁ t φ′(0)                                  the value falls by a fair share
    strong Wolfe   Armijo and |φ′(t)| ≤ c₂ |φ′(0)|                           and the slope has flattened
    exact          φ′(t) = 0 at the first minimum found, to rounding

A search gets φ as a function of t and tries steps t > 0; where φ is not finite, it comes closer. It returns None
when it finds nothing. Near a minimum, differences of φ are below its rounding error, so the Armijo condition is
asked for up to 2 eps |φ(0)|; `eps` is the unit roundoff of the objective's dtype, and 0 asks for it to the letter.

The Wolfe search keeps an interval whose left end falls too steeply while the Armijo condition holds there, and whose
right end breaks that condition or rises. ψ(t) = φ(t) − φ(0) − c₁ t φ′(0) then has a minimum inside, where
φ′ = c₁ φ′(0): a step that meets both conditions, since c₁ < c₂. The interval shrinks until one is met.

References:
    Armijo 1966, Minimization of functions having Lipschitz continuous first partial derivatives.
    Wolfe 1969, Convergence conditions for ascent methods.
    Moré and Thuente 1994, Line search algorithms with guaranteed sufficient decrease.
    Hager and Zhang 2005, A new conjugate gradient method with guaranteed descent and an efficient line search.
    Nocedal and Wright 2006, Numerical optimization, chapter 3.
"""

import math
from collections.abc import Callable
from typing import Any

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError

__all__ = ["LineSearch", "Probe", "Ray", "armijo", "exact", "line_search", "wolfe"]


class Probe:
    """φ at one step: its value, and its slope from when it is asked for.

    Args:
        step: t.
        value: φ(t).
        slope: φ′(t), or what computes it.
        point: whatever the maker of the probe wants to find again.
    """

    __slots__ = ("_slope", "point", "step", "value")

    def __init__(self, step: float, value: float, slope: float | Callable[[], float], point: Any = None) -> None:
        self.step, self.value, self.point = step, value, point
        self._slope = slope

    def __repr__(self) -> str:
        return f"Probe(step={self.step:g}, value={self.value:g})"

    @property
    def slope(self) -> float:
        """φ′(t)."""
        if not isinstance(self._slope, float):
            self._slope = float(self._slope() if callable(self._slope) else self._slope)
        return self._slope

    @property
    def sloped(self) -> bool:
        """Whether the slope is known already."""
        return not callable(self._slope)


Ray = Callable[[float], Probe]
LineSearch = Callable[..., Probe | None]


def line_search(name: str) -> LineSearch:
    """Return the line search that a user's name means; a GradusError names the nearest."""
    return registry.find("line-search", name)


@canon(
    "optim/armijo",
    kind="line-search",
    paper="Armijo 1966, Minimization of functions having Lipschitz continuous first partial derivatives",
    names=("armijo", "backtracking"),
)
def armijo(
    ray: Ray, start: Probe, first: float = 1.0, *, eps: float = 2.0**-52, c1: float = 1e-4, max_probes: int = 50
) -> Probe | None:
    """Come back from the first step until φ(t) ≤ φ(0) + c₁ t φ′(0), each time to a parabola's minimum.

    Args:
        ray: φ.
        start: φ at 0, with φ′(0) < 0.
        first: the longest step tried.
        eps: unit roundoff of φ.
        c1: c₁ in (0, 1).
        max_probes: trials before it gives up.

    Returns:
        The step taken, or None.
    """
    assert start.slope < 0 < first, "a line search goes downhill, forwards"
    step = first
    for _ in range(max_probes):
        probe = ray(step)
        if _falls(probe, start, c1, eps):
            return probe
        step = _between(_parabola(start, probe), 0.1 * step, 0.5 * step)
    return None


@canon("optim/wolfe", kind="line-search", paper="Wolfe 1969, Convergence conditions for ascent methods")
def wolfe(
    ray: Ray,
    start: Probe,
    first: float = 1.0,
    *,
    eps: float = 2.0**-52,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_probes: int = 50,
) -> Probe | None:
    """Find a step with φ(t) ≤ φ(0) + c₁ t φ′(0) and |φ′(t)| ≤ c₂ |φ′(0)|, by cubics in a shrinking interval.

    Args:
        ray: φ.
        start: φ at 0, with φ′(0) < 0.
        first: the first step tried; longer ones are if the slope there is too steep.
        eps: unit roundoff of φ.
        c1: c₁ in (0, c₂).
        c2: c₂ in (c₁, 1): 0.9 for Newton-like directions, 0.1 for conjugate gradients.
        max_probes: trials before it gives up.

    Returns:
        The step taken, or None.

    Raises:
        GradusError: for constants out of order.
    """
    assert start.slope < 0 < first, "a line search goes downhill, forwards"
    if not 0 < c1 < c2 < 1:
        raise GradusError(f"the Wolfe conditions can be met for 0 < c1 < c2 < 1, not for c1={c1}, c2={c2}")
    low, high, before, step = start, None, start, first
    width = math.inf
    for _ in range(max_probes):
        probe = ray(step)
        if not _falls(probe, start, c1, eps):
            high = probe
        elif abs(probe.slope) <= -c2 * start.slope:
            return probe
        elif probe.slope < 0:
            before, low = low, probe
        else:
            high = probe
        if high is None:
            reach = low.step - before.step
            step = _between(_cubic(before, low), low.step + 1.1 * reach, low.step + 4 * reach, 4)
            continue
        last, width = width, high.step - low.step
        if width > 0.66 * last:
            step = low.step + 0.5 * width
        else:
            guess = _cubic(low, high) if high.sloped else _parabola(low, high)
            step = _between(guess, low.step + 0.1 * width, high.step - 0.1 * width)
    return None


@canon(
    "optim/exact", kind="line-search", paper="Cauchy 1847, Méthode générale pour la résolution des systèmes d'équations"
)
def exact(
    ray: Ray,
    start: Probe,
    first: float = 1.0,
    *,
    eps: float = 2.0**-52,
    tolerance: float = 1e-9,
    max_probes: int = 100,
) -> Probe | None:
    """Find a minimum of φ along the ray: secants of φ′ inside an interval where its sign changes.

    Args:
        ray: φ.
        start: φ at 0, with φ′(0) < 0.
        first: the first step tried.
        eps: unit roundoff of φ.
        tolerance: |φ′(t)| / |φ′(0)| that is taken for zero, if not below 10 eps.
        max_probes: trials before it gives up.

    Returns:
        The step taken, with φ(t) ≤ φ(0) up to rounding, or None.
    """
    assert start.slope < 0 < first, "a line search goes downhill, forwards"
    enough = -max(tolerance, 10 * eps) * start.slope
    low, high, other, step = start, None, start, first
    for trial in range(1, max_probes + 1):
        probe = ray(step)
        fallen = _falls(probe, start, 0.0, eps)
        if fallen and abs(probe.slope) <= enough:
            return probe
        if fallen and probe.slope < 0:
            low = probe
        else:
            high = probe
        guess = math.nan
        if math.isfinite(probe.value):
            guess, other = _secant(other, probe), probe
        if high is None:
            step = min(guess, 10 * low.step) if guess > low.step else 3 * low.step
        elif high.step - low.step <= 4 * eps * high.step:
            return low if low is not start else None
        else:
            # Secants alone may creep up to one end; a bisection now and then bounds the number of trials.
            step = guess if low.step < guess < high.step and trial % 4 else 0.5 * (low.step + high.step)
    return None


def _falls(probe: Probe, start: Probe, c1: float, eps: float) -> bool:
    """Say whether the Armijo condition holds up to rounding; NaN and ∞ break it."""
    return probe.value <= start.value + c1 * probe.step * start.slope + 2 * eps * abs(start.value)


def _between(guess: float, low: float, high: float, weight: int = 1) -> float:
    """Return a guess moved into [low, high]; NaN is their mean, the high end weighted."""
    if math.isnan(guess):
        return (low + weight * high) / (1 + weight)
    return min(max(guess, low), high)


def _parabola(low: Probe, high: Probe) -> float:
    """Return the minimum of the parabola through φ and φ′ at the left end and φ at the right; NaN if it has none."""
    width = high.step - low.step
    bend = high.value - low.value - low.slope * width
    if not (math.isfinite(bend) and bend > 0):
        return math.nan
    return low.step - 0.5 * low.slope * width * width / bend


def _cubic(left: Probe, right: Probe) -> float:
    """Return the minimum of the cubic through φ and φ′ at both ends (Nocedal and Wright, 3.59); NaN if it has none."""
    width = right.step - left.step
    if width == 0 or not math.isfinite(right.value):
        return math.nan
    total = left.slope + right.slope - 3 * (right.value - left.value) / width
    square = total * total - left.slope * right.slope
    if not square >= 0:
        return math.nan
    root = math.sqrt(square)
    below = right.slope - left.slope + 2 * root
    return right.step - width * (right.slope + root - total) / below if below != 0 else math.nan


def _secant(one: Probe, two: Probe) -> float:
    """Return where the line through two slopes is zero; NaN where they agree."""
    rise = two.slope - one.slope
    return two.step - two.slope * (two.step - one.step) / rise if rise != 0 else math.nan
