"""Random augmentation of whole batches, on their device, written as a string: "flip,crop=4,rotate=10,mixup=0.2".

Every number is drawn by `Draws`, a function of (seed, epoch, position in the epoch): nothing here has state.
Neighbouring geometric steps are one map: if all are exact (flips, crops) they only move pixels, else their matrices
are multiplied and the images interpolated once. Mixing steps turn labels into distributions over the classes.

The steps themselves are in `moves`, `tints` and `mixing`. The plain functions behind them are here, too:
`augment.rotate(images, degrees)`.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from gradus import canon
from gradus.data.colour import brightness, contrast, erase, grey, hue, saturation
from gradus.data.draws import Draws
from gradus.data.geometry import crop, flip, rotate, scale, shear, translate, vflip, warp
from gradus.data.images import ImageBatch
from gradus.errors import GradusError

__all__ = [
    "Augment",
    "Augmentation",
    "Draws",
    "Geometric",
    "brightness",
    "contrast",
    "crop",
    "erase",
    "flip",
    "grey",
    "hue",
    "rotate",
    "saturation",
    "scale",
    "shear",
    "spread",
    "translate",
    "vflip",
    "warp",
    "within",
]

Images = Float[Tensor, "batch channels height width"]
Maps = Float[Tensor, "batch 3 3"]
TYPES: dict[str, Callable[[str], float]] = {"int": int, "float": float}


class Augmentation(ABC):
    """A random change of a batch, drawn from `Draws` alone."""

    @abstractmethod
    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        """Return the changed batch.

        Args:
            batch: images in [0, 1] and their labels.
            draws: the random numbers of this batch.
            classes: how many there are, for labels that become distributions.
        """


class Geometric(Augmentation):
    """One that moves content by an affine map, drawn for each image: what a detector's boxes need to know, too."""

    exact = False

    @abstractmethod
    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return where content goes, for `count` images of a height and width; see `gradus.data.geometry`."""

    def move(self, images: Images, draws: Draws) -> Images:
        """Return the moved images."""
        return warp(images, self.maps(draws, len(images), (images.shape[2], images.shape[3])))

    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        """Return the batch with its images moved."""
        return ImageBatch(self.move(batch.images, draws), batch.labels)


class Augment:
    """A chain of augmentations.

    Args:
        spec: names with settings, `name`, `name=value` or `name=value:value`, separated by commas; or augmentations.

    Raises:
        GradusError: if a name is unknown (naming the nearest), given twice, or a setting is not of its kind.
    """

    def __init__(self, spec: str | Sequence[Augmentation]) -> None:
        self.spec = spec if isinstance(spec, str) else ",".join(type(step).__name__.lower() for step in spec)
        self.steps = _parse(spec) if isinstance(spec, str) else list(spec)
        runs = itertools.groupby(self.steps, lambda step: isinstance(step, Geometric))
        self._stages = [stage for moves, run in runs for stage in ([_Moves(list(run))] if moves else run)]

    def __repr__(self) -> str:
        return f"Augment({self.spec!r})"

    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        """Return the changed batch, its memory format kept.

        Args:
            batch: images in [0, 1] and their labels.
            draws: the random numbers of this batch.
            classes: how many there are.
        """
        layout = batch.images.is_contiguous(memory_format=torch.channels_last) and batch.images.shape[1] > 1
        for stage in self._stages:
            batch = stage(batch, draws, classes)
        images = batch.images.contiguous(memory_format=torch.channels_last if layout else torch.contiguous_format)
        return ImageBatch(images, batch.labels)


class _Moves(Augmentation):
    """Neighbouring geometric steps as one."""

    def __init__(self, steps: Sequence[Augmentation]) -> None:
        self.steps = [step for step in steps if isinstance(step, Geometric)]
        self.exact = all(step.exact for step in self.steps)

    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        images = batch.images
        if self.exact:
            return ImageBatch(reduce(lambda moved, step: step.move(moved, draws), self.steps, images), batch.labels)
        maps = [step.maps(draws, len(images), (images.shape[2], images.shape[3])) for step in self.steps]
        return ImageBatch(warp(images, reduce(lambda done, then: then @ done, maps)), batch.labels)


def _parse(spec: str) -> list[Augmentation]:
    steps: dict[str, Augmentation] = {}
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, _, values = (piece.strip() for piece in part.partition("="))
        entry = canon.lookup("augmentation", name)
        if entry.id in steps:
            raise GradusError(f"the augmentation {name!r} is given twice in {spec!r}: give it once")
        known = list(entry.parameters.items())
        given = values.split(":") if values else []
        if len(given) > len(known):
            settings = ":".join(key for key, _ in known)
            raise GradusError(f"the augmentation {part!r} has too many settings: write {name}={settings}")
        try:
            chosen = {key: TYPES[kind.annotation](value) for (key, kind), value in zip(known, given)}
        except ValueError:
            expected = ":".join(f"{key} ({kind.annotation})" for key, kind in known)
            raise GradusError(f"the augmentation {part!r} is not understood: write {name}={expected}") from None
        steps[entry.id] = canon.load(entry)(**chosen)
    return list(steps.values())


def within(name: str, value: float, low: float, high: float) -> float:
    """Return the setting of an augmentation; raises GradusError if it is out of range."""
    if not low <= value <= high:
        raise GradusError(f"the augmentation setting {name}={value:g} is out of range: {low:g} to {high:g}")
    return value


def spread(draws: Draws, stream: str, count: int, columns: int = 1) -> Float[Tensor, "count columns"]:
    """Return numbers uniform on [−1, 1)."""
    return draws.uniform(stream, count, columns) * 2 - 1
