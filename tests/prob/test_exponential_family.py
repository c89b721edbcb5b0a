"""Exponential families: derivatives of the log-partition function are moments; conjugate models against tables."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.prob import (
    FAMILIES,
    bernoulli,
    beta,
    beta_bernoulli,
    bregman_divergence,
    categorical,
    dirichlet_categorical,
    gamma,
    gamma_exponential,
    gamma_poisson,
    gaussian,
    gaussian_kl,
    gaussian_mean,
    normal_gamma,
    normal_gamma_normal,
    normal_normal,
    poisson,
)

F64 = torch.float64


def tensor(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


CASES = {
    "bernoulli": (FAMILIES["bernoulli"](), {"probs": tensor(0.2, 0.7)}),
    "categorical": (FAMILIES["categorical"](3), {"probs": tensor([0.2, 0.5, 0.3], [0.1, 0.1, 0.8])}),
    "poisson": (FAMILIES["poisson"](), {"rate": tensor(0.7, 4.0)}),
    "gaussian": (FAMILIES["gaussian"](), {"mean": tensor(-1.0, 2.0), "variance": tensor(0.5, 3.0)}),
    "gaussian-mean": (FAMILIES["gaussian-mean"](2.0), {"mean": tensor(-1.0, 2.0)}),
    "beta": (FAMILIES["beta"](), {"a": tensor(2.0, 0.8), "b": tensor(3.0, 1.5)}),
    "gamma": (FAMILIES["gamma"](), {"shape": tensor(2.0, 0.8), "rate": tensor(0.5, 3.0)}),
    "dirichlet": (FAMILIES["dirichlet"](), {"concentration": tensor([1.0, 2.0, 3.0], [4.0, 0.9, 1.0])}),
    "normal-gamma": (
        FAMILIES["normal-gamma"](),
        {"mean": tensor(0.5, -1.0), "count": tensor(2.0, 0.7), "shape": tensor(3.0, 4.0), "rate": tensor(2.0, 1.0)},
    ),
}


def test_every_family_is_tested():
    assert CASES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_of_the_log_partition_are_the_moments(name):
    family, usual = CASES[name]
    eta = family.natural(**usual)
    assert eta.dtype == F64
    draws = 40_000
    x = family.sample(eta, draws, torch.Generator().manual_seed(3))
    assert x.shape[: x.dim() - family.event_dims] == (draws, *eta.shape[:-1])
    statistics = family.statistics(x).to(F64)
    mean, covariance = family.mean(eta), family.covariance(eta)
    error = statistics.std(0) / draws**0.5
    assert bool(((statistics.mean(0) - mean).abs() < 4.5 * error).all())
    centred = statistics - mean
    products = centred.unsqueeze(-1) * centred.unsqueeze(-2)
    error = products.std(0) / draws**0.5
    assert bool(((products.mean(0) - covariance).abs() < 4.5 * error + 1e-12).all())
    torch.testing.assert_close(covariance, covariance.mT)


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_natural_parameters_lead_to_each_other(name):
    family, usual = CASES[name]
    again = family.parameters(family.natural(**usual))
    for key, value in usual.items():
        torch.testing.assert_close(again[key], value)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "poisson", "gaussian", "gaussian-mean", "beta", "gamma"])
def test_densities_sum_to_one(name):
    family, usual = CASES[name]
    eta = family.natural(**usual)
    grids = {
        "bernoulli": torch.arange(2), "categorical": torch.arange(3), "poisson": torch.arange(60.0, dtype=F64),
        "beta": (torch.arange(200_000, dtype=F64) + 0.5) / 200_000,
        "gamma": (torch.arange(200_000, dtype=F64) + 0.5) / 5000,
    }  # fmt: skip
    x = grids.get(name, torch.linspace(-15, 15, 200_001, dtype=F64))
    step = float(x[1] - x[0])
    total = family.log_prob(x.unsqueeze(1), eta).exp().sum(0) * step
    # Densities with a pole at the edge are summed only roughly by midpoints.
    torch.testing.assert_close(total, torch.ones(2, dtype=F64), rtol=0, atol=5e-3)


def test_kl_is_the_bregman_divergence_of_the_log_partition():
    family, usual = CASES["gaussian"]
    eta = family.natural(**usual)
    other = family.natural(mean=tensor(0.3, 0.4), variance=tensor(1.0, 2.0))
    means, variances = usual["mean"].unsqueeze(-1), usual["variance"].view(2, 1, 1)
    expected = gaussian_kl(means, variances, tensor([0.3], [0.4]), tensor(1.0, 2.0).view(2, 1, 1))
    torch.testing.assert_close(family.kl(eta, other), expected)
    torch.testing.assert_close(bregman_divergence(other, eta, family.log_partition), expected)
    torch.testing.assert_close(family.kl(eta.unsqueeze(1), other).diagonal(), expected)


def test_means_can_be_differentiated_and_learned():
    family = poisson()
    eta = tensor([0.0]).requires_grad_()
    for _ in range(50):
        (slope,) = torch.autograd.grad(((family.mean(eta) - 3.0) ** 2).sum(), eta)
        eta = (eta - 0.03 * slope).detach().requires_grad_()
    assert float(eta.detach()) == pytest.approx(math.log(3), abs=1e-3)
    torch.testing.assert_close(family.covariance(eta).squeeze(), eta.detach().exp().squeeze())


def test_entropies():
    family = gaussian()
    eta = family.natural(mean=tensor(3.0), variance=tensor(2.0))
    torch.testing.assert_close(family.entropy(eta), tensor(4 * math.pi).log() / 2 + 0.5)
    fair = bernoulli().natural(probs=tensor(0.5))
    torch.testing.assert_close(bernoulli().entropy(fair), tensor(math.log(2)))
    torch.testing.assert_close(categorical(4).entropy(torch.zeros(4, dtype=F64)), torch.tensor(math.log(4), dtype=F64))
    with pytest.raises(GradusError, match="no closed form"):
        poisson().entropy(tensor([0.0]))


COIN = [
    # prior a, b; tosses; posterior a, b; evidence
    ((1, 1), "", (1, 1), 1.0),
    ((1, 1), "H", (2, 1), 1 / 2),
    ((1, 1), "HHT", (3, 2), 1 / 12),
    ((2, 2), "HHHHHHHTTT", (9, 5), 2 / 2145),
    ((0.5, 0.5), "TT", (0.5, 2.5), 3 / 8),
]


@pytest.mark.parametrize(("prior", "tosses", "posterior", "evidence"), COIN)
def test_the_coins_posterior_is_the_tables(prior, tosses, posterior, evidence):
    model = beta_bernoulli()
    eta = beta().natural(a=tensor(float(prior[0])), b=tensor(float(prior[1])))
    data = torch.tensor([[float(toss == "H")] for toss in tosses], dtype=F64).view(-1, 1)
    found = model.prior.parameters(model.update(eta, data))
    assert (float(found["a"]), float(found["b"])) == posterior
    assert float(model.log_evidence(eta, data)) == pytest.approx(math.log(evidence), abs=1e-10)
    heads = model.log_predictive(model.update(eta, data), torch.ones(1, dtype=F64)).exp()
    assert float(heads) == pytest.approx(posterior[0] / sum(posterior))


MODELS = {
    "coin": (beta_bernoulli(), {"a": tensor(2.0), "b": tensor(1.5)}, tensor(1.0, 0.0, 1.0, 1.0)),
    "poisson": (gamma_poisson(), {"shape": tensor(2.0), "rate": tensor(1.5)}, tensor(3.0, 0.0, 1.0, 2.0)),
    "exponential": (gamma_exponential(), {"shape": tensor(2.0), "rate": tensor(1.5)}, tensor(0.3, 0.8, 1.0, 0.2)),
    "normal": (normal_normal(0.5), {"mean": tensor(0.3), "variance": tensor(2.0)}, tensor(1.3, -0.2, 0.7, 0.9)),
}
LIKELIHOODS = {
    "coin": (torch.linspace(5e-5, 1 - 5e-5, 10_000, dtype=F64), lambda x, t: x * t.log() + (1 - x) * (-t).log1p()),
    "poisson": (
        torch.linspace(5e-4, 12, 24_000, dtype=F64), lambda x, t: x * t.log() - t - torch.lgamma(x + 1)
    ),
    "exponential": (torch.linspace(5e-4, 12, 24_000, dtype=F64), lambda x, t: t.log() - t * x),
    "normal": (
        torch.linspace(-8, 8, 20_001, dtype=F64), lambda x, t: -((x - t) ** 2) - math.log(math.pi) / 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_posterior_and_evidence_are_those_of_a_grid(name):
    """Bayes' rule by brute force: prior times likelihood on a fine grid of θ."""
    model, usual, data = MODELS[name]
    grid, likelihood = LIKELIHOODS[name]
    eta = model.prior.natural(**usual)
    joint = model.prior.log_prob(grid, eta) + sum(likelihood(x, grid) for x in data)
    step = float(grid[1] - grid[0])
    evidence = joint.exp().sum() * step
    assert float(model.log_evidence(eta, data.unsqueeze(1)).exp()) == pytest.approx(float(evidence), rel=2e-3)
    posterior = model.prior.log_prob(grid, model.update(eta, data.unsqueeze(1))).exp()
    assert float((posterior - joint.exp() / evidence).abs().max()) < 5e-3 * float(posterior.max())


