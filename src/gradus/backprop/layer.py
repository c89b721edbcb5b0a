"""The idea of a layer: a function that knows its own derivative, which is all that backpropagation needs.

    forward     y = f(x; θ)                                 and keeps what the derivative will need
    backward    dx = (∂y/∂x)ᵀ dy,   dθ = (∂y/∂θ)ᵀ dy        given dy

L is the one number that training lowers, and dz stands for ∂L/∂z, an array of z's own shape. By the chain rule a layer
needs nothing of its neighbours but the dy that the layer above hands down, and hands dx on to the layer below. No
Jacobian is ever built: each layer works out its two products by hand, and its docstring says how.

References:
    Linnainmaa 1970 (the algorithm); Werbos 1974 (for networks).
    Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from jaxtyping import Float

from gradus.errors import GradusError

__all__ = ["Array", "Layer"]

Array = np.ndarray


class Layer(ABC):
    """A differentiable function of one array, with parameters.

    Attributes:
        params: θ by name; updates change the arrays in place.
        grads: dθ by the same names, of the last backward pass: written anew by each, never added to.
        buffers: what forward learns without a gradient (running statistics), or is given (a data set's mean).
        training: whether chance and batch statistics take part.
        draw: which of its random draws a layer makes; the same number gives the same draws.
    """

    def __init__(self, **params: Array) -> None:
        self.params: dict[str, Array] = dict(params)
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}
        self.training = True
        self.draw = 0
        self._kept: tuple[Any, ...] | None = None

    @abstractmethod
    def forward(self, x: Float[Array, "*input"]) -> Float[Array, "*output"]:
        """Return y = f(x; θ), keeping what `backward` needs."""

    @abstractmethod
    def backward(self, dy: Float[Array, "*output"]) -> Float[Array, "*input"]:
        """Return dx for the last forward pass, after writing dθ to `grads`."""

    def keep(self, *values: Any) -> None:
        """Keep what the backward pass of this forward pass will need."""
        self._kept = values

    @property
    def kept(self) -> tuple[Any, ...]:
        """What the last forward pass kept.

        Raises:
            GradusError: if there was none.
        """
        if self._kept is None:
            raise GradusError(f"{type(self).__name__}.backward needs what forward keeps: call forward first")
        return self._kept

    def train(self, training: bool = True) -> None:
        """Switch to training, or with False to evaluation."""
        self.training = training

    def seek(self, draw: int) -> None:
        """Go to a numbered random draw: a mask is a function of (seed, number), so that training can be resumed."""
        self.draw = draw

    def cast(self, dtype: type[np.floating]) -> None:
        """Hold parameters and buffers in another precision: float32 to train faster, float64 to check gradients."""
        for store in (self.params, self.buffers):
            store.update({name: array.astype(dtype) for name, array in store.items()})

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in self.params.items())
        return f"{type(self).__name__}({shapes})"
