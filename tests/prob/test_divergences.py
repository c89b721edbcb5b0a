"""Divergences against closed forms and their laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from gradus.errors import GradusError
from gradus.prob import (
    bregman_divergence,
    critic_bound,
    cross_entropy,
    entropy,
    f_divergence,
    gaussian_entropy,
    gaussian_kl,
    js,
    kl,
    kl_by_sampling,
    optimal_critic,
    reverse_kl,
    sinkhorn,
    wasserstein_distance,
    wasserstein_on_grid,
)
from gradus.prob.fdivergence import FDIVERGENCES
from gradus.testing.divergences import vectors

F64 = torch.float64
LOG_2 = math.log(2)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_entropy_of_known_distributions():
    assert float(entropy(torch.full((8,), 1 / 8))) == pytest.approx(math.log(8))
    assert float(entropy(torch.tensor([0.0, 1.0, 0.0]))) == 0
    p = torch.tensor([0.5, 0.25, 0.25], dtype=F64)
    assert float(entropy(p)) == pytest.approx(1.5 * LOG_2)
    q = torch.tensor([0.25, 0.25, 0.5], dtype=F64)
    assert float(cross_entropy(p, q)) == pytest.approx(float(entropy(p) + kl(p, q)))


def test_kl_where_one_side_is_zero():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.25, 0.25])
    assert float(kl(p, q)) == pytest.approx(LOG_2 / 2)
    assert float(kl(q, p)) == math.inf
    assert float(reverse_kl(p, q)) == math.inf
    q.requires_grad_()
    (slope,) = torch.autograd.grad(kl(p, q), q)
    assert torch.equal(slope, torch.tensor([-1.0, -2.0, 0.0]))


def test_disjoint_supports_are_log_two_apart_for_js_and_ever_farther_for_w1():
    left = torch.zeros(20, dtype=F64)
    left[0] = 1
    for distance in range(1, 20):
        right = left.roll(distance)
        assert float(js(left, right)) == pytest.approx(LOG_2, abs=1e-15)
        assert float(wasserstein_on_grid(left, right)) == pytest.approx(distance)
        x, y = torch.zeros(5, dtype=F64), torch.full((7,), float(distance), dtype=F64)
        assert float(wasserstein_distance(x, y)) == pytest.approx(distance)


def covariances(count: int, dim: int, seed: int) -> torch.Tensor:
    root = torch.randn(count, dim, dim, generator=dice(seed), dtype=F64)
    return root @ root.mT / dim + 0.3 * torch.eye(dim, dtype=F64)


def test_normal_distributions_agree_with_their_draws():
    means = torch.randn(2, 3, generator=dice(1), dtype=F64)
    sigma = covariances(2, 3, 2)
    first, second = (MultivariateNormal(means[i], sigma[i]) for i in range(2))
    x = means[0] + torch.randn(40_000, 3, generator=dice(3), dtype=F64) @ torch.linalg.cholesky(sigma[0]).mT
    log_p, log_q = first.log_prob(x), second.log_prob(x)
    terms = log_p - log_q
    exact = gaussian_kl(means[0], sigma[0], means[1], sigma[1])
    assert abs(float(terms.mean() - exact)) < 4 * float(terms.std()) / 200
    assert abs(float(-log_p.mean() - gaussian_entropy(sigma[0]))) < 4 * float(log_p.std()) / 200
    assert float(gaussian_kl(means[0], sigma[0], means[0], sigma[0])) == pytest.approx(0, abs=1e-12)


def test_the_control_variate_is_unbiased_and_steadier_where_two_are_close():
    x = torch.randn(5000, 300, generator=dice(), dtype=F64)
    log_p, log_q = -(x**2) / 2, -((x - 0.1) ** 2) / 2
    estimate = kl_by_sampling(log_p, log_q)
    plain = log_p - log_q
    assert abs(float(estimate.value.mean()) - 0.005) < 4 * float(estimate.value.std()) / 300**0.5
    assert float(estimate.error.mean()) < 0.1 * float(plain.std(0).mean()) / 5000**0.5
    assert float(estimate.value.std() / estimate.error.mean()) == pytest.approx(1, abs=0.15)


def test_gaussian_covariances_must_be_positive_definite():
    with pytest.raises(GradusError, match="not positive definite"):
        gaussian_entropy(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))


def test_bregman_divergences_in_closed_form():
    p, q = vectors(50, seed=1) * 3, vectors(50, seed=2) * 2
    ratio = p / q
    expected = {
        "squared-euclidean": ((p - q) ** 2).sum(-1) / 2,
        "kl": (p * ratio.log() - p + q).sum(-1),
        "itakura-saito": (ratio - ratio.log() - 1).sum(-1),
    }
    for name, value in expected.items():
        torch.testing.assert_close(bregman_divergence(p, q, name), value, rtol=1e-9, atol=1e-9)
    curved = bregman_divergence(p, q, lambda x: (x**4).sum(-1))
    torch.testing.assert_close(curved, (p**4 - q**4 - 4 * q**3 * (p - q)).sum(-1))


@pytest.mark.parametrize("name", ["squared-euclidean", "kl", "itakura-saito"])
def test_the_mean_minimises_every_bregman_divergence(name):
    x = vectors(30, seed=3)
    mean = x.mean(0)
    least = bregman_divergence(x, mean, name).mean()
    others = 0.9 * mean + 0.1 * vectors(100, seed=4)
    assert bool((bregman_divergence(x, others.unsqueeze(1), name).mean(1) > least).all())


def test_bregman_refusals():
    p = vectors(2)
    with pytest.raises(GradusError, match="did you mean 'itakura-saito'"):
        bregman_divergence(p, p, "itakura")
    with pytest.raises(GradusError, match="sum over the last dimension"):
        bregman_divergence(p, p, lambda x: (x**2).sum())


def _counted(counts: list[int]) -> torch.Tensor:
    """Return outcomes so often that their mean is an exact expectation."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


