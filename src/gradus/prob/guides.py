"""Guides: families of distributions q_θ that variational inference chooses from, as modules.

    pushed normal    x = f_θ(ε), ε ~ N(0, 1)      log q_θ(x) = log N(ε; 0, 1) − log |det ∂f_θ/∂ε|
    mean field       f_θ(ε) = a + e^s ∘ ε          independent numbers
    full rank        f_θ(ε) = a + L ε              any normal distribution
    flow             f_θ = affine ∘ couplings      any shape, as far as the conditioners reach
    bits             q_θ(x) = Π_i σ(θ_i)^x_i (1 − σ(θ_i))^(1 − x_i)

A pushed normal is a standard normal behind a bijector, so all continuous families here are one class; a bijector onto a
bounded support may follow. Bits have no pathwise gradient: their gradients come by the score function.

References:
    Kucukelbir et al. 2017, Automatic differentiation variational inference (mean field, full rank).
    Rezende and Mohamed 2015, Variational inference with normalizing flows.
    Williams 1992, Simple statistical gradient-following algorithms (Bernoulli units).
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector
from gradus.prob.composition import Compose, Independent
from gradus.prob.conditioned import Coupling
from gradus.prob.elementwise import Affine
from gradus.prob.linear import Triangular

__all__ = ["Bits", "Guide", "PushedNormal", "bits_guide", "flow_guide", "full_rank", "mean_field"]

Draw = tuple[Float[Tensor, "n image"], Float[Tensor, " n"]]


class Guide(nn.Module, ABC):
    """A distribution over vectors whose parameters are learned; calling it gives log q(x)."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """Return n draws, without a graph.

        Args:
            n: how many.
            generator: the dice.
        """

    @abstractmethod
    def log_prob(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Return log q(x).

        Args:
            x: points of the support.
        """

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Return log q(x), which is also what `functional_call` evaluates under other parameters."""
        return self.log_prob(x)


class PushedNormal(Guide):
    """A standard normal sent through a bijector: draws are differentiable in the bijector's parameters.

    Args:
        bijector: f, from vectors of `dim` numbers.
        dim: length of the noise.
    """

    like: Tensor

    def __init__(self, bijector: Bijector, dim: int) -> None:
        super().__init__()
        self.bijector = bijector if bijector.event_dims else Independent(bijector, 1)
        self.dim = _counted(dim)
        held = next((p for p in bijector.parameters()), torch.zeros(()))
        # Follows the module from device to device and from dtype to dtype, where parameters are none.
        self.register_buffer("like", held.detach().new_zeros(()), persistent=False)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """Return ε."""
        return torch.randn(n, self.dim, generator=generator, dtype=self.like.dtype, device=self.like.device)

    def push(self, noise: Float[Tensor, "n dim"]) -> Draw:
        """Return f(ε) and log q(f(ε)), differentiable in the parameters.

        Args:
            noise: ε.
        """
        x, logdet = self.bijector(noise)
        return x, _standard(noise) - logdet

    def rsample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n image"]:
        """Return n draws, differentiable in the parameters.

        Args:
            n: how many.
            generator: the dice.
        """
        return self.push(self.noise(n, generator))[0]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n image"]:
        """Return n draws, without a graph."""
        with torch.no_grad():
            return self.rsample(n, generator)

    def log_prob(self, x: Float[Tensor, "*batch image"]) -> Float[Tensor, "*batch"]:
        """Return log N(f⁻¹(x); 0, 1) + log |det ∂f⁻¹/∂x|."""
        noise, logdet = self.bijector.inverse(x)
        return _standard(noise) + logdet

    def onto(self, bijector: Bijector) -> "PushedNormal":
        """Return the guide with its draws sent through one more bijector, such as one onto a bounded support.

        Args:
            bijector: applied last; it shares nothing with the guide, and this guide's parameters stay shared.
        """
        return PushedNormal(Compose(self.bijector, bijector), self.dim)


def _counted(dim: int, least: int = 1) -> int:
    if dim < least:
        raise GradusError(f"a guide of {dim} numbers cannot be; give dim={least} or more")
    return dim


def _standard(noise: Tensor) -> Tensor:
    return -(noise**2).sum(-1) / 2 - noise.shape[-1] * math.log(2 * math.pi) / 2


@canon(
    "prob/mean-field",
    kind="guide",
    paper="Kucukelbir et al. 2017, Automatic differentiation variational inference",
    names=("mean-field", "diagonal"),
)
def mean_field(dim: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> PushedNormal:
    """Return independent normal distributions, N(a_i, e^(2 s_i)).

    Args:
        dim: of a vector.
        scale: standard deviation to start from.
        dtype: of the parameters.

    Raises:
        GradusError: for no numbers, or a scale that is not positive.
    """
    shift, log_scale = torch.zeros(_counted(dim), dtype=dtype), torch.full((dim,), _log(scale), dtype=dtype)
    return PushedNormal(Independent(Affine(nn.Parameter(shift), log_scale=nn.Parameter(log_scale)), 1), dim)


@canon(
    "prob/full-rank",
    kind="guide",
    paper="Kucukelbir et al. 2017, Automatic differentiation variational inference",
)
def full_rank(dim: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> PushedNormal:
    """Return a normal distribution of any covariance, N(a, L Lᵀ).

    Args:
        dim: of a vector.
        scale: standard deviation to start from, without correlation.
        dtype: of the parameters.

    Raises:
        GradusError: for no numbers, or a scale that is not positive.
    """
    shift, below = torch.zeros(_counted(dim), dtype=dtype), torch.zeros(dim, dim, dtype=dtype)
    log_diagonal = torch.full((dim,), _log(scale), dtype=dtype)
    return PushedNormal(Triangular(nn.Parameter(shift), nn.Parameter(log_diagonal), nn.Parameter(below)), dim)


@canon(
    "prob/flow-guide",
    kind="guide",
    paper="Rezende and Mohamed 2015, Variational inference with normalizing flows",
    names=("flow",),
)
def flow_guide(
    dim: int,
    *,
    layers: int = 4,
    hidden: int = 32,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> PushedNormal:
    """Return affine couplings, each keeping what the one before mapped, and an affine map of every number.

    It starts as a standard normal: the conditioners' last layers are zero.

    Args:
        dim: of a vector, two at least.
        layers: how many couplings.
        hidden: width of a coupling's conditioner.
        dtype: of the parameters.
        generator: dice of the conditioners' first layers.

    Raises:
        GradusError: for less than two numbers, or no layers.
    """
    if layers < 1 or hidden < 1:
        raise GradusError(f"layers={layers} and hidden={hidden} must be at least 1")
    even = torch.arange(_counted(dim, 2)) % 2 == 0
    couplings = [
        Coupling(even if i % 2 == 0 else ~even, _conditioner(dim, hidden, dtype, generator)) for i in range(layers)
    ]
    zeros = torch.zeros(dim, dtype=dtype)
    last = Affine(nn.Parameter(zeros), log_scale=nn.Parameter(zeros.clone()))
    return PushedNormal(Compose(*couplings, last), dim)


def _conditioner(dim: int, hidden: int, dtype: torch.dtype, generator: torch.Generator | None) -> nn.Module:
    first, last = nn.Linear(dim, hidden, dtype=dtype), nn.Linear(hidden, 2 * dim, dtype=dtype)
    with torch.no_grad():
        first.weight.copy_(torch.randn(hidden, dim, generator=generator, dtype=dtype) / dim**0.5)
        first.bias.zero_()
        last.weight.zero_()
        last.bias.zero_()
    return nn.Sequential(first, nn.Tanh(), last, nn.Unflatten(-1, (dim, 2)))


def _log(scale: float) -> float:
    if not 0 < scale < math.inf:
        raise GradusError(f"scale={scale} is no standard deviation; give a positive number")
    return math.log(scale)


class Bits(Guide):
    """Independent coins, x_i ∈ {0, 1} with P(x_i = 1) = σ(θ_i).

    Args:
        logits: θ to start from.
    """

    def __init__(self, logits: Float[Tensor, " dim"]) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def sample(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n dim"]:
        """Return n draws of zeros and ones."""
        dice = torch.rand(n, len(self.logits), generator=generator, dtype=self.logits.dtype, device=self.logits.device)
        return (dice < self.logits.detach().sigmoid()).to(dice.dtype)

    def log_prob(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """Return Σ_i x_i log σ(θ_i) + (1 − x_i) log σ(−θ_i)."""
        return (x * F.logsigmoid(self.logits) + (1 - x) * F.logsigmoid(-self.logits)).sum(-1)


@canon(
    "prob/bits-guide",
    kind="guide",
    paper="Williams 1992, Simple statistical gradient-following algorithms for connectionist reinforcement learning",
    names=("bits",),
)
def bits_guide(dim: int, *, dtype: torch.dtype = torch.float32) -> Bits:
    """Return independent coins that start fair.

    Args:
        dim: how many.
        dtype: of the parameters.

    Raises:
        GradusError: for no coins.
    """
    return Bits(torch.zeros(_counted(dim), dtype=dtype))
