"""Convolution as a matrix product, in two ways, and its derivative.

    y[o, i, j] = b[o] + Σ_{c,u,v} W[o, c, u, v] x[c, s i + d u − p, s j + d v − p]

*im2col* moves the image: each window becomes one column of a matrix X̂, so that Y = Ŵ X̂ with Ŵ = W as (O, C·k·k): a
linear layer that meets every window. Hence the derivatives of a linear layer, and the transpose of im2col, col2im:

    dŴ = dY X̂ᵀ,     db = Σ dY,     dX̂ = Ŵᵀ dY,     dx = col2im(dX̂)

*Toeplitz* moves the weights instead: a matrix K (O·H′·W′, C·H·W), which holds every weight once for each place where
the kernel stands, gives y = K x for a whole image; then dx = Kᵀ dy. Mostly zeros, it is there to be looked at: it says
that convolution is a linear map with shared weights, and its transpose is what is called transposed convolution.

References:
    LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition.
    Chellapilla, Puri and Simard 2006, High performance convolutional neural networks for document processing (im2col).
"""

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer
from gradus.backprop.windows import Window, fold, pair, unfold
from gradus.errors import GradusError

__all__ = ["Convolution", "col2im", "im2col", "toeplitz"]


def im2col(x: Float[Array, "batch channels height width"], window: Window) -> Float[Array, "taps places"]:
    """Return X̂: a column for every window, one image after the other; a row for every tap (c, u, v)."""
    windows = unfold(x, window)
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(x.shape[1] * windows.shape[4] * windows.shape[5], -1)


def col2im(
    columns: Float[Array, "taps places"], window: Window, shape: tuple[int, ...]
) -> Float[Array, "batch channels height width"]:
    """Return the images whose pixels are the sums of their copies in the columns: the transpose of `im2col`.

    Args:
        columns: laid out as `im2col` does.
        window: how the windows lie.
        shape: of the images.
    """
    size = (shape[2], shape[3])
    taps = columns.reshape(shape[1], *window.kernel, shape[0], *window.outputs(size))
    return fold(taps.transpose(3, 0, 4, 5, 1, 2), window, size)


def toeplitz(
    weight: Float[Array, "out channels taps_down taps_across"], size: tuple[int, int], window: Window
) -> Float[Array, "outputs inputs"]:
    """Return K, with which a convolution is `K @ x.ravel()` for one image x.

    Which pixel a tap meets is found by convolving the image of the pixels' own numbers.

    Args:
        weight: W.
        size: height and width of the image.
        window: how the windows lie; its kernel is W's.
    """
    out, channels = weight.shape[:2]
    pixels = channels * size[0] * size[1]
    numbers = np.arange(pixels).reshape(1, channels, *size)
    met = unfold(numbers, window, fill=-1)[0].transpose(1, 2, 0, 3, 4).reshape(-1, weight[0].size)
    matrix = np.zeros((out, len(met), pixels + 1), weight.dtype)
    # Taps that meet the padding all fall into one further column, which is then cut off.
    matrix[:, np.arange(len(met))[:, None], met] = weight.reshape(out, 1, -1)
    return matrix[:, :, :pixels].reshape(-1, pixels)


class Convolution(Layer):
    """Two-dimensional convolution with zero padding (a correlation, as in every network).

    Args:
        channels: C, of the input.
        out: O, of the output.
        kernel: k, taps; one number or (rows, columns), as all that follow.
        stride: s, pixels between outputs.
        padding: p, zeros around the image.
        dilation: d, pixels between taps.
        rng: draws W, normal with variance gain / (C k²); b begins at zero.
        gain: 2 where a ReLU follows.
        bias: whether there is a b.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        *,
        rng: np.random.Generator,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        gain: float = 2.0,
        bias: bool = True,
    ) -> None:
        self.window = Window(pair(kernel), pair(stride), pair(padding), pair(dilation))
        weight = rng.standard_normal((out, channels, *self.window.kernel))
        weight *= np.sqrt(gain / weight[0].size)
        super().__init__(weight=weight, **({"bias": np.zeros(out)} if bias else {}))

    def forward(self, x: Float[Array, "batch channels height width"]) -> Float[Array, "batch out rows columns"]:
        """Return Ŵ X̂ + b.

        Raises:
            GradusError: if x has other channels, or is smaller than the kernel.
        """
        weight = self.params["weight"]
        if x.shape[1] != weight.shape[1]:
            raise GradusError(f"{self!r} takes {weight.shape[1]} channels, but was given {x.shape[1]}: change one")
        outputs = self.window.outputs((x.shape[2], x.shape[3]))
        columns = im2col(x, self.window)
        self.keep(columns, x.shape)
        y = weight.reshape(len(weight), -1) @ columns
        if "bias" in self.params:
            y += self.params["bias"][:, None]
        return y.reshape(len(weight), len(x), *outputs).swapaxes(0, 1)

    def backward(self, dy: Float[Array, "batch out rows columns"]) -> Float[Array, "batch channels height width"]:
        """Return col2im(Ŵᵀ dY); the gradients are dY X̂ᵀ and the sum of dY over images and places."""
        columns, shape = self.kept
        weight = self.params["weight"]
        rows = dy.swapaxes(0, 1).reshape(len(weight), -1)
        self.grads["weight"] = (rows @ columns.T).reshape(weight.shape)
        if "bias" in self.params:
            self.grads["bias"] = rows.sum(1)
        return col2im(weight.reshape(len(weight), -1).T @ rows, self.window, shape)
