"""Exponential families: one log-partition function, and everything else is its derivatives.

    p(x | η) = h(x) exp(⟨η, T(x)⟩ − A(η))
    E T = ∇A(η),    Cov T = ∇²A(η),    KL(η ‖ η′) = A(η′) − A(η) − ⟨∇A(η), η′ − η⟩

A family is a row of data: T, A, log h, and how its usual parameters and η turn into each other. Means, covariances and
divergences are autograd's derivatives of A; none of them is written down. All functions take batches: natural
parameters are (…, k), events lead by the same batch.

References:
    Barndorff-Nielsen 1978, Information and exponential families in statistical theory.
    Wainwright and Jordan 2008, Graphical models, exponential families, and variational inference.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional as F

from gradus.errors import GradusError

__all__ = [
    "FAMILIES", "ExponentialFamily", "bernoulli", "beta", "categorical", "dirichlet", "gamma", "gaussian",
    "gaussian_mean", "normal_gamma", "poisson",
]  # fmt: skip

Generator = torch.Generator | None
Natural = Float[Tensor, "*#batch k"]
Values = Float[Tensor, "*batch"]
LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class ExponentialFamily:
    """A family as data.

    Attributes:
        name: of the family.
        event_dims: dimensions of one x; 0 for a number.
        statistics: T, events to (…, k).
        log_partition: A, (…, k) to (…).
        log_base: log h of events.
        natural: usual parameters, by name, to η.
        parameters: η to usual parameters, by name.
        draw: (η of every draw, generator) to events, by the family's own sampler.
        constant_base: whether h is the same for all events.
    """

    name: str
    event_dims: int
    statistics: Callable[[Tensor], Tensor]
    log_partition: Callable[[Tensor], Tensor]
    log_base: Callable[[Tensor], Tensor]
    natural: Callable[..., Tensor]
    parameters: Callable[[Tensor], Mapping[str, Tensor]]
    draw: Callable[[Tensor, Generator], Tensor]
    constant_base: bool = True

    def __repr__(self) -> str:
        return f"ExponentialFamily({self.name!r})"

    def log_prob(self, x: Num[Tensor, "*shape"], eta: Natural) -> Float[Tensor, "*joint"]:
        """Return log p(x | η) = log h(x) + ⟨η, T(x)⟩ − A(η); batches broadcast.

        Args:
            x: events.
            eta: η.
        """
        return self.log_base(x) + (self.statistics(x) * eta).sum(-1) - self.log_partition(eta)

    def mean(self, eta: Natural) -> Natural:
        """Return E T = ∇A(η), by autograd; it can be differentiated again.

        Args:
            eta: η.
        """
        learning = torch.is_grad_enabled() and eta.requires_grad
        with torch.enable_grad():
            at = eta if learning else eta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_partition(at).sum(), at, create_graph=learning)
        return slope

    def covariance(self, eta: Natural) -> Float[Tensor, "*batch k k"]:
        """Return Cov T = ∇²A(η), by autograd.

        Args:
            eta: η.
        """
        with torch.enable_grad():
            at = eta if eta.requires_grad else eta.detach().requires_grad_()
            slope = self.mean(at)
            rows = [
                torch.autograd.grad(slope[..., i].sum(), at, create_graph=eta.requires_grad, retain_graph=True)[0]
                for i in range(eta.shape[-1])
            ]
        return torch.stack(rows, dim=-2)

    def entropy(self, eta: Natural) -> Values:
        """Return H = A(η) − ⟨η, ∇A(η)⟩ − log h, where h is constant.

        Args:
            eta: η.

        Raises:
            GradusError: for a family whose h is not.
        """
        if not self.constant_base:
            raise GradusError(f"the entropy of the {self.name} family has no closed form; average −log_prob over draws")
        base = self.log_base(self.sample(eta, 1)[0])
        return self.log_partition(eta) - (eta * self.mean(eta)).sum(-1) - base

    def kl(self, eta: Natural, other: Natural) -> Float[Tensor, "*joint"]:
        """Return KL(η ‖ η′) = A(η′) − A(η) − ⟨∇A(η), η′ − η⟩: the Bregman divergence of A.

        Args:
            eta: η.
            other: η′.
        """
        slope = (self.mean(eta) * (other - eta)).sum(-1)
        return self.log_partition(other) - self.log_partition(eta) - slope

    def sample(self, eta: Natural, draws: int, generator: Generator = None) -> Num[Tensor, "draws *event"]:
        """Return independent draws for each η of the batch, draws first.

        Args:
            eta: η.
            draws: how many.
            generator: on the device of η.
        """
        with torch.no_grad():
            return self.draw(eta.expand(draws, *eta.shape), generator)


def stacked(*parts: Tensor) -> Tensor:
    """Return statistics side by side in a last dimension."""
    return torch.stack(torch.broadcast_tensors(*parts), dim=-1)


def floating(x: Tensor) -> Tensor:
    """Return integers as floating-point numbers."""
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def no_base(x: Tensor) -> Tensor:
    """Return log h = 0 for each x."""
    return torch.zeros_like(floating(x))


def one_hot(x: Tensor, classes: int) -> Tensor:
    """Return the statistics of a class."""
    return F.one_hot(x.long(), classes).to(torch.get_default_dtype())


def _gamma_draw(shape: Tensor, generator: Generator) -> Tensor:
    return torch._standard_gamma(shape, generator=generator)


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def bernoulli() -> ExponentialFamily:
    """x ∈ {0, 1} with `probs` θ:  T = x,  η = log θ/(1 − θ),  A = log(1 + e^η)."""
    return ExponentialFamily(
        "bernoulli",
        event_dims=0,
        statistics=lambda x: floating(x).unsqueeze(-1),
        log_partition=lambda eta: -F.logsigmoid(-eta[..., 0]),
        log_base=no_base,
        natural=lambda probs: (probs.log() - torch.log1p(-probs)).unsqueeze(-1),
        parameters=lambda eta: {"probs": eta[..., 0].sigmoid()},
        draw=lambda eta, generator: torch.bernoulli(eta[..., 0].sigmoid(), generator=generator),
    )


def categorical(classes: int) -> ExponentialFamily:
    """x ∈ {0, …, K − 1} with `probs` π:  T = one-hot,  η = log π up to a constant,  A = log Σ e^η.

    The family is over-complete: its covariance has a zero eigenvalue along (1, …, 1).

    Args:
        classes: K.
    """

    def draw(eta: Tensor, generator: Generator) -> Tensor:
        flat = eta.reshape(-1, classes).softmax(-1)
        return torch.multinomial(flat, 1, generator=generator).view(eta.shape[:-1])

    return ExponentialFamily(
        "categorical",
        event_dims=0,
        statistics=lambda x: one_hot(x, classes),
        log_partition=lambda eta: eta.logsumexp(-1),
        log_base=no_base,
        natural=lambda probs: probs.log(),
        parameters=lambda eta: {"probs": eta.softmax(-1)},
        draw=draw,
    )


def poisson() -> ExponentialFamily:
    """x ∈ {0, 1, …} with `rate` λ:  T = x,  η = log λ,  A = e^η,  h = 1/x!."""
    return ExponentialFamily(
        "poisson",
        event_dims=0,
        statistics=lambda x: floating(x).unsqueeze(-1),
        log_partition=lambda eta: eta[..., 0].exp(),
        log_base=lambda x: -torch.lgamma(floating(x) + 1),
        natural=lambda rate: rate.log().unsqueeze(-1),
        parameters=lambda eta: {"rate": eta[..., 0].exp()},
        draw=lambda eta, generator: torch.poisson(eta[..., 0].exp(), generator=generator),
        constant_base=False,
    )


def gaussian() -> ExponentialFamily:
    """x real with `mean` μ and `variance` σ²:  T = (x, x²),  η = (μ/σ², −1/2σ²),  A = −η₁²/4η₂ − ½ log(−2η₂)."""
    return ExponentialFamily(
        "gaussian",
        event_dims=0,
        statistics=lambda x: stacked(x, x**2),
        log_partition=lambda eta: -(eta[..., 0] ** 2) / (4 * eta[..., 1]) - (-2 * eta[..., 1]).log() / 2,
        log_base=lambda x: torch.full_like(x, -LOG_2_PI / 2),
        natural=lambda mean, variance: stacked(mean / variance, -0.5 / variance),
        parameters=lambda eta: {"mean": -eta[..., 0] / (2 * eta[..., 1]), "variance": -0.5 / eta[..., 1]},
        draw=lambda eta, generator: (
            -eta[..., 0] / (2 * eta[..., 1]) + (-0.5 / eta[..., 1]).sqrt() * _normal(eta[..., 0], generator)
        ),
    )


def gaussian_mean(variance: float = 1.0) -> ExponentialFamily:
    """x real with `mean` μ and known variance σ²:  T = x/σ²,  η = μ,  A = μ²/2σ²,  h = N(x | 0, σ²).

    Args:
        variance: σ² > 0.

    Raises:
        GradusError: if it is not positive.
    """
    if not variance > 0:
        raise GradusError(f"variance={variance} is not positive; give the known variance of the data")
    return ExponentialFamily(
        "gaussian-mean",
        event_dims=0,
        statistics=lambda x: x.unsqueeze(-1) / variance,
        log_partition=lambda eta: eta[..., 0] ** 2 / (2 * variance),
        log_base=lambda x: -(x**2) / (2 * variance) - (LOG_2_PI + math.log(variance)) / 2,
        natural=lambda mean: mean.unsqueeze(-1),
        parameters=lambda eta: {"mean": eta[..., 0]},
        draw=lambda eta, generator: eta[..., 0] + variance**0.5 * _normal(eta[..., 0], generator),
        constant_base=False,
    )


def beta() -> ExponentialFamily:
    """θ ∈ (0, 1) with `a`, `b`:  T = (log θ, log(1 − θ)),  η = (a − 1, b − 1),  A = log B(a, b)."""

    def draw(eta: Tensor, generator: Generator) -> Tensor:
        pair = _gamma_draw((eta + 1).contiguous(), generator)
        return pair[..., 0] / pair.sum(-1)

    return ExponentialFamily(
        "beta",
        event_dims=0,
        statistics=lambda x: stacked(x.log(), torch.log1p(-x)),
        log_partition=lambda eta: torch.lgamma(eta + 1).sum(-1) - torch.lgamma((eta + 1).sum(-1)),
        log_base=no_base,
        natural=lambda a, b: stacked(a - 1, b - 1),
        parameters=lambda eta: {"a": eta[..., 0] + 1, "b": eta[..., 1] + 1},
        draw=draw,
    )


def gamma() -> ExponentialFamily:
    """λ > 0 with `shape` a and `rate` b:  T = (log λ, λ),  η = (a − 1, −b),  A = log Γ(a) − a log b."""
    return ExponentialFamily(
        "gamma",
        event_dims=0,
        statistics=lambda x: stacked(x.log(), x),
        log_partition=lambda eta: torch.lgamma(eta[..., 0] + 1) - (eta[..., 0] + 1) * (-eta[..., 1]).log(),
        log_base=no_base,
        natural=lambda shape, rate: stacked(shape - 1, -rate),
        parameters=lambda eta: {"shape": eta[..., 0] + 1, "rate": -eta[..., 1]},
        draw=lambda eta, generator: _gamma_draw((eta[..., 0] + 1).contiguous(), generator) / -eta[..., 1],
    )


def dirichlet() -> ExponentialFamily:
    """π on the simplex with `concentration` α:  T = log π,  η = α − 1,  A = Σ log Γ(α_k) − log Γ(Σ α_k)."""
    return ExponentialFamily(
        "dirichlet",
        event_dims=1,
        statistics=lambda x: x.log(),
        log_partition=lambda eta: torch.lgamma(eta + 1).sum(-1) - torch.lgamma((eta + 1).sum(-1)),
        log_base=lambda x: no_base(x[..., 0]),
        natural=lambda concentration: concentration - 1,
        parameters=lambda eta: {"concentration": eta + 1},
        draw=lambda eta, generator: torch._sample_dirichlet((eta + 1).contiguous(), generator=generator),
    )


def normal_gamma() -> ExponentialFamily:
    """(μ, τ) with `mean` m, `count` κ, `shape` a, `rate` b:  τ ~ Gamma(a, b),  μ ~ N(m, 1/κτ).

    T = (log τ, τ, τμ, τμ²),  η = (a − ½, −b − κm²/2, κm, −κ/2); events are (…, 2), the precision last.
    """

    def usual(eta: Tensor) -> dict[str, Tensor]:
        count = -2 * eta[..., 3]
        mean = eta[..., 2] / count
        return {"mean": mean, "count": count, "shape": eta[..., 0] + 0.5, "rate": -eta[..., 1] - count * mean**2 / 2}

    def log_partition(eta: Tensor) -> Tensor:
        p = usual(eta)
        return torch.lgamma(p["shape"]) - p["shape"] * p["rate"].log() - (p["count"].log() - LOG_2_PI) / 2

    def draw(eta: Tensor, generator: Generator) -> Tensor:
        p = usual(eta)
        precision = _gamma_draw(p["shape"].contiguous(), generator) / p["rate"]
        return stacked(p["mean"] + _normal(precision, generator) / (p["count"] * precision).sqrt(), precision)

    return ExponentialFamily(
        "normal-gamma",
        event_dims=1,
        statistics=lambda x: stacked(x[..., 1].log(), x[..., 1], x[..., 0] * x[..., 1], x[..., 0] ** 2 * x[..., 1]),
        log_partition=log_partition,
        log_base=lambda x: no_base(x[..., 0]),
        natural=lambda mean, count, shape, rate: stacked(
            shape - 0.5, -rate - count * mean**2 / 2, count * mean, -count / 2
        ),
        parameters=usual,
        draw=draw,
    )


FAMILIES: dict[str, Callable[..., ExponentialFamily]] = {
    "bernoulli": bernoulli,
    "beta": beta,
    "categorical": categorical,
    "dirichlet": dirichlet,
    "gamma": gamma,
    "gaussian": gaussian,
    "gaussian-mean": gaussian_mean,
    "normal-gamma": normal_gamma,
    "poisson": poisson,
}
