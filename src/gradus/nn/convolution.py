"""Convolutions and the small patterns made of them.

A k×k convolution from C to D channels on an h×w output has, per image,

    full                k²·C·D   weights,   k²·C·D·h·w        multiply-adds
    grouped (g groups)  k²·C·D/g
    depthwise separable k²·C + C·D          (k×k within each channel, then 1×1 across them)
    spatially separable k·C·D + k·D·D       (k×1, then 1×k)

and a dilated one sees (k−1)·d + 1 pixels across at no cost. All are padded to keep the size at stride 1.

References:
    Dumoulin, Visin 2016, A guide to convolution arithmetic for deep learning.
    Howard et al. 2017, MobileNets.
"""

from collections.abc import Callable

from torch import nn

from gradus.nn.chain import chain

__all__ = ["Norm", "conv_norm_relu", "convolution", "depthwise_separable", "image_stem", "spatially_separable"]

Norm = Callable[[int], nn.Module]
"""Makes a normalisation for a number of channels."""


def convolution(
    channels: int,
    out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a square convolution whose output has ⌈size / stride⌉ pixels for an odd kernel.

    Args:
        channels: input channels.
        out: output channels.
        kernel: height and width in pixels.
        stride: pixels between outputs.
        dilation: pixels between taps.
        groups: independent groups of channels.
        bias: whether to add one number per output channel; none by default, as a normalisation follows.
    """
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias)


def conv_norm_relu(
    channels: int, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Return convolution, normalisation, ReLU: σ(norm(W ∗ x)).

    Args:
        channels: input channels.
        out: output channels.
        kernel: height and width in pixels.
        stride: pixels between outputs.
        groups: independent groups of channels.
        norm: makes the normalisation.
    """
    return chain(
        conv=convolution(channels, out, kernel, stride=stride, groups=groups),
        norm=norm(out),
        relu=nn.ReLU(),
    )


def depthwise_separable(
    channels: int, out: int, kernel: int = 3, *, stride: int = 1, norm: Norm = nn.BatchNorm2d
) -> nn.Sequential:
    """Return a k×k convolution within each channel, then a 1×1 across channels, each normalised and rectified.

    Args:
        channels: input channels.
        out: output channels.
        kernel: height and width of the depthwise part in pixels.
        stride: pixels between outputs, in the depthwise part.
        norm: makes the normalisations.
    """
    return chain(
        depthwise=conv_norm_relu(channels, channels, kernel, stride=stride, groups=channels, norm=norm),
        pointwise=conv_norm_relu(channels, out, norm=norm),
    )


def image_stem(channels: int, width: int, *, small: bool = False, norm: Norm | None = nn.BatchNorm2d) -> nn.Sequential:
    """Return what meets the pixels first: 7×7 and pooling, each with stride 2; for small images 3×3 with stride 1.

    Args:
        channels: of the images.
        width: output channels.
        small: whether the images are small.
        norm: makes the normalisation; `None` leaves it and the ReLU to the first block.
    """
    return chain(
        conv=convolution(channels, width, 3) if small else convolution(channels, width, 7, stride=2),
        norm=norm(width) if norm else None,
        relu=nn.ReLU() if norm else None,
        pool=None if small else nn.MaxPool2d(3, 2, 1),
    )


def spatially_separable(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    """Return a k×1 convolution followed by a 1×k: a k×k of rank one along the two axes.

    Args:
        channels: input channels.
        out: output channels.
        kernel: length of both parts in pixels.
    """
    return chain(
        vertical=nn.Conv2d(channels, out, (kernel, 1), padding=(kernel // 2, 0), bias=False),
        horizontal=nn.Conv2d(out, out, (1, kernel), padding=(0, kernel // 2), bias=False),
    )
