"""Fixed points: theorems about the searches, and gradients by the implicit function theorem."""

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.ode import DeepEquilibrium, fixed_point, implicit_fixed_point

DOUBLE = torch.float64
METHODS = ("anderson", "broyden", "iterate")


def contraction(batch: int = 3, n: int = 6, rate: float = 0.8, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(batch, n, n, generator=generator, dtype=DOUBLE)
    a = rate * a / torch.linalg.matrix_norm(a, 2)[:, None, None]
    b = torch.randn(batch, n, generator=generator, dtype=DOUBLE)
    return a, b


def test_anderson_with_a_full_window_is_gmres_on_a_linear_map():
    """It ends in n + 1 mixings, whatever the spectrum; the plain iteration needs log(tol) / log(rate)."""
    n = 6
    a, b = contraction(n=n, rate=0.99)
    search = {"tol": 1e-9, "max_iterations": 500}

    def f(z):
        return torch.einsum("bij,bj->bi", a, z) + b

    mixed = fixed_point(f, torch.zeros(3, n, dtype=DOUBLE), window=n, **search)
    assert int(mixed.iterations.max()) <= n + 2
    plain = fixed_point(f, torch.zeros(3, n, dtype=DOUBLE), method="iterate", **search)
    assert int(plain.iterations.max()) > 3 * int(mixed.iterations.max())


def test_broyden_ends_in_twice_the_dimension_on_a_linear_map():
    """Gay 1979: Broyden's method solves a linear system of n unknowns in at most 2n steps."""
    n = 5
    a, b = contraction(n=n, rate=0.95)
    found = fixed_point(
        lambda z: torch.einsum("bij,bj->bi", a, z) + b, torch.zeros(3, n, dtype=DOUBLE), method="broyden", tol=1e-9
    )
    assert bool(found.converged.all())
    assert int(found.iterations.max()) <= 2 * n + 1


def test_searches_find_points_that_repel():
    """f(z) = 2 − 3z flees its fixed point 1/2; searches that learn the Jacobian do not mind."""
    start = torch.zeros(2, 3, dtype=DOUBLE)
    for method in ("anderson", "broyden"):
        found = fixed_point(lambda z: 2 - 3 * z, start, method=method, tol=1e-10)
        torch.testing.assert_close(found.z, torch.full_like(start, 0.5), rtol=0, atol=1e-9)
    assert not bool(fixed_point(lambda z: 2 - 3 * z, start, method="iterate").converged.any())


def test_memory_that_is_used_up_starts_anew():
    a, b = contraction(n=12, rate=0.95)
    found = fixed_point(
        lambda z: torch.tanh(torch.einsum("bij,bj->bi", a, z) + b), torch.zeros(3, 12, dtype=DOUBLE),
        method="broyden", memory=3, tol=1e-9, max_iterations=300,
    )  # fmt: skip
    assert bool(found.converged.all())


@pytest.mark.parametrize("method", METHODS)
def test_the_implicit_gradient_is_the_unrolled_one(method):
    a, b = (tensor.requires_grad_() for tensor in contraction(rate=0.7))
    weights = torch.linspace(-1, 2, 18, dtype=DOUBLE).view(3, 6)

    def f(z):
        return torch.tanh(torch.einsum("bij,bj->bi", a, z) + b)

    z = torch.zeros(3, 6, dtype=DOUBLE)
    for _ in range(200):
        z = f(z)
    unrolled = torch.autograd.grad((z * weights).sum(), (a, b))
    found, info = implicit_fixed_point(f, torch.zeros(3, 6, dtype=DOUBLE), method=method, tol=1e-11, max_iterations=300)
    assert bool(info.converged.all())
    torch.testing.assert_close(found, z, rtol=0, atol=1e-9)
    for ours, theirs in zip(torch.autograd.grad((found * weights).sum(), (a, b)), unrolled, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_the_implicit_gradient_of_a_square_root():
    """z = (z + x/z)/2 is √x, whose derivative is 1/(2√x), though nobody told."""
    x = torch.tensor([[0.25], [4.0], [9.0]], dtype=DOUBLE, requires_grad=True)
    found, _ = implicit_fixed_point(lambda z: (z + x / z) / 2, torch.ones(3, 1, dtype=DOUBLE), tol=1e-12)
    torch.testing.assert_close(found, x.sqrt(), rtol=0, atol=1e-9)
    (ours,) = torch.autograd.grad(found.sum(), x)
    torch.testing.assert_close(ours, 0.5 / x.detach().sqrt(), rtol=1e-8, atol=0)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_the_gradient_is_as_exact_for_small_losses_as_for_large_ones(size):
    x = torch.tensor([[0.3]], dtype=DOUBLE, requires_grad=True)
    found, _ = implicit_fixed_point(lambda z: torch.cos(z) * x, torch.ones(1, 1, dtype=DOUBLE), tol=1e-12)
    (ours,) = torch.autograd.grad(size * found.sum(), x)
    z = found.detach()
    assert float(ours) / size == pytest.approx(float(torch.cos(z) / (1 + 0.3 * torch.sin(z))), rel=1e-8)
    assert float(z) == pytest.approx(float(0.3 * torch.cos(z)), abs=1e-11)


def test_nothing_of_the_search_is_kept_for_the_gradient():
    def saved(tol):
        a, b = (tensor.requires_grad_() for tensor in contraction(rate=0.95))
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            _, info = implicit_fixed_point(
                lambda z: torch.tanh(torch.einsum("bij,bj->bi", a, z) + b), torch.zeros(3, 6, dtype=DOUBLE),
                method="iterate", tol=tol, max_iterations=1000,
            )  # fmt: skip
        return sum(sizes), info.nfev

    (few, short), (many, long) = saved(1e-2), saved(1e-10)
    assert long > 3 * short
    assert few == many


class Cell(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(0.25 * torch.randn(width, width, generator=generator, dtype=DOUBLE))

    def forward(self, z, x):
        return torch.tanh(z @ self.weight + x)


@pytest.mark.parametrize("method", METHODS)
def test_a_deep_equilibrium_trains_as_an_endless_stack_of_its_cell(method):
    layer = DeepEquilibrium(Cell(), method=method, tol=1e-11, max_iterations=200)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=DOUBLE).requires_grad_()
    z = layer(x)
    assert layer.nfev == layer.info.nfev > 1
    ours = torch.autograd.grad((z**2).sum(), (x, layer.cell.weight))
    assert bool(layer.backward_info.converged.all())
    stack = torch.zeros_like(x)
    for _ in range(150):
        stack = layer.cell(stack, x)
    for a, b in zip(ours, torch.autograd.grad((stack**2).sum(), (x, layer.cell.weight)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    with torch.no_grad():
        assert not layer(x, z0=z).requires_grad
    assert layer.nfev <= 2, "from the equilibrium there is nothing to search"
    assert method in repr(layer)


def test_settings_are_the_methods_own():
    start = torch.zeros(2, 3)
    with pytest.raises(GradusError, match="did you mean 'anderson'"):
        fixed_point(torch.cos, start, method="andersen")
    with pytest.raises(GradusError, match="'iterate' has no setting 'window'"):
        fixed_point(torch.cos, start, method="iterate", window=3)
    for settings in (
        {"window": 0},
        {"beta": 0.0},
        {"method": "broyden", "memory": 0},
        {"method": "iterate", "damping": 1.0},
    ):
        with pytest.raises(GradusError):
            fixed_point(torch.cos, start, **settings)
    with pytest.raises(GradusError, match="no batch"):
        fixed_point(torch.cos, torch.ones(0, 3))
