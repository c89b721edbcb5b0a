"""Newton's method: one step on a quadratic, digits that double, invariance, and the way out of a saddle."""

import math
from itertools import pairwise

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim import minimize
from gradus.optim.newton import hessian, newton_direction
from gradus.optim.surfaces import himmelblau, rosenbrock


def generator():
    return torch.Generator().manual_seed(0)


def quartic(x):
    return 0.25 * x.flatten().pow(4).sum() + x.flatten().square().sum() ** 2 / 4


def test_the_hessian_is_the_closed_form_in_any_shape():
    x = torch.randn(2, 3, generator=generator(), dtype=torch.float64)
    flat = x.flatten()
    wanted = torch.diag(3 * flat**2 + flat.square().sum()) + 2 * torch.outer(flat, flat)
    torch.testing.assert_close(hessian(quartic, x), wanted)


def test_many_rows_at_once_are_the_same_hessian():
    x = torch.randn(40, generator=generator(), dtype=torch.float64)
    wanted = torch.diag(3 * x**2 + x.square().sum()) + 2 * torch.outer(x, x)
    torch.testing.assert_close(hessian(quartic, x), wanted)


def test_functions_without_curvature_have_a_zero_hessian():
    x = torch.ones(3, dtype=torch.float64)
    assert not hessian(lambda x: x.sum(), x).any()
    partial = hessian(lambda x: x[0] ** 2 + x[1:].sum(), x)
    torch.testing.assert_close(partial, torch.diag(torch.tensor([2.0, 0, 0], dtype=torch.float64)))


def test_a_convex_quadratic_takes_one_step():
    matrix = torch.randn(5, 5, generator=generator(), dtype=torch.float64)
    matrix = matrix @ matrix.T + torch.eye(5, dtype=torch.float64)
    centre = torch.randn(5, generator=generator(), dtype=torch.float64)
    found = minimize(lambda x: 0.5 * (x - centre) @ matrix @ (x - centre), torch.zeros_like(centre), method="newton")
    assert (found.nit, found.nhev, found.success) == (1, 1, True)
    torch.testing.assert_close(found.x, centre)


def test_the_digits_double():
    """‖x₊ − x*‖ ≤ C ‖x − x*‖² near a minimum with a definite Hessian; the distance below which this shows is 0.1."""
    distances = []

    def fn(x):
        return (x - 1).exp().sum() - x.sum() + 0.5 * (x.sum() - 3) ** 2

    x0 = torch.tensor([1.6, 0.7, 1.3], dtype=torch.float64)
    minimize(fn, x0, method="newton", gtol=1e-14, callback=lambda found: distances.append((found.x - 1).norm().item()))
    pairs = [(a, b) for a, b in pairwise(distances) if a < 0.1 and b > 1e-13]
    assert len(pairs) >= 2
    orders = [math.log(b) / math.log(a) for a, b in pairs]
    assert min(orders) > 1.7
    assert max(b / a**2 for a, b in pairs) < 2


def test_newton_does_not_see_coordinates():
    """Minimising f(A z) instead of f(x) gives the same points, x = A z, as steepest descent does not."""
    A = torch.tensor([[3.0, 1.0], [0.5, 0.2]], dtype=torch.float64)
    x0 = torch.tensor([1.2, 1.0], dtype=torch.float64)
    for method, same in (("newton", True), ("gd", False)):
        paths = []
        for fn, start, back in (
            (rosenbrock, x0, lambda x: x),
            (lambda z: rosenbrock(A @ z), torch.linalg.solve(A, x0), lambda z: A @ z),
        ):
            path = []
            minimize(
                fn, start, method=method, line_search="armijo", gtol=0.0, max_iterations=5,
                callback=lambda found, path=path, back=back: path.append(back(found.x)),
            )  # fmt: skip
            paths.append(torch.stack(path))
        assert torch.allclose(*paths, rtol=1e-6, atol=1e-8) == same


def test_it_leaves_a_saddle_where_the_pure_iteration_would_end_in_it():
    def fn(x):
        return x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4

    x0 = torch.tensor([1.0, 0.01], dtype=torch.float64)
    pure = x0 + torch.linalg.solve(hessian(fn, x0), -torch.autograd.functional.jacobian(fn, x0))
    assert pure.abs().max() < 1e-3
    found = minimize(fn, x0, method="newton")
    assert found.success
    torch.testing.assert_close(found.x.abs(), torch.tensor([0, 2**0.5], dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spectrum", [(1.0, 2.0, 5.0), (-1.0, 2.0, 5.0), (0.0, 1.0, 2.0), (0.0, 0.0, 0.0)])
def test_the_direction_always_descends(spectrum):
    basis = torch.linalg.qr(torch.randn(3, 3, generator=generator(), dtype=torch.float64)).Q
    curvature = basis * torch.tensor(spectrum, dtype=torch.float64) @ basis.T
    for seed in range(20):
        grad = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        direction = newton_direction(grad, curvature)
        assert torch.dot(direction, grad) < 0
        assert direction.isfinite().all()
    if min(spectrum) > 0:
        torch.testing.assert_close(direction, -torch.linalg.solve(curvature, grad))


def test_damping_is_levenbergs():
    grad = torch.tensor([1.0, -2.0], dtype=torch.float64)
    curvature = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(newton_direction(grad, curvature, 2.0), torch.tensor([-1 / 3, 0.4], dtype=torch.float64))
    start = torch.zeros(2, dtype=torch.float64)
    counts = [minimize(himmelblau, start, method="newton", damping=d).nit for d in (0.0, 100.0)]
    assert counts[0] < counts[1]


def test_a_hessian_of_ones_own():
    x0 = torch.tensor([[-1.2], [1.0]], dtype=torch.float64)

    def fn(x):
        return rosenbrock(x.flatten())

    def hess(x):
        a, b = x.flatten().tolist()
        rows = [[1200 * a * a - 400 * b + 2, -400 * a], [-400 * a, 200]]
        return torch.tensor(rows, dtype=torch.float64).reshape(2, 1, 2, 1)

    def grad(x):
        a, b = x.flatten().tolist()
        return torch.tensor([[-400 * a * (b - a * a) - 2 * (1 - a)], [200 * (b - a * a)]], dtype=torch.float64)

    own = minimize(fn, x0, method="newton", hess=hess)
    torch.testing.assert_close(own.x, minimize(fn, x0, method="newton").x)
    torch.testing.assert_close(own.x, minimize(fn, x0, method="newton", hess=hess, grad=grad).x)
    with pytest.raises(GradusError, match="hess="):
        minimize(fn, x0, method="newton", grad=grad)
    with pytest.raises(GradusError, match="Hessian is not finite"):
        minimize(fn, x0, method="newton", hess=lambda x: hess(x) / 0)
