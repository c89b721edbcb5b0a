"""Elementwise bijectors: y_i = f(x_i), with log |f′(x_i)| for every number.

    affine      y = a + b x              log |b|
    exp         y = e^x                  x
    sigmoid     y = 1 / (1 + e^−x)       −ς(x) − ς(−x)                 with softplus ς(x) = log(1 + e^x)
    softplus    y = ς(x)                 −ς(−x)
    tanh        y = tanh x               2 (log 2 − x − ς(−2x))
    power       y = x^p, x > 0           log |p| + (p − 1) log x
    leaky       y = x or s x (x < 0)     0 or log s

Each log-derivative is written so that it neither overflows nor cancels where the map saturates.

References:
    Papamakarios et al. 2021, Normalizing flows for probabilistic modeling and inference.
"""

import math
from abc import ABC

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.bijector import Bijector, like

__all__ = ["Affine", "Exp", "Identity", "LeakyReLU", "Logit", "Power", "Sigmoid", "Softplus", "Tanh"]

Pair = tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]
PAPER = "Papamakarios et al. 2021, Normalizing flows for probabilistic modeling and inference"


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + e^x) to full precision everywhere; torch's own is linear from x = 20 on."""
    return torch.logaddexp(x, torch.zeros_like(x))


class Elementwise(Bijector, ABC):
    """A bijector of numbers; a tensor of them has as many log-derivatives."""


