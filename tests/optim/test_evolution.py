"""Evolution strategies against what is known of them: moments of selected normal points, invariants, `evolve`."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim import CMAES, NES, CrossEntropy, DistributedES, GaussianES, evolve
from gradus.optim.evolution.journal import shaped
from gradus.optim.evolution.natural import log_utilities
from gradus.optim.evolution.strategy import Strategy
from gradus.optim.surfaces import ellipsoid, rosenbrock, sphere

MANY = 200_000


def start(n: int = 10, at: float = 1.0) -> Tensor:
    return torch.full((n,), at, dtype=torch.float64)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truncated(share: float) -> tuple[float, float]:
    """Return E z and E z² of a standard normal z, given that it is among the `share` smallest."""
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    cut = normal.icdf(torch.tensor(share, dtype=torch.float64))
    density = float(normal.log_prob(cut).exp()) / share
    return -density, 1 - float(cut) * density


def test_cross_entropy_fits_the_moments_of_a_truncated_normal_on_a_slope():
    """f(x) = x₁: the elite is the lower tail of the first coordinate, and everything of the others."""
    share, sigma, alpha = 0.2, 0.5, 0.7
    strategy = CrossEntropy(start(3, 2.0), sigma, MANY, dice(), elite=share, smoothing=alpha)
    strategy.tell(strategy.ask()[:, 0])
    shift, square = truncated(share)
    assert strategy.mean.tolist() == pytest.approx([2.0 + alpha * sigma * shift, 2.0, 2.0], abs=0.01)
    spread = alpha * (square - shift**2) + 1 - alpha
    assert strategy.deviation.tolist() == pytest.approx([sigma * spread**0.5, sigma, sigma], abs=0.01)


def test_the_fading_variance_of_cross_entropy_is_added_and_fades():
    def widest(noise: float, generations: int) -> float:
        strategy = CrossEntropy(start(3), 0.5, 2000, dice(), noise=noise, noise_generations=10)
        for _ in range(generations):
            strategy.tell(sphere(strategy.ask()))
        return float(strategy.deviation.max())

    assert widest(0.4, 1) ** 2 == pytest.approx(widest(0.0, 1) ** 2 + 0.9 * 0.2**2, rel=1e-9)
    assert widest(0.4, 40) < 1e-3


def test_gaussian_moments_are_taken_about_the_mean_before():
    """f(x) = x₁ again: σ² grows to the mean of E z² over coordinates, one truncated and n − 1 free."""
    n, sigma = 4, 0.5
    strategy = GaussianES(start(n), sigma, MANY, dice(), parents=MANY // 4)
    strategy.tell(strategy.ask()[:, 0])
    shift, square = truncated(0.25)
    assert strategy.mean.tolist() == pytest.approx([1 + sigma * shift, *[1.0] * (n - 1)], abs=0.01)
    assert strategy.sigma == pytest.approx(sigma * math.sqrt((square + n - 1) / n), rel=0.01)
    assert strategy.sigma > sigma


def test_one_parent_stays_until_a_child_is_as_good():
    strategy = GaussianES(start(), 0.5, generator=dice(), plus=True)
    values = []
    for _ in range(60):
        strategy.tell(ellipsoid(strategy.ask()))
        values.append(float(ellipsoid(strategy.mean)))
        assert values[-1] == pytest.approx(strategy.best.value)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("popsize", [1, 10])
def test_the_success_rule_keeps_sigma_at_the_target_share(popsize: int):
    """Where p children of λ succeed whatever σ is, ln σ drifts by (p − p*) / ((1 − p*) d) a generation."""
    n, goal = 6, 1 / (5 + math.sqrt(popsize) / 2)
    for share in (0.0, 1.0):
        strategy = GaussianES(start(n), 1.0, popsize, dice(), plus=True)
        for generation in range(21):
            first = strategy.sigma if generation == 1 else (1.0 if generation == 0 else first)
            strategy.tell(torch.full_like(strategy.ask()[:, 0], -generation if share else float(generation)))
        rate = math.log(strategy.sigma / first) / 20
        assert rate == pytest.approx((share - goal) / ((1 - goal) * (1 + n / (2 * popsize))))


def test_natural_gradient_of_the_mean_on_a_slope_is_its_known_expectation():
    """f(x) = x₁: E Σ u_k z_k is the utility-weighted mean of the normal order statistics, along the first axis."""
    popsize, sigma = MANY, 0.3
    strategy = NES(start(3), sigma, popsize, dice(), covariance="isotropic", antithetic=False)
    strategy.tell(strategy.ask()[:, 0])
    ranks = (torch.arange(1, popsize + 1, dtype=torch.float64) - 0.5) / popsize
    order = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0).icdf(ranks)
    pull = float(order @ torch.from_numpy(log_utilities(popsize)))
    assert pull < -0.8
    assert ((strategy.mean - 1) / sigma).tolist() == pytest.approx([pull, 0, 0], abs=0.02)


def test_exponential_coordinates_match_their_equations_and_keep_the_determinant():
    strategy = NES(start(4), 0.5, 10, dice(), covariance="full")
    utilities = torch.from_numpy(log_utilities(10))
    for _ in range(20):
        factor, mean = strategy.factor, strategy.mean
        sigma = torch.linalg.det(factor) ** 0.25
        points = strategy.ask()
        z = torch.linalg.solve(factor, (points - mean).mT).mT
        order = rosenbrock(points).argsort()
        strategy.tell(rosenbrock(points))
        z = z[order]
        gradient = torch.einsum("k,ki,kj->ij", utilities, z, z) - utilities.sum() * torch.eye(4, dtype=torch.float64)
        trace = gradient.trace() / 4
        shape = torch.linalg.matrix_exp(strategy.lr_spread / 2 * (gradient - trace * torch.eye(4, dtype=torch.float64)))
        expected = factor @ shape * torch.exp(strategy.lr_spread / 2 * trace)
        torch.testing.assert_close(strategy.factor, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(strategy.mean, mean + factor @ (utilities @ z), rtol=1e-9, atol=1e-12)
        grown = torch.linalg.det(strategy.factor) ** 0.25 / sigma
        assert float(grown) == pytest.approx(float(torch.exp(strategy.lr_spread / 2 * trace)))


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_natural_strategies_learn_an_ill_conditioned_bowl(covariance: str):
    strategy = NES(start(6), 1.0, generator=dice(), covariance=covariance)
    found = evolve(strategy, ellipsoid, max_evaluations=12_000, target=1e-8)
    assert found.fun <= 1e-8


def test_full_natural_strategy_and_cma_do_not_mind_a_rotation_but_the_diagonal_one_does():
    turn = torch.linalg.qr(torch.randn(6, 6, generator=dice(3), dtype=torch.float64)).Q

    def needed(strategy: Strategy) -> int:
        return evolve(strategy, lambda x: ellipsoid(x @ turn), max_evaluations=12_000, target=1e-8).nfev

    assert needed(NES(turn @ start(6), 1.0, generator=dice())) < 8000
    assert needed(CMAES(turn @ start(6), 1.0, generator=dice())) < 3000
    assert needed(NES(turn @ start(6), 1.0, generator=dice(), covariance="diagonal")) > 11_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: NES(start(at=0.0), 0.5, generator=dice()),
        lambda: NES(start(at=0.0), 0.5, generator=dice(), covariance="diagonal"),
        lambda: DistributedES(start(at=0.0), 0.5, generator=dice()),
    ],
)
def test_mirrored_points_of_equal_value_cancel(make):
    """Where f(m + d) = f(m − d), whatever else it is, a mirrored population moves the mean nowhere."""
    strategy = make()
    mean = strategy.mean
    strategy.tell((strategy.ask() - mean).abs().sum(1))
    torch.testing.assert_close(strategy.mean, mean, rtol=0, atol=1e-14)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12))
@settings(max_examples=60, deadline=None)
def test_shared_utilities_conserve_their_sum_and_know_ranks_only(values: list[int]):
    array, utilities = np.array(values, float), log_utilities(max(4, len(values)))[: len(values)]
    found = shaped(array, utilities)
    assert found.sum() == pytest.approx(utilities.sum())
    np.testing.assert_array_equal(found, shaped(np.exp(array), utilities))
    for left, right in zip(*np.nonzero(array[:, None] == array), strict=True):
        assert found[left] == pytest.approx(found[right])
    for left, right in zip(*np.nonzero(array[:, None] < array), strict=True):
        assert found[left] >= found[right] - 1e-15


def test_evolve_says_why_it_ended():
    reached = evolve(CMAES(start(), 0.5, generator=dice()), sphere, max_evaluations=5000, target=1e-6)
    assert reached.success
    assert reached.fun <= 1e-6 < float(sphere(start()))
    assert "target" in reached.message
    assert float(sphere(reached.x)) == pytest.approx(reached.fun)

    strategy = CMAES(start(), 0.5, generator=dice())
    spent = evolve(strategy, sphere, max_evaluations=109)
    assert (spent.nfev, spent.nit, spent.success) == (100, 10, False)
    again = evolve(strategy, sphere, max_evaluations=50)
    assert (again.nfev, strategy.evaluations) == (50, 150)
    assert again.fun <= spent.fun

    converged = evolve(CMAES(start(), 0.5, generator=dice()), sphere, max_evaluations=20_000)
    assert converged.success
    assert converged.reasons
    assert converged.nfev < 5000

    seen = []

    def enough(search: Strategy) -> None:
        seen.append(search.best.value)
        if len(seen) == 3:
            raise StopIteration

    stopped = evolve(CMAES(start(), 0.5, generator=dice()), sphere, max_evaluations=5000, callback=enough)
    assert (stopped.nit, stopped.success) == (3, False)


def test_mistakes_are_told_in_a_sentence():
    with pytest.raises(GradusError, match=r"one value a row, shape \(10,\)"):
        evolve(CMAES(start(), 0.5), lambda x: x.square().sum(), max_evaluations=100)
    with pytest.raises(GradusError, match="less than one generation"):
        evolve(CMAES(start(), 0.5), sphere, max_evaluations=5)
    with pytest.raises(GradusError, match="NaN at points"):
        evolve(CMAES(start(), 0.5), lambda x: x[:, 0].log() * math.nan, max_evaluations=100)
    with pytest.raises(GradusError, match="inf at every point"):
        evolve(CMAES(start(), 0.5), lambda x: x[:, 0] * 0 + math.inf, max_evaluations=100)
    with pytest.raises(GradusError, match="is odd"):
        NES(start(), 0.5, popsize=9)
    with pytest.raises(GradusError, match="popsize=1 is too small"):
        CMAES(start(), 0.5, popsize=1)
    with pytest.raises(GradusError, match="keeps one parent"):
        GaussianES(start(), 0.5, plus=True, parents=3)
    with pytest.raises(GradusError, match="parents=12 is out of range"):
        GaussianES(start(3), 0.5, popsize=12, parents=12)
    with pytest.raises(GradusError, match=r"elite=1\.5 is out of range"):
        CrossEntropy(start(), 0.5, elite=1.5)
    saved = CMAES(start(), 0.5, popsize=8).state_dict()
    with pytest.raises(GradusError, match="popsize=8"):
        CMAES(start(), 0.5, popsize=10).load_state_dict(saved)
