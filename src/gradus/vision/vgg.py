"""VGG: stacks of 3×3 convolutions. Two see 5×5 pixels and three 7×7, with fewer weights and more nonlinearities.

    name     convolutions per stage   weights at 1000 classes
    vgg11    1 1 2 2 2                132,863,336
    vgg13    2 2 2 2 2                133,047,848
    vgg16    2 2 3 3 3                138,357,544
    vgg19    2 2 4 4 4                143,667,240

A name ending in `_bn` normalises each convolution's batch.

References:
    Simonyan, Zisserman 2015, Very deep convolutional networks for large-scale image recognition.

Deviations:
    Maps other than 7×7 are averaged to that grid.
"""

from functools import partial

from torch import nn

from gradus.canon import canon
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier
from gradus.nn.convolution import convolution
from gradus.nn.initialisation import he, initialise, small_normal

__all__ = ["peer_names", "vgg"]

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


@canon(
    "vision/vgg",
    kind="classifier",
    paper="Simonyan, Zisserman 2015, Very deep convolutional networks for large-scale image recognition",
    names=("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    example=lambda **shape: vgg("vgg11_bn", hidden=32, **shape),
)
def vgg(
    name: str = "vgg16",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    dropout: float = 0.5,
    hidden: int = 4096,
) -> nn.Module:
    """Return a VGG network.

    Args:
        name: vgg11, 13, 16 or 19, with `_bn` behind it for batch normalisation.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from 32 pixels goes.
        dropout: probability, behind each of the two hidden linear layers.
        hidden: units of each hidden linear layer.
    """
    normalised = name.endswith("_bn")
    stages: dict[str, nn.Module] = {}
    for i, (depth, width) in enumerate(zip(DEPTHS[name.removesuffix("_bn")], WIDTHS, strict=True), start=1):
        layers: dict[str, nn.Module] = {}
        for j in range(1, depth + 1):
            layers[f"conv{j}"] = convolution(channels, width, 3, bias=True)
            if normalised:
                layers[f"norm{j}"] = nn.BatchNorm2d(width)
            layers[f"relu{j}"] = nn.ReLU()
            channels = width
        stages[f"stage{i}"] = chain(**layers)
        stages[f"pool{i}"] = nn.MaxPool2d(2)
    head = chain(
        pool=nn.AdaptiveAvgPool2d(7),
        flatten=nn.Flatten(),
        linear1=nn.Linear(channels * 7 * 7, hidden),
        relu1=nn.ReLU(),
        dropout1=nn.Dropout(dropout),
        linear2=nn.Linear(hidden, hidden),
        relu2=nn.ReLU(),
        dropout2=nn.Dropout(dropout),
        linear=nn.Linear(hidden, classes),
    )
    model = Classifier(chain(**stages), head, feature_map="trunk.stage5", minimum_size=32)
    return initialise(model, {nn.Conv2d: partial(he, mode="fan_out"), nn.Linear: small_normal})


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's parameter names to ours, applied in order.

    Theirs is one flat list of layers: a convolution, perhaps its normalisation, a ReLU; a pooling ends each stage.
    """
    normalised = name.endswith("_bn")
    rules, index = [], 0
    for i, depth in enumerate(DEPTHS[name.removesuffix("_bn")], start=1):
        for j in range(1, depth + 1):
            rules.append((rf"^features\.{index}\.", f"trunk.stage{i}.conv{j}."))
            if normalised:
                rules.append((rf"^features\.{index + 1}\.", f"trunk.stage{i}.norm{j}."))
            index += 3 if normalised else 2
        index += 1
    return rules + [
        (rf"^classifier\.{theirs}\.", f"head.{ours}.")
        for theirs, ours in ((0, "linear1"), (3, "linear2"), (6, "linear"))
    ]
