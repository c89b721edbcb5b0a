"""The Inception block: four views of one map side by side, [1×1, 1×1→3×3, 1×1→5×5, pool→1×1].

The 1×1 "reductions" in front of the large kernels are what makes it affordable.

References:
    Szegedy et al. 2015, Going deeper with convolutions.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.nn.chain import chain
from gradus.nn.convolution import Norm, conv_norm_relu

__all__ = ["Inception", "Widths"]


class Widths(NamedTuple):
    """Output channels of an Inception block's convolutions, in the order of the paper's table 1."""

    one: int
    reduce_three: int
    three: int
    reduce_five: int
    five: int
    pool: int

    @property
    def out(self) -> int:
        """Channels of the block's output."""
        return self.one + self.three + self.five + self.pool


class Inception(nn.Module):
    """An Inception block.

    Args:
        channels: input channels.
        widths: output channels of the six convolutions.
        large: kernel of the third branch; 5 in the paper.
        norm: makes the normalisations.
    """

    def __init__(self, channels: int, widths: Widths, *, large: int = 5, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.one = conv_norm_relu(channels, widths.one, norm=norm)
        self.three = chain(
            reduce=conv_norm_relu(channels, widths.reduce_three, norm=norm),
            conv=conv_norm_relu(widths.reduce_three, widths.three, 3, norm=norm),
        )
        self.five = chain(
            reduce=conv_norm_relu(channels, widths.reduce_five, norm=norm),
            conv=conv_norm_relu(widths.reduce_five, widths.five, large, norm=norm),
        )
        self.pool = chain(pool=nn.MaxPool2d(3, 1, 1), conv=conv_norm_relu(channels, widths.pool, norm=norm))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch out height width"]:
        """Return the four branches' channels, one after the other."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)
