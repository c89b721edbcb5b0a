"""Implicit steps: three ways to solve their linear systems, and gradients past Newton's iterations."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.ode import Statistics, odeint, solve
from gradus.ode.krylov import gmres
from gradus.ode.pull import pull, pull_rows

DOUBLE = torch.float64
T = torch.tensor([0.0, 0.3, 1.0], dtype=DOUBLE)


def rows(t, y):
    """Every row is a system of its own."""
    return torch.stack([y[:, 1], -5 * y[:, 1] - y[:, 0] ** 3, torch.cos(t) - y[:, 2] * y[:, 0]], 1)


@pytest.mark.parametrize("method", ["implicit_euler", "trapezoid", "trbdf2"])
def test_dense_rows_and_krylov_solve_the_same_system(method):
    y0 = torch.linspace(-1, 1, 12, dtype=DOUBLE).view(4, 3)
    found = {
        linear: odeint(rows, y0, T, method=method, options={"steps": 4, "linear": linear})
        for linear in ("dense", "rows", "krylov")
    }
    torch.testing.assert_close(found["rows"], found["dense"], rtol=0, atol=1e-9)
    torch.testing.assert_close(found["krylov"], found["dense"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("linear", ["dense", "rows", "krylov"])
@pytest.mark.parametrize("method", ["implicit_euler", "trapezoid", "trbdf2"])
def test_gradients_are_those_of_the_solved_equations(method, linear):
    weight = torch.tensor([0.7, 0.4, 1.3], dtype=DOUBLE, requires_grad=True)
    y0 = torch.tensor([[0.4, -0.2, 0.9]], dtype=DOUBLE).repeat(1 + (linear == "rows"), 1).requires_grad_()

    def final(y0, weight):
        options = {"steps": 2, "linear": linear, "newton_tol": 1e-13, "newton_iterations": 30}
        return odeint(lambda t, y: rows(t, y) * weight, y0, T, method=method, options=options)[1:]

    assert torch.autograd.gradcheck(final, (y0, weight), eps=1e-6, atol=1e-6)


def test_one_jacobian_serves_a_step():
    counted = Statistics()
    odeint(
        lambda t, y: -3 * y,
        torch.ones(2, 3, dtype=DOUBLE),
        T,
        method="trbdf2",
        options={"steps": 5},
        statistics=counted,
    )
    assert counted.jacobians == counted.accepted == 10


def test_large_systems_need_no_matrix():
    n = 3000
    rates = torch.linspace(1, 50, n, dtype=DOUBLE)
    found = solve(lambda t, y: -rates * y, torch.ones(n, dtype=DOUBLE), T, method="trapezoid", options={"steps": 20})
    exact = torch.exp(-rates * 1.0)
    assert float((found.y[-1] - exact).abs().max()) < 2e-3
    assert found.statistics.jacobians == 40


def test_a_constant_field_and_one_of_time_alone_have_no_jacobian():
    for field, end in ((lambda t, y: torch.ones(2, dtype=DOUBLE), 1.0), (lambda t, y: 2 * t.expand(2), 1.0)):
        for linear in ("dense", "krylov"):
            found = odeint(field, torch.zeros(2, dtype=DOUBLE), T, method="trapezoid", options={"linear": linear})
            torch.testing.assert_close(found[-1], torch.full((2,), end, dtype=DOUBLE))


def test_a_linear_field_has_a_jacobian_though_nothing_second():
    """The product J v comes from a second derivative of J itself, which a linear field has not."""
    matrix = torch.tensor([[-3.0, 1.0], [0.5, -2.0]], dtype=DOUBLE)
    y0 = torch.tensor([1.0, 2.0], dtype=DOUBLE)
    found = odeint(lambda t, y: matrix @ y, y0, T, method="implicit_euler", options={"linear": "krylov"})
    one = torch.eye(2, dtype=DOUBLE)
    exact = torch.linalg.solve(one - 0.7 * matrix, torch.linalg.solve(one - 0.3 * matrix, y0))
    torch.testing.assert_close(found[-1], exact, rtol=0, atol=1e-10)


def test_an_adjoint_backwards_through_a_stiff_problem_is_refused():
    y0 = torch.ones(2, requires_grad=True)
    with pytest.raises(GradusError, match="gradient='checkpointed'"):
        odeint(lambda t, y: -y, y0, T, method="implicit_euler", gradient="adjoint", params=())


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_gmres_solves_what_a_factorisation_solves(n, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.eye(n, dtype=DOUBLE) + 0.3 * torch.randn(n, n, generator=generator, dtype=DOUBLE)
    b = torch.randn(n, generator=generator, dtype=DOUBLE)
    x = gmres(lambda v: matrix @ v, b, tol=1e-13)
    assert float((matrix @ x - b).norm()) <= 1e-9 * float(b.norm()) * float(torch.linalg.cond(matrix))


def test_gmres_of_nothing_is_nothing_and_a_budget_is_kept():
    assert torch.equal(gmres(lambda v: 2 * v, torch.zeros(3)), torch.zeros(3))
    calls = []
    gmres(lambda v: calls.append(1) or v.roll(1), torch.eye(30, dtype=DOUBLE)[0], max_iterations=5)
    assert len(calls) == 5


@pytest.mark.parametrize("n", [3, 20])
def test_products_of_many_rows_are_the_jacobian(n):
    matrix = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    point = torch.ones(n, dtype=DOUBLE, requires_grad=True)
    value = torch.tanh(matrix @ point)
    found = pull_rows(value, point, torch.eye(n, dtype=DOUBLE))
    torch.testing.assert_close(found, (1 - value.detach() ** 2)[:, None] * matrix)
    assert pull_rows(matrix.clone().requires_grad_()[0] * 2, point, torch.eye(n, dtype=DOUBLE)) is None


def test_a_product_is_differentiable_where_asked():
    x = torch.tensor([0.3, 0.7], dtype=DOUBLE, requires_grad=True)
    (first,) = pull((x**3,), (x,), (torch.ones(2, dtype=DOUBLE),), create=True)
    (second,) = pull((first,), (x,), (torch.ones(2, dtype=DOUBLE),))
    torch.testing.assert_close(second, 6 * x.detach())
