"""The tableaus against published numbers; what holds for all of them is in the contract suite."""

import math

import pytest

from gradus import canon
from gradus.errors import GradusError
from gradus.ode.tableaus import bosh3, dopri5, make

LIMITS = {"euler": 2.0, "midpoint": 2.0, "heun": 2.0, "bosh3": 2.5127453266, "rk4": 2.7852935634, "dopri5": 3.30657}
L_STABLE, A_STABLE = ("implicit_euler", "trbdf2"), ("implicit_euler", "trapezoid", "trbdf2")


@pytest.mark.parametrize("name", LIMITS)
def test_the_real_stability_interval_is_the_published_one(name):
    assert make(name).stability == pytest.approx(LIMITS[name], abs=2e-5)


@pytest.mark.parametrize("name", A_STABLE)
def test_implicit_methods_are_stable_however_stiff_the_problem(name):
    tableau = make(name)
    assert tableau.stability == math.inf
    assert abs(tableau.growth(-1e12)) == pytest.approx(0 if name in L_STABLE else 1, abs=1e-6)


def test_growth_is_the_stability_function():
    for z in (-2.0, -0.3, 0.7):
        assert make("rk4").growth(z) == pytest.approx(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24)
        assert make("implicit_euler").growth(z) == pytest.approx(1 / (1 - z))
        assert make("trapezoid").growth(z) == pytest.approx((1 + z / 2) / (1 - z / 2))
        assert dopri5().growth(z) == pytest.approx(sum(z**k / math.factorial(k) for k in range(6)) + z**6 / 600)


def test_dense_weights_join_the_ends_of_a_step_smoothly():
    for tableau in (dopri5(), bosh3()):
        assert tableau.dense_weights(0.0) == [0.0] * tableau.stages
        assert tableau.dense_weights(1.0) == pytest.approx(tableau.b, abs=1e-13)
        step = 1e-6
        starts = [w / step for w in tableau.dense_weights(step)]
        ends = [
            (a - b) / step for a, b in zip(tableau.dense_weights(1.0), tableau.dense_weights(1 - step), strict=True)
        ]
        assert starts == pytest.approx([1.0] + [0.0] * (tableau.stages - 1), abs=1e-4)
        assert ends == pytest.approx([0.0] * (tableau.stages - 1) + [1.0], abs=1e-4)


def test_names_are_forgiving_and_unknown_ones_suggest_the_nearest():
    assert make("Implicit-Euler").name == "implicit_euler"
    with pytest.raises(GradusError, match="there is no ODE solver 'dopri4'; did you mean 'dopri5'"):
        make("dopri4")
    assert {"euler", "midpoint", "rk4", "dopri5", "implicit_euler"} <= canon.names("solver").keys()
