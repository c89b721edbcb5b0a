"""Windows over images: the gathering that convolution and pooling share, and its adjoint, the scattering.

For taps u < k and outputs i < n along one axis, with stride s, padding p and dilation d,

    unfold    windows[i, u] = x[s i + d u − p]          (0, or a fill, outside the image)
    fold      x[a] = Σ over all (i, u) with s i + d u − p = a of windows[i, u]
    n = ⌊(size + 2p − d (k − 1) − 1) / s⌋ + 1

and the same along the other axis. Unfolding is linear in x, and folding is its transpose: ⟨unfold x, w⟩ = ⟨x, fold w⟩.
So whatever is computed from windows passes its gradient back to the image through `fold`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from gradus.backprop.layer import Array
from gradus.errors import GradusError

__all__ = ["Window", "fold", "pair", "unfold"]


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return a number for rows and one for columns; one number means both."""
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Window:
    """How windows lie on an image, as (rows, columns) in pixels.

    Attributes:
        kernel: k, taps of a window.
        stride: s, pixels between windows.
        padding: p, pixels added on every side.
        dilation: d, pixels between taps.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        """Refuse what places no windows."""
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise GradusError(f"{self}: kernel, stride and dilation must be positive and padding not negative")

    def outputs(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return how many windows there are along each axis.

        Raises:
            GradusError: if not even one fits into an image of this height and width.
        """
        found = [
            (side + 2 * p - d * (k - 1) - 1) // s + 1
            for side, k, s, p, d in zip(size, self.kernel, self.stride, self.padding, self.dilation)
        ]
        if min(found) < 1:
            reach = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))
            raise GradusError(f"windows of {reach} pixels do not fit an image of {size}: enlarge it, or add padding")
        return found[0], found[1]


def unfold(
    x: Shaped[Array, "batch channels height width"], window: Window, fill: float = 0.0
) -> Shaped[Array, "batch channels rows columns taps_down taps_across"]:
    """Return every window of every image: a view of the (padded) image, in which pixels appear several times.

    Args:
        x: images.
        window: how the windows lie.
        fill: the value outside the image.
    """
    (top, left), (down, across) = window.padding, window.dilation
    outputs = window.outputs((x.shape[2], x.shape[3]))
    if top or left:
        x = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)), constant_values=fill)
    batch, channels, row, column = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        shape=(*x.shape[:2], *outputs, *window.kernel),
        strides=(batch, channels, row * window.stride[0], column * window.stride[1], row * down, column * across),
        writeable=False,
    )


def fold(
    taps: Float[Array, "batch channels rows columns taps_down taps_across"], window: Window, size: tuple[int, int]
) -> Float[Array, "batch channels height width"]:
    """Return the images in which every pixel is the sum of the window entries that show it: the transpose of `unfold`.

    Args:
        taps: one number for every tap of every window.
        window: how the windows lie.
        size: height and width of the images.
    """
    batch, channels, rows, columns, _, _ = taps.shape
    (top, left), (down, across), (step_down, step_across) = window.padding, window.dilation, window.stride
    x = np.zeros((batch, channels, size[0] + 2 * top, size[1] + 2 * left), taps.dtype)
    for u in range(window.kernel[0]):
        for v in range(window.kernel[1]):
            # All windows at once: tap (u, v) of each falls on a grid of pixels that has the stride's mesh.
            y, z = u * down, v * across
            x[:, :, y : y + rows * step_down : step_down, z : z + columns * step_across : step_across] += taps[
                ..., u, v
            ]
    return x[:, :, top : top + size[0], left : left + size[1]]
