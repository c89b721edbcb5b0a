"""A network of this room as a PyTorch module with the same weights, for everything that wants to look into one.

Explanations, attacks and export differentiate or trace PyTorch modules. Training never comes here; this is also how
parity is tested: the same numbers go in, and the same scores and gradients must come out of two programs.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.backprop import activations, convolution, dropout, linear, normalisation, pooling
from gradus.backprop.layer import Layer
from gradus.backprop.network import Network
from gradus.errors import GradusError
from gradus.nn.normalisation import BatchNorm

__all__ = ["Mirror", "mirror"]


class _Standardise(nn.Module):
    """(x − μ) / σ by channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """Return standardised images."""
        return (images - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)


def _convolution(layer: Any) -> nn.Module:
    w, weight = layer.window, layer.params["weight"]
    return nn.Conv2d(
        weight.shape[1], weight.shape[0], w.kernel, w.stride, w.padding, w.dilation, bias="bias" in layer.params
    )


def _linear(layer: Any) -> nn.Module:
    outputs, inputs = layer.params["weight"].shape
    return nn.Linear(inputs, outputs, bias="bias" in layer.params)


# Parameters and buffers have the same names on both sides.
MODULES: dict[type[Layer], Callable[[Any], nn.Module]] = {
    normalisation.Standardise: lambda layer: _Standardise(len(layer.buffers["mean"])),
    normalisation.BatchNorm: lambda layer: BatchNorm(len(layer.params["weight"]), layer.eps, layer.momentum),
    normalisation.LayerNorm: lambda layer: nn.LayerNorm(len(layer.params["weight"]), layer.eps),
    linear.Flatten: lambda layer: nn.Flatten(),
    linear.Linear: _linear,
    convolution.Convolution: _convolution,
    pooling.MaxPool: lambda layer: nn.MaxPool2d(layer.window.kernel, layer.window.stride, layer.window.padding),
    pooling.AveragePool: lambda layer: nn.AvgPool2d(layer.window.kernel, layer.window.stride, layer.window.padding),
    dropout.Dropout: lambda layer: nn.Dropout(layer.rate),
    activations.ReLU: lambda layer: nn.ReLU(),
    activations.LeakyReLU: lambda layer: nn.LeakyReLU(layer.slope),
    activations.Sigmoid: lambda layer: nn.Sigmoid(),
    activations.Tanh: lambda layer: nn.Tanh(),
    activations.Swish: lambda layer: nn.SiLU(),
    activations.GELU: lambda layer: nn.GELU("tanh"),
    activations.Softmax: lambda layer: nn.Softmax(-1),
}


class Mirror(nn.Sequential):
    """The layers of a network, by the same names; images of another size are brought to the network's own.

    Args:
        network: whose weights are copied.
        size: height and width that it takes.

    Raises:
        GradusError: if a layer has no counterpart.
    """

    def __init__(self, network: Network, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        for name, layer in network.layers.items():
            self.add_module(name, mirror(layer))

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the scores of images in [0, 1]."""
        if tuple(images.shape[-2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=True)
        return super().forward(images)


def mirror(layer: Layer) -> nn.Module:
    """Return a layer's counterpart in PyTorch, with a copy of its weights, in their precision and its mode.

    Raises:
        GradusError: if it has none.
    """
    if type(layer) not in MODULES:
        raise GradusError(f"{type(layer).__name__} has no counterpart in a chain of modules: leave it out of products")
    module = MODULES[type(layer)](layer)
    arrays = {name: torch.from_numpy(array.copy()) for name, array in {**layer.params, **layer.buffers}.items()}
    if arrays:
        module.to(next(iter(arrays.values())).dtype)
    module.load_state_dict(arrays)
    return module.train(layer.training)
