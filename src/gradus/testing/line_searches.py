"""The contract of line searches: what every registered one keeps, on functions of one variable.

`check_line_search` needs no test framework; it raises an AssertionError that says what was broken.
"""

import math
from collections.abc import Callable

from gradus.optim.line_search import LineSearch, Probe

__all__ = ["RAYS", "check_line_search"]

Curve = tuple[Callable[[float], float], Callable[[float], float]]
FIRSTS = (1e-3, 0.1, 1.0, 10.0, 1e3)
MOST = 200

# φ and φ′. The second and third are the first two functions of Moré and Thuente 1994.
RAYS: dict[str, Curve] = {
    "parabola": (lambda t: 3 * t * t - 2 * t + 1, lambda t: 6 * t - 2),
    "valley": (lambda t: -t / (t * t + 2), lambda t: (t * t - 2) / (t * t + 2) ** 2),
    "steep": (
        lambda t: (t + 0.004) ** 5 - 2 * (t + 0.004) ** 4,
        lambda t: 5 * (t + 0.004) ** 4 - 8 * (t + 0.004) ** 3,
    ),
    "waves": (lambda t: 0.1 * t * t - 2 * t + 0.3 * math.sin(5 * t), lambda t: 0.2 * t - 2 + 1.5 * math.cos(5 * t)),
    "wall": (
        lambda t: -math.log(1 - t) - 3 * t if t < 1 else math.nan,
        lambda t: 1 / (1 - t) - 3 if t < 1 else math.nan,
    ),
    "cliff": (lambda t: math.cosh(t - 1) if t < 5 else math.inf, lambda t: math.sinh(t - 1)),
}


class Asked:
    """φ, stretched, and every probe that was asked for."""

    def __init__(self, curve: Curve, height: float = 1.0, length: float = 1.0) -> None:
        self.curve, self.height, self.length = curve, height, length
        self.probes: list[Probe] = []

    def __call__(self, step: float) -> Probe:
        assert math.isfinite(step), f"a step of {step} was tried"
        assert step > 0, f"a step of {step} was tried, which is not forwards"
        assert len(self.probes) < MOST, f"more than {MOST} trials were made"
        self.probes.append(self.at(step))
        return self.probes[-1]

    def at(self, step: float) -> Probe:
        """Return φ at a step, which need not be forwards."""
        value, slope = self.curve
        t = step / self.length
        return Probe(step, self.height * value(t), lambda: self.height / self.length * slope(t))


def check_line_search(search: LineSearch) -> None:
    """Assert the contract of a line search `(ray, start, first, *, eps) -> Probe | None`.

    It tries the first step first, then steps forwards, few of them; it returns one of its trials, lower than the
    start, or None where nothing is; it comes back from where φ is not finite; it does not depend on the units of φ or
    of t.

    Args:
        search: the line search.

    Raises:
        AssertionError: naming what was broken.
    """
    _finds(search)
    _is_free_of_units(search)
    _gives_up(search)


def _finds(search: LineSearch) -> None:
    for name, curve in RAYS.items():
        for first in FIRSTS:
            ray = Asked(curve)
            start = ray.at(0.0)
            found = search(ray, start, first, eps=0.0)
            assert found is not None, f"{name}: nothing was found from a first step of {first}"
            assert ray.probes[0].step == first, f"{name}: the first step tried was not {first}"
            assert any(found is probe for probe in ray.probes), f"{name}: it returned what it did not try"
            assert found.value < start.value, f"{name}: φ rose or stayed, from {start.value:g} to {found.value:g}"


def _is_free_of_units(search: LineSearch) -> None:
    """Powers of two scale without rounding, so that the steps are the same to the last bit."""
    for name, curve in RAYS.items():
        steps = []
        for height, length in ((1.0, 1.0), (2.0**20, 1.0), (1.0, 2.0**-10)):
            ray = Asked(curve, height, length)
            found = search(ray, ray.at(0.0), 0.5 * length)
            assert found is not None, f"{name}: nothing was found in other units"
            steps.append(found.step / length)
        assert steps[0] == steps[1], f"{name}: the unit of φ changed the step"
        assert steps[0] == steps[2], f"{name}: the unit of t changed the step"


def _gives_up(search: LineSearch) -> None:
    nowhere: dict[str, Curve] = {
        "a slope that is not φ's": (lambda t: t, lambda t: -1.0),
        "a φ that is not finite": (lambda t: math.nan if t else 1.0, lambda t: -1.0),
    }
    for what, curve in nowhere.items():
        ray = Asked(curve)
        assert search(ray, ray.at(0.0), 1.0) is None, f"{what}: a step was returned all the same"
    ray = Asked((lambda t: -t, lambda t: -1.0))
    search(ray, ray.at(0.0), 1.0)  # without a minimum, either answer will do, in a bounded number of trials
