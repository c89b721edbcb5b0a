"""Initialisation: where training starts, and why signals survive fifty layers.

For y = W x with independent entries, Var(y) = fan_in · Var(W) · E[x²]. Keeping the variance asks for

    Xavier   Var(W) = 2 / (fan_in + fan_out)      a compromise between forward and backward, for odd activations
    He       Var(W) = 2 / fan                     E[relu(x)²] = Var(x) / 2 costs the factor of two
    orthogonal  WᵀW = I (or WWᵀ = I)              every singular value is one: lengths kept exactly

Equal weights would stay equal for ever, since units of one layer then get equal gradients; randomness breaks the
symmetry. Biases break nothing and start at zero, or slightly positive under ReLU.

References:
    Glorot, Bengio 2010, Understanding the difficulty of training deep feedforward neural networks.
    He et al. 2015, Delving deep into rectifiers.
    Saxe, McClelland, Ganguli 2014, Exact solutions to the nonlinear dynamics of learning in deep linear networks.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor, nn

from gradus.errors import GradusError

__all__ = ["fans", "he", "initialise", "orthogonal", "output_bias", "small_normal", "xavier"]

Weight = Float[Tensor, "out *rest"]
Module = TypeVar("Module", bound=nn.Module)


def fans(weight: Weight) -> tuple[int, int]:
    """Return how many inputs feed an output and how many outputs an input feeds.

    Args:
        weight: (out, in, *kernel), as linear layers and ungrouped convolutions hold it.
    """
    assert weight.ndim >= 2, "a fan needs a matrix at least"
    taps = math.prod(weight.shape[2:])
    return weight.shape[1] * taps, weight.shape[0] * taps


@torch.no_grad()
def small_normal(weight: Weight, *, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill with N(0, std²), in place.

    Args:
        weight: what to fill.
        std: standard deviation.
        generator: source of randomness.
    """
    return weight.normal_(0.0, std, generator=generator)


def xavier(weight: Weight, *, gain: float = 1.0, uniform: bool = False, generator: Generator | None = None) -> Tensor:
    """Fill with variance gain² · 2 / (fan_in + fan_out), in place.

    Args:
        weight: what to fill.
        gain: factor on the standard deviation.
        uniform: draw from U(−a, a), a = √3 std, in place of the normal.
        generator: source of randomness.
    """
    fan_in, fan_out = fans(weight)
    return _fill(weight, gain * math.sqrt(2.0 / (fan_in + fan_out)), uniform, generator)


def he(
    weight: Weight,
    *,
    mode: str = "fan_in",
    slope: float = 0.0,
    uniform: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with variance 2 / ((1 + slope²) · fan), in place.

    Args:
        weight: what to fill.
        mode: "fan_in" keeps the variance going forward, "fan_out" that of the gradient going back.
        slope: of the leaky ReLU below zero; 0 is ReLU, 1 is linear.
        uniform: draw from U(−a, a), a = √3 std, in place of the normal.
        generator: source of randomness.

    Raises:
        GradusError: for another mode.
    """
    if mode not in ("fan_in", "fan_out"):
        raise GradusError(f"mode is 'fan_in' or 'fan_out', not {mode!r}")
    fan = fans(weight)[mode == "fan_out"]
    return _fill(weight, math.sqrt(2.0 / ((1.0 + slope**2) * fan)), uniform, generator)


@torch.no_grad()
def _fill(weight: Tensor, std: float, uniform: bool, generator: Generator | None) -> Tensor:
    if uniform:
        bound = math.sqrt(3.0) * std
        return weight.uniform_(-bound, bound, generator=generator)
    return weight.normal_(0.0, std, generator=generator)


@torch.no_grad()
def orthogonal(weight: Weight, *, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a uniformly random matrix whose singular values all equal `gain`, in place.

    A kernel is read as the matrix (out, in · taps).

    Args:
        weight: what to fill.
        gain: the singular values.
        generator: source of randomness.
    """
    matrix = torch.empty_like(weight.flatten(1), memory_format=torch.contiguous_format)
    matrix.normal_(generator=generator)
    tall = matrix.shape[0] >= matrix.shape[1]
    q, r = torch.linalg.qr(matrix if tall else matrix.T)
    # QR alone favours some rotations; the signs of R's diagonal make the draw uniform.
    q = q * r.diagonal().sign()
    return weight.copy_(gain * (q if tall else q.T).reshape(weight.shape))


@torch.no_grad()
def initialise(
    module: Module,
    fills: Mapping[type[nn.Module], Callable[..., Tensor]],
    *,
    bias: float = 0.0,
    generator: Generator | None = None,
) -> Module:
    """Fill the weights of every submodule by its type, and set its bias; return the module.

    Args:
        module: what to initialise, in place.
        fills: type of submodule to filler of its `weight`; types not named stay as they are.
        bias: what biases of the filled submodules start at (0, or 0.1 to keep ReLUs awake).
        generator: source of randomness.
    """
    for part in module.modules():
        fill = fills.get(type(part))
        if fill is not None:
            fill(part.weight, generator=generator)
            offset = getattr(part, "bias", None)
            if offset is not None:
                offset.fill_(bias)
    return module


def output_bias(
    targets: Shaped[Tensor, "samples *outputs"], *, loss: str = "cross_entropy", classes: int | None = None
) -> Float[Tensor, " outputs"]:
    """Return the bias of the last layer that minimises the loss while its weights are zero.

    cross_entropy: b_k = log(n_k / n);  logistic: b = logit(mean);  squared: b = mean.

    Args:
        targets: class numbers for cross_entropy, zeros and ones for logistic, real numbers for squared.
        loss: the loss to minimise.
        classes: number of classes of cross_entropy; one more than the largest by default.

    Raises:
        GradusError: for another loss. A class without samples gets half a sample, as −∞ would never recover.
    """
    if loss == "cross_entropy":
        counts = torch.bincount(targets.flatten(), minlength=classes or 0).to(torch.get_default_dtype())
        counts = counts.clamp(min=0.5)
        return (counts / counts.sum()).log()
    rate = targets.to(torch.get_default_dtype()).reshape(len(targets), -1).mean(0)
    if loss == "squared":
        return rate
    if loss == "logistic":
        floor = 0.5 / len(targets)
        return rate.clamp(floor, 1 - floor).logit()
    raise GradusError(f"loss is 'cross_entropy', 'logistic' or 'squared', not {loss!r}")
