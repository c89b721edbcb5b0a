"""Conjugate models: learning from data is adding up sufficient statistics.

    p(x | θ) = g(x) exp⟨c(x), t(θ)⟩,    p(θ | η) ∝ exp⟨η, t(θ)⟩
    posterior   η + Σ_i c(x_i)
    evidence    log p(x_1 … x_n) = A(η + Σ c(x_i)) − A(η) + Σ log g(x_i)

t are the statistics of the prior's exponential family and A its log-partition function. A model is that family with c
and log g; posterior, evidence and posterior predictive (the evidence of one more datum) follow for all of them. A coin:
θ ~ Beta(a, b), and after h heads and t tails θ ~ Beta(a + h, b + t).

References:
    Diaconis and Ylvisaker 1979, Conjugate priors for exponential families.
    Murphy 2007, Conjugate Bayesian analysis of the Gaussian distribution.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.exponential_family import (
    ExponentialFamily,
    beta,
    dirichlet,
    floating,
    gamma,
    gaussian,
    gaussian_mean,
    no_base,
    normal_gamma,
    one_hot,
    poisson,
    stacked,
)  # fmt: skip

__all__ = [
    "Conjugate", "beta_bernoulli", "dirichlet_categorical", "gamma_exponential", "gamma_poisson", "normal_gamma_normal",
    "normal_normal",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Conjugate:
    """A likelihood with its conjugate prior, as data.

    Attributes:
        prior: the family of θ.
        statistics: c, data (…,) to (…, k), in the order of the prior's statistics.
        log_base: log g of data.
        valid: whether each datum is possible.
    """

    prior: ExponentialFamily
    statistics: Callable[[Tensor], Tensor]
    log_base: Callable[[Tensor], Tensor]
    valid: Callable[[Tensor], Tensor]

    def update(
        self, eta: Float[Tensor, "*#batch k"], data: Num[Tensor, "n *#batch"], weights: Num[Tensor, " n"] | None = None
    ) -> Float[Tensor, "*joint k"]:
        """Return the posterior's η + Σ w_i c(x_i).

        Args:
            eta: natural parameters of the prior, (*batch, k).
            data: independent given θ; data first, then a batch.
            weights: how often each datum counts; once when left out.

        Raises:
            GradusError: for a datum that the likelihood cannot give.
        """
        self._check(data)
        statistics = self.statistics(data)
        if weights is not None:
            statistics = statistics * weights.view(-1, *[1] * (statistics.dim() - 1))
        return eta + statistics.sum(0)

    def log_evidence(self, eta: Float[Tensor, "*#batch k"], data: Num[Tensor, "n *#batch"]) -> Float[Tensor, "*joint"]:
        """Return log p(x_1, …, x_n), θ integrated out.

        Args:
            eta: natural parameters of the prior.
            data: independent given θ.

        Raises:
            GradusError: for a datum that the likelihood cannot give.
        """
        posterior = self.update(eta, data)
        return self.prior.log_partition(posterior) - self.prior.log_partition(eta) + self.log_base(data).sum(0)

    def log_predictive(self, eta: Float[Tensor, "*#batch k"], x: Num[Tensor, "*#batch"]) -> Float[Tensor, "*joint"]:
        """Return log p(x) of one more datum, θ integrated out.

        Args:
            eta: natural parameters of the prior, or of the posterior so far.
            x: a datum for each of the batch.
        """
        return self.log_evidence(eta, x.unsqueeze(0))

    def _check(self, data: Tensor) -> None:
        fine = self.valid(data)
        if not bool(fine.all()):
            row = int((~fine).nonzero()[0, 0])
            value = data[~fine].flatten()[0].item()
            raise GradusError(
                f"datum {row} is {value:g}, which this likelihood (prior: {self.prior.name}) never gives; leave it out"
            )


def _whole(x: Tensor) -> Tensor:
    return (x >= 0) & (x == x.floor() if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool))


def beta_bernoulli() -> Conjugate:
    """The coin: x ∈ {0, 1} with probability θ of 1, θ ~ Beta(a, b);  c = (x, 1 − x)."""
    return Conjugate(
        beta(),
        statistics=lambda x: stacked(floating(x), 1 - floating(x)),
        log_base=no_base,
        valid=lambda x: (x == 0) | (x == 1),
    )


def dirichlet_categorical(classes: int) -> Conjugate:
    """x ∈ {0, …, K − 1} with probabilities π ~ Dirichlet(α);  c = one-hot.

    Args:
        classes: K.
    """
    return Conjugate(
        dirichlet(),
        statistics=lambda x: one_hot(x, classes),
        log_base=no_base,
        valid=lambda x: _whole(x) & (x < classes),
    )


def gamma_poisson() -> Conjugate:
    """x ∈ {0, 1, …} with rate λ ~ Gamma(a, b);  c = (x, −1),  g = 1/x!."""
    return Conjugate(
        gamma(),
        statistics=lambda x: stacked(floating(x), -torch.ones_like(floating(x))),
        log_base=poisson().log_base,
        valid=_whole,
    )


def gamma_exponential() -> Conjugate:
    """x > 0 with rate λ ~ Gamma(a, b);  c = (1, −x)."""
    return Conjugate(
        gamma(),
        statistics=lambda x: stacked(torch.ones_like(floating(x)), -floating(x)),
        log_base=no_base,
        valid=lambda x: (x >= 0) & x.isfinite(),
    )


def normal_normal(variance: float = 1.0) -> Conjugate:
    """x ~ N(μ, σ²) with known σ², and μ ~ N(m, v);  c = (x/σ², −1/2σ²),  g = N(x | 0, σ²).

    Args:
        variance: σ² > 0.

    Raises:
        GradusError: if it is not positive.
    """
    likelihood = gaussian_mean(variance)
    return Conjugate(
        gaussian(),
        statistics=lambda x: stacked(x / variance, torch.full_like(x, -0.5 / variance)),
        log_base=likelihood.log_base,
        valid=torch.isfinite,
    )


def normal_gamma_normal() -> Conjugate:
    """x ~ N(μ, 1/τ) with (μ, τ) ~ NormalGamma(m, κ, a, b);  c = (½, −x²/2, x, −½),  g = (2π)^−½."""
    return Conjugate(
        normal_gamma(),
        statistics=lambda x: stacked(torch.full_like(x, 0.5), -(x**2) / 2, x, torch.full_like(x, -0.5)),
        log_base=gaussian().log_base,
        valid=torch.isfinite,
    )
