"""The same steps, evaluations and numbers as SciPy's explicit pairs; the same answers as its stiff solver."""

import numpy as np
import pytest
import torch

from gradus.ode import Event, solve

integrate = pytest.importorskip("scipy.integrate")
DOUBLE = torch.float64


def van_der_pol(t, y):
    return torch.stack([y[1], (1 - y[0] ** 2) * y[1] - y[0] + torch.sin(t)])


def lorenz(t, y):
    return torch.stack([10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])


def robertson(t, y):
    slow, fast = 0.04 * y[0], 1e4 * y[1] * y[2]
    return torch.stack([fast - slow, slow - fast - 3e7 * y[1] ** 2, 3e7 * y[1] ** 2])


def arrays(field):
    """Return a field of tensors as one of arrays."""
    return lambda t, y: field(torch.tensor(t, dtype=DOUBLE), torch.tensor(y, dtype=DOUBLE)).numpy()


PROBLEMS = {"van der Pol": (van_der_pol, [2.0, 0.0], (0.0, 10.0)), "Lorenz": (lorenz, [1.0, 1.0, 20.0], (1.0, 0.0))}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method, theirs", [("rk45", "RK45"), ("bosh3", "RK23")])
@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_steps_evaluations_and_dense_output_are_equal(problem, method, theirs, rtol):
    field, start, span = PROBLEMS[problem]
    peer = integrate.solve_ivp(
        arrays(field), span, start, method=theirs, rtol=rtol, atol=1e-3 * rtol, dense_output=True
    )
    ours = solve(
        field, torch.tensor(start, dtype=DOUBLE), torch.tensor(span, dtype=DOUBLE), rtol=rtol, atol=1e-3 * rtol,
        method=method, options={"hold": True}, dense=True,
    )  # fmt: skip
    assert ours.statistics.nfev == peer.nfev
    assert ours.statistics.accepted == len(peer.t) - 1
    size = np.abs(peer.y).max()
    np.testing.assert_allclose([step.end for step in ours.dense.steps], peer.t[1:], rtol=1e-6)
    np.testing.assert_allclose(ours.y[-1], peer.y[:, -1], rtol=0, atol=1e-8 * size)
    times = np.linspace(*span, 57)
    np.testing.assert_allclose(ours.dense(torch.tensor(times)), peer.sol(times).T, rtol=0, atol=1e-8 * size)


def test_events_are_equal():
    def crossing(t, y):
        return y[0] - 0.5

    peer = integrate.solve_ivp(
        arrays(van_der_pol), (0, 20), [2.0, 0.0], events=lambda t, y: y[0] - 0.5, rtol=1e-8, atol=1e-8
    )
    ours = solve(
        van_der_pol, torch.tensor([2.0, 0.0], dtype=DOUBLE), [0.0, 20.0], method="rk45", options={"hold": True},
        events=[Event(crossing)], rtol=1e-8, atol=1e-8,
    )  # fmt: skip
    assert len(peer.t_events[0]) > 4
    np.testing.assert_allclose(ours.events[0][0], peer.t_events[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.events[0][1], peer.y_events[0], rtol=0, atol=1e-9)


def test_a_terminal_event_leaves_the_same_output_times():
    times = np.linspace(0, 20, 201)

    def gone(t, y):
        return y[0] + 1

    gone.terminal = True
    peer = integrate.solve_ivp(arrays(van_der_pol), (0, 20), [2.0, 0.0], events=gone, t_eval=times, rtol=1e-6)
    ours = solve(
        van_der_pol, torch.tensor([2.0, 0.0], dtype=DOUBLE), torch.tensor(times), rtol=1e-6, atol=1e-6, method="rk45",
        events=[Event(lambda t, y: y[0] + 1, terminal=True)],
    )  # fmt: skip
    np.testing.assert_array_equal(ours.t, peer.t)
    np.testing.assert_allclose(ours.y, peer.y.T, rtol=0, atol=1e-4)


def test_a_stiff_problem_has_the_same_solution():
    times = [0.0, 0.4, 4.0, 40.0]
    peer = integrate.solve_ivp(
        arrays(robertson), (0, 40), [1.0, 0.0, 0.0], method="Radau", t_eval=times, rtol=1e-9, atol=1e-12
    )
    ours = solve(robertson, torch.tensor([1.0, 0.0, 0.0], dtype=DOUBLE), times, method="trbdf2", rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(ours.y, peer.y.T, rtol=2e-4, atol=1e-9)
    assert ours.statistics.accepted < 400
