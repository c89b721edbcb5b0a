"""Solving: known solutions, structures, dense output, events, and what is said when a solve is asked amiss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.ode import Event, Statistics, odeint, odeint_event, solve
from gradus.ode.events import root
from gradus.ode.tableaus import Tableau

DOUBLE = torch.float64


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=DOUBLE)


def oscillator(t, y):
    return torch.stack([y[1], -y[0]])


def ball(t, y):
    return torch.stack([y[1], torch.full_like(y[1], -10.0)])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.floats(-2, 2),
    st.floats(0.1, 2),
    st.booleans(),
)
def test_a_linear_system_is_its_matrix_exponential(entries, start, span, backwards):
    a = torch.tensor([[0, entries[0]], [entries[1], entries[2]]], dtype=DOUBLE)
    end = start - span if backwards else start + span
    y0 = vector(1.0, -0.5)
    found = odeint(lambda t, y: a @ y, y0, vector(start, end), rtol=1e-9, atol=1e-11)
    exact = torch.linalg.matrix_exp(a * (end - start)) @ y0
    torch.testing.assert_close(found[-1], exact, rtol=1e-6, atol=1e-8)


def test_a_linear_invariant_is_kept_by_every_method():
    rates = torch.tensor([[-2.0, 1.0, 0.5], [1.5, -1.0, 0.5], [0.5, 0.0, -1.0]], dtype=DOUBLE)
    for method in ("euler", "rk4", "dopri5", "implicit_euler", "trbdf2"):
        found = odeint(lambda t, y: rates @ y, vector(0.2, 0.3, 0.5), vector(0, 2), method=method, options={"steps": 4})
        assert float(found[-1].sum()) == pytest.approx(1.0, abs=1e-9), method


def test_times_may_be_numbers_and_the_state_a_number():
    found = odeint(lambda t, y: -y, torch.tensor(1.0, dtype=DOUBLE), [0.0, 1.0, 2.0])
    torch.testing.assert_close(found, torch.exp(-vector(0, 1, 2)), rtol=1e-6, atol=0)


def test_the_field_is_given_time_as_a_tensor_of_the_states_dtype():
    seen = []

    def field(t, y):
        seen.append((t.dtype, t.shape))
        return -y

    odeint(field, torch.ones(2), [0.0, 0.1], rtol=1e-3, atol=1e-3)
    assert set(seen) == {(torch.float32, torch.Size([]))}


def test_what_the_field_was_given_stays_as_it_was():
    kept = []

    def field(t, y):
        kept.append((t, y, t.clone(), y.clone()))
        return -y * t

    with torch.no_grad():
        odeint(field, torch.linspace(1, 2, 5), [0.0, 1.0], rtol=1e-4, atol=1e-5)
    assert all(torch.equal(t, t_then) and torch.equal(y, y_then) for t, y, t_then, y_then in kept)


def test_no_step_goes_past_the_last_time():
    latest = []
    solve(lambda t, y: latest.append(float(t)) or y * 0.1, vector(1.0), vector(0, 1))
    assert max(latest) == 1.0


def test_fixed_steps_are_as_many_as_asked_for():
    for options, steps in (({"steps": 7}, 7), ({"step_size": 0.1}, 10), ({"step_size": 0.3}, 4), ({}, 1)):
        found = solve(oscillator, vector(1, 0), vector(0, 1), method="rk4", options=options)
        assert found.statistics.accepted == steps
        assert found.statistics.nfev == 4 * steps


def test_statistics_come_with_gradients_too():
    counted = Statistics()
    y0 = vector(1, 0).requires_grad_()
    odeint(oscillator, y0, vector(0, 1), gradient="adjoint", params=(), statistics=counted)[-1].sum().backward()
    assert counted.nfev == 2 + 6 * (counted.accepted + counted.rejected)
    assert counted.backward > counted.accepted


def test_a_method_of_ones_own_is_a_tableau():
    ralston = Tableau("ralston", 2, a=((), (2 / 3,)), b=(1 / 4, 3 / 4), c=(0.0, 2 / 3))
    found = odeint(oscillator, vector(1, 0), vector(0, 1), method=ralston, options={"steps": 100})
    torch.testing.assert_close(found[-1], vector(math.cos(1), -math.sin(1)), rtol=0, atol=1e-4)


def test_proportional_integral_control_meets_the_tolerance_too():
    exact = vector(math.cos(20), -math.sin(20))
    for options in ({"pi": 0.04}, {"hold": True}, {"max_step": 0.3}, {"first_step": 1e-4}):
        found = solve(oscillator, vector(1, 0), vector(0, 20), rtol=1e-8, atol=1e-8, options=options)
        assert float((found.y[-1] - exact).abs().max()) < 1e-6, options
    assert solve(oscillator, vector(1, 0), vector(0, 20), options={"max_step": 0.1}).statistics.accepted >= 200


def test_a_component_that_stays_zero_needs_no_absolute_tolerance():
    found = solve(lambda t, y: -y, vector(1, 0), vector(0, 1), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found.y[-1], vector(math.exp(-1), 0), rtol=1e-5, atol=0)


def test_dense_output_is_the_solution_everywhere_and_joins_up():
    found = solve(oscillator, vector(1, 0), vector(0, 6), rtol=1e-9, atol=1e-9, dense=True)
    t = torch.linspace(0, 6, 97, dtype=DOUBLE)
    torch.testing.assert_close(found.dense(t), torch.stack([t.cos(), -t.sin()], 1), rtol=0, atol=1e-7)
    for step in found.dense.steps[1:]:
        ends = torch.stack([found.dense(step.t), found.dense(step.t + 1e-12)])
        assert float((ends[0] - ends[1]).abs().max()) < 1e-10
    with pytest.raises(GradusError, match=r"t = 6.1 lies outside the solved span \[0, 6\]"):
        found.dense(6.1)


def test_dense_output_backwards_and_of_structures():
    found = solve(lambda t, y: {"a": -y["a"]}, {"a": torch.ones(2, 3, dtype=DOUBLE)}, vector(1, 0), dense=True)
    assert found.dense(vector(0.5, 0.25))["a"].shape == (2, 2, 3)
    assert float(found.dense(0.5)["a"][0, 0]) == pytest.approx(math.exp(0.5), abs=1e-6)


def test_events_are_where_the_closed_form_has_them():
    watched = [Event(lambda t, y: y[0], direction=direction) for direction in (0, 1, -1)]
    found = solve(oscillator, vector(0, 1), vector(0, 10), rtol=1e-10, atol=1e-10, events=watched)
    both, rising, falling = found.events
    # The start is a zero as well, but nothing crosses there.
    torch.testing.assert_close(both[0], math.pi * vector(1, 2, 3), rtol=0, atol=1e-8)
    torch.testing.assert_close(rising[0], math.pi * vector(2), rtol=0, atol=1e-8)
    torch.testing.assert_close(falling[0], math.pi * vector(1, 3), rtol=0, atol=1e-8)
    torch.testing.assert_close(both[1][:, 1], vector(-1, 1, -1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("method, options", [("dopri5", {}), ("rk4", {"step_size": 0.07}), ("trbdf2", {})])
def test_a_terminal_event_ends_the_solve(method, options):
    landing = math.sqrt(2 * 4 / 10)
    watched = [Event(lambda t, y: y[0], terminal=True), Event(lambda t, y: y[1] + 100)]
    settings = {"method": method, "options": options, "rtol": 1e-5, "atol": 1e-5}
    found = solve(ball, vector(4, 0), torch.linspace(0, 3, 31, dtype=DOUBLE), events=watched, **settings)
    assert float(found.events[0][0]) == pytest.approx(landing, abs=1e-4)
    assert len(found.events[1][0]) == 0
    assert found.events[1][1].shape == (0, 2)
    torch.testing.assert_close(found.t, torch.linspace(0, 3, 31, dtype=DOUBLE)[:9])
    torch.testing.assert_close(found.y[:, 0], 4 - 5 * found.t**2, rtol=0, atol=1e-4)


@pytest.mark.parametrize("gradient", ["backprop", "adjoint", "checkpointed"])
def test_the_time_of_an_event_is_differentiable(gradient):
    height, speed = (
        torch.tensor(5.0, dtype=DOUBLE, requires_grad=True),
        torch.tensor(1.0, dtype=DOUBLE, requires_grad=True),
    )
    g = torch.tensor(10.0, dtype=DOUBLE, requires_grad=True)

    def falling(t, y):
        return torch.stack([y[1], -g])

    time, states = odeint_event(
        falling, torch.stack([height, speed]), 0.0, event_fn=lambda t, y: y[0], direction=-1, gradient=gradient,
        params=(g,),
    )  # fmt: skip
    root_of = (speed**2 + 2 * g * height).sqrt()
    exact = (speed + root_of) / g
    assert time.item() == pytest.approx(exact.item(), abs=1e-9)
    for ours, theirs in ((time, exact), (states[-1, 1], -root_of)):
        pairs = (torch.autograd.grad(value, (height, speed, g), retain_graph=True) for value in (ours, theirs))
        for a, b in zip(*pairs, strict=True):
            assert a.item() == pytest.approx(b.item(), abs=1e-7)


def test_an_event_may_lie_in_the_past_and_start_moves_with_it():
    start = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)
    y0 = vector(3.0).requires_grad_()
    time, _ = odeint_event(lambda t, y: torch.ones_like(y), y0, start, event_fn=lambda t, y: y[0], reverse_time=True)
    assert time.item() == pytest.approx(-1.0)
    by_start, by_state = torch.autograd.grad(time, (start, y0))
    assert float(by_start) == pytest.approx(1.0)
    assert float(by_state) == pytest.approx(-1.0)


def test_an_event_that_never_comes_is_given_up():
    with pytest.raises(GradusError, match="has tried 50 steps"):
        odeint_event(oscillator, vector(1, 0), 0.0, event_fn=lambda t, y: y[0] + 2, options={"max_steps": 50})
    with pytest.raises(GradusError, match="step_size"):
        odeint_event(oscillator, vector(1, 0), 0.0, event_fn=lambda t, y: y[0], method="rk4")


@given(st.floats(-0.9, 0.9), st.integers(1, 7))
def test_a_root_is_found_to_the_tolerance(zero, power):
    def g(x):
        return math.copysign(abs(x - zero) ** power, x - zero)

    assert root(g, -1.0, 1.0, g(-1.0), g(1.0), 1e-12) == pytest.approx(zero, abs=1e-12)


AMISS = {
    "no derivative": (lambda t, y: y[:1], vector(1, 2), [0, 1], {}, r"shape \(1,\) does not match the state's \(2,\)"),
    "a missing part": (lambda t, y: y[:1], (vector(1), vector(2)), [0, 1], {}, "of 1 tensors does not match"),
    "another name": (lambda t, y: {"b": y["a"]}, {"a": vector(1)}, [0, 1], {}, r"with \['b'\] does not match"),
    "whole numbers": (lambda t, y: y, torch.tensor([1, 2]), [0, 1], {}, "floating-point"),
    "complex numbers": (lambda t, y: y, torch.tensor([1j]), [0, 1], {}, "view_as_real"),
    "two dtypes": (lambda t, y: y, (vector(1), torch.ones(1)), [0, 1], {}, "differ in dtype"),
    "nothing": (lambda t, y: y, vector(), [0, 1], {}, "no elements"),
    "one time": (lambda t, y: y, vector(1), [0], {}, "at least two"),
    "times twice": (lambda t, y: y, vector(1), [0, 1, 1], {}, "strictly increasing"),
    "to and fro": (lambda t, y: y, vector(1), [0, 1, 0.5], {}, "strictly increasing"),
    "no tolerance": (lambda t, y: y, vector(1), [0, 1], {"rtol": -1.0}, "rtol=-1.0 is no tolerance"),
    "no tolerances": (lambda t, y: y, vector(1), [0, 1], {"rtol": 0.0, "atol": 0.0}, "both 0"),
    "unknown method": (lambda t, y: y, vector(1), [0, 1], {"method": "rk5"}, "did you mean"),
    "unknown gradient": (lambda t, y: y, vector(1), [0, 1], {"gradient": "adjiont"}, "did you mean 'adjoint'"),
    "unknown option": (lambda t, y: y, vector(1), [0, 1], {"options": {"step_sise": 1}}, "did you mean 'step_size'"),
    "negative step": (lambda t, y: y, vector(1), [0, 1], {"options": {"step_size": -1}}, "no positive number"),
    "two steps": (lambda t, y: y, vector(1), [0, 1], {"options": {"step_size": 1.0, "steps": 2}}, "one of them"),
    "no control": (lambda t, y: y, vector(1), [0, 1], {"options": {"safety": 2.0}}, "0 < safety < 1"),
    "unknown norm": (lambda t, y: y, vector(1), [0, 1], {"options": {"adjoint_norm": "semi"}}, "mean 'seminorm'"),
    "start not finite": (lambda t, y: y, vector(math.nan), [0, 1], {}, "y0 at t = 0 holds NaN"),
    "start not finite, fixed": (lambda t, y: y, vector(math.inf), [0, 1], {"method": "rk4"}, "y0 at t = 0 holds NaN"),
}  # fmt: skip


@pytest.mark.parametrize("what", AMISS)
def test_what_is_asked_amiss_is_told_in_one_sentence(what):
    func, y0, t, settings, said = AMISS[what]
    with pytest.raises(GradusError, match=said) as told:
        odeint(func, y0, torch.tensor(t, dtype=DOUBLE), **settings)
    assert "\n" not in str(told.value)


def test_an_event_gives_one_number_and_a_direction_is_a_sign():
    with pytest.raises(GradusError, match="one number"):
        solve(oscillator, vector(1, 0), vector(0, 1), events=[Event(lambda t, y: y)])
    with pytest.raises(GradusError, match="direction"):
        Event(lambda t, y: y[0], direction=2)


def test_importing_the_package_or_taking_an_adjoint_stays_light():
    """What torch imports when a seed is handed to `autograd.grad` takes longer than torch itself."""
    import subprocess
    import sys

    code = """
