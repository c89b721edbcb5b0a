"""Normalisation: y = γ (x − μ) / √(σ² + ε) + β; what differs is over which axes μ and σ² are taken.

    for x of (N, C, *positions)    μ, σ² per                    over
    batch                          channel                      N, positions
    layer                          sample (and position*)       C (and positions)
    instance                       sample, channel              positions
    group                          sample, group of channels    C / groups, positions

Batch statistics are replaced by running averages in evaluation. Two more act on weights instead of activations:
spectral, W / σ₁(W) by power iteration, and weight normalisation, W = g · v / ‖v‖.

References:
    Ioffe, Szegedy 2015, Batch normalization. Ba, Kiros, Hinton 2016, Layer normalization.
    Ulyanov, Vedaldi, Lempitsky 2016, Instance normalization. Wu, He 2018, Group normalization.
    Miyato et al. 2018, Spectral normalization for generative adversarial networks.
    Salimans, Kingma 2016, Weight normalization.

Deviations:
    The running variance is the unbiased estimate and the normalising one the biased, as in every framework.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError, nearest

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "SpectralNorm",
    "WeightNorm",
    "normalisation",
    "standardise",
]


def standardise(x: Float[Tensor, "*shape"], axes: tuple[int, ...], eps: float = 1e-5) -> Float[Tensor, "*shape"]:
    """Return (x − μ) / √(σ² + ε), with mean and (biased) variance over the axes.

    Args:
        x: activations.
        axes: what the statistics run over.
        eps: added to the variance.
    """
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps)


def _per_channel(vector: Tensor, like: Tensor) -> Tensor:
    return vector.view(1, -1, *[1] * (like.ndim - 2))


class _Affine(nn.Module):
    """γ ⊙ x + β by channel, for the normalisations below to inherit their parameters from."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels = channels
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def scale(self, x: Tensor) -> Tensor:
        return x * _per_channel(self.weight, x) + _per_channel(self.bias, x)

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}"


class BatchNorm(_Affine):
    """Batch normalisation of (N, C) or (N, C, *positions), with running statistics for evaluation.

    Args:
        channels: C.
        eps: added to the variance.
        momentum: share of the new batch in the running averages.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps)
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "batch channels *positions"]) -> Float[Tensor, "batch channels *positions"]:
        """Return the normalised map; in training the running averages move."""
        if not self.training:
            centred = x - _per_channel(self.running_mean, x)
            return self.scale(centred * _per_channel(torch.rsqrt(self.running_var + self.eps), x))
        axes = (0, *range(2, x.ndim))
        if x.numel() == x.shape[1]:
            raise GradusError(
                "batch normalisation needs more than one value per channel in training; enlarge the batch"
            )
        with torch.no_grad():
            variance, mean = torch.var_mean(x, axes)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
        return self.scale(standardise(x, axes, self.eps))


class InstanceNorm(_Affine):
    """Instance normalisation of (N, C, *positions): each channel of each sample by itself.

    Args:
        channels: C.
        eps: added to the variance.
    """

    def forward(self, x: Float[Tensor, "batch channels *positions"]) -> Float[Tensor, "batch channels *positions"]:
        """Return the normalised map."""
        return self.scale(standardise(x, tuple(range(2, x.ndim)), self.eps))


class GroupNorm(_Affine):
    """Group normalisation of (N, C, *positions).

    Args:
        channels: C.
        groups: how many groups of neighbouring channels share statistics.
        eps: added to the variance.
    """

    def __init__(self, channels: int, groups: int = 32, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)
        if channels % groups:
            raise GradusError(f"{groups} groups do not divide {channels} channels; choose a divisor")
        self.groups = groups

    def forward(self, x: Float[Tensor, "batch channels *positions"]) -> Float[Tensor, "batch channels *positions"]:
        """Return the normalised map."""
        grouped = x.reshape(x.shape[0], self.groups, -1)
        return self.scale(standardise(grouped, (2,), self.eps).reshape(x.shape))


class LayerNorm(nn.Module):
    """Layer normalisation over the last axes, each entry with its own γ and β.

    Args:
        shape: of the last axes.
        eps: added to the variance.
    """

    def __init__(self, shape: int | tuple[int, ...], eps: float = 1e-5) -> None:
        super().__init__()
        self.shape = (shape,) if isinstance(shape, int) else shape
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the normalised activations."""
        axes = tuple(range(-len(self.shape), 0))
        return standardise(x, axes, self.eps) * self.weight + self.bias


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value: W / σ₁, σ₁ ≈ uᵀ W v by one power iteration a training call.

    Register it with `torch.nn.utils.parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))`.

    Args:
        weight: (out, *rest), read as the matrix (out, rest).
        warm_up: power iterations before the first call.
        eps: added to lengths before dividing.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Float[Tensor, "out *rest"], warm_up: int = 15, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("right", F.normalize(torch.randn_like(matrix[0]), dim=0))
        for _ in range(warm_up):
            self._iterate(matrix)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.left.copy_(F.normalize(matrix @ self.right, dim=0, eps=self.eps))
        self.right.copy_(F.normalize(matrix.T @ self.left, dim=0, eps=self.eps))

    def forward(self, weight: Float[Tensor, "out *rest"]) -> Float[Tensor, "out *rest"]:
        """Return W / σ₁(W)."""
        matrix = weight.flatten(1)
        if self.training:
            self._iterate(matrix.detach())
        # Clones: the next iteration writes in place what this graph still needs.
        return weight / (self.left.clone() @ (matrix @ self.right.clone()))


class WeightNorm(nn.Module):
    """A weight as length times direction: W = g · v / ‖v‖, one length per output.

    Register it with `torch.nn.utils.parametrize.register_parametrization(layer, "weight", WeightNorm())`: the layer
    then holds g as `original0` and v as `original1`.
    """

    def forward(self, length: Float[Tensor, "out *ones"], direction: Float[Tensor, "out *rest"]) -> Tensor:
        """Return g · v / ‖v‖."""
        return direction * (length / self._norm(direction))

    def right_inverse(self, weight: Float[Tensor, "out *rest"]) -> tuple[Tensor, Tensor]:
        """Return the length and direction of a weight."""
        return self._norm(weight), weight

    @staticmethod
    def _norm(direction: Tensor) -> Tensor:
        return torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.ndim)), keepdim=True)


def _groups(channels: int) -> nn.Module:
    return nn.GroupNorm(next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0), channels)


# torch's fused kernels of the same functions: what the models are built with.
_MAKERS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "group": _groups,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "none": lambda channels: nn.Identity(),
}


def normalisation(name: str) -> Callable[[int], nn.Module]:
    """Return what makes the named normalisation of image maps for a number of channels.

    Args:
        name: batch, group, instance, layer or none.

    Raises:
        GradusError: for another name.
    """
    if name not in _MAKERS:
        raise GradusError(f"there is no normalisation {name!r}{nearest(name, _MAKERS)}")
    return _MAKERS[name]
