"""Two networks put together from the layers of this room: a multi-layer perceptron and a small convolutional network.

    mlp     standardise → flatten → (linear → [norm] → activation → [dropout]) × hidden → linear
    cnn     standardise → (3×3 convolution → batch norm → ReLU → 2×2 max pooling) × width → flatten → [dropout] → linear

Both take raw images and give one score a class. `build` makes either from plain facts, as a product keeps them.

References:
    Rumelhart, Hinton and Williams 1986. LeCun et al. 1998, Gradient-based learning applied to document recognition.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradus.backprop.activations import GELU, LeakyReLU, ReLU, Sigmoid, Swish, Tanh
from gradus.backprop.convolution import Convolution
from gradus.backprop.dropout import Dropout
from gradus.backprop.layer import Layer
from gradus.backprop.linear import Flatten, Linear
from gradus.backprop.network import Network
from gradus.backprop.normalisation import BatchNorm, LayerNorm, Standardise
from gradus.backprop.pooling import MaxPool
from gradus.errors import GradusError

__all__ = ["ACTIVATIONS", "NORMS", "build", "cnn", "mlp"]

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "sigmoid": Sigmoid,
    "tanh": Tanh,
    "swish": Swish,
    "gelu": GELU,
}
NORMS: dict[str, Callable[[int], Layer] | None] = {"none": None, "batch": BatchNorm, "layer": LayerNorm}
HALVING = ("relu", "leaky_relu", "swish", "gelu")
LARGEST_SEED = 2**63


def build(facts: Mapping[str, Any], rng: np.random.Generator) -> Network:
    """Return the network that facts describe, its weights fresh.

    Args:
        facts: `model` (mlp or cnn), `channels`, `size`, `mean`, `std`, `classes`, and the model's own `settings`.
        rng: draws the weights, and the seeds of dropout.
    """
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in facts["settings"].items()}
    first = Standardise(facts["mean"], facts["std"])
    shape = (facts["channels"], *facts["size"])
    make: dict[str, Callable[..., Network]] = {"mlp": mlp, "cnn": cnn}
    return make[facts["model"]](first, shape, len(facts["classes"]), rng, **settings)


def mlp(
    first: Layer,
    shape: tuple[int, ...],
    classes: int,
    rng: np.random.Generator,
    *,
    hidden: Sequence[int] = (128, 64),
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
) -> Network:
    """Return a multi-layer perceptron on images.

    Args:
        first: what raw images go through.
        shape: of an image.
        classes: how many.
        rng: draws the weights.
        hidden: length of each hidden layer; none makes it a linear classifier.
        activation: a key of `ACTIVATIONS`.
        norm: a key of `NORMS`, before each activation.
        dropout: rate after each activation.
    """
    layers: dict[str, Layer] = {"standardise": first, "flatten": Flatten()}
    inputs, normalise = int(np.prod(shape)), NORMS[norm]
    for i, outputs in enumerate(hidden, 1):
        gain = 2.0 if activation in HALVING else 1.0
        layers[f"linear{i}"] = Linear(inputs, outputs, rng=rng, gain=gain)
        if normalise is not None:
            layers[f"norm{i}"] = normalise(outputs)
        layers[f"{activation}{i}"] = ACTIVATIONS[activation]()
        if dropout:
            layers[f"dropout{i}"] = Dropout(dropout, int(rng.integers(LARGEST_SEED)))
        inputs = outputs
    layers["output"] = Linear(inputs, classes, rng=rng, gain=1.0)
    return Network(layers)


def cnn(
    first: Layer,
    shape: tuple[int, ...],
    classes: int,
    rng: np.random.Generator,
    *,
    width: Sequence[int] = (16, 32),
    dropout: float = 0.0,
) -> Network:
    """Return a small convolutional network on images; each stage halves height and width.

    Args:
        first: what raw images go through.
        shape: of an image: channels, height, width.
        classes: how many.
        rng: draws the weights.
        width: channels of each stage.
        dropout: rate before the last layer.

    Raises:
        GradusError: if the images are too small to be halved so often.
    """
    channels, height, columns = shape
    if min(height, columns) >> len(width) < 1:
        raise GradusError(
            f"images of {height}×{columns} pixels cannot be halved {len(width)} times: give fewer stages with --width, "
            "or enlarge the images with --image-size"
        )
    layers: dict[str, Layer] = {"standardise": first}
    for i, out in enumerate(width, 1):
        layers[f"conv{i}"] = Convolution(channels, out, 3, padding=1, rng=rng, bias=False)
        layers[f"norm{i}"] = BatchNorm(out)
        layers[f"relu{i}"] = ReLU()
        layers[f"pool{i}"] = MaxPool(2)
        channels, height, columns = out, height // 2, columns // 2
    layers["flatten"] = Flatten()
    if dropout:
        layers["dropout"] = Dropout(dropout, int(rng.integers(LARGEST_SEED)))
    layers["output"] = Linear(channels * height * columns, classes, rng=rng, gain=1.0)
    return Network(layers)
