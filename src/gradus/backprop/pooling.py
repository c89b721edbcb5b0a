"""Pooling: one number for each window of each channel, its greatest or its mean.

    max         y = x[a*],  a* = argmax over the window       dx[a*] += dy: only the winner moved y
    average     y = Σ x / k²                                  dx[a] += dy / k² for every a in the window

Windows may overlap, so what they send to a pixel adds up: that is `fold`.

References:
    Fukushima 1980, Neocognitron; LeCun et al. 1990 (average); Ranzato et al. 2007 (max).
"""

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer
from gradus.backprop.windows import Window, fold, pair, unfold
from gradus.errors import GradusError

__all__ = ["AveragePool", "MaxPool"]


class Pooling(Layer):
    """What both have in common: where the windows lie.

    Args:
        kernel: taps of a window; one number or (rows, columns), as all that follow.
        stride: pixels between windows; as far as they reach when left out.
        padding: pixels added around the image, at most half the kernel.

    Raises:
        GradusError: if a window would lie in the padding.
    """

    def __init__(
        self,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.window = Window(pair(kernel), pair(kernel if stride is None else stride), pair(padding))
        if any(2 * p > k for p, k in zip(self.window.padding, self.window.kernel)):
            raise GradusError(f"{self.window}: some windows would lie in the padding; pad by at most half the kernel")


class MaxPool(Pooling):
    """The greatest number of each window; of equal ones the first, by rows. The padding is −∞."""

    def forward(self, x: Float[Array, "batch channels height width"]) -> Float[Array, "batch channels rows columns"]:
        """Return the greatest of each window."""
        windows = unfold(x, self.window, fill=-np.inf)
        flat = windows.reshape(*windows.shape[:4], -1)
        winner = flat.argmax(-1)[..., None]
        self.keep(winner, (x.shape[2], x.shape[3]))
        return np.take_along_axis(flat, winner, -1)[..., 0]

    def backward(self, dy: Float[Array, "batch channels rows columns"]) -> Float[Array, "batch channels height width"]:
        """Return dy at the winners' places."""
        winner, size = self.kept
        down, across = self.window.kernel
        taps = np.where(winner == np.arange(down * across), dy[..., None], dy.dtype.type(0))
        return fold(taps.reshape(*dy.shape, down, across), self.window, size)


class AveragePool(Pooling):
    """The mean of each window; the zeros of the padding count."""

    def forward(self, x: Float[Array, "batch channels height width"]) -> Float[Array, "batch channels rows columns"]:
        """Return the mean of each window."""
        self.keep((x.shape[2], x.shape[3]))
        return unfold(x, self.window).mean((-2, -1))

    def backward(self, dy: Float[Array, "batch channels rows columns"]) -> Float[Array, "batch channels height width"]:
        """Return each window's dy, spread evenly over it."""
        (size,) = self.kept
        down, across = self.window.kernel
        share = dy[..., None, None] / (down * across)
        return fold(np.broadcast_to(share, (*dy.shape, down, across)), self.window, size)
