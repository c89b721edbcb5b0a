"""`minimize`: one door to every method, on tensors of any shape, with SciPy's fields and errors that say what to do."""

import subprocess
import sys

import pytest
import torch

from gradus.errors import GradusError
from gradus.optim import Minimum, minimize, soft_threshold
from gradus.optim.surfaces import SURFACES, rosenbrock

STANDARD = torch.tensor([-1.2, 1.0], dtype=torch.float64)
PLAIN = ("bfgs", "lbfgs", "sr1", "dfp", "newton", "cg", "gd")


def test_scipys_fields():
    found = minimize(rosenbrock, STANDARD)
    assert isinstance(found, Minimum)
    assert {"x", "fun", "jac", "nit", "nfev", "njev", "success", "status", "message"} <= set(vars(found))
    assert found.success
    assert found.jac.abs().max().item() == found.residual <= 1e-5


@pytest.mark.parametrize("surface", ["booth", "himmelblau", "sphere"])
@pytest.mark.parametrize("method", PLAIN)
def test_every_method_solves_the_plane(method, surface):
    """These three have no other stationary point near the way but their minima, all of value 0."""
    given = SURFACES[surface]
    found = minimize(given.function, torch.tensor(given.start, dtype=torch.float64), method=method)
    assert found.success
    assert found.fun == pytest.approx(given.minimum, abs=1e-9)


@pytest.mark.parametrize("method", PLAIN)
def test_shapes_make_no_difference(method):
    """A point is its coordinates: f on a 2 × 2 matrix takes the way of f on four numbers, to the last bit."""
    flat = torch.tensor([-1.2, 1.0, 0.5, 0.8], dtype=torch.float64)
    one = minimize(rosenbrock, flat, method=method, max_iterations=15)
    two = minimize(lambda x: rosenbrock(x.reshape(4)), flat.reshape(2, 2), method=method, max_iterations=15)
    assert two.x.shape == two.jac.shape == (2, 2)
    assert torch.equal(one.x, two.x.reshape(4))
    strided = flat.reshape(2, 2).T.contiguous().T
    three = minimize(lambda x: rosenbrock(x.reshape(4)), strided, method=method, max_iterations=15)
    assert torch.equal(one.x, three.x.reshape(4))


def value_and_gradient(x):
    leaf = x.clone().requires_grad_()
    value = rosenbrock(leaf)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("method", ["bfgs", "lbfgs", "cg"])
def test_a_gradient_of_ones_own_takes_the_same_way(method):
    own = minimize(rosenbrock, STANDARD, method=method)
    both = minimize(value_and_gradient, STANDARD, method=method, grad=True)
    apart = minimize(
        lambda x: rosenbrock(x).item(), STANDARD, method=method, grad=lambda x: value_and_gradient(x)[1]
    )  # fmt: skip
    assert torch.equal(own.x, both.x)
    assert torch.equal(own.x, apart.x)
    assert (own.nfev, own.njev) == (apart.nfev, apart.njev)
    assert both.nfev == both.njev == own.nfev


def test_a_buffer_handed_out_again_and_again_is_copied():
    buffer = torch.empty(2, dtype=torch.float64)
    found = minimize(rosenbrock, STANDARD, grad=lambda x: buffer.copy_(value_and_gradient(x)[1]))
    assert torch.equal(found.x, minimize(rosenbrock, STANDARD).x)


def test_single_precision_converges_at_its_own_scale():
    """gtol = 1e-5 beside values of 1e4 is below float32's rounding of f, not of its gradient."""
    for method in ("bfgs", "lbfgs", "newton"):
        found = minimize(lambda x: 1e4 + 0.5 * (x - 1).square().sum(), torch.zeros(3), method=method)
        assert found.success
        assert found.x.dtype == torch.float32
        torch.testing.assert_close(found.x, torch.ones(3), atol=1e-5, rtol=0)


def test_the_objective_may_be_a_module_with_parameters_of_its_own():
    layer = torch.nn.Linear(2, 1, dtype=torch.float64)
    before = [p.detach().clone() for p in layer.parameters()]
    found = minimize(lambda x: (layer(x) - 1).square().sum() + x.square().sum(), torch.zeros(2, dtype=torch.float64))
    assert found.success
    assert all(p.grad is None for p in layer.parameters())
    assert all(torch.equal(p, b) for p, b in zip(layer.parameters(), before, strict=True))


