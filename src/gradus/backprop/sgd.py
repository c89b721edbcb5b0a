"""Stochastic gradient descent with momentum, on arrays by name.

    g = dθ + λθ (matrices and kernels only),      v ← μ v + g,      θ ← θ − η v

References:
    Robbins and Monro 1951; Polyak 1964 (momentum); Sutskever et al. 2013.
"""

from collections.abc import Mapping

import numpy as np

from gradus.backprop.layer import Array
from gradus.errors import GradusError

__all__ = ["SGD"]


class SGD:
    """Changes parameters in place.

    Args:
        params: θ by name.
        momentum: μ in [0, 1).
        weight_decay: λ; biases, gains and shifts do not decay.

    Raises:
        GradusError: for a setting out of range.
    """

    def __init__(self, params: Mapping[str, Array], momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        if not 0 <= momentum < 1 or not weight_decay >= 0:
            raise GradusError(f"momentum {momentum} must lie in [0, 1), weight decay {weight_decay} not below 0")
        self.params, self.momentum, self.weight_decay = dict(params), momentum, weight_decay
        self.velocity = {name: np.zeros_like(array) for name, array in self.params.items()}

    def step(self, grads: Mapping[str, Array], lr: float) -> None:
        """Make one step.

        Args:
            grads: dθ by the same names; parameters without one stay.
            lr: η.
        """
        for name, grad in grads.items():
            param, velocity = self.params[name], self.velocity[name]
            if self.weight_decay and param.ndim > 1:
                grad = grad + self.weight_decay * param
            velocity *= self.momentum
            velocity += grad
            param -= lr * velocity
