"""Activations with their derivatives written out.

    sigmoid   σ(x) = 1 / (1 + e⁻ˣ)           σ' = σ (1 − σ)
    tanh      (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)        1 − tanh²
    ReLU      max(0, x)                      [x > 0]
    leaky     max(0, x) + a min(0, x)        [x > 0] + a [x ≤ 0]
    ELU       x, or a (eˣ − 1) below zero    1, or a eˣ below zero
    softplus  log(1 + eᵇˣ) / b               σ(b x)
    Swish     x σ(b x)                       σ(b x) + b x σ(b x) σ(−b x)
    GELU      x Φ(x)                         Φ(x) + x φ(x), with Φ and φ of the standard normal
    softmax   eˣᵢ / Σⱼ eˣʲ                   Jacobian diag(s) − s sᵀ

Values come from torch's kernels, which are stable at any size of x, and autograd differentiates them; the derivatives
here are for reading, for engines without autograd, and for the tests that hold them against both.

References:
    Goodfellow, Bengio, Courville 2016, Deep learning, chapter 6.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError, nearest

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "Identity",
    "LeakyReLU",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Swish",
    "Tanh",
    "activation",
]


class Activation(nn.Module, ABC):
    """A function of its input alone, with its derivative."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return f(x)."""

    @abstractmethod
    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        """Return f'(x), entry by entry; softmax, which mixes entries, returns its Jacobian."""

    def pullback(self, x: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return what a gradient of the output is as a gradient of the input: Jᵀ g.

        Args:
            x: where to differentiate.
            gradient: g, of the output.
        """
        return gradient * self.derivative(x)


@canon("nn/identity", kind="activation", names=("identity", "linear"))
class Identity(Activation):
    """The identity: f(x) = x."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x."""
        return x

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return 1."""
        return torch.ones_like(x)


@canon("nn/sigmoid", kind="activation", paper="Rumelhart, Hinton and Williams 1986, Learning representations")
class Sigmoid(Activation):
    """The logistic function: σ(x) = 1 / (1 + e⁻ˣ)."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return σ(x)."""
        return torch.sigmoid(x)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return σ(x) σ(−x), which unlike σ (1 − σ) keeps its digits for large x."""
        return torch.sigmoid(x) * torch.sigmoid(-x)


@canon("nn/tanh", kind="activation", paper="LeCun et al. 1998, Efficient backprop")
class Tanh(Activation):
    """The hyperbolic tangent: tanh(x)."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return tanh(x)."""
        return torch.tanh(x)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return 1 − tanh²(x)."""
        return 1 - torch.tanh(x).square()


@canon("nn/relu", kind="activation", paper="Nair and Hinton 2010, Rectified linear units improve restricted Boltzmann")
class ReLU(Activation):
    """The rectified linear unit: max(0, x)."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return max(0, x)."""
        return torch.relu(x)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return [x > 0]: at the kink, the derivative from below."""
        return (x > 0).to(x.dtype)


@canon("nn/leaky-relu", kind="activation", paper="Maas, Hannun and Ng 2013, Rectifier nonlinearities improve acoustic")
class LeakyReLU(Activation):
    """The leaky rectified linear unit: max(0, x) + a min(0, x).

    Args:
        slope: a, below zero.
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return max(0, x) + a min(0, x)."""
        return F.leaky_relu(x, self.slope)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return 1 above zero and a elsewhere."""
        return torch.where(x > 0, torch.ones_like(x), self.slope)

    def extra_repr(self) -> str:
        return f"slope={self.slope}"


@canon("nn/elu", kind="activation", paper="Clevert, Unterthiner and Hochreiter 2016, Exponential linear units")
class ELU(Activation):
    """The exponential linear unit: x above zero, a (eˣ − 1) below.

    Args:
        scale: a, minus the limit at −∞.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x above zero, a (eˣ − 1) below."""
        return F.elu(x, self.scale)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return 1 above zero, a eˣ below."""
        return torch.where(x > 0, torch.ones_like(x), self.scale * x.clamp(max=0).exp())

    def extra_repr(self) -> str:
        return f"scale={self.scale}"


@canon("nn/softplus", kind="activation", paper="Dugas et al. 2001, Incorporating second-order functional knowledge")
class Softplus(Activation):
    """A smooth ReLU: log(1 + eᵇˣ) / b.

    Args:
        sharpness: b; the ReLU is the limit of large b.
    """

    def __init__(self, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return log(1 + eᵇˣ) / b."""
        # log(e⁰ + eᵇˣ): exact on both sides, where `F.softplus` switches to the identity at a threshold.
        return torch.logaddexp(self.sharpness * x, torch.zeros_like(x)) / self.sharpness

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return σ(b x)."""
        return torch.sigmoid(self.sharpness * x)

    def extra_repr(self) -> str:
        return f"sharpness={self.sharpness}"


@canon(
    "nn/swish",
    kind="activation",
    paper="Ramachandran, Zoph and Le 2017, Searching for activation functions",
    names=("swish", "silu"),
)
class Swish(Activation):
    """A ReLU with a smooth gate: x σ(b x).

    Args:
        sharpness: b; 1 is also called SiLU.
    """

    def __init__(self, sharpness: float = 1.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x σ(b x)."""
        return F.silu(x) if self.sharpness == 1 else x * torch.sigmoid(self.sharpness * x)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return σ(b x) + b x σ(b x) σ(−b x)."""
        scaled = self.sharpness * x
        gate = torch.sigmoid(scaled)
        return gate + scaled * gate * torch.sigmoid(-scaled)

    def extra_repr(self) -> str:
        return f"sharpness={self.sharpness}"


@canon("nn/gelu", kind="activation", paper="Hendrycks and Gimpel 2016, Gaussian error linear units")
class GELU(Activation):
    """The Gaussian error linear unit: x Φ(x), or its approximation by tanh.

    ½ x (1 + tanh u) with u = √(2/π) (x + 0.044715 x³)

    Args:
        approximate: use the tanh.
    """

    def __init__(self, approximate: bool = False) -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return x Φ(x)."""
        return F.gelu(x, approximate="tanh" if self.approximate else "none")

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return Φ(x) + x φ(x), or the derivative of the approximation."""
        if not self.approximate:
            density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
            return 0.5 * torch.erfc(-x / math.sqrt(2)) + x * density
        # Beyond ±10 the tanh is ±1 to the last digit; the clamp keeps x³ · 0 from becoming ∞ · 0 in half precision.
        near = x.clamp(-10, 10)
        rise = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near.square())
        bent = torch.tanh(math.sqrt(2 / math.pi) * (near + 0.044715 * near**3))
        return 0.5 * (1 + bent) + 0.5 * near * (1 - bent.square()) * rise

    def extra_repr(self) -> str:
        return f"approximate={self.approximate}"


@canon("nn/softmax", kind="activation", paper="Bridle 1990, Probabilistic interpretation of feedforward outputs")
class Softmax(Activation):
    """Positive numbers that sum to one along an axis: sᵢ = eˣᵢ / Σⱼ eˣʲ.

    Args:
        axis: what the sum runs over.
    """

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return s(x)."""
        return torch.softmax(x, self.axis)

    def derivative(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        """Return the Jacobian ∂sᵢ/∂xⱼ = sᵢ (δᵢⱼ − sⱼ), with i and j as the last two axes in place of `axis`."""
        s = self.forward(x).movedim(self.axis, -1)
        return torch.diag_embed(s) - s.unsqueeze(-1) * s.unsqueeze(-2)

    def pullback(self, x: Float[Tensor, "*shape"], gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return s ⊙ (g − ⟨s, g⟩), without forming the Jacobian.

        Args:
            x: where to differentiate.
            gradient: g, of the output.
        """
        s = self.forward(x)
        return s * (gradient - (s * gradient).sum(self.axis, keepdim=True))

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


def activation(name: str, **settings: Any) -> Activation:
    """Return the activation that has a name.

    Args:
        name: relu, leaky_relu, elu, softplus, swish (silu), gelu, sigmoid, tanh, softmax or identity (linear).
        settings: of that activation.

    Raises:
        GradusError: for an unknown name or setting, with the nearest known one.
    """
    entry = registry.lookup("activation", name)
    for setting in settings:
        if setting not in entry.parameters:
            known = nearest(setting, entry.parameters) if entry.parameters else "; it has none"
            raise GradusError(f"activation {name!r} has no setting {setting!r}{known}")
    return registry.load(entry)(**settings)
