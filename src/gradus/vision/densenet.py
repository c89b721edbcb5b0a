"""DenseNet: dense blocks joined by transitions that halve channels and resolution.

    name          layers per block   growth   stem
    densenet121   6 12 24 16         32       64
    densenet161   6 12 36 24         48       96
    densenet169   6 12 32 32         32       64
    densenet201   6 12 48 32         32       64

References:
    Huang et al. 2017, Densely connected convolutional networks.
"""

from typing import NamedTuple

from torch import nn

from gradus.canon import canon
from gradus.nn.chain import chain
from gradus.nn.classifier import Classifier, pooled_linear
from gradus.nn.convolution import image_stem
from gradus.nn.dense import dense_block, transition
from gradus.nn.initialisation import he, initialise
from gradus.nn.normalisation import normalisation

__all__ = ["FORMS", "Form", "dense_network", "densenet", "peer_names"]


class Form(NamedTuple):
    """What tells one DenseNet from another: layers per block, channels that a layer adds, channels of the stem."""

    layers: tuple[int, ...]
    growth: int = 32
    stem: int = 64


FORMS = {
    "densenet121": Form((6, 12, 24, 16)),
    "densenet161": Form((6, 12, 36, 24), 48, 96),
    "densenet169": Form((6, 12, 32, 32)),
    "densenet201": Form((6, 12, 48, 32)),
}


@canon(
    "vision/densenet",
    kind="classifier",
    paper="Huang et al. 2017, Densely connected convolutional networks",
    names=("densenet121", "densenet161", "densenet169", "densenet201"),
    example=lambda **shape: dense_network(Form((2, 3), 8, 16), **shape),
)
def densenet(
    name: str = "densenet121",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    small_stem: bool = False,
    norm: str = "batch",
    layer_dropout: float = 0.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a DenseNet.

    Args:
        name: densenet121, 161, 169 or 201.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from `minimum_size` goes.
        small_stem: a 3×3 stem without stride or pooling, for small images.
        norm: batch, group, instance, layer or none.
        layer_dropout: probability, behind each dense layer.
        dropout: probability, before the last layer.
    """
    return dense_network(
        FORMS[name],
        classes=classes,
        channels=channels,
        small_stem=small_stem,
        norm=norm,
        layer_dropout=layer_dropout,
        dropout=dropout,
    )


def dense_network(
    form: Form,
    *,
    classes: int,
    channels: int,
    image_size: int | tuple[int, int] = 224,
    small_stem: bool = False,
    norm: str = "batch",
    layer_dropout: float = 0.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Return the network of a form; see `densenet` for the settings."""
    width = form.stem
    make_norm = normalisation(norm)
    stages: dict[str, nn.Module] = {"stem": image_stem(channels, width, small=small_stem, norm=make_norm)}
    for i, layers in enumerate(form.layers, start=1):
        if i > 1:
            stages[f"transition{i - 1}"] = transition(width, width // 2, norm=make_norm)
            width //= 2
        stages[f"block{i}"] = dense_block(width, layers, form.growth, dropout=layer_dropout, norm=make_norm)
        width += layers * form.growth
    stages["final"] = chain(norm=make_norm(width), relu=nn.ReLU())
    model = Classifier(
        chain(**stages),
        pooled_linear(width, classes, dropout=dropout),
        feature_map="trunk.final",
        minimum_size=2 ** (len(form.layers) - 1) * (1 if small_stem else 4),
    )
    return initialise(model, {nn.Conv2d: he})


def peer_names(name: str) -> list[tuple[str, str]]:
    """Return regular expressions from torchvision's and timm's parameter names to ours, applied in order."""
    layers = [(rf"\.denselayer{i}\.", f".{i - 1}.branch.") for i in range(1, 1 + max(FORMS[name].layers))]
    return [
        (r"^features\.(conv|norm)0\.", r"trunk.stem.\1."),
        (r"^features\.norm5\.", "trunk.final.norm."),
        (r"^features\.denseblock", "trunk.block"),
        (r"^features\.transition", "trunk.transition"),
        *layers,
        (r"^classifier\.", "head.linear."),
    ]