import sys
import gradus.ode
assert "torch" not in sys.modules
import torch
from gradus.ode import odeint, implicit_fixed_point
y = torch.ones(12, requires_grad=True)
for method, gradient in (("dopri5", "adjoint"), ("rk4", "checkpointed"), ("trbdf2", "checkpointed")):
    found = odeint(lambda t, y: -y.sin(), y, [0.0, 1.0], rtol=1e-3, method=method, gradient=gradient, params=())
    torch.autograd.grad(found[-1].sum(), y)
w = torch.ones(1, requires_grad=True)
torch.autograd.grad(implicit_fixed_point(lambda z: torch.cos(z * w), torch.ones(2, 1))[0].sum(), w)
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules, "something heavy was imported"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_named_tuple_stays_one():
    from collections import namedtuple

    Pair = namedtuple("Pair", "place speed")

    def field(t, y):
        return Pair(y.speed, -y.place)

    for gradient in ("backprop", "adjoint"):
        start = Pair(vector(1, 0).requires_grad_(), vector(0, 1))
        found = odeint(field, start, vector(0, math.pi), gradient=gradient, params=())
        assert isinstance(found, Pair)
        torch.testing.assert_close(found.place[-1], vector(-1, 0), rtol=0, atol=1e-6)
        (pulled,) = torch.autograd.grad(found.place[-1].sum(), start.place)
        torch.testing.assert_close(pulled, vector(-1, -1), rtol=0, atol=1e-6)
