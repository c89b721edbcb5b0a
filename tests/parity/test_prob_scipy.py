"""The same numbers as SciPy, in float64."""

import numpy as np
import pytest
import torch

from gradus.prob import (
    beta_bernoulli,
    entropy,
    gamma_poisson,
    js,
    kl,
    normal_gamma_normal,
    wasserstein_distance,
)
from gradus.prob.diagnostics import rank_normalised
from gradus.testing.divergences import vectors

stats = pytest.importorskip("scipy.stats")
distance = pytest.importorskip("scipy.spatial.distance")

F64 = torch.float64
EXACT = {"rtol": 1e-11, "atol": 1e-12}


def test_entropy_and_kl():
    p, q = vectors(40, seed=1), vectors(40, seed=2)
    torch.testing.assert_close(entropy(p), torch.from_numpy(stats.entropy(p.numpy(), axis=-1)), **EXACT)
    expected = torch.from_numpy(stats.entropy(p.numpy(), q.numpy(), axis=-1))
    torch.testing.assert_close(kl(p, q), expected, **EXACT)


def test_js():
    p, q = vectors(40, seed=1), vectors(40, seed=2)
    expected = [distance.jensenshannon(a, b) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    torch.testing.assert_close(js(p, q), torch.tensor(expected, dtype=F64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (3, 8), (1, 6), (30, 17)])
@pytest.mark.parametrize("weighted", [False, True])
def test_wasserstein_distance(n, m, weighted):
    dice = np.random.default_rng(n * 100 + m)
    x, y = dice.normal(size=n), dice.normal(size=m) * 2 + 1
    y[-1] = x[0]
    weights = (dice.random(n) + 0.01, dice.random(m) + 0.01) if weighted else (None, None)
    expected = stats.wasserstein_distance(x, y, *weights)
    tensors = [None if value is None else torch.from_numpy(value) for value in (x, y, *weights)]
    assert float(wasserstein_distance(*tensors)) == pytest.approx(expected, rel=1e-12)


def test_normal_scores_with_ties():
    x = torch.randint(0, 30, (50, 4), generator=torch.Generator().manual_seed(0)).double()
    ranks = stats.rankdata(x.numpy().ravel(), method="average").reshape(50, 4)
    expected = stats.norm.ppf((ranks - 3 / 8) / (200 + 1 / 4))
    torch.testing.assert_close(rank_normalised(x), torch.from_numpy(expected), **EXACT)


def test_the_evidence_of_coins_is_the_beta_binomial_law():
    model = beta_bernoulli()
    eta = model.prior.natural(a=torch.tensor([2.0, 0.7], dtype=F64), b=torch.tensor([3.0, 1.2], dtype=F64))
    data = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], dtype=F64).unsqueeze(1)
    orders = 15  # of four heads among six
    expected = stats.betabinom.logpmf(4, 6, [2.0, 0.7], [3.0, 1.2]) - np.log(orders)
    torch.testing.assert_close(model.log_evidence(eta, data), torch.from_numpy(expected), rtol=1e-10, atol=1e-10)


def test_predictives_are_negative_binomial_and_students():
    counts = gamma_poisson()
    eta = counts.prior.natural(shape=torch.tensor([3.0], dtype=F64), rate=torch.tensor([2.0], dtype=F64))
    x = torch.arange(8, dtype=F64)
    expected = stats.nbinom.logpmf(x.numpy(), 3.0, 2.0 / 3.0)
    torch.testing.assert_close(counts.log_predictive(eta, x), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)

    normal = normal_gamma_normal()
    usual = {"mean": 0.5, "count": 2.0, "shape": 3.0, "rate": 1.5}
    eta = normal.prior.natural(**{key: torch.tensor([value], dtype=F64) for key, value in usual.items()})
    x = torch.linspace(-4, 5, 10, dtype=F64)
    scale = np.sqrt(1.5 * 3.0 / (3.0 * 2.0))
    expected = stats.t.logpdf(x.numpy(), 6.0, 0.5, scale)
    torch.testing.assert_close(normal.log_predictive(eta, x), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