def test_where_it_is_not_finite_is_said():
    def breaks(x):
        return torch.where(x.sum() > 2, torch.nan, -x.sum())

    x0 = torch.zeros(2, dtype=torch.float64)
    for settings in (
        *({"line_search": search} for search in ("wolfe", "armijo", "exact")),
        {"method": "newton"},
        {"method": "ista", "prox": lambda z, t: z},
        {"method": "projected-gradient", "project": lambda x: x},
    ):
        with pytest.raises(GradusError, match=r"nan at iteration \d+, x = \[.*where the way down from \["):
            minimize(breaks, x0, **settings)
    with pytest.raises(GradusError, match=r"nan at iteration 0, x = \[3, 0\]"):
        minimize(breaks, torch.tensor([3.0, 0.0]))
    with pytest.raises(GradusError, match="gradient is not finite in coordinate 1 at iteration 0"):
        minimize(lambda x: x.sqrt().sum(), torch.tensor([1.0, 0.0]))
    with pytest.raises(GradusError, match=r"unbounded below: it is -inf at x"):
        minimize(lambda x: -x.exp().sum(), torch.ones(2))


def test_slips_are_told_in_one_sentence():
    for match, settings in (
        ("did you mean 'bfgs'", {"method": "bgfs"}),
        ("did you mean 'memory'", {"method": "lbfgs", "memroy": 5}),
        ("has no setting 'line_search'", {"method": "ista", "prox": soft_threshold, "line_search": "wolfe"}),
        ("did you mean 'wolfe'", {"line_search": "wolff"}),
        ("needs prox=", {"method": "fista"}),
        ("needs project=", {"method": "projected-gradient"}),
        ("takes its gradients from autograd", {"method": "augmented-lagrangian", "grad": True}),
        ("takes its gradients from autograd", {"equality": lambda x: x.sum(), "grad": True}),
        ("damping=1", {"damping": 1.0}),
        ("gtol", {"gtol": float("nan")}),
    ):
        with pytest.raises(GradusError, match=match):
            minimize(rosenbrock, STANDARD, **settings)


def test_wrong_gradients_are_told():
    for match, grad in (
        ("the gradient must be a tensor of x's shape", lambda x: x[:1]),
        ("the gradient must be a tensor of x's shape", lambda x: [0.0, 0.0]),
        (r"returns \(value, gradient\)", True),
    ):
        with pytest.raises(GradusError, match=match):
            minimize(rosenbrock, STANDARD, grad=grad)
    uphill = minimize(rosenbrock, STANDARD, grad=lambda x: -value_and_gradient(x)[1])
    assert (uphill.success, uphill.status) == (False, 2)
    assert "gradient is not f's" in uphill.message


def test_names_fold_hyphens():
    a = minimize(rosenbrock, STANDARD, method="L_BFGS", max_iterations=5)
    b = minimize(rosenbrock, STANDARD, method="lbfgs", max_iterations=5)
    assert torch.equal(a.x, b.x)


def test_the_callback_may_collect_a_path_and_end_it():
    path = []

    def collect(found):
        path.append(found)
        if found.fun < 1:
            raise StopIteration

    found = minimize(rosenbrock, STANDARD, callback=collect)
    assert (found.success, found.status) == (False, 99)
    assert torch.equal(path[-1].x, found.x)
    assert path[-1].fun < 1 <= path[-2].fun
    assert [one.nit for one in path] == list(range(1, found.nit + 1))


def test_the_first_minimisation_imports_nothing_slow():
    code = """
import sys, torch
from gradus.optim import minimize
from gradus.optim.surfaces import rosenbrock
for method in ("bfgs", "newton", "lbfgs"):
    assert minimize(rosenbrock, torch.tensor([-1.2, 1.0]).double(), method=method).success
slow = [name for name in ("torch._dynamo", "sympy", "scipy") if name in sys.modules]
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", PLAIN)
def test_on_a_gpu_the_same_minimum_is_found(method):
    found = minimize(SURFACES["booth"].function, torch.zeros(2, dtype=torch.float64, device="cuda"), method=method)
    assert found.success
    assert found.x.device.type == "cuda"
    torch.testing.assert_close(found.x.cpu(), torch.tensor([1.0, 3.0], dtype=torch.float64), atol=1e-5, rtol=0)
