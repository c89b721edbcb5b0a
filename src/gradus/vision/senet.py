"""SE-ResNet: residual networks whose every branch ends in squeeze-and-excitation.

The forms are those of `resnet`: seresnet18, 34, 50, 101, 152 for large images, seresnet20 … 110 for small ones.

References:
    Hu, Shen, Sun 2018, Squeeze-and-excitation networks.
"""

from torch import nn

from gradus.canon import canon
from gradus.vision.resnet import FORMS, residual_network
from gradus.vision.resnet import peer_names as peer_names

__all__ = ["peer_names", "senet"]


@canon(
    "vision/senet",
    kind="classifier",
    paper="Hu, Shen, Sun 2018, Squeeze-and-excitation networks",
    names=(
        "seresnet18",
        "seresnet34",
        "seresnet50",
        "seresnet101",
        "seresnet152",
        "seresnet20",
        "seresnet32",
        "seresnet44",
        "seresnet56",
        "seresnet110",
    ),
    example=lambda **shape: senet("seresnet20", reduction=4, **shape),
)
def senet(
    name: str = "seresnet18",
    *,
    classes: int = 1000,
    channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    reduction: int = 16,
    small_stem: bool = False,
    shortcut: str = "auto",
    norm: str = "batch",
    dropout: float = 0.0,
    zero_init: bool = False,
) -> nn.Module:
    """Return an SE-ResNet.

    Args:
        name: seresnet18, 34, 50, 101, 152; seresnet20, 32, 44, 56, 110 for small images.
        classes: number of logits.
        channels: of the images.
        image_size: ignored; any size from `minimum_size` goes.
        reduction: channels per hidden unit of the excitation.
        small_stem: a 3×3 stem without stride or pooling, for small images; the CIFAR forms always have it.
        shortcut: "A" (zero padding), "B" (1×1 convolution) or "auto": A in the CIFAR forms, else B.
        norm: batch, group, instance, layer or none.
        dropout: probability, before the last layer.
        zero_init: start every block as the identity.
    """
    return residual_network(
        FORMS[name.removeprefix("seresnet")],
        classes=classes,
        channels=channels,
        reduction=reduction,
        small_stem=small_stem,
        shortcut=shortcut,
        norm=norm,
        dropout=dropout,
        zero_init=zero_init,
    )
