"""Parity of the minimisers with SciPy's, and of the lasso with scikit-learn's."""

import numpy as np
import pytest
import torch

from bench import minimise as bench
from gradus.optim import SURFACES, fista, ista, minimize, project_box, projected_gradient, soft_threshold
from gradus.optim.surfaces import rosenbrock

peer = pytest.importorskip("scipy.optimize")


def value_and_gradient(fn):
    def both(x):
        leaf = torch.from_numpy(np.array(x)).requires_grad_()
        value = fn(leaf)
        return value.item(), torch.autograd.grad(value, leaf)[0].numpy()

    return both


def scipy_minimum(fn, x0, method, **settings):
    return peer.minimize(value_and_gradient(fn), x0.numpy(), jac=True, method=method, **settings)


def standard(n):
    return torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(n // 2)


def test_rosenbrock_is_scipys():
    points = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(rosenbrock(points).numpy(), peer.rosen(points.numpy().T))


@pytest.mark.parametrize("n", [2, 10, 50])
def test_bfgs_takes_no_more_than_one_and_a_half_times_scipys_iterations(n):
    theirs = scipy_minimum(rosenbrock, standard(n), "BFGS", options={"gtol": 1e-5})
    ours = minimize(rosenbrock, standard(n), method="bfgs", gtol=1e-5)
    assert ours.success
    assert ours.nit <= 1.5 * theirs.nit
    assert ours.nfev <= 1.5 * theirs.nfev
    assert ours.njev <= 1.5 * theirs.njev
    if n == 2:
        assert (theirs.nit, theirs.nfev) == (32, 39)


@pytest.mark.parametrize(("method", "theirs"), [("bfgs", "BFGS"), ("lbfgs", "L-BFGS-B"), ("cg", "CG"), ("sr1", "BFGS")])
@pytest.mark.parametrize("name", ["booth", "beale", "himmelblau"])
def test_the_same_minima(name, method, theirs):
    surface = SURFACES[name]
    x0 = torch.tensor(surface.start, dtype=torch.float64) if name != "beale" else torch.ones(2, dtype=torch.float64)
    found = minimize(surface.function, x0, method=method, gtol=1e-7)
    options = {"gtol": 1e-7, **({"ftol": 0.0} if theirs == "L-BFGS-B" else {})}
    other = scipy_minimum(surface.function, x0, theirs, options=options)
    assert found.success
    assert found.fun == pytest.approx(other.fun, abs=1e-9)


def test_newton_ends_where_trust_regions_end():
    def hess(x):
        leaf = torch.from_numpy(np.array(x))
        return torch.autograd.functional.hessian(rosenbrock, leaf).numpy()

    found = minimize(rosenbrock, standard(2), method="newton", gtol=1e-8)
    other = scipy_minimum(rosenbrock, standard(2), "trust-exact", hess=hess, options={"gtol": 1e-8})
    np.testing.assert_allclose(found.x.numpy(), other.x, atol=1e-7)
    assert found.nit <= 1.5 * other.nit


@pytest.mark.parametrize("seed", range(3))
def test_constrained_programs_agree_with_slsqp(seed):
    generator = torch.Generator().manual_seed(seed)
    n = 5
    root, c = torch.randn(n, n, generator=generator, dtype=torch.float64), torch.randn(n, generator=generator).double()
    Q = root @ root.T + torch.eye(n, dtype=torch.float64)
    A, b = torch.randn(2, n, generator=generator, dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def fn(x):
        return 0.5 * torch.dot(x, Q @ x) + torch.dot(c, x) + (x - 1).pow(4).sum()

    x0 = torch.zeros(n, dtype=torch.float64)
    found = minimize(fn, x0, equality=lambda x: A[0] @ x - b[0], inequality=lambda x: A[1] @ x - b[1], gtol=1e-7)
    constraints = [
        {"type": "eq", "fun": lambda x: A[0].numpy() @ x - 1},
        {"type": "ineq", "fun": lambda x: 1 - A[1].numpy() @ x},
    ]
    other = scipy_minimum(fn, x0, "SLSQP", constraints=constraints, options={"ftol": 1e-14, "maxiter": 200})
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), other.x, atol=1e-5)


def test_bounds_agree_with_lbfgsb():
    x0 = standard(6)
    found = projected_gradient(rosenbrock, x0, project=lambda x: project_box(x, -1.5, 0.8), gtol=1e-7)
    other = scipy_minimum(rosenbrock, x0, "L-BFGS-B", bounds=[(-1.5, 0.8)] * 6, options={"ftol": 0.0, "gtol": 1e-8})
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), other.x, atol=1e-5)


@pytest.mark.parametrize("method", [ista, fista])
@pytest.mark.parametrize("alpha", [0.02, 0.2])
def test_the_lasso_agrees_with_scikit_learn(method, alpha):
    """scikit-learn minimises ‖A x − b‖² / 2m + α‖x‖₁."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(80, 30, generator=generator, dtype=torch.float64)
    b = A[:, :5].sum(1) + 0.1 * torch.randn(80, generator=generator, dtype=torch.float64)
    theirs = linear_model.Lasso(alpha=alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(A.numpy(), b.numpy())
    found = method(
        lambda x: (A @ x - b).square().sum() / (2 * len(b)), torch.zeros(30, dtype=torch.float64),
        prox=lambda z, t: soft_threshold(z, t * alpha), gtol=1e-9,
    )  # fmt: skip
    assert found.success
    np.testing.assert_allclose(found.x.numpy(), theirs.coef_, atol=1e-7)
    assert ((found.x == 0).numpy() == (theirs.coef_ == 0)).all()


def test_the_benchmark_lets_both_sides_end_where_the_gradient_is_small():
    found = bench.bfgs(rounds=2, n=4)
    assert found["gradus_fun"] == pytest.approx(found["scipy_fun"], abs=1e-6)
    assert max(found["gradus_residual"], found["scipy_residual"]) <= 1e-5
    assert found["ratio"] > 0
    limited = bench.bfgs_iterations(rounds=2, n=6, iterations=3)
    assert limited["gradus_nit"] == limited["scipy_nit"] == 3
