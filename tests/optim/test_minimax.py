"""Minimax dynamics: the bilinear game, Wang et al.'s examples, and the solvers of follow-the-ridge."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.errors import GradusError
from gradus.optim.minimax import find_minimax, gda
from gradus.optim.ridge import _solve_dense, _solve_iterated, follow_the_ridge, is_local_minimax

ORIGIN = torch.zeros((), dtype=torch.float64)
ONE = torch.ones((), dtype=torch.float64)


def _bilinear(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum()


# The quadratics and the sixth-degree function that tell local minimax points from the rest points of descent-ascent.
def _unstable_for_gda(x: Tensor, y: Tensor) -> Tensor:
    return -3 * x**2 - y**2 + 4 * x * y


def _stable_for_gda(x: Tensor, y: Tensor) -> Tensor:
    return 3 * x**2 + y**2 + 4 * x * y


def _circling(x: Tensor, y: Tensor) -> Tensor:
    return (4 * x**2 - (y - 3 * x + 0.05 * x**3) ** 2 - 0.1 * y**4) * torch.exp(-0.01 * (x**2 + y**2))


def _distance(
    fn: Callable[[Tensor, Tensor], Tensor], method: str, start: float, steps: int, **settings: object
) -> float:
    found = find_minimax(fn, start * ONE, start * ONE, method, steps=steps, tol=0.0, **settings)
    return math.hypot(found.x.item(), found.y.item())


def test_on_the_bilinear_game_gda_diverges_and_its_cures_converge() -> None:
    """Simultaneous gda multiplies the distance by √(1 + η²) a step, exactly; in turns it circles for ever."""
    lr, steps = 0.5, 100
    assert _distance(_bilinear, "gda", 1.0, steps, lr=lr) == pytest.approx(math.sqrt(2) * (1 + lr**2) ** (steps / 2))
    assert 0.5 < _distance(_bilinear, "gda", 1.0, steps, lr=lr, alternating=True) < 3
    assert _distance(_bilinear, "ogda", 1.0, steps, lr=lr) < 1e-6
    assert _distance(_bilinear, "negative_momentum", 1.0, 4 * steps, lr=lr) < 1e-6
    harm = {"momentum": 0.5}, {"alternating": False}
    assert all(_distance(_bilinear, "negative_momentum", 1.0, steps, lr=lr, **setting) > 10 for setting in harm)


def test_optimistic_descent_contracts_as_its_eigenvalues_say() -> None:
    """λ² − (1 ± 2iη) λ ± iη = 0: the larger root is the rate of ogda on x · y."""
    lr = 0.3
    rate = max(abs(root) for root in torch.linalg.eigvals(torch.tensor([[1 - 2j * lr, 1j * lr], [1, 0]])).tolist())
    far, near = (_distance(_bilinear, "ogda", 1.0, steps, lr=lr) for steps in (60, 110))
    assert (near / far) ** 0.02 == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("method", ["gda", "ogda", "negative_momentum"])
def test_first_order_dynamics_miss_a_local_minimax_and_settle_where_there_is_none(method: str) -> None:
    assert is_local_minimax(_unstable_for_gda, ORIGIN, ORIGIN)
    assert _distance(_unstable_for_gda, method, 0.1, 100) > 10
    assert not is_local_minimax(_stable_for_gda, ORIGIN, ORIGIN)
    assert _distance(_stable_for_gda, method, 0.5, 500) < 1e-6


def test_following_the_ridge_converges_to_local_minimax_and_to_nothing_else() -> None:
    assert _distance(_unstable_for_gda, "follow_the_ridge", 1.0, 200) < 1e-6
    assert _distance(_stable_for_gda, "follow_the_ridge", 1e-3, 200) > 10


def test_where_gda_circles_the_ridge_leads_in() -> None:
    assert is_local_minimax(_circling, ORIGIN, ORIGIN)
    assert _distance(_circling, "follow_the_ridge", 2.0, 200) < 1e-6
    orbit = find_minimax(_circling, 2 * ONE, 2 * ONE, "gda", steps=400, tol=0.0, record=True).path
    assert orbit is not None
    radius = orbit[-200:].norm(dim=1)
    assert 1 < radius.min() < radius.max() < 5


def test_the_ridge_corrects_y_exactly_on_a_quadratic() -> None:
    """The ridge of f = a x² / 2 + b x y − c y² / 2 is y = b x / c; there x contracts by 1 − η (a + b² / c), y too."""
    a, b, c, lr = -1.0, 2.0, 3.0, 0.05

    def fn(x: Tensor, y: Tensor) -> Tensor:
        return a * x**2 / 2 + b * x * y - c * y**2 / 2

    found = find_minimax(fn, ONE, b / c * ONE, follow_the_ridge(lr), steps=7, tol=0.0)
    assert found.x.item() == pytest.approx((1 - lr * (a + b**2 / c)) ** 7, rel=1e-12)
    assert found.y.item() == pytest.approx(b / c * found.x.item(), rel=1e-12)


def _players(n: int, m: int) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]:
    """Return f with a local minimax at 0 in many dimensions: neither convex in x nor separable."""
    source = torch.Generator().manual_seed(0)
    b = torch.randn(m, n, generator=source, dtype=torch.float64)
    root = torch.randn(m, m, generator=source, dtype=torch.float64) / m**0.5
    c = root @ root.T + torch.eye(m, dtype=torch.float64)
    a = 0.5 * b.T @ torch.linalg.solve(c, b) - 0.1 * torch.eye(n, dtype=torch.float64)

    def fn(x: Tensor, y: Tensor) -> Tensor:
        x, y = x.flatten(), y.flatten()
        return -x @ a @ x / 2 + y @ b @ x - y @ c @ y / 2 + torch.tanh(x).pow(4).sum() - y.pow(4).sum() / 10

    return (
        fn,
        torch.randn(n, generator=source, dtype=torch.float64),
        torch.randn(m, generator=source, dtype=torch.float64),
    )


def test_both_solvers_of_the_ridge_agree_and_any_shape_will_do() -> None:
    fn, x, y = _players(4, 12)
    dense = find_minimax(fn, x.view(2, 2), y.view(3, 4), "follow_the_ridge", steps=20, tol=0.0, dense=64)
    iterated = find_minimax(fn, x.view(2, 2), y.view(3, 4), "follow_the_ridge", steps=20, tol=0.0, dense=0)
    assert dense.x.shape == (2, 2)
    assert dense.y.shape == (3, 4)
    assert torch.allclose(dense.x, iterated.x, rtol=1e-8, atol=1e-10)
    assert torch.allclose(dense.y, iterated.y, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_the_solvers_minimise_what_they_say_for_indefinite_matrices(damping: float) -> None:
    root = torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix, right = (root + root.T) / 2, root[0]
    assert torch.linalg.eigvalsh(matrix)[[0, -1]].sign().tolist() == [-1, 1]
    expected = torch.linalg.solve(matrix @ matrix + damping**2 * torch.eye(8, dtype=torch.float64), matrix @ right)
    assert torch.allclose(_solve_dense(matrix, right, damping), expected, rtol=1e-9)
    assert torch.allclose(_solve_iterated(lambda z: matrix @ z, right, damping, 200), expected, rtol=1e-6)


def test_where_y_has_no_curvature_the_ridge_is_gda() -> None:
    """The bilinear game: H_yy = 0 has no inverse, and the correction of least norm is none."""
    ridge = find_minimax(_bilinear, ONE, ONE, "follow_the_ridge", steps=20, tol=0.0, lr=0.1)
    plain = find_minimax(_bilinear, ONE, ONE, "gda", steps=20, tol=0.0, lr=0.1)
    assert torch.equal(ridge.x, plain.x)
    assert torch.equal(ridge.y, plain.y)


def test_local_minimax_depends_on_who_moves_first() -> None:
    """A saddle x² − y² is one whoever leads; −3 x² − y² + 4 x y only where y answers."""
    assert is_local_minimax(lambda x, y: x**2 - y**2, ORIGIN, ORIGIN)
    assert not is_local_minimax(lambda x, y: -_unstable_for_gda(y, x), ORIGIN, ORIGIN)
    assert not is_local_minimax(lambda x, y: x**2 - y**2, ONE, ORIGIN), "the gradient does not vanish there"
    assert not is_local_minimax(lambda x, y: x**2 - 0 * y, ORIGIN, ORIGIN), "y has no strict maximum"


def test_the_result_says_how_it_ended() -> None:
    converged = find_minimax(lambda x, y: x**2 - y**2, ONE, ONE, "gda", steps=500, lr=0.1)
    assert converged.success
    assert converged.nit < 500
    assert "within" in converged.message
    short = find_minimax(_bilinear, ONE, ONE, gda(0.1), steps=10, record=True)
    assert not short.success
    assert short.nit == 10
    assert short.path is not None
    assert short.path.shape == (11, 2)
    assert torch.equal(short.path[-1], torch.stack([short.x, short.y]))
    assert "10 steps" in short.message
    wild = find_minimax(lambda x, y: -(x**4) + y**4, 3 * ONE, ONE, "gda", lr=1.0)
    assert not wild.success
    assert "lower lr" in wild.message


def test_every_method_is_reached_by_name() -> None:
    names = canon.names("minimax")
    assert sorted(names) == ["follow_the_ridge", "gda", "negative_momentum", "ogda"]
    for name in names:
        assert find_minimax(lambda x, y: x**2 - y**2 + x * y, ONE, ONE, name, steps=2000).success


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda: find_minimax(_bilinear, ONE, ONE, "gdaa"), "did you mean 'gda'"),
        (lambda: find_minimax(_bilinear, ONE, ONE, "gda", momentum=1), "has no setting 'momentum'"),
        (lambda: find_minimax(lambda x, y: x * torch.ones(2), ONE, ONE), "one number"),
        (lambda: find_minimax(lambda x, y: ORIGIN, ONE, ONE), "does not depend"),
        (lambda: find_minimax(lambda x, y: x * math.nan * y, ONE, ONE), "f is nan .* at the start"),
        (lambda: find_minimax(_bilinear, ONE.long(), ONE), "floating-point"),
        (lambda: find_minimax(_bilinear, ONE, ONE, gda(), lr=0.1), "is made already"),
        (lambda: gda(lr=-1), "lr=-1 is out of range"),
        (lambda: gda(lr_y=math.inf), "lr_y=inf is out of range"),
        (lambda: follow_the_ridge(damping=-1), "damping=-1 is out of range"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: Callable[[], object], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act()