def test_learning_in_turn_is_learning_at_once_and_weights_are_repetitions():
    model, eta = normal_gamma_normal(), normal_gamma().natural(
        mean=tensor(0.0), count=tensor(1.0), shape=tensor(2.0), rate=tensor(2.0)
    )  # fmt: skip
    data = torch.randn(6, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    whole = model.update(eta, data)
    torch.testing.assert_close(model.update(model.update(eta, data[:2]), data[2:]), whole)
    torch.testing.assert_close(model.update(eta, data[:2], torch.tensor([3, 1])), model.update(eta, data[[0, 0, 0, 1]]))
    chained = model.log_evidence(eta, data[:4]) + model.log_evidence(model.update(eta, data[:4]), data[4:])
    torch.testing.assert_close(chained, model.log_evidence(eta, data))
    usual = model.prior.parameters(whole)
    assert float(usual["count"]) == pytest.approx(7)
    assert float(usual["mean"]) == pytest.approx(float(data.sum()) / 7)
    assert float(usual["shape"]) == pytest.approx(5)


def test_batches_of_coins_and_of_dice():
    eta = beta().natural(a=torch.ones(3, dtype=F64), b=torch.ones(3, dtype=F64))
    tosses = torch.tensor([[1, 0, 1], [1, 0, 0]])
    found = beta().parameters(beta_bernoulli().update(eta, tosses))
    assert found["a"].tolist() == [3, 1, 2]
    assert found["b"].tolist() == [1, 3, 2]
    model = dirichlet_categorical(3)
    posterior = model.update(torch.zeros(3, dtype=F64), torch.tensor([0, 2, 2]))
    assert model.prior.parameters(posterior)["concentration"].tolist() == [2, 1, 3]
    assert model.log_predictive(posterior, torch.tensor(2)).exp().item() == pytest.approx(1 / 2)


def test_impossible_data_is_named():
    eta = beta().natural(a=tensor(1.0), b=tensor(1.0))
    with pytest.raises(GradusError, match="datum 1 is 2"):
        beta_bernoulli().update(eta, torch.tensor([[1.0], [2.0]]))
    with pytest.raises(GradusError, match="datum 0 is -1"):
        gamma_poisson().update(gamma().natural(shape=tensor(1.0), rate=tensor(1.0)), torch.tensor([[-1.0]]))
    with pytest.raises(GradusError, match="datum 0 is nan"):
        normal_normal().update(gaussian().natural(mean=tensor(0.0), variance=tensor(1.0)), torch.tensor([[math.nan]]))
    with pytest.raises(GradusError, match="not positive"):
        normal_normal(0.0)
    with pytest.raises(GradusError, match="not positive"):
        gaussian_mean(-1.0)
