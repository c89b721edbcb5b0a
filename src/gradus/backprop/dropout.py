"""Dropout: in training, each number is dropped with probability p, and those that stay grow to make up for it.

    y = m ⊙ x / (1 − p),    m ~ Bernoulli(1 − p),    so that E[y] = x;      dx = m ⊙ dy / (1 − p)

The mask is a function of (seed, number of the draw): the n-th step of training draws the n-th mask, whether or not the
program was stopped in between, and a gradient check that calls forward many times sees one mask.

References:
    Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.
Deviations:
    The paper shrinks the weights after training; growing the numbers during it is the same in expectation.
"""

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer
from gradus.errors import GradusError

__all__ = ["Dropout"]


class Dropout(Layer):
    """Drops numbers at random in training; does nothing in evaluation.

    Args:
        rate: p, in [0, 1).
        seed: of the masks; layers with the same seed drop alike.

    Raises:
        GradusError: for a rate out of range.
    """

    def __init__(self, rate: float, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise GradusError(f"a dropout rate must be at least 0 and below 1, got {rate}")
        self.rate, self.seed = rate, seed

    def forward(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return m ⊙ x / (1 − p), or x itself in evaluation."""
        if not self.training or self.rate == 0:
            self.keep(None)
            return x
        # A counter-based generator is at any draw at once; the draws lie 2¹²⁸ blocks apart, so none overlap.
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, self.draw, 0]))
        scale = (rng.random(x.shape, np.float32) >= self.rate) * x.dtype.type(1 / (1 - self.rate))
        self.keep(scale)
        return x * scale

    def backward(self, dy: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Return m ⊙ dy / (1 − p)."""
        (scale,) = self.kept
        return dy if scale is None else dy * scale
