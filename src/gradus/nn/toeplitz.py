"""Convolution as a matrix: y = K x, with x and y flattened.

    K[(d, i), (c, q)] = Σₜ w[d, c, t] [q = i · stride + t · dilation − padding]

One row an output pixel, one column an input pixel; along every axis the entries repeat down the diagonals, which makes
K a Toeplitz matrix in one dimension, and a matrix of such blocks in more. What networks call convolution is
correlation; the true convolution f ∗ g = T(f) g has the kernel flipped, and commutes.

The backward pass of y = K x is Kᵀ, which is the transposed convolution. Two convolutions are one whose matrix is the
product and whose kernel is the kernels' convolution (`compose`); a kernel of rank r is r pairs of one-dimensional ones
(`separate`).

These matrices are for reading, proving and testing: they have as many entries as inputs times outputs.

References:
    Dumoulin, Visin 2016, A guide to convolution arithmetic for deep learning.
    Goodfellow, Bengio, Courville 2016, Deep learning, chapter 9.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["compose", "convolution_matrix", "convolve", "separate", "toeplitz"]

Each = int | Sequence[int]
"""One number for all axes, or one for each."""


def convolution_matrix(
    weight: Float[Tensor, "out channels *kernel"],
    size: Sequence[int],
    *,
    stride: Each = 1,
    padding: Each = 0,
    dilation: Each = 1,
    groups: int = 1,
    padding_mode: Literal["zeros", "reflect"] = "zeros",
) -> Float[Tensor, "rows columns"]:
    """Return K with `K @ x.flatten()` equal to the convolution of x, flattened.

    Args:
        weight: w, (out, channels / groups, *kernel), of any number of axes.
        size: of the input, without its channels.
        stride: pixels between outputs.
        padding: pixels added on both sides.
        dilation: pixels between taps.
        groups: independent groups of channels.
        padding_mode: zeros, or reflect, which mirrors at the border pixel.

    Raises:
        GradusError: if the sizes do not fit each other.
    """
    kernel, axes = weight.shape[2:], weight.ndim - 2
    if len(size) != axes:
        raise GradusError(f"a kernel of {axes} axes needs as many sizes, not {tuple(size)}")
    if len(weight) % groups:
        raise GradusError(f"{groups} groups do not divide {len(weight)} output channels; choose a divisor")
    settings = zip(size, kernel, _each(stride, axes), _each(padding, axes), _each(dilation, axes), strict=True)
    pixels = torch.zeros((1, 1), dtype=torch.int64, device=weight.device)
    inside = torch.ones((1, 1), dtype=torch.bool, device=weight.device)
    for length, taps, step, pad, gap in settings:
        if padding_mode == "reflect" and pad >= length:
            raise GradusError(f"a reflected padding of {pad} needs more than {pad} pixels, not {length}")
        count = (length + 2 * pad - gap * (taps - 1) - 1) // step + 1
        if count < 1:
            raise GradusError(f"a kernel of {taps} taps, {gap} apart, does not fit {length} pixels padded by {pad}")
        place = _places(count, taps, step, gap, weight.device) - pad
        if padding_mode == "reflect":
            place = (length - 1) - ((length - 1) - place.abs()).abs()
        pixels = _crossed(pixels * length, place.clamp(0, length - 1), torch.add)
        inside = _crossed(inside, (place >= 0) & (place < length), torch.logical_and)
    taken = F.one_hot(pixels, math.prod(size)).to(weight.dtype) * inside[..., None]
    blocks = [torch.einsum("dct,ptq->dpcq", part.flatten(2), taken) for part in weight.chunk(groups)]
    return torch.block_diag(*(block.flatten(0, 1).flatten(1) for block in blocks))


def _each(value: Each, axes: int) -> Sequence[int]:
    return [value] * axes if isinstance(value, int) else value


def _places(count: int, taps: int, step: int, gap: int, device: torch.device) -> Tensor:
    """Return the padded pixel that each tap (column) of each output (row) meets, along one axis."""
    return step * torch.arange(count, device=device)[:, None] + gap * torch.arange(taps, device=device)


def _crossed(rows: Tensor, columns: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return a table over pairs of outputs and pairs of taps from one over each axis."""
    return join(rows[:, None, :, None], columns[None, :, None, :]).flatten(0, 1).flatten(1)


def toeplitz(kernel: Float[Tensor, "*kernel"], size: Sequence[int]) -> Float[Tensor, "rows columns"]:
    """Return T(f) with `T(f) @ g.flatten()` equal to the whole true convolution f ∗ g, flattened.

    (f ∗ g)[i] = Σⱼ f[i − j] g[j], for every i where any term is

    Args:
        kernel: f, of any number of axes.
        size: of g.
    """
    flipped = kernel.flip(tuple(range(kernel.ndim)))
    return convolution_matrix(flipped[None, None], size, padding=[taps - 1 for taps in kernel.shape])


def convolve(f: Float[Tensor, "*f"], g: Float[Tensor, "*g"]) -> Float[Tensor, "*both"]:
    """Return the whole true convolution f ∗ g, of size |f| + |g| − 1 along each axis.

    Args:
        f: an array.
        g: another with as many axes.
    """
    size = [a + b - 1 for a, b in zip(f.shape, g.shape, strict=True)]
    return (toeplitz(f, g.shape) @ g.flatten()).view(size)


def compose(
    first: Float[Tensor, "middle channels *kernel"], second: Float[Tensor, "out middle *other"]
) -> Float[Tensor, "out channels *both"]:
    """Return the kernel of the one convolution that equals two in a row, without stride, padding or dilation.

    Two 3×3 see as much as a 5×5 with 18 weights in place of 25, but reach only its kernels that are such a product.

    Args:
        first: the weight applied first.
        second: the weight applied to what that gives; of one, two or three axes as the first.
    """
    transposed = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
    return transposed[first.ndim - 2](second, first)


def separate(
    kernel: Float[Tensor, "height width"], tolerance: float = 1e-6
) -> tuple[Float[Tensor, "rank height"], Float[Tensor, "rank width"]]:
    """Return columns u and rows v, as few as there can be, with kernel = Σᵣ uᵣ vᵣᵀ.

    A kernel of rank one is a vertical convolution followed by a horizontal one.

    Args:
        kernel: a kernel of two axes.
        tolerance: singular values below this share of the largest count as zero.
    """
    u, s, v = torch.linalg.svd(kernel, full_matrices=False)
    rank = int((s > tolerance * s[0]).sum())
    root = s[:rank].sqrt()[:, None]
    return u.T[:rank] * root, v[:rank] * root
