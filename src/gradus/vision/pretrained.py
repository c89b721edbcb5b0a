"""Weights from ImageNet, fetched through torchvision (the extra `pretrained`) and mapped onto our models.

References:
    torchvision's model zoo; each weight's own reference is in its documentation.
"""

import os
from typing import Any

from torch import Tensor, nn

from gradus.errors import GradusError, nearest
from gradus.vision.models import build, load_pretrained

__all__ = ["AVAILABLE", "colour_statistics", "fetch", "pretrained"]

AVAILABLE = {
    "alexnet": "alexnet",
    "googlenet": "googlenet",
    **{f"vgg{depth}{bn}": f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "_bn")},
    **{f"resnet{depth}": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    **{f"densenet{depth}": f"densenet{depth}" for depth in (121, 161, 169, 201)},
    "vit_b": "vit_b_16",
}
"""Our names of the models that torchvision has weights for, with its own."""


def fetch(name: str) -> dict[str, Tensor]:
    """Return torchvision's best ImageNet weights for a model, under torchvision's names; downloaded once.

    Args:
        name: one of `AVAILABLE`.

    Raises:
        GradusError: for another name, without torchvision, or without a connection when one is needed.
    """
    if name not in AVAILABLE:
        raise GradusError(f"there are no pretrained weights for {name!r}{nearest(name, AVAILABLE)}")
    try:
        from torchvision.models import get_model_weights
    except ImportError:
        raise GradusError(
            "pretrained weights need torchvision; install it with: pip install 'gradus[pretrained]'"
        ) from None
    weights = get_model_weights(AVAILABLE[name]).DEFAULT
    offline = os.environ.get("GRADUS_OFFLINE", "0") not in ("", "0")
    if offline and not os.path.exists(_cached(weights.url)):
        raise GradusError(f"the weights of {name!r} are not here yet and GRADUS_OFFLINE is set; unset it to fetch them")
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise GradusError(f"the weights of {name!r} could not be fetched ({error}); check the connection") from None


def _cached(url: str) -> str:
    import torch

    return os.path.join(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])


def pretrained(name: str, *, classes: int = 1000, channels: int = 3, **settings: Any) -> nn.Module:
    """Return a model with ImageNet weights; with another number of classes its last layer is fresh.

    Args:
        name: one of `AVAILABLE`.
        classes: number of logits.
        channels: of the images; 1 sums the first convolution over the colours.
        settings: of the family, as for `build`.

    Raises:
        GradusError: as `fetch` and `build` do.
    """
    state = fetch(name)
    if name == "vit_b":
        settings.setdefault("patch", 16)
    model = build(name, classes=classes, channels=channels, **settings)
    load_pretrained(model, name, state)
    return model


def colour_statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return the mean and deviation per colour with which the weights want images in [0, 1] normalised.

    Args:
        name: of the model.
    """
    if name == "googlenet":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
