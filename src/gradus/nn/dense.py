"""Dense connectivity: every layer sees all maps before it, xₗ₊₁ = [xₗ, Hₗ(xₗ)], and adds `growth` new ones.

H = conv3×3 ∘ relu ∘ norm ∘ conv1×1 ∘ relu ∘ norm, the 1×1 a bottleneck of 4 · growth channels. A block of L layers on
C channels ends with C + L · growth; a transition halves them, and the resolution.

References:
    Huang et al. 2017, Densely connected convolutional networks.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.chain import chain
from gradus.nn.convolution import Norm, convolution

__all__ = ["DenseLayer", "dense_block", "transition"]


class DenseLayer(nn.Module):
    """One layer: the input with `growth` new channels behind it.

    Args:
        channels: input channels.
        growth: channels to add.
        bottleneck: the 1×1 convolution has bottleneck · growth channels.
        dropout: probability of dropping a new value.
        norm: makes the normalisations.
    """

    def __init__(
        self, channels: int, growth: int, *, bottleneck: int = 4, dropout: float = 0.0, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.branch = chain(
            norm1=norm(channels),
            relu1=nn.ReLU(),
            conv1=convolution(channels, bottleneck * growth),
            norm2=norm(bottleneck * growth),
            relu2=nn.ReLU(),
            conv2=convolution(bottleneck * growth, growth, 3),
            dropout=nn.Dropout(dropout) if dropout else None,
        )

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch more height width"]:
        """Return [x, H(x)]."""
        return torch.cat([x, self.branch(x)], 1)


def dense_block(
    channels: int, layers: int, growth: int, *, dropout: float = 0.0, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Return a chain of dense layers, which ends with channels + layers · growth channels.

    Args:
        channels: input channels.
        layers: number of layers.
        growth: channels that each adds.
        dropout: probability of dropping a new value.
        norm: makes the normalisations.
    """
    return nn.Sequential(
        *(DenseLayer(channels + i * growth, growth, dropout=dropout, norm=norm) for i in range(layers))
    )


def transition(channels: int, out: int, *, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """Return what joins two blocks: normalisation, ReLU, 1×1 convolution, 2×2 average.

    Args:
        channels: input channels.
        out: output channels.
        norm: makes the normalisation.
    """
    return chain(norm=norm(channels), relu=nn.ReLU(), conv=convolution(channels, out), pool=nn.AvgPool2d(2))
