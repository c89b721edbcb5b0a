"""Line searches: the conditions they are named after hold at every step they take."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.optim import minimize
from gradus.optim.line_search import Probe, armijo, exact, line_search, wolfe
from gradus.optim.surfaces import SURFACES, beale, rosenbrock

SEARCHING = ("bfgs", "sr1", "dfp", "lbfgs", "newton", "cg", "gd")


class Curve:
    """φ(t) = Σ aᵢ cos(bᵢ t + cᵢ) + d t² / 2 − e t: as many valleys as one likes, bounded below."""

    def __init__(self, waves, bowl, tilt):
        self.waves, self.bowl, self.tilt = waves, bowl, tilt
        self.asked = 0

    def __call__(self, t):
        self.asked += 1
        value = sum(a * math.cos(b * t + c) for a, b, c in self.waves) + self.bowl * t * t / 2 - self.tilt * t
        slope = sum(-a * b * math.sin(b * t + c) for a, b, c in self.waves) + self.bowl * t - self.tilt
        return Probe(t, value, slope)


numbers = st.floats(0.05, 3.0)
curves = st.builds(
    Curve, st.lists(st.tuples(numbers, numbers, st.floats(0, 6.28)), max_size=4), st.floats(0.01, 10), numbers
)
firsts = st.floats(1e-3, 1e3)


def downhill(curve):
    start = curve(0.0)
    return start if start.slope < -1e-3 else None


@settings(max_examples=200, deadline=None)
@given(curves, firsts, st.floats(1e-4, 0.5))
def test_armijo_holds_where_armijo_stops(curve, first, c1):
    if (start := downhill(curve)) is None:
        return
    found = armijo(curve, start, first, eps=0.0, c1=c1)
    assert found.step <= first
    assert found.value <= start.value + c1 * found.step * start.slope


@settings(max_examples=200, deadline=None)
@given(curves, firsts, st.floats(1e-4, 0.3), st.floats(0.35, 0.95))
def test_both_conditions_hold_where_wolfe_stops(curve, first, c1, c2):
    if (start := downhill(curve)) is None:
        return
    found = wolfe(curve, start, first, eps=0.0, c1=c1, c2=c2)
    assert found.value <= start.value + c1 * found.step * start.slope
    assert abs(found.slope) <= c2 * abs(start.slope)
    assert curve.asked <= 50


@settings(max_examples=200, deadline=None)
@given(curves, firsts)
def test_the_slope_is_gone_where_exact_stops(curve, first):
    if (start := downhill(curve)) is None:
        return
    found = exact(curve, start, first)
    assert found.value <= start.value
    assert abs(found.slope) <= 1e-8 * abs(start.slope) + 1e-9


@given(st.floats(0.1, 10), st.floats(0.1, 10), firsts)
def test_exact_solves_a_parabola_with_one_secant(bend, slope, first):
    curve = Curve([], bend, slope)
    start = curve(0.0)
    within = 0.1 * first < slope / bend < 10 * first
    found = exact(curve, start, first)
    assert found.step == pytest.approx(slope / bend, rel=1e-7)
    assert curve.asked <= 3 or not within


def test_wolfe_solves_a_cubic_with_one_interpolation():
    """φ = t³/3 − 4t falls to t = 2. A first step to 3.4 is lower but rises there: the cubic through both ends is φ."""
    asked = []

    def cubic(t):
        asked.append(t)
        return Probe(t, t**3 / 3 - 4 * t, t * t - 4)

    found = wolfe(cubic, cubic(0.0), 3.4, c2=0.5)
    assert asked == [0.0, 3.4, found.step]
    assert found.step == pytest.approx(2.0, abs=1e-9)


def recorded(search, record, **constants):
    def searching(ray, start, first=1.0, *, eps=0.0):
        found = search(ray, start, first, eps=eps, **constants)
        record.append((start, found))
        return found

    return searching


@pytest.mark.parametrize("name", ["rosenbrock", "beale", "himmelblau", "booth"])
@pytest.mark.parametrize("method", SEARCHING)
@pytest.mark.parametrize("search", [armijo, wolfe])
def test_the_conditions_hold_at_every_step_of_every_method(method, name, search):
    surface, record = SURFACES[name], []
    x0 = torch.tensor(surface.start, dtype=torch.float64)
    minimize(surface.function, x0, method=method, line_search=recorded(search, record), max_iterations=60)
    taken = [(start, found) for start, found in record if found is not None]
    assert taken
    for start, found in taken:
        rounding = 2 * 2.0**-52 * abs(start.value)
        assert found.value <= start.value + 1e-4 * found.step * start.slope + rounding
        assert search is armijo or abs(found.slope) <= 0.9 * abs(start.slope)


def quadratic(n, condition, seed=0):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    matrix = basis * torch.logspace(0, math.log10(condition), n, dtype=torch.float64) @ basis.T
    centre, x0 = torch.randn(2, n, generator=generator, dtype=torch.float64)
    return (lambda x: 0.5 * torch.dot(x - centre, matrix @ (x - centre))), x0, matrix, centre


def test_exact_search_makes_successive_gradients_orthogonal_on_a_quadratic():
    fn, x0, matrix, centre = quadratic(8, 30.0)
    slopes = [matrix @ (x0 - centre)]
    minimize(
        fn, x0, method="gd", line_search="exact", max_iterations=25, callback=lambda found: slopes.append(found.jac)
    )
    assert len(slopes) == 26
    for one, two in pairwise(slopes):
        assert abs(torch.dot(one, two)) <= 1e-8 * one.norm() * two.norm()


def test_exact_steepest_descent_falls_as_kantorovich_says():
    """f(x₊) ≤ ((κ − 1) / (κ + 1))² f(x), with equality from the worst start: 1/λ in the extreme eigenvectors."""
    spectrum = torch.tensor([1.0, 10.0], dtype=torch.float64)
    values = [0.5 * (spectrum * (1 / spectrum) ** 2).sum().item()]
    minimize(
        lambda x: 0.5 * (spectrum * x * x).sum(),
        1 / spectrum,
        method="gd",
        line_search="exact",
        max_iterations=10,
        callback=lambda found: values.append(found.fun),
    )
    for before, after in pairwise(values):
        assert after / before == pytest.approx((9 / 11) ** 2, rel=1e-6)


def test_a_rejected_trial_costs_no_gradient():
    found = minimize(rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), line_search="armijo")
    assert found.njev == found.nit + 1 < found.nfev


def test_a_wall_is_backed_away_from():
    def ray(t):
        return Probe(t, math.nan if t > 1e-3 else 600 * t * t - t, math.nan if t > 1e-3 else 1200 * t - 1)

    for search in (armijo, wolfe, exact):
        found = search(ray, ray(0.0), 1.0)
        assert found.step <= 1e-3
        assert found.value < 0
    assert found.step == pytest.approx(1 / 1200)


def test_names_are_checked():
    assert line_search("backtracking") is armijo
    with pytest.raises(GradusError, match="did you mean 'wolfe'"):
        line_search("wolf")
    with pytest.raises(GradusError, match="0 < c1 < c2 < 1"):
        wolfe(lambda t: Probe(t, -t, -1.0), Probe(0.0, 0.0, -1.0), c1=0.5, c2=0.1)


def test_rounding_is_allowed_for_and_no_more():
    """At the floor of floating point, differences of φ are noise: Armijo to the letter fails, up to rounding holds."""
    noise = 2.0**-52

    def ray(t):
        return Probe(t, 1.0 + noise, -1e-20)

    start = Probe(0.0, 1.0, -1e-18)
    assert armijo(ray, start, eps=0.0) is None
    assert armijo(ray, start) is not None
    assert armijo(lambda t: Probe(t, 1.0 + 4 * noise, -1e-20), start) is None


def test_beale_is_solved_with_each_search():
    x0 = torch.tensor([1.0, 1.0], dtype=torch.float64)
    for name in ("armijo", "wolfe", "exact"):
        found = minimize(beale, x0, line_search=name)
        assert found.success
        torch.testing.assert_close(found.x, torch.tensor([3.0, 0.5], dtype=torch.float64), atol=1e-4, rtol=0)