@pytest.mark.parametrize("name", FDIVERGENCES)
def test_a_critic_never_exceeds_the_divergence_and_the_best_one_meets_it(name):
    p_counts, q_counts = [10, 30, 20, 40], [35, 15, 40, 10]
    on_p, on_q = _counted(p_counts), _counted(q_counts)
    p, q = (torch.tensor(counts, dtype=F64) / 100 for counts in (p_counts, q_counts))
    exact = float(f_divergence(p, q, name))
    assert exact > 0
    best = optimal_critic(p / q, name)
    assert float(critic_bound(best[on_p], best[on_q], name, activate=False)) == pytest.approx(exact, abs=1e-12)
    for seed in range(30):
        critic = 0.7 * torch.randn(4, generator=dice(seed), dtype=F64)
        assert float(critic_bound(critic[on_p], critic[on_q], name)) <= exact + 1e-12


@pytest.mark.parametrize("name", FDIVERGENCES)
def test_conjugates_are_conjugate(name):
    """f*(t) = sup_u (u t − f(u)) on a fine grid, at values the activation gives; and f(1) = 0, f′ is f's."""
    row = FDIVERGENCES[name]
    u = torch.logspace(-6, 4, 40_001, dtype=F64)
    for v in (-1.5, -0.4, 0.3, 1.1):
        t = row.activation(torch.tensor(v, dtype=F64))
        supremum = torch.maximum((u * t - row.f(u)).max(), -row.f(torch.tensor(0.0, dtype=F64)))
        assert float(row.conjugate(t)) == pytest.approx(float(supremum), abs=1e-4)
    assert float(row.f(torch.tensor(1.0, dtype=F64))) == pytest.approx(0, abs=1e-15)
    at = torch.tensor([0.3, 0.9, 2.5], dtype=F64, requires_grad=True)
    torch.testing.assert_close(torch.autograd.grad(row.f(at).sum(), at)[0], row.slope(at.detach()))
    assert float(row.f(torch.tensor(1e9, dtype=F64)) / 1e9) == pytest.approx(row.vertical, abs=1e-3) or math.isinf(
        row.vertical
    )


def test_f_divergences_where_supports_are_disjoint():
    p, q = torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    expected = {"js": LOG_2, "gan": 2 * LOG_2, "hellinger": 2.0, "total-variation": 1.0, "kl": math.inf}
    for name, value in expected.items():
        assert float(f_divergence(p, q, name)) == pytest.approx(value)


def test_f_divergences_that_have_other_names():
    p, q = vectors(50, seed=1), vectors(50, seed=2)
    torch.testing.assert_close(f_divergence(p, q, "kl"), kl(p, q), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(f_divergence(p, q, "reverse_kl"), kl(q, p), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(f_divergence(p, q, "js"), js(p, q))
    torch.testing.assert_close(f_divergence(p, q, "gan"), 2 * js(p, q))
    torch.testing.assert_close(f_divergence(p, q, "total-variation"), (p - q).abs().sum(-1) / 2)
    with pytest.raises(GradusError, match="did you mean 'hellinger'"):
        f_divergence(p, q, "helinger")


def test_w1_of_equally_many_points_pairs_them_in_order():
    x, y = (torch.randn(20, 15, generator=dice(seed), dtype=F64) for seed in (1, 2))
    paired = (x.sort(-1).values - y.sort(-1).values).abs().mean(-1)
    torch.testing.assert_close(wasserstein_distance(x, y), paired)
    torch.testing.assert_close(wasserstein_distance(x, x + 2.5), torch.full((20,), 2.5, dtype=F64))
    torch.testing.assert_close(wasserstein_distance(3 * x, 3 * y), 3 * paired)
    (slope,) = torch.autograd.grad(wasserstein_distance(x.requires_grad_(), y).sum(), x)
    assert bool(slope.isfinite().all())
    assert float(slope.abs().max()) == pytest.approx(1 / 15)


def test_w1_with_weights_is_that_of_repeated_points():
    x, y = torch.tensor([0.0, 1.0, 3.0], dtype=F64), torch.tensor([5.0, 6.0], dtype=F64)
    repeated = wasserstein_distance(torch.tensor([0.0, 1.0, 1.0, 3.0], dtype=F64), y)
    found = wasserstein_distance(x, y, torch.tensor([2.0, 4.0, 2.0], dtype=F64))
    torch.testing.assert_close(found, repeated)
    table = wasserstein_distance(x.expand(4, 1, 3), y.expand(2, 2))
    torch.testing.assert_close(table, wasserstein_distance(x, y).expand(4, 2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.zeros(0), torch.zeros(2)), "without points"),
        ((torch.tensor([math.nan]), torch.zeros(2)), "not finite"),
        ((torch.zeros(2), torch.zeros(2), torch.tensor([-1.0, 2.0])), "none negative"),
        ((torch.zeros(2), torch.zeros(2), torch.zeros(2)), "not all zero"),
    ],
    ids=["empty", "nan", "negative", "zero"],
)
def test_w1_refusals(arguments, said):
    with pytest.raises(GradusError, match=said):
        wasserstein_distance(*arguments)


NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=8).map(lambda x: torch.tensor(x, dtype=F64))
PROBABILITIES = st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda x: sum(x) > 1e-3)
CHANNELS = st.lists(PROBABILITIES, min_size=5, max_size=5)


def normalised(x) -> torch.Tensor:
    raw = torch.tensor(x, dtype=F64)
    return raw / raw.sum(-1, keepdim=True)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_w1_is_a_distance(x, y, z):
    there, back = wasserstein_distance(x, y), wasserstein_distance(y, x)
    assert float(there) >= 0
    assert float(there) == pytest.approx(float(back), abs=1e-9)
    assert float(wasserstein_distance(x, x.flip(0))) == pytest.approx(0, abs=1e-12)
    assert float(wasserstein_distance(x, z)) <= float(there + wasserstein_distance(y, z)) + 1e-9


@settings(max_examples=60, deadline=None)
@given(PROBABILITIES, PROBABILITIES, CHANNELS)
def test_no_channel_adds_information(p, q, channel):
    p, q, channel = normalised(p), normalised(q), normalised(channel)
    for divergence in (kl, js):
        before, after = float(divergence(p, q)), float(divergence(p @ channel, q @ channel))
        assert before >= -1e-12
        assert after <= before + 1e-9 or math.isinf(before)
    assert float(js(p, q)) <= LOG_2 + 1e-12
    assert float(js(p, q)) == pytest.approx(float(js(q, p)), abs=1e-12)


def test_sinkhorn_comes_down_to_the_exact_distance_as_entropy_goes():
    x, y = (torch.randn(12, generator=dice(seed), dtype=F64) for seed in (1, 2))
    cost = (x.unsqueeze(1) - y).abs()
    exact = float(wasserstein_distance(x, y))
    gaps = []
    for epsilon in (0.3, 0.1, 0.03):
        found = sinkhorn(cost, epsilon=epsilon, tolerance=1e-9)
        gaps.append(float(found.cost) - exact)
    assert gaps[0] > gaps[1] > gaps[2] > -1e-9
    assert gaps[2] < 0.01 * exact + 1e-3


def test_sinkhorn_meets_its_marginals_for_every_problem_of_a_batch():
    cost = torch.rand(3, 5, 7, generator=dice(), dtype=F64)
    a, b = vectors(3, 5, seed=1), vectors(1, 7, seed=2)
    a[0, 2] = 0
    a = a / a.sum(-1, keepdim=True)
    found = sinkhorn(cost, a, b, epsilon=0.05, tolerance=1e-8)
    assert found.error <= 1e-8
    torch.testing.assert_close(found.plan.sum(-1), a, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.plan.sum(-2), b.expand(3, -1), rtol=0, atol=1e-12)
    for i in range(3):
        alone = sinkhorn(cost[i], a[i], b[0], epsilon=0.05, tolerance=1e-10)
        torch.testing.assert_close(found.plan[i], alone.plan, rtol=0, atol=1e-7)
    # Of the entropic problem, the plan is the optimum: diag(u) exp(−C/ε) diag(v) with the right marginals.
    rank = torch.linalg.matrix_rank((found.plan[1] * (cost[1] / 0.05).exp()), rtol=1e-8)
    assert int(rank) == 1


def test_sinkhorn_refusals():
    cost = torch.rand(4, 4, generator=dice(), dtype=F64)
    with pytest.raises(GradusError, match="raise epsilon"):
        sinkhorn(cost, epsilon=1e-4, iterations=20)
    with pytest.raises(GradusError, match="positive number"):
        sinkhorn(cost, epsilon=0.0)
    with pytest.raises(GradusError, match="not finite"):
        sinkhorn(cost.log().masked_fill(cost > 0.5, math.inf))