@canon("prob/identity", kind="bijector", paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling")
class Identity(Elementwise):
    """y = x: what an unconstrained number needs."""

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return x and zeros."""
        return x, torch.zeros_like(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return y and zeros."""
        return y, torch.zeros_like(y)


@canon(
    "prob/affine",
    kind="bijector",
    paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling and inference",
    example=lambda: Affine(torch.tensor([0.5, -1.0, 2.0]), torch.tensor([2.0, -0.3, 1.0])),
)
class Affine(Elementwise):
    """y = a + b x.

    Args:
        shift: a; numbers, or tensors that broadcast against x from the right.
        scale: b, not zero.
        log_scale: log b in place of b, for a positive scale that is learned or comes out of a network.

    Raises:
        GradusError: for a scale of zero, or with both scales given.
    """

    shift: Tensor | float
    scale: Tensor | float

    def __init__(
        self, shift: Tensor | float = 0.0, scale: Tensor | float = 1.0, *, log_scale: Tensor | None = None
    ) -> None:
        super().__init__()
        if log_scale is None and bool((torch.as_tensor(scale) == 0).any()):
            raise GradusError("an affine bijector with scale 0 has no inverse; give a scale other than 0")
        if log_scale is not None and not (isinstance(scale, float | int) and scale == 1):
            raise GradusError("an affine bijector takes scale or log_scale, not both; leave one out")
        self._hold("shift", shift)
        self.logarithmic = log_scale is not None
        self._hold("scale", scale if log_scale is None else log_scale)

    def _factor(self, x: Tensor) -> tuple[Tensor, Tensor]:
        held = like(self.scale, x)
        return (held.exp(), held) if self.logarithmic else (held, held.abs().log())

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return a + b x and log |b|."""
        scale, logdet = self._factor(x)
        return like(self.shift, x) + scale * x, logdet.expand_as(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return (y − a) / b and −log |b|."""
        scale, logdet = self._factor(y)
        return (y - like(self.shift, y)) / scale, -logdet.expand_as(y)


@canon("prob/exp", kind="bijector", paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling")
class Exp(Elementwise):
    """y = e^x, onto the positive numbers."""

    codomain = constraints.positive

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return e^x and x."""
        return x.exp(), x

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return log y and −log y."""
        x = y.log()
        return x, -x


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.sigmoid(), F.logsigmoid(x) + F.logsigmoid(-x)


def _logit(y: Tensor) -> tuple[Tensor, Tensor]:
    log_y, log_rest = y.log(), torch.log1p(-y)
    return log_y - log_rest, -(log_y + log_rest)


@canon("prob/sigmoid", kind="bijector", paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling")
class Sigmoid(Elementwise):
    """y = 1 / (1 + e^−x), onto the unit interval."""

    codomain = constraints.unit_interval

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return σ(x) and log σ(x) + log σ(−x)."""
        return _sigmoid(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return log y − log(1 − y) and −log y − log(1 − y)."""
        return _logit(y)


@canon("prob/logit", kind="bijector", paper="Papamakarios et al. 2021, Normalizing flows for probabilistic modeling")
class Logit(Elementwise):
    """y = log x − log(1 − x), from the unit interval onto the real line."""

    domain = constraints.unit_interval

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return log x − log(1 − x) and −log x − log(1 − x)."""
        return _logit(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return σ(y) and log σ(y) + log σ(−y)."""
        return _sigmoid(y)


@canon("prob/softplus", kind="bijector", paper="Dugas et al. 2001, Incorporating second-order functional knowledge")
class Softplus(Elementwise):
    """y = log(1 + e^x), onto the positive numbers; linear where x is large."""

    codomain = constraints.positive

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return ς(x) and log σ(x)."""
        return softplus(x), F.logsigmoid(x)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return y + log(1 − e^−y) and −log(1 − e^−y)."""
        log_rest = torch.log(-torch.expm1(-y))
        return y + log_rest, -log_rest


@canon("prob/tanh", kind="bijector", paper="Haarnoja et al. 2018, Soft actor-critic (appendix C)")
class Tanh(Elementwise):
    """y = tanh x, onto (−1, 1)."""

    codomain = constraints.interval(-1.0, 1.0)

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return tanh x and 2 (log 2 − x − ς(−2x)), which is log(1 − tanh² x) without the cancellation."""
        return x.tanh(), 2 * (math.log(2) - x - softplus(-2 * x))

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return artanh y and −log(1 − y²)."""
        above, below = torch.log1p(y), torch.log1p(-y)
        return (above - below) / 2, -above - below


@canon(
    "prob/power",
    kind="bijector",
    paper="Box and Cox 1964, An analysis of transformations",
    example=lambda: Power(1.7),
)
class Power(Elementwise):
    """y = x^p on the positive numbers.

    Args:
        exponent: p, not zero.

    Raises:
        GradusError: for an exponent of zero.
    """

    domain = constraints.positive
    codomain = constraints.positive
    exponent: Tensor | float

    def __init__(self, exponent: Tensor | float) -> None:
        super().__init__()
        if bool((torch.as_tensor(exponent) == 0).any()):
            raise GradusError("a power bijector with exponent 0 has no inverse; give an exponent other than 0")
        self._hold("exponent", exponent)

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return x^p and log |p| + (p − 1) log x."""
        exponent = like(self.exponent, x)
        return x**exponent, exponent.abs().log() + (exponent - 1) * x.log()

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return y^(1/p) and −log |p| + (1/p − 1) log y."""
        exponent = like(self.exponent, y)
        return y ** (1 / exponent), -exponent.abs().log() + (1 / exponent - 1) * y.log()


@canon("prob/leaky-relu", kind="bijector", paper="Maas et al. 2013, Rectifier nonlinearities improve acoustic models")
class LeakyReLU(Elementwise):
    """y = x where x ≥ 0, else s x.

    Args:
        slope: s > 0.

    Raises:
        GradusError: for a slope that is not positive.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        if not slope > 0:
            raise GradusError(f"a leaky rectifier with slope {slope} has no inverse; give a positive slope")
        self.slope = slope

    def forward(self, x: Float[Tensor, "*shape"]) -> Pair:
        """Return x or s x, and 0 or log s."""
        return torch.where(x < 0, self.slope * x, x), (x < 0).to(x.dtype) * math.log(self.slope)

    def inverse(self, y: Float[Tensor, "*shape"]) -> Pair:
        """Return y or y / s, and 0 or −log s."""
        return torch.where(y < 0, y / self.slope, y), (y < 0).to(y.dtype) * -math.log(self.slope)
