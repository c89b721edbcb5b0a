"""The models by name: build one, or fill it with somebody else's weights.

Each family's file holds the builder (found through the registry) and `peer_names(name)`: the regular expressions that
turn torchvision's and timm's parameter names into ours.
"""

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradus.canon import load, lookup, names
from gradus.errors import GradusError, nearest

__all__ = ["build", "families", "load_pretrained", "torchvision_names"]

_OUTPUT = re.compile(r"(head|auxiliary\..*)\.linear\.(weight|bias)$")


def families() -> dict[str, tuple[str, ...]]:
    """Return the names of the models by family."""
    return {entry.id.split("/")[-1]: entry.names for entry in names("classifier").values()}


def build(
    name: str, *, classes: int, channels: int = 3, image_size: int | tuple[int, int] = 224, **settings: Any
) -> nn.Module:
    """Return a freshly initialised classifier.

    Args:
        name: one of `families()`; hyphens, underscores and case do not matter.
        classes: number of logits.
        channels: of the images.
        image_size: height and width in pixels, or both as one number; only networks with positions depend on it.
        settings: of the family.

    Raises:
        GradusError: for an unknown name or setting, or a size that is not positive.
    """
    entry = lookup("classifier", name, "model")
    for setting in settings:
        if setting not in entry.parameters:
            known = set(entry.parameters) - {"name", "classes", "channels", "image_size"}
            raise GradusError(f"the model {name!r} has no setting {setting!r}{nearest(setting, known)}")
    sides = (image_size,) if isinstance(image_size, int) else image_size
    for what, value in (("classes", classes), ("channels", channels), ("image_size", min(sides))):
        if value < 1:
            raise GradusError(f"{what} must be 1 at least, not {value}")
    return load(entry)(_proper(name), classes=classes, channels=channels, image_size=image_size, **settings)


def _proper(name: str) -> str:
    """Return a model's name as registered, from however the user wrote it."""
    folded = {known.replace("-", "_").lower(): known for known in names("classifier")}
    return folded[name.replace("-", "_").lower()]


def torchvision_names(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a torchvision (or timm) state under our names.

    Args:
        name: of the model, ours.
        state_dict: theirs.

    Raises:
        GradusError: when the family has no counterpart there.
    """
    entry = lookup("classifier", name, "model")
    family = importlib.import_module(entry.module)
    if not hasattr(family, "peer_names"):
        raise GradusError(f"the model {name!r} has no counterpart whose weights could be loaded; train it instead")
    rules = [(re.compile(pattern), replacement) for pattern, replacement in family.peer_names(_proper(name))]
    renamed = {}
    for key, value in state_dict.items():
        for pattern, replacement in rules:
            key = pattern.sub(replacement, key)
        renamed[key] = value
    return renamed


@torch.no_grad()
def load_pretrained(model: nn.Module, name: str, state_dict: Mapping[str, Tensor]) -> list[str]:
    """Fill a model with torchvision's or timm's weights; return the names of the parameters left fresh.

    The last linear layer is left fresh where the numbers of classes differ, auxiliary heads where the weights have
    none. A model of grey images gets the sum of the first convolution over the colours, which is exact for grey
    pictures; learned positions are interpolated to the model's grid.

    Args:
        model: what `build` returned.
        name: what it was built as.
        state_dict: theirs.

    Raises:
        GradusError: when another parameter is missing, left over, or of another shape.
    """
    own = model.state_dict()
    theirs = torchvision_names(name, state_dict)
    extra = [key for key in theirs if key not in own and not key.startswith("auxiliary.")]
    if extra:
        raise GradusError(f"the weights are not those of {name!r}: they have {extra[0]!r} ({len(extra)} such names)")
    other_classes = len(theirs.get("head.linear.bias", ())) != len(own["head.linear.bias"])
    fitted, fresh = {}, []
    for key, target in own.items():
        value = theirs.get(key)
        if value is None and key.endswith("num_batches_tracked"):
            continue
        if (value is None and key.startswith("auxiliary.")) or (other_classes and _OUTPUT.match(key)):
            fresh.append(key)
        elif value is None:
            raise GradusError(f"the weights are not those of {name!r}: they lack {key!r}")
        else:
            fitted[key] = _fit(key, value, target, getattr(model.trunk, "grid", ()))
    for key, value in fitted.items():
        own[key].copy_(value)
    return fresh


def _fit(key: str, value: Tensor, target: Tensor, grid: Sequence[int]) -> Tensor:
    """Return the value in the target's shape, or refuse."""
    if value.shape == target.shape:
        return value
    if value.squeeze().shape == target.squeeze().shape:
        return value.reshape(target.shape)  # a linear layer written as a 1×1 convolution
    if value.ndim == 4 and target.shape == (value.shape[0], 1, *value.shape[2:]):
        return value.sum(1, keepdim=True)
    if key.endswith(".positions") and value.shape[-1] == target.shape[-1]:
        from gradus.vision.vit import interpolate_positions

        side = math.isqrt(value.shape[1] - 1)
        return interpolate_positions(value, (side, side), grid)
    raise GradusError(
        f"{key!r} is {tuple(value.shape)} in the weights and {tuple(target.shape)} in the model; build it alike"
    )
