"""A chain of layers is a layer: forwards in order, backwards in reverse. That is backpropagation.

    y = f_n(… f_2(f_1(x)))          dx = J_1ᵀ J_2ᵀ … J_nᵀ dy,   multiplied from the right

Each factor is a layer's `backward`. Going from dy back to dx only ever multiplies a matrix with a vector; going from x
forward would multiply matrices with matrices. So a backward pass costs about as much as two forward passes, however
many parameters there are.

References:
    Baur and Strassen 1983, The complexity of partial derivatives. Griewank and Walther 2008, Evaluating derivatives.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from gradus.backprop.layer import Array, Layer

__all__ = ["Network"]


class Network(Layer):
    """Layers one after the other, by name.

    Its parameters and gradients are those of its layers, named `layer.parameter`; the arrays are shared, not copied.

    Args:
        layers: in the order of the forward pass.
    """

    def __init__(self, layers: Mapping[str, Layer]) -> None:
        super().__init__()
        self.layers = dict(layers)
        self._gather()

    def forward(self, x: Float[Array, "*input"]) -> Float[Array, "*output"]:
        """Return f_n(… f_1(x))."""
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dy: Float[Array, "*output"]) -> Float[Array, "*input"]:
        """Return dx, every layer having written its own gradients on the way."""
        for layer in reversed(self.layers.values()):
            dy = layer.backward(dy)
        self.grads = _named((name, layer.grads) for name, layer in self.layers.items())
        return dy

    def train(self, training: bool = True) -> None:
        """Switch every layer to training or evaluation."""
        super().train(training)
        for layer in self.layers.values():
            layer.train(training)

    def seek(self, draw: int) -> None:
        """Let every layer that draws at random go to a numbered draw."""
        super().seek(draw)
        for layer in self.layers.values():
            layer.seek(draw)

    def cast(self, dtype: type[np.floating]) -> None:
        """Hold every layer's parameters and buffers in another precision."""
        for layer in self.layers.values():
            layer.cast(dtype)
        self._gather()

    def _gather(self) -> None:
        self.params = _named((name, layer.params) for name, layer in self.layers.items())
        self.buffers = _named((name, layer.buffers) for name, layer in self.layers.items())

    def first_broken(self, x: Float[Array, "*input"]) -> str:
        """Return where the forward pass stops being finite, in words; "" where it nowhere does."""
        if not np.isfinite(x).all():
            return "in its input"
        for name, layer in self.layers.items():
            wrong = [key for key, array in layer.params.items() if not np.isfinite(array).all()]
            if wrong:
                return f"in the parameter {name}.{wrong[0]}"
            x = layer.forward(x)
            if not np.isfinite(x).all():
                return f"in the output of {name} ({type(layer).__name__})"
        return ""

    def __repr__(self) -> str:
        count = sum(array.size for array in self.params.values())
        return f"Network({' → '.join(self.layers)}; {count} parameters)"


def _named(stores: Iterator[tuple[str, dict[str, Array]]]) -> dict[str, Array]:
    return {f"{name}.{key}": array for name, store in stores for key, array in store.items()}
