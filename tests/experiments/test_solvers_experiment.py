"""The table of solvers shows their orders, and the price of stability."""

import math

import pytest

from experiments.tables import rows_of
from gradus.errors import GradusError
from gradus.experiments.solvers import Solvers, slope
from gradus.ode.tableaus import make


def test_the_slopes_are_the_orders() -> None:
    names = ("euler", "midpoint", "heun", "rk4", "bosh3", "dopri5", "implicit_euler", "trapezoid", "trbdf2")
    experiment = Solvers(solvers=names, steps=(16, 32, 64, 128), tolerances=(1e-3,), stiffness=10.0)
    found = experiment.findings(rows_of(experiment))
    for name in names:
        assert found[f"order_{name}"] == pytest.approx(make(name).order, abs=0.35), name


def test_an_explicit_method_must_step_within_its_interval_of_stability() -> None:
    """h λ ≤ 2 for Euler's: 128 steps over t = 2 carry λ = 100, 64 do not, however smooth the solution."""
    experiment = Solvers(solvers=("euler", "implicit_euler"), steps=(64, 128), tolerances=(1e-3, 1e-4), stiffness=100.0)
    errors = {(r["solver"], r["setting"]): r["error"] for r in rows_of(experiment) if r["problem"] == "stiff"}
    assert errors["euler", 64] is None
    assert errors["euler", 128] < 1e-3
    assert errors["implicit_euler", 64] < 1e-3


def test_implicit_methods_pay_less_on_the_stiff_problem() -> None:
    experiment = Solvers(
        solvers=("dopri5", "trbdf2", "trapezoid"), steps=(16, 64), tolerances=(1e-3, 1e-7), stiffness=300.0
    )
    found = experiment.findings(rows_of(experiment))
    assert found["stiff_work_explicit"] > 10 * found["stiff_work_implicit"]


def test_slope_leaves_out_failures_and_rounding() -> None:
    steps = [10.0, 20.0, 40.0, 80.0]
    assert slope(steps, [n**-3 for n in steps]) == pytest.approx(3)
    assert slope([*steps, 160.0, 5.0], [*(n**-3 for n in steps), 1e-15, None]) == pytest.approx(3)
    assert slope([10.0], [0.1]) is None
    assert slope([10.0, 10.0], [0.1, 0.2]) is None


@pytest.mark.parametrize(
    "flags, named",
    [
        ({"solvers": ("rk5",)}, "rk4"),
        ({"steps": (12,)}, "--steps"),
        ({"tolerances": (2.0,)}, "--tolerances"),
        ({"stiffness": math.inf}, "--stiffness"),
    ],
)
def test_what_cannot_be_solved_is_refused(flags: dict, named: str) -> None:
    with pytest.raises(GradusError, match=named):
        Solvers(**flags)
