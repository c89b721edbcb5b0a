"""The multilayer perceptron: affine maps with nonlinearities in between.

    h₀ = x,    hₗ = dropout(φ(norm(Wₗ hₗ₋₁ + bₗ))),    y = W h_L + b

With widths n₀ … n_{L+1} it has Σ nₗ (nₗ₋₁ + 1) weights, two more per normalised unit, and makes Σ nₗ nₗ₋₁
multiply-adds a sample. One hidden layer approximates any continuous function on a compact set, given enough units.

References:
    Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors.
    Cybenko 1989, Approximation by superpositions of a sigmoidal function.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.activations import activation as make_activation
from gradus.nn.chain import chain

__all__ = ["MLP", "counts"]

NORMS = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    """A multilayer perceptron over the last axis.

    Weights and biases start uniform within ±1/√fan_in. Biases at zero would put the kinks of every first-layer unit
    at the origin, from which a model of one or two inputs hardly recovers; `gradus.nn.initialisation` has the rules
    that keep variances through many layers. The last layer is `layers.linear`, without a nonlinearity.

    Args:
        inputs: features in.
        outputs: features out.
        hidden: units of each hidden layer; none at all gives one affine map.
        activation: name of the nonlinearity.
        dropout: probability of dropping a hidden unit.
        norm: normalisation in front of each nonlinearity.

    Raises:
        GradusError: for widths below one, a probability outside [0, 1), or an unknown name.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: Literal["none", "batch", "layer"] = "none",
    ) -> None:
        super().__init__()
        if min(inputs, outputs, *hidden) < 1:
            raise GradusError(
                f"a perceptron needs at least one unit in every layer, not {inputs} → {tuple(hidden)} → {outputs}"
            )
        if not 0 <= dropout < 1:
            raise GradusError(f"dropout={dropout} is no probability below one; give a number in [0, 1)")
        if norm not in NORMS:
            raise GradusError(f"norm is none, batch or layer, not {norm!r}")
        self.inputs, self.outputs = inputs, outputs
        layers: dict[str, nn.Module] = {}
        width = inputs
        make_norm = NORMS[norm]
        for i, units in enumerate(hidden, 1):
            layers[f"linear{i}"] = nn.Linear(width, units)
            if make_norm is not None:
                layers[f"norm{i}"] = make_norm(units)
            layers[f"activation{i}"] = make_activation(activation)
            if dropout:
                layers[f"dropout{i}"] = nn.Dropout(dropout)
            width = units
        self.layers = chain(**layers, linear=nn.Linear(width, outputs))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Return y.

        Args:
            x: samples; batch statistics are taken over all leading axes.

        Raises:
            GradusError: if the samples have another number of features.
        """
        if x.shape[-1] != self.inputs:
            raise GradusError(f"this perceptron takes {self.inputs} features, not {x.shape[-1]}")
        # Batch normalisation would read a second of three axes as channels.
        return self.layers(x.reshape(-1, self.inputs)).unflatten(0, x.shape[:-1]) if x.ndim > 2 else self.layers(x)


def counts(inputs: int, outputs: int, hidden: Sequence[int] = (64, 64), *, norm: str = "none") -> tuple[int, int]:
    """Return the number of weights of a multilayer perceptron, and its multiply-adds a sample.

    Args:
        inputs: features in.
        outputs: features out.
        hidden: units of each hidden layer.
        norm: none, batch or layer.
    """
    widths = [inputs, *hidden, outputs]
    products = sum(a * b for a, b in pairwise(widths))
    return products + sum(widths[1:]) + (2 * sum(hidden) if norm != "none" else 0), products
