"""Maps made smaller and larger.

    smaller  max_pool         the largest of each window, and where it was
             average_pool     the mean of each window;  global_average, of the whole map
    larger   max_unpool       each value back where the maximum was, zeros elsewhere
             bed_of_nails     each value in its block's corner, zeros elsewhere
             nearest          each value all over its block: factor² times the adjoint of average_pool
             bilinear         straight lines between the pixels' centres
             transposed       learned: the adjoint of a strided convolution
             pixel_shuffle    factor² channels laid out as one block of pixels

`upsampling` and `downsampling` make the learned stages of encoders and decoders by name. Values go through torch's
kernels where there are some.

References:
    Zeiler, Fergus 2014, Visualizing and understanding convolutional networks (unpooling).
    Long, Shelhamer, Darrell 2015, Fully convolutional networks. Lin, Chen, Yan 2014, Network in network.
    Shi et al. 2016, Real-time single image super-resolution (pixel shuffle).
    Odena, Dumoulin, Olah 2016, Deconvolution and checkerboard artifacts.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.errors import nearest as nearest_name
from gradus.nn.chain import chain
from gradus.nn.convolution import convolution

__all__ = [
    "BedOfNails",
    "average_pool",
    "bed_of_nails",
    "bilinear",
    "bilinear_kernel",
    "downsampling",
    "global_average",
    "max_pool",
    "max_unpool",
    "nearest",
    "pixel_shuffle",
    "pixel_unshuffle",
    "transposed",
    "upsampling",
]

Map = Float[Tensor, "batch channels height width"]
Larger = Float[Tensor, "batch channels rows columns"]


def max_pool(
    x: Map, kernel: int = 2, stride: int | None = None
) -> tuple[Larger, Int[Tensor, "batch channels rows columns"]]:
    """Return the largest value of each window, and its place in the flattened map.

    Args:
        x: a map.
        kernel: height and width of the windows in pixels.
        stride: pixels between windows; the kernel by default, so that they do not overlap.
    """
    return F.max_pool2d(x, kernel, stride, return_indices=True)


def max_unpool(
    x: Map, places: Int[Tensor, "batch channels height width"], size: Sequence[int]
) -> Float[Tensor, "batch channels rows columns"]:
    """Return a map with every value at its place and zeros elsewhere; of several at one place, one of them.

    Args:
        x: values.
        places: where in the flattened map, as `max_pool` gives them.
        size: height and width of the map.
    """
    empty = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return empty.scatter(2, places.flatten(2), x.flatten(2)).unflatten(2, tuple(size))


def average_pool(x: Map, kernel: int = 2, stride: int | None = None) -> Larger:
    """Return the mean of each window.

    Args:
        x: a map.
        kernel: height and width of the windows in pixels.
        stride: pixels between windows; the kernel by default.
    """
    return F.avg_pool2d(x, kernel, stride)


def global_average(x: Map) -> Float[Tensor, "batch channels"]:
    """Return the mean of each channel over all positions."""
    return x.mean((2, 3))


def bed_of_nails(x: Map, factor: int = 2) -> Larger:
    """Return each value in the top left corner of a block of factor × factor zeros.

    Args:
        x: a map.
        factor: how much larger.
    """
    batch, channels, height, width = x.shape
    nails = x.new_zeros(batch, channels, height, factor, width, factor)
    nails[:, :, :, 0, :, 0] = x
    return nails.view(batch, channels, height * factor, width * factor)


def nearest(x: Map, factor: int = 2) -> Larger:
    """Return each value all over a block of factor × factor.

    Args:
        x: a map.
        factor: how much larger.
    """
    return F.interpolate(x, scale_factor=factor, mode="nearest")


def bilinear(x: Map, factor: int = 2) -> Larger:
    """Return the map interpolated by straight lines between the centres of its pixels; constant beyond the outermost.

    Output pixel i lies at (i + ½) / factor − ½.

    Args:
        x: a map.
        factor: how much larger.
    """
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def pixel_shuffle(x: Map, factor: int = 2) -> Float[Tensor, "batch fewer rows columns"]:
    """Return factor² neighbouring channels as the pixels of one: y[c, h·f + i, w·f + j] = x[(c·f + i)·f + j, h, w].

    Args:
        x: a map whose channels are a multiple of factor².
        factor: how much larger.

    Raises:
        GradusError: if the channels are not.
    """
    if x.shape[1] % factor**2:
        raise GradusError(f"shuffling by {factor} needs a multiple of {factor**2} channels, not {x.shape[1]}")
    return F.pixel_shuffle(x, factor)


def pixel_unshuffle(x: Map, factor: int = 2) -> Float[Tensor, "batch more rows columns"]:
    """Return blocks of pixels as channels: the inverse of `pixel_shuffle`.

    Args:
        x: a map whose height and width are multiples of the factor.
        factor: how much smaller.

    Raises:
        GradusError: if they are not.
    """
    if x.shape[2] % factor or x.shape[3] % factor:
        raise GradusError(f"unshuffling by {factor} needs multiples of it, not {x.shape[2]}×{x.shape[3]} pixels")
    return F.pixel_unshuffle(x, factor)


def bilinear_kernel(factor: int) -> Float[Tensor, "taps taps"]:
    """Return the kernel with which a transposed convolution of this stride interpolates: an outer product of tents.

    Args:
        factor: the stride.
    """
    taps = 2 * factor - factor % 2
    tent = 1 - (torch.arange(taps) - (taps - 1) / 2).abs() / factor
    return tent[:, None] * tent


def transposed(channels: int, out: int, factor: int = 2, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a transposed convolution that makes a map exactly `factor` times larger.

    The kernel has 2 · factor taps, a multiple of the stride (others paint checkerboards), or 2 · factor − 1 for an
    odd factor, which keeps it centred. Where there are as many channels out as in, it starts as bilinear interpolation.

    Args:
        channels: input channels.
        out: output channels.
        factor: how much larger.
        bias: whether to add one number per output channel.
    """
    taps = 2 * factor - factor % 2
    layer = nn.ConvTranspose2d(channels, out, taps, stride=factor, padding=(factor - factor % 2) // 2, bias=bias)
    if channels == out:
        with torch.no_grad():
            layer.weight.copy_(torch.eye(channels)[:, :, None, None] * bilinear_kernel(factor))
    return layer


class BedOfNails(nn.Module):
    """`bed_of_nails` as a layer.

    Args:
        factor: how much larger.
    """

    def __init__(self, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Map) -> Larger:
        """Return the larger map."""
        return bed_of_nails(x, self.factor)

    def extra_repr(self) -> str:
        return f"factor={self.factor}"


def _filled(up: nn.Module, channels: int, out: int) -> nn.Module:
    return chain(up=up, conv=convolution(channels, out, 3, bias=True))


_UP: dict[str, Callable[[int, int, int], nn.Module]] = {
    "transposed": transposed,
    "nearest": lambda channels, out, f: _filled(nn.Upsample(scale_factor=f, mode="nearest"), channels, out),
    "bilinear": lambda channels, out, f: _filled(nn.Upsample(scale_factor=f, mode="bilinear"), channels, out),
    "bed_of_nails": lambda channels, out, f: _filled(BedOfNails(f), channels, out),
    "pixel_shuffle": lambda channels, out, f: chain(
        conv=convolution(channels, out * f**2, 3, bias=True), up=nn.PixelShuffle(f)
    ),
}

_DOWN: dict[str, Callable[[int, int, int], nn.Module]] = {
    "strided": lambda channels, out, f: nn.Conv2d(channels, out, 2 * f - f % 2, f, (f - f % 2) // 2),
    "max": lambda channels, out, f: chain(down=nn.MaxPool2d(f), conv=convolution(channels, out, 3, bias=True)),
    "average": lambda channels, out, f: chain(down=nn.AvgPool2d(f), conv=convolution(channels, out, 3, bias=True)),
    "pixel_unshuffle": lambda channels, out, f: chain(
        down=nn.PixelUnshuffle(f), conv=convolution(channels * f**2, out, 3, bias=True)
    ),
}


def upsampling(name: str, channels: int, out: int, factor: int = 2) -> nn.Module:
    """Return a learned layer that makes maps `factor` times larger.

    Args:
        name: transposed, nearest, bilinear, bed_of_nails (each followed by a 3×3 convolution) or pixel_shuffle.
        channels: input channels.
        out: output channels.
        factor: how much larger.

    Raises:
        GradusError: for another name.
    """
    return _made(_UP, name)(channels, out, factor)


def downsampling(name: str, channels: int, out: int, factor: int = 2) -> nn.Module:
    """Return a learned layer that makes maps `factor` times smaller.

    Args:
        name: strided, max, average or pixel_unshuffle (each followed by a 3×3 convolution).
        channels: input channels.
        out: output channels.
        factor: how much smaller; a divisor of height and width.

    Raises:
        GradusError: for another name.
    """
    return _made(_DOWN, name)(channels, out, factor)


def _made(makers: dict[str, Callable[[int, int, int], nn.Module]], name: str) -> Callable[[int, int, int], nn.Module]:
    if name not in makers:
        raise GradusError(f"there is no resampling {name!r}{nearest_name(name, makers)}")
    return makers[name]
