"""Stiff problems: implicit methods solve them, explicit ones say what is wrong and what would help."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.ode import odeint, solve

DOUBLE = torch.float64


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def relaxing(rate):
    """Prothero and Robinson's problem: y = cos t attracts at a rate of its own."""
    return lambda t, y: -rate * (y - torch.cos(t)) - torch.sin(t)


def van_der_pol(t, y):
    return torch.stack([y[1], 1000 * ((1 - y[0] ** 2) * y[1]) - y[0]])


@pytest.mark.parametrize("method", ["implicit_euler", "trapezoid", "trbdf2"])
def test_implicit_methods_are_stable_where_explicit_ones_are_not(method):
    settings = {"options": {"steps": 20}}
    found = odeint(relaxing(1e5), vector(1.0), vector(0, 1), method=method, **settings)
    assert float(found[-1]) == pytest.approx(math.cos(1), abs=2e-3)
    for explicit in ("euler", "midpoint", "heun", "rk4"):
        with pytest.raises(GradusError, match="stiff"):
            odeint(relaxing(1e40), vector(1.1), vector(0, 1), method=explicit, **settings)


def test_fixed_steps_that_blow_up_say_how_short_they_would_have_to_be():
    with pytest.raises(GradusError, match=r"rk4 became unstable between t = 0 and 1: the problem is stiff") as told:
        odeint(relaxing(1e4), vector(2.0), vector(0, 1), method="rk4", options={"steps": 200})
    assert "take steps below 0.000279" in str(told.value)
    assert "method='trbdf2'" in str(told.value)
    steps = math.ceil(1 / 0.000278)
    found = odeint(relaxing(1e4), vector(2.0), vector(0, 1), method="rk4", options={"steps": steps})
    assert float(found[-1]) == pytest.approx(math.cos(1), abs=1e-4)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "rk45"])
@pytest.mark.parametrize("problem", ["linear", "van der pol"])
def test_an_explicit_pair_names_stiffness_and_a_remedy(method, problem):
    field, y0, end = (relaxing(1e5), vector(0.0), 1.0) if problem == "linear" else (van_der_pol, vector(2, 0), 200.0)
    with pytest.raises(GradusError, match=r"this problem is stiff: near t = .*; use method='trbdf2'"):
        solve(field, y0, vector(0, end), rtol=1e-4, atol=1e-6, method=method, options={"stiffness_every": 200})
    found = solve(field, y0, vector(0, end), rtol=1e-4, atol=1e-6, method="trbdf2")
    assert found.statistics.accepted < 100


def test_what_is_hard_but_not_stiff_is_not_called_stiff():
    """Fast oscillations need short steps for accuracy; a test at every step must not take that for stiffness."""

    def fast(t, y):
        return torch.stack([50 * y[1], -50 * y[0]])

    found = solve(fast, vector(1, 0), vector(0, 2), rtol=1e-6, atol=1e-6, options={"stiffness_every": 1})
    assert found.statistics.accepted > 100
    assert float(found.y[-1][0]) == pytest.approx(math.cos(100), abs=1e-3)


def test_a_mildly_stiff_problem_that_is_soon_done_is_simply_solved():
    found = solve(relaxing(300.0), vector(1.0), vector(0, 1), rtol=1e-5, atol=1e-7)
    assert float(found.y[-1]) == pytest.approx(math.cos(1), abs=1e-5)


def test_too_many_steps_name_their_cause():
    limited = {"stiffness_every": 0, "max_steps": 600}
    with pytest.raises(GradusError, match=r"has tried 600 steps and reached t = .*the problem is stiff"):
        solve(relaxing(1e5), vector(0.0), vector(0, 1), rtol=1e-3, atol=1e-3, options=limited)
    with pytest.raises(GradusError, match=r"has tried 20 steps .*loosen rtol"):
        solve(lambda t, y: torch.cos(40 * t) * y, vector(1.0), vector(0, 9), options={"max_steps": 20})
    with pytest.raises(GradusError, match=r"rtol=1e-12 is finer than float32 can tell .*use float64"):
        solve(
            lambda t, y: torch.cos(3 * t) * y, torch.ones(3), vector(0, 9), rtol=1e-12, atol=0.0,
            options={"max_steps": 60},
        )  # fmt: skip


NOT_FINITE = {
    "at the start": (lambda t, y: y / t, 0.0, r"derivative is not finite at t = 0:"),
    "on the way": (lambda t, y: y * torch.sqrt(0.5 - t), 0.0, r"derivative is not finite at t = 0.5:"),
    "of the state": (lambda t, y: -1 - torch.sqrt(y), 0.0, "derivative is not finite at t = "),
}


@pytest.mark.parametrize("where", NOT_FINITE)
def test_a_derivative_that_is_not_finite_names_the_time(where):
    field, start, said = NOT_FINITE[where]
    with pytest.raises(GradusError, match=said):
        solve(field, vector(1.0), vector(start, start + 2))


def test_fixed_steps_name_the_time_too():
    with pytest.raises(GradusError, match=r"derivative is not finite at t = 0:"):
        solve(lambda t, y: y / t, vector(1.0), vector(0, 1), method="rk4")
    t = torch.linspace(0, 1, 6, dtype=DOUBLE)
    with pytest.raises(GradusError, match=r"not finite from t = 0.8 on \(it was at 0.6\)"):
        solve(lambda t, y: y * torch.sqrt(0.7 - t), vector(1.0), t, method="rk4", options={"steps": 3})


def test_a_singularity_is_not_taken_for_stiffness():
    with pytest.raises(
        GradusError, match=r"at t = 1, too short to move time: the solution seems to have a singularity"
    ):
        solve(lambda t, y: y**2, vector(1.0), vector(0, 2))


def test_newton_without_a_solution_says_so():
    """y = 1 + y² h has no real root for h > 1/4."""
    with pytest.raises(GradusError, match="Newton's method did not converge in the step of 1 from t = 0"):
        solve(lambda t, y: y**2, vector(1.0), vector(0, 1), method="implicit_euler")


def test_tolerances_as_fine_as_rounding_are_not_called_stiff():
    torch.manual_seed(0)
    weight = torch.randn(16, 16)
    settings = {"rtol": 1e-7, "atol": 1e-9, "options": {"stiffness_every": 1}}
    found = solve(lambda t, y: torch.tanh(y @ weight), torch.randn(8, 16), [0.0, 8.0], **settings)
    assert found.statistics.accepted > 60
