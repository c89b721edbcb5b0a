"""The linear layer, and the flattening that stands between images and it.

    y_i = W x_i + b,    so with one sample a row:    Y = X Wᵀ + 1 bᵀ

∂y_ij/∂x_ik = W_jk, ∂y_ij/∂W_jk = x_ik and ∂y_ij/∂b_j = 1. Summing each against dY, over whatever the index on the left
does not name:

    dX = dY W,      dW = dYᵀ X,      db = Σ_i dy_i

W begins as normal noise of variance gain / inputs, which keeps the size of the signal from layer to layer: gain 2 where
a ReLU follows, which halves it, and 1 elsewhere.

References:
    He et al. 2015, Delving deep into rectifiers, section 2.2 (the variance).
"""

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer
from gradus.errors import GradusError

__all__ = ["Flatten", "Linear"]


class Linear(Layer):
    """y = W x + b over the last axis.

    Args:
        inputs: length of x.
        outputs: length of y.
        rng: draws W; b begins at zero.
        gain: variance of W times `inputs`.
        bias: whether there is a b.
    """

    def __init__(
        self, inputs: int, outputs: int, *, rng: np.random.Generator, gain: float = 2.0, bias: bool = True
    ) -> None:
        weight = rng.standard_normal((outputs, inputs)) * np.sqrt(gain / inputs)
        super().__init__(weight=weight, **({"bias": np.zeros(outputs)} if bias else {}))

    def forward(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        """Return X Wᵀ + b.

        Raises:
            GradusError: if x is of another length.
        """
        weight = self.params["weight"]
        if x.shape[-1] != weight.shape[1]:
            raise GradusError(f"{self!r} takes {weight.shape[1]} numbers, but was given {x.shape[-1]}: change one")
        self.keep(x)
        y = x @ weight.T
        return y + self.params["bias"] if "bias" in self.params else y

    def backward(self, dy: Float[Array, "*batch outputs"]) -> Float[Array, "*batch inputs"]:
        """Return dY W; the gradients are dYᵀ X and the sum of dY over the batch."""
        (x,) = self.kept
        rows = dy.reshape(-1, dy.shape[-1])
        self.grads["weight"] = rows.T @ x.reshape(-1, x.shape[-1])
        if "bias" in self.params:
            self.grads["bias"] = rows.sum(0)
        return dy @ self.params["weight"]


class Flatten(Layer):
    """Lays each sample out as one vector; its derivative puts the numbers back where they came from."""

    def forward(self, x: Float[Array, "batch *shape"]) -> Float[Array, "batch numbers"]:
        """Return the samples as rows."""
        self.keep(x.shape)
        return x.reshape(len(x), -1)

    def backward(self, dy: Float[Array, "batch numbers"]) -> Float[Array, "batch *shape"]:
        """Return dy in the shape of x."""
        (shape,) = self.kept
        return dy.reshape(shape)
