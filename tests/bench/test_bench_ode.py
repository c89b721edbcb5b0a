"""The benchmarks of the ODE solvers run, and both sides do the same work; nothing is said about time."""

import math

import pytest

from bench import ode

pytest.importorskip("torchdiffeq")


@pytest.mark.parametrize("race", [ode.forward, ode.adjoint])
def test_both_sides_make_the_same_evaluations(race):
    found = race(rounds=1, batch=8, width=16)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert abs(found["evaluations"] - found["peer_evaluations"]) <= 0.1 * found["peer_evaluations"]
    assert found["difference"] < 1e-2


def test_sides_that_do_different_work_are_refused(monkeypatch):
    exact = ode.odeint
    monkeypatch.setattr(
        ode, "odeint", lambda *args, **settings: exact(*args, **settings | {"rtol": 1e-2, "atol": 1e-2})
    )
    with pytest.raises(AssertionError, match="different work"):
        ode.forward(rounds=1, batch=8, width=16)


def test_the_memory_of_the_adjoint_is_measured():
    found = ode.memory(steps=[5, 50], size=50_000, gradients=["adjoint"])
    assert set(found) == {"adjoint_5", "adjoint_50", "growth"}
    assert found["adjoint_50"] < 40
