"""LeNet-5: two convolutions with pooling, three linear layers; 61,706 weights at ten classes and one channel.

    1×28×28 –conv5→ 6×28×28 –pool→ 6×14×14 –conv5→ 16×10×10 –pool→ 16×5×5 → 120 → 84 → classes

References:
    LeCun et al. 1998, Gradient-based learning applied to document recognition.

Deviations:
    The first convolution pads 28 pixels to the paper's 32. All of the second convolution's maps see all of the
    first's, pooling has no weights, and the output is linear with a softmax in the loss in place of radial basis
    functions. ReLU and maximum pooling by default; `activation="tanh"`, `pool="average"` is the paper's choice.
    Images other than 28×28 are averaged to the 5×5 grid before the linear layers.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError, nearest
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier
from gradus.nn.initialisation import he, initialise, xavier

__all__ = ["lenet"]

_ACTIVATIONS: dict[str, tuple[type[nn.Module], Callable[..., Tensor]]] = {
    "relu": (nn.ReLU, he),
    "tanh": (nn.Tanh, partial(xavier, gain=5 / 3)),
}
_POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class Grid(nn.AdaptiveAvgPool2d):
    """Averages a map to a grid, and leaves one of that size alone: the average would take a twentieth of a step."""

    def forward(self, input: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels rows cols"]:
        """Return the grid."""
        side = int(self.output_size)  # type: ignore[arg-type]
        return input if input.shape[-2:] == (side, side) else super().forward(input)


@canon(
    "vision/lenet",
    kind="classifier",
    paper="LeCun et al. 1998, Gradient-based learning applied to document recognition",
    names=("lenet",),
)
def lenet(
    name: str = "lenet",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    activation: str = "relu",
    pool: str = "max",
    dropout: float = 0.0,
) -> nn.Module:
    """Return LeNet-5.

    Args:
        name: lenet.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 28 pixels goes.
        activation: relu or tanh.
        pool: max or average.
        dropout: probability, before the last layer.

    Raises:
        GradusError: for another activation or pooling.
    """
    for what, value, known in (("activation", activation, _ACTIVATIONS), ("pooling", pool, _POOLS)):
        if value not in known:
            raise GradusError(f"lenet has no {what} {value!r}{nearest(value, known)}")
    active, fill = _ACTIVATIONS[activation]
    pooling = _POOLS[pool]
    # The maximum and a rising function change places: the same bits, and the function on a quarter of the values.
    first = {"pool1": pooling(2), "act1": active()} if pool == "max" else {"act1": active(), "pool1": pooling(2)}
    trunk = chain(
        conv1=nn.Conv2d(channels, 6, 5, padding=2),
        **first,
        conv2=nn.Conv2d(6, 16, 5),
        act2=active(),
        pool2=pooling(2),
        grid=Grid(5),
    )
    head = chain(
        flatten=nn.Flatten(),
        linear1=nn.Linear(16 * 5 * 5, 120),
        act1=active(),
        linear2=nn.Linear(120, 84),
        act2=active(),
        dropout=nn.Dropout(dropout) if dropout else None,
        linear=nn.Linear(84, classes),
    )
    model = Classifier(trunk, head, feature_map="trunk.act2", minimum_size=28)
    return initialise(model, {nn.Conv2d: fill, nn.Linear: fill})
