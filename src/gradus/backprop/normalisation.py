"""Normalisation: x̂ = (x − μ) / σ over some axes, then y = γ x̂ + β; and the fixed form of it that a data set needs.

    μ = mean(x),    v = mean((x − μ)²),    σ = √(v + ε)

over the batch (and the places of an image) for each channel, or over the features of each sample. The derivative has to
go through μ and σ too, which hang on every x. With n values in a mean, ∂μ/∂x_i = 1/n and ∂σ/∂x_i = x̂_i / n, so

    ∂x̂_j/∂x_i = (δ_ij − 1/n − x̂_j x̂_i / n) / σ
    dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ ⊙ x̂)) / σ,      dx̂ = γ dy

which takes from dx̂ what no change of x could bring about: a shift, and a stretch. Beside it dγ = Σ dy ⊙ x̂, dβ = Σ dy.
In evaluation batch normalisation uses running averages, which are constants: then dx = dx̂ / σ.

References:
    Ioffe and Szegedy 2015, Batch normalization. Ba, Kiros and Hinton 2016, Layer normalization.
Deviations:
    The running variance is the unbiased estimate and the normalising one the biased, as in every framework.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer
from gradus.errors import GradusError

__all__ = ["BatchNorm", "LayerNorm", "Standardise"]


def _through_statistics(
    dx_hat: Float[Array, "*shape"], x_hat: Float[Array, "*shape"], sigma: Array, axes: tuple[int, ...]
) -> Float[Array, "*shape"]:
    """Return (dx̂ − mean(dx̂) − x̂ mean(dx̂ ⊙ x̂)) / σ, the means over `axes`."""
    shift = dx_hat.mean(axes, keepdims=True)
    stretch = (dx_hat * x_hat).mean(axes, keepdims=True)
    return (dx_hat - shift - x_hat * stretch) / sigma


class BatchNorm(Layer):
    """Normalises each channel over the batch and, for images, over its places.

    Args:
        channels: second size of x.
        eps: ε.
        momentum: share of a new batch in the running averages.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(weight=np.ones(channels), bias=np.zeros(channels))
        self.buffers = {"running_mean": np.zeros(channels), "running_var": np.ones(channels)}
        self.eps, self.momentum = eps, momentum

    def forward(self, x: Float[Array, "batch channels *places"]) -> Float[Array, "batch channels *places"]:
        """Return γ x̂ + β; in training the running averages move.

        Raises:
            GradusError: if x has other channels, or in training one value a channel, whose variance says nothing.
        """
        gamma = self.params["weight"]
        if x.shape[1] != len(gamma):
            raise GradusError(f"{self!r} takes {len(gamma)} channels, but was given {x.shape[1]}: change one")
        axes = (0, *range(2, x.ndim))
        count = x.size // x.shape[1]
        if self.training and count < 2:
            raise GradusError("batch normalisation needs two values a channel to train on: enlarge the batch")
        if self.training:
            mean, variance = x.mean(axes), x.var(axes)
            for name, new in (("running_mean", mean), ("running_var", variance * (count / (count - 1)))):
                self.buffers[name] += self.momentum * (new - self.buffers[name])
        else:
            mean, variance = self.buffers["running_mean"], self.buffers["running_var"]
        sigma = _along(np.sqrt(variance + self.eps), x)
        x_hat = (x - _along(mean, x)) / sigma
        self.keep(x_hat, sigma, axes, self.training)
        return _along(gamma, x) * x_hat + _along(self.params["bias"], x)

    def backward(self, dy: Float[Array, "batch channels *places"]) -> Float[Array, "batch channels *places"]:
        """Return dx through the statistics of the batch, or past the running ones."""
        x_hat, sigma, axes, training = self.kept
        self.grads["weight"] = (dy * x_hat).sum(axes)
        self.grads["bias"] = dy.sum(axes)
        dx_hat = _along(self.params["weight"], dy) * dy
        return _through_statistics(dx_hat, x_hat, sigma, axes) if training else dx_hat / sigma


class LayerNorm(Layer):
    """Normalises each sample over its last axis.

    Args:
        features: length of that axis.
        eps: ε.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__(weight=np.ones(features), bias=np.zeros(features))
        self.eps = eps

    def forward(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """Return γ x̂ + β.

        Raises:
            GradusError: if x has other features.
        """
        gamma = self.params["weight"]
        if x.shape[-1] != len(gamma):
            raise GradusError(f"{self!r} takes {len(gamma)} features, but was given {x.shape[-1]}: change one")
        sigma = np.sqrt(x.var(-1, keepdims=True) + self.eps)
        x_hat = (x - x.mean(-1, keepdims=True)) / sigma
        self.keep(x_hat, sigma)
        return gamma * x_hat + self.params["bias"]

    def backward(self, dy: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        """Return dx through each sample's own statistics."""
        x_hat, sigma = self.kept
        batch = tuple(range(dy.ndim - 1))
        self.grads["weight"] = (dy * x_hat).sum(batch)
        self.grads["bias"] = dy.sum(batch)
        return _through_statistics(self.params["weight"] * dy, x_hat, sigma, (-1,))


class Standardise(Layer):
    """(x − μ) / σ with a data set's own μ and σ for each channel, so that a network takes raw pixels: dx = dy / σ.

    Args:
        mean: μ, one a channel.
        std: σ, one a channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.buffers = {"mean": np.array(mean, float), "std": np.array(std, float)}

    def forward(self, x: Float[Array, "batch channels *places"]) -> Float[Array, "batch channels *places"]:
        """Return (x − μ) / σ."""
        return (x - _along(self.buffers["mean"], x)) / _along(self.buffers["std"], x)

    def backward(self, dy: Float[Array, "batch channels *places"]) -> Float[Array, "batch channels *places"]:
        """Return dy / σ."""
        return dy / _along(self.buffers["std"], dy)


def _along(vector: Float[Array, " channels"], x: Float[Array, "batch channels *places"]) -> Float[Array, "..."]:
    """Return one number a channel, shaped to meet x."""
    return vector.reshape(-1, *[1] * (x.ndim - 2))
