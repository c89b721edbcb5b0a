"""The same numbers as `torch.distributions`: transforms, divergences, densities, moments of exponential families."""

import pytest
import torch
from torch import distributions as D
from torch.distributions import transforms as T

from gradus.prob import (
    FAMILIES,
    Affine,
    Exp,
    LeakyReLU,
    Logit,
    Power,
    Sigmoid,
    Softplus,
    StickBreaking,
    Tanh,
    Triangular,
    gaussian_entropy,
    gaussian_kl,
    kl,
)
from gradus.testing.divergences import vectors

F64 = torch.float64
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def tensor(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=F64)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


LOWER = tensor([1.5, 0.0, 0.0], [-0.7, 0.4, 0.0], [0.2, 1.1, 2.0])
TRANSFORMS = {
    "affine": (Affine(0.5, -2.0), T.AffineTransform(0.5, -2.0), noise),
    "exp": (Exp(), T.ExpTransform(), noise),
    "sigmoid": (Sigmoid(), T.SigmoidTransform(), noise),
    "logit": (Logit(), T.SigmoidTransform().inv, lambda *shape: noise(*shape).sigmoid()),
    "softplus": (Softplus(), T.SoftplusTransform(), noise),
    "tanh": (Tanh(), T.TanhTransform(), noise),
    "power": (Power(1.7), T.PowerTransform(tensor(1.7)), lambda *shape: noise(*shape).exp()),
    "stick-breaking": (StickBreaking(), T.StickBreakingTransform(), noise),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name):
    ours, theirs, points = TRANSFORMS[name]
    x = points(20, 3)
    y, logdet = ours(x)
    torch.testing.assert_close(y, theirs(x), **EXACT)
    torch.testing.assert_close(logdet, theirs.log_abs_det_jacobian(x, y), **EXACT)
    torch.testing.assert_close(ours.inverse(y)[0], theirs.inv(y), **EXACT)


def test_leaky_relu_is_torchs():
    x = noise(20)
    torch.testing.assert_close(LeakyReLU(0.3)(x)[0], torch.nn.functional.leaky_relu(x, 0.3))


def test_the_triangular_map_is_lower_cholesky_affine():
    shift, x = noise(3, seed=1), noise(20, 3)
    y, logdet = Triangular.from_cholesky(shift, LOWER)(x)
    torch.testing.assert_close(y, shift + x @ LOWER.mT, **EXACT)
    torch.testing.assert_close(logdet, LOWER.diagonal().log().sum().expand(20), **EXACT)


def test_divergences_of_categoricals_and_normals():
    p, q = vectors(20, seed=1), vectors(20, seed=2)
    torch.testing.assert_close(kl(p, q), D.kl_divergence(D.Categorical(p), D.Categorical(q)), **EXACT)
    means, roots = noise(2, 5, 3), noise(2, 5, 3, 3, seed=1)
    sigma = roots @ roots.mT + torch.eye(3, dtype=F64)
    first, second = (D.MultivariateNormal(means[i], sigma[i]) for i in range(2))
    torch.testing.assert_close(
        gaussian_kl(means[0], sigma[0], means[1], sigma[1]), D.kl_divergence(first, second), **EXACT
    )
    torch.testing.assert_close(gaussian_entropy(sigma[0]), first.entropy(), **EXACT)


PAIRS = {
    "bernoulli": (D.Bernoulli, {"probs": tensor(0.2, 0.7)}, {"probs": tensor(0.5, 0.1)}, {}),
    "categorical": (D.Categorical, {"probs": vectors(2, 4, seed=1)}, {"probs": vectors(2, 4, seed=2)}, {"classes": 4}),
    "poisson": (D.Poisson, {"rate": tensor(0.7, 4.0)}, {"rate": tensor(2.0, 3.0)}, {}),
    "gaussian": (
        lambda mean, variance: D.Normal(mean, variance.sqrt()),
        {"mean": tensor(-1.0, 2.0), "variance": tensor(0.5, 3.0)},
        {"mean": tensor(0.3, 0.4), "variance": tensor(1.0, 2.0)},
        {},
    ),
    "gaussian-mean": (
        lambda mean: D.Normal(mean, 2.0**0.5),
        {"mean": tensor(-1.0, 2.0)},
        {"mean": tensor(0.0, 1.0)},
        {"variance": 2.0},
    ),
    "beta": (
        D.Beta,
        {"a": tensor(2.0, 0.8), "b": tensor(3.0, 1.5)},
        {"a": tensor(1.0, 1.0), "b": tensor(0.5, 4.0)},
        {},
    ),
    "gamma": (
        D.Gamma,
        {"shape": tensor(2.0, 0.8), "rate": tensor(0.5, 3.0)},
        {"shape": tensor(1.0, 4.0), "rate": tensor(1.0, 2.0)},
        {},
    ),
    "dirichlet": (
        D.Dirichlet,
        {"concentration": tensor([1.0, 2.0, 3.0], [4.0, 0.9, 1.0])},
        {"concentration": tensor([2.0, 2.0, 0.5], [1.0, 1.0, 1.0])},
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_exponential_families(name):
    make, usual, others, settings = PAIRS[name]
    family = FAMILIES[name](**settings)
    eta, other = family.natural(**usual), family.natural(**others)
    theirs, their_other = make(*usual.values()), make(*others.values())
    x = theirs.sample((30,))
    torch.testing.assert_close(family.log_prob(x, eta), theirs.log_prob(x).to(F64), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(family.kl(eta, other), D.kl_divergence(theirs, their_other), rtol=1e-9, atol=1e-9)
    if family.constant_base:
        torch.testing.assert_close(family.entropy(eta), theirs.entropy(), rtol=1e-9, atol=1e-9)
    if name in ("bernoulli", "poisson"):
        torch.testing.assert_close(family.mean(eta).squeeze(-1), theirs.mean, **EXACT)
        torch.testing.assert_close(family.covariance(eta).flatten(), theirs.variance, **EXACT)
