"""AlexNet: five convolutions, three linear layers; 61,100,840 weights at 1000 classes.

References:
    Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks.
    Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks (the widths used here).

Deviations:
    One column in place of two GPUs' worth, and no local response normalisation: the form whose weights are in use.
    Maps other than 6×6 are averaged to that grid.
"""

from torch import nn

from gradus.canon import canon
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier
from gradus.nn.initialisation import he, initialise, small_normal

__all__ = ["alexnet", "peer_names"]

# Output channels, kernel, stride, padding, whether pooling follows; and the layer's index in torchvision's weights.
CONVOLUTIONS = (
    (64, 11, 4, 2, True, 0),
    (192, 5, 1, 2, True, 3),
    (384, 3, 1, 1, False, 6),
    (256, 3, 1, 1, False, 8),
    (256, 3, 1, 1, True, 10),
)
LINEARS = {1: "linear1", 4: "linear2", 6: "linear"}  # torchvision's index to our name


@canon(
    "vision/alexnet",
    kind="classifier",
    paper="Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks",
    names=("alexnet",),
    example=lambda **shape: alexnet(hidden=32, **shape),
)
def alexnet(
    name: str = "alexnet",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    dropout: float = 0.5,
    hidden: int = 4096,
) -> nn.Module:
    """Return AlexNet.

    Args:
        name: alexnet.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 63 pixels goes.
        dropout: probability, before each of the two hidden linear layers.
        hidden: units of each hidden linear layer.
    """
    layers: dict[str, nn.Module] = {}
    for i, (out, kernel, stride, padding, pooled, _) in enumerate(CONVOLUTIONS, start=1):
        layers |= {f"conv{i}": nn.Conv2d(channels, out, kernel, stride, padding), f"relu{i}": nn.ReLU()}
        if pooled:
            layers[f"pool{i}"] = nn.MaxPool2d(3, 2)
        channels = out
    head = chain(
        pool=nn.AdaptiveAvgPool2d(6),
        flatten=nn.Flatten(),
        dropout1=nn.Dropout(dropout),
        linear1=nn.Linear(channels * 6 * 6, hidden),
        relu1=nn.ReLU(),
        dropout2=nn.Dropout(dropout),
        linear2=nn.Linear(hidden, hidden),
        relu2=nn.ReLU(),
        linear=nn.Linear(hidden, classes),
    )
    # 63 pixels are the fewest that leave the last pooling something to pool.
    model = Classifier(chain(**layers), head, feature_map="trunk.relu5", minimum_size=63)
    return initialise(model, {nn.Conv2d: he, nn.Linear: small_normal})


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's parameter names to ours, applied in order."""
    convolutions = [(rf"^features\.{row[-1]}\.", f"trunk.conv{i}.") for i, row in enumerate(CONVOLUTIONS, start=1)]
    linears = [(rf"^classifier\.{theirs}\.", f"head.{ours}.") for theirs, ours in LINEARS.items()]
    return convolutions + linears
