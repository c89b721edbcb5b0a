"""Activations: y = φ(x) number by number, so that dx = φ′(x) ⊙ dy; and softmax, which couples a whole axis.

    ReLU        max(x, 0)                           φ′ = 1 where x > 0, else 0
    LeakyReLU   x where x > 0, else αx              φ′ = 1 or α
    Sigmoid     σ(x) = 1 / (1 + e⁻ˣ)                φ′ = y (1 − y)
    Tanh        tanh x                              φ′ = 1 − y²
    Swish       x σ(x)                              φ′ = σ + y (1 − σ)
    GELU        x (1 + tanh u) / 2                  φ′ = (1 + t) / 2 + x (1 − t²) u′ / 2,   t = tanh u
                u = √(2/π) (x + 0.044715 x³)        u′ = √(2/π) (1 + 3 · 0.044715 x²)
    Softmax     y_i = e^{x_i} / Σ_j e^{x_j}         dx = y ⊙ (dy − Σ_j y_j dy_j)

Where φ has a corner its derivative there is taken as 0 (ReLU) or α (LeakyReLU), as everyone does.

References:
    Nair and Hinton 2010 (ReLU); Maas et al. 2013 (leaky); Ramachandran et al. 2017 (Swish).
    Hendrycks and Gimpel 2016, Gaussian error linear units.
Deviations:
    GELU is the paper's tanh form, which needs no error function; it is within 5e-4 of the exact one.
"""

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer

__all__ = ["GELU", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Swish", "Tanh", "sigmoid", "softmax"]

ROOT = float(np.sqrt(2 / np.pi))
CUBIC = 0.044715


def sigmoid(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return 1 / (1 + e⁻ˣ) as (1 + tanh(x/2)) / 2, which overflows nowhere."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return e^{x − max x} / Σ e^{x − max x} over the last axis: the shift cancels, and no exponential overflows."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class ReLU(Layer):
    """max(x, 0): dy passes where x was positive."""

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return max(x, 0)."""
        self.keep(x > 0)
        return np.maximum(x, 0)

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return dy where x > 0."""
        (positive,) = self.kept
        return dy * positive


class LeakyReLU(Layer):
    """x where it is positive, αx elsewhere.

    Args:
        slope: α.
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return x or αx."""
        self.keep(x > 0)
        return np.where(x > 0, x, self.slope * x)

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return dy or α dy."""
        (positive,) = self.kept
        return np.where(positive, dy, self.slope * dy)


class Sigmoid(Layer):
    """σ(x): its derivative needs only its own output."""

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return σ(x)."""
        y = sigmoid(x)
        self.keep(y)
        return y

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return y (1 − y) dy."""
        (y,) = self.kept
        return dy * y * (1 - y)


class Tanh(Layer):
    """tanh x: its derivative needs only its own output."""

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return tanh x."""
        y = np.tanh(x)
        self.keep(y)
        return y

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return (1 − y²) dy."""
        (y,) = self.kept
        return dy * (1 - y * y)


class Swish(Layer):
    """x σ(x), also called SiLU."""

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return x σ(x)."""
        gate = sigmoid(x)
        y = x * gate
        self.keep(gate, y)
        return y

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return (σ + y (1 − σ)) dy."""
        gate, y = self.kept
        return dy * (gate + y * (1 - gate))


class GELU(Layer):
    """x times (nearly) the probability that a standard normal number is below x."""

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return x (1 + tanh u) / 2."""
        t = np.tanh(ROOT * (x + CUBIC * x * x * x))
        self.keep(x, t)
        return 0.5 * x * (1 + t)

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return ((1 + t) / 2 + x (1 − t²) u′ / 2) dy."""
        x, t = self.kept
        slope = ROOT * (1 + 3 * CUBIC * x * x)
        return dy * 0.5 * (1 + t + x * (1 - t * t) * slope)


class Softmax(Layer):
    """e^{x_i} / Σ_j e^{x_j} over the last axis.

    ∂y_i/∂x_j = y_i (δ_ij − y_j), so dx_j = Σ_i dy_i y_i (δ_ij − y_j) = y_j (dy_j − Σ_i y_i dy_i).
    """

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return probabilities over the last axis."""
        y = softmax(x)
        self.keep(y)
        return y

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return y ⊙ (dy − Σ_j y_j dy_j)."""
        (y,) = self.kept
        return y * (dy - (y * dy).sum(-1, keepdims=True))
