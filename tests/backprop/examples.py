"""One small example of every layer of the room, for central differences and for parity alike."""

from collections.abc import Callable, Iterator

import numpy as np

import gradus.backprop as backprop
from gradus.backprop import (
    GELU,
    GRU,
    LSTM,
    RNN,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool,
    Network,
    ReLU,
    Sigmoid,
    Softmax,
    Standardise,
    Swish,
    Tanh,
)

__all__ = ["EXAMPLES", "images", "inputs", "layers_of_the_room"]

Make = Callable[[np.random.Generator], Layer]
IMAGES = (3, 2, 7, 6)
SEQUENCES = (3, 5, 4)


def _small_network(rng: np.random.Generator) -> Layer:
    chain = {"conv": Convolution(2, 3, 3, padding=1, rng=rng), "norm": BatchNorm(3), "tanh": Tanh()}
    inner = Network({"flatten": Flatten(), "linear": Linear(3 * 3 * 3, 4, rng=rng)})
    return Network({**chain, "pool": MaxPool(2), "inner": inner})


EXAMPLES: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (lambda rng: Linear(4, 3, rng=rng), (5, 4)),
    "linear without bias": (lambda rng: Linear(4, 3, rng=rng, bias=False), (5, 4)),
    "linear on sequences": (lambda rng: Linear(4, 3, rng=rng), SEQUENCES),
    "flatten": (lambda rng: Flatten(), IMAGES),
    "relu": (lambda rng: ReLU(), (5, 4)),
    "leaky relu": (lambda rng: LeakyReLU(0.2), (5, 4)),
    "sigmoid": (lambda rng: Sigmoid(), (5, 4)),
    "tanh": (lambda rng: Tanh(), (5, 4)),
    "swish": (lambda rng: Swish(), (5, 4)),
    "gelu": (lambda rng: GELU(), (5, 4)),
    "softmax": (lambda rng: Softmax(), (5, 4)),
    "convolution": (lambda rng: Convolution(2, 3, 3, rng=rng), IMAGES),
    "convolution without bias": (lambda rng: Convolution(2, 3, 3, padding=1, rng=rng, bias=False), IMAGES),
    "convolution, strided": (lambda rng: Convolution(2, 3, (3, 2), stride=(2, 3), padding=(1, 0), rng=rng), IMAGES),
    "convolution, dilated": (lambda rng: Convolution(2, 3, 2, stride=2, padding=2, dilation=(3, 2), rng=rng), IMAGES),
    "max pooling": (lambda rng: MaxPool(2), IMAGES),
    "max pooling, overlapping": (lambda rng: MaxPool(3, 2, 1), IMAGES),
    "average pooling": (lambda rng: AveragePool((2, 3)), IMAGES),
    "average pooling, overlapping": (lambda rng: AveragePool(3, 1, 1), IMAGES),
    "batch norm": (lambda rng: BatchNorm(4), (5, 4)),
    "batch norm of images": (lambda rng: BatchNorm(2), IMAGES),
    "layer norm": (lambda rng: LayerNorm(4), SEQUENCES),
    "standardise": (lambda rng: Standardise([0.3, -0.2], [0.5, 2.0]), IMAGES),
    "dropout": (lambda rng: Dropout(0.4, seed=3), (5, 4)),
    "rnn": (lambda rng: RNN(4, 3, rng=rng), SEQUENCES),
    "lstm": (lambda rng: LSTM(4, 3, rng=rng), SEQUENCES),
    "gru": (lambda rng: GRU(4, 3, rng=rng), SEQUENCES),
    "network in a network": (_small_network, IMAGES),
}


def inputs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return numbers whose sizes are far from a corner at 0, and from each other within a pooling window."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    spread = np.linspace(0.1, 2.0, count) * rng.choice([-1.0, 1.0], count)
    return rng.permutation(spread).reshape(shape)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    """Return normal noise."""
    return np.random.default_rng(seed).standard_normal(shape)


def layers_of_the_room() -> Iterator[type[Layer]]:
    """Yield every layer that people can use: the concrete classes that the room offers."""
    for name in backprop.__all__:
        found = getattr(backprop, name)
        if isinstance(found, type) and issubclass(found, Layer) and found is not Layer:
            yield found
