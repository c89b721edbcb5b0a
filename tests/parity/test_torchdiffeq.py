"""The same evaluations, values and gradients as torchdiffeq, called the same way."""

import pytest
import torch
from torch import nn

from gradus.ode import Statistics, odeint, odeint_event

torchdiffeq = pytest.importorskip("torchdiffeq")
DOUBLE = torch.float64


class Field(nn.Module):
    """A small network over state and, with a pace, time, that counts its evaluations."""

    def __init__(self, width: int = 6, pace: float = 1.0) -> None:
        super().__init__()
        self.pace = pace
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(width + 1, 16), nn.Tanh(), nn.Linear(16, width)).double()
        self.calls = 0

    def forward(self, t, y):
        self.calls += 1
        return 2 * self.net(torch.cat([y, self.pace * t.expand(*y.shape[:-1], 1)], -1))


def start() -> torch.Tensor:
    return torch.linspace(-1, 1, 30, dtype=DOUBLE).view(5, 6)


TIMES = {
    "forwards": torch.tensor([0.0, 1.0, 1.5, 4.0], dtype=DOUBLE),
    "backwards": torch.tensor([2.0, 0.3], dtype=DOUBLE),
}


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_adaptive_solves_make_the_same_evaluations(times, method, tol):
    field, settings = Field(), {"method": method, "rtol": tol, "atol": tol / 10}
    with torch.no_grad():
        exact = odeint(field, start(), TIMES[times], rtol=1e-11, atol=1e-12)
        field.calls = 0
        ours = odeint(field, start(), TIMES[times], **settings)
        mine, field.calls = field.calls, 0
        theirs = torchdiffeq.odeint(field, start(), TIMES[times], **settings)
    assert abs(mine - field.calls) <= 0.05 * field.calls + 3
    # The last time ends a step here and is interpolated there, with bosh3 to a lower order; and equal steps end where
    # the last one is cut.
    gaps = [float((found - exact).abs().max()) for found in (ours, theirs)]
    assert gaps[0] <= 1.5 * gaps[1] + tol
    if method == "dopri5":
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3 * tol)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("method, theirs", [("euler", "euler"), ("midpoint", "midpoint"), ("heun", "heun2")])
def test_fixed_steps_are_equal(times, method, theirs):
    field = Field()
    with torch.no_grad():
        ours = odeint(field, start(), TIMES[times], method=method, options={"step_size": 0.1})
        peer = torchdiffeq.odeint(field, start(), TIMES[times], method=theirs, options={"step_size": 0.1})
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-12)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients_are_equal(times, adjoint):
    field, settings = Field(), {"rtol": 1e-9, "atol": 1e-11}
    peer = torchdiffeq.odeint_adjoint if adjoint else torchdiffeq.odeint

    def gradients(solver, **settings):
        y0, t = start().requires_grad_(), TIMES[times].clone().requires_grad_()
        found = solver(field, y0, t, **settings)
        return torch.autograd.grad((found**2).sum(), [y0, t, *field.parameters()])

    ours = gradients(odeint, gradient="adjoint" if adjoint else "backprop", **settings)
    for mine, theirs in zip(ours, gradients(peer, **settings), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_the_adjoint_makes_the_same_evaluations_backwards():
    # Of an autonomous field: there, ∂f/∂t has a say in the step, which nothing depends on.
    field, t = Field(pace=0.0), TIMES["backwards"]
    for norm in ("mixed", "seminorm"):
        settings = {"rtol": 1e-5, "atol": 1e-6}
        counted = Statistics()
        odeint(
            field, start().requires_grad_(), t, gradient="adjoint", options={"adjoint_norm": norm}, statistics=counted,
            **settings,
        )[-1].sum().backward()  # fmt: skip
        found = torchdiffeq.odeint_adjoint(
            field,
            start().requires_grad_(),
            t,
            adjoint_options={"norm": norm} if norm == "seminorm" else None,
            **settings,
        )
        field.calls = 0
        found[-1].sum().backward()
        assert abs(counted.backward - field.calls) <= 0.07 * field.calls


def test_tuples_are_solved_with_the_same_norm():
    def field(t, y):
        return (y[1].sum(0) - y[0], -y[1] * torch.cos(3 * t))

    y0 = (torch.ones(3, dtype=DOUBLE), 100 * torch.ones(2, 3, dtype=DOUBLE))
    counted = Statistics()
    ours = odeint(field, y0, TIMES["forwards"], rtol=1e-6, atol=1e-6, statistics=counted)
    calls = []
    theirs = torchdiffeq.odeint(
        lambda t, y: calls.append(1) or field(t, y), y0, TIMES["forwards"], rtol=1e-6, atol=1e-6
    )
    assert abs(counted.nfev - len(calls)) <= 0.05 * len(calls) + 6
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_events_and_their_gradients_are_equal():
    def ball(t, y):
        return torch.stack([y[1], -9.81 - 0.1 * y[1]])

    y0 = torch.tensor([10.0, 0.5], dtype=DOUBLE, requires_grad=True)
    t0 = torch.tensor(0.0, dtype=DOUBLE)
    ours, states = odeint_event(ball, y0, t0, event_fn=lambda t, y: y[0], rtol=1e-9, atol=1e-11)
    theirs, peer = torchdiffeq.odeint_event(ball, y0, t0, event_fn=lambda t, y: y[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)
    torch.testing.assert_close(states, peer, rtol=0, atol=1e-7)
    for a, b in ((ours, theirs), (states[-1, 1], peer[-1, 1])):
        torch.testing.assert_close(
            *(torch.autograd.grad(v, y0, retain_graph=True)[0] for v in (a, b)), rtol=1e-6, atol=0
        )
