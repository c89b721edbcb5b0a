"""The contract of a search for fixed points, as checks that need no test framework: an AssertionError says what broke.

A search passes when it finds the known points of linear and curved contractions, treats every sample of a batch as if
it were alone, says truly which samples have converged and at what cost, and keeps shapes, dtypes and its arguments.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["check_fixed_point"]

Search = Callable[..., Any]
DOUBLE = torch.float64


def check_fixed_point(search: Search) -> None:
    """Run the whole contract on a search.

    Args:
        search: called as (f, z0, tol=…, max_iterations=…), giving a `gradus.ode.FixedPoint`.

    Raises:
        AssertionError: for the first clause that fails.
    """
    for check in CHECKS:
        check(search)


def _linear(batch: int, n: int, seed: int = 0, rate: float = 0.7) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return z ↦ A z + b for a batch of contractions, and their fixed points (I − A)⁻¹ b."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(batch, n, n, generator=generator, dtype=DOUBLE)
    a = rate * a / torch.linalg.matrix_norm(a, 2)[:, None, None]
    b = torch.randn(batch, n, generator=generator, dtype=DOUBLE)
    exact = torch.linalg.solve(torch.eye(n, dtype=DOUBLE) - a, b)
    return lambda z: torch.einsum("bij,bj->bi", a, z) + b, exact


def _known_points(search: Search) -> None:
    f, exact = _linear(4, 6)
    found = search(f, torch.zeros(4, 6, dtype=DOUBLE), tol=1e-11, max_iterations=300)
    assert bool(found.converged.all()), "a linear contraction was not solved"
    assert torch.allclose(found.z, exact, rtol=0, atol=1e-8), "the point of a linear contraction is wrong"
    curved = search(torch.cos, torch.linspace(-1, 2, 12, dtype=DOUBLE).view(3, 2, 2), tol=1e-11, max_iterations=300)
    assert curved.z.shape == (3, 2, 2), "the shape of the state is not kept"
    assert float((curved.z - 0.7390851332151607).abs().max()) < 1e-9, "the point of the cosine is wrong"


def _tells_the_truth(search: Search) -> None:
    f, _ = _linear(5, 4, rate=0.9)
    calls = 0

    def counted(z: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return f(z)

    start = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    kept = start.clone()
    for budget in (1, 3, 200):
        calls = 0
        found = search(counted, start, tol=1e-8, max_iterations=budget)
        assert torch.equal(start, kept), "the start was changed"
        assert calls == found.nfev, f"{found.nfev} evaluations were told, {calls} were made"
        assert calls <= budget, "more evaluations were made than allowed"
        size = (f(found.z) - found.z).norm(dim=1) / 2
        size = size / (1 + found.z.norm(dim=1) / 2)
        assert torch.allclose(size, found.residual, rtol=1e-4, atol=1e-12), "the residual told is not the residual"
        assert torch.equal(found.converged, found.residual <= 1e-8), "converged is not what the residual says"
        assert int(found.iterations.max()) == found.nfev, "iterations and evaluations disagree"
    assert bool(found.converged.all()), "two hundred evaluations do not solve four unknowns"
    lost = search(lambda z: z + 1 + z.abs(), start, tol=1e-8, max_iterations=20)
    assert not bool(lost.converged.any()), "a map without fixed point is said to have one"


def _samples_are_alone(search: Search) -> None:
    f, _ = _linear(3, 5, seed=2, rate=0.9)
    start = torch.zeros(3, 5, dtype=DOUBLE)
    together = search(f, start, tol=1e-9, max_iterations=200)
    for i in range(3):

        def one(z: Tensor, i: int = i) -> Tensor:
            return f(z.expand(3, 5))[i : i + 1]

        alone = search(one, start[i : i + 1], tol=1e-9, max_iterations=200)
        assert torch.allclose(alone.z[0], together.z[i], rtol=0, atol=1e-12), "a sample hangs on its company"
        assert int(alone.iterations[0]) == int(together.iterations[i]), "a sample's iterations hang on its company"

    def wild(z: Tensor) -> Tensor:
        return torch.cat([f(z)[:2], 1e3 * z[2:] ** 3 + 1])

    mixed = search(wild, start, tol=1e-9, max_iterations=60)
    still = search(f, start, tol=1e-9, max_iterations=60)
    assert torch.allclose(mixed.z[:2], still.z[:2], rtol=0, atol=1e-12), "a sample that diverges spoils the others"
    assert bool(mixed.z.isfinite().all()), "what is given back is not finite"


def _rests_and_repeats(search: Search) -> None:
    f, exact = _linear(3, 4, seed=4)
    found = search(f, exact, tol=1e-9, max_iterations=50)
    assert found.nfev == 1, "at the fixed point already, it went on"
    assert torch.allclose(found.z, exact, rtol=0, atol=1e-9), "it left the fixed point"
    start = torch.ones(3, 4)
    a, b = (search(torch.cos, start, tol=1e-5, max_iterations=50) for _ in range(2))
    assert torch.equal(a.z, b.z), "the same search gives two answers"
    assert a.z.dtype is torch.float32, "the dtype is not kept"
    assert bool(a.converged.all()), "single precision does not converge"
    assert not search(f, exact.clone().requires_grad_(), tol=1e-9, max_iterations=50).z.requires_grad, "it keeps graphs"


def _refuses(search: Search) -> None:
    state = torch.ones(2, 3)
    wrong: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("a map that changes the shape", lambda: search(lambda z: z[:, :2], state, tol=1e-5, max_iterations=5)),
        ("a map that is not finite", lambda: search(lambda z: z / 0, state, tol=1e-5, max_iterations=5)),
        ("a negative tolerance", lambda: search(torch.cos, state, tol=-1.0, max_iterations=5)),
        ("no iterations", lambda: search(torch.cos, state, tol=1e-5, max_iterations=0)),
    )
    for what, call in wrong:
        try:
            call()
        except GradusError:
            continue
        raise AssertionError(f"{what} is taken without a GradusError")


CHECKS = (_known_points, _tells_the_truth, _samples_are_alone, _rests_and_repeats, _refuses)
