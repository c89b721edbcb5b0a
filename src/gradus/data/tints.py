"""Random colour, noise and holes, each image with its own.

A strength s stands for a factor uniform in [1 − s, 1 + s], never below zero; for hue, for a turn uniform in [−s, s]
of the colour circle. Grey images keep their hue and saturation, having none.

References:
    Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks (colour).
    DeVries & Taylor 2017, Improved regularization of convolutional neural networks with cutout (holes).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.data import colour
from gradus.data.augment import Augmentation, spread, within
from gradus.data.draws import Draws
from gradus.data.images import ImageBatch

__all__ = ["Brightness", "Colour", "Contrast", "Erase", "Hue", "Jitter", "Noise", "Saturation", "Tint"]

Images = Float[Tensor, "batch channels height width"]


class Tint(Augmentation):
    """One that changes values, not places, and no labels."""

    @abstractmethod
    def paint(self, images: Images, draws: Draws) -> Images:
        """Return the changed images."""

    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        """Return the batch with its images changed."""
        return ImageBatch(self.paint(batch.images, draws), batch.labels)


class Jitter(Tint):
    """A function of images and factors, the factors uniform in [1 − strength, 1 + strength]."""

    function: ClassVar[Callable[..., Tensor]]
    strength: float

    def paint(self, images: Images, draws: Draws) -> Images:
        """Return the images, each changed by its own factor."""
        stream = type(self).__name__.lower()
        factor = 1 + self.strength * spread(draws, stream, len(images))[:, 0]
        return type(self).function(images, factor.clamp_(min=0))


@canon(
    "data/brightness",
    kind="augmentation",
    paper="Krizhevsky et al. 2012, ImageNet classification",
    names=("brightness",),
)
class Brightness(Jitter):
    """Multiply the values.

    Args:
        strength: the largest distance of the factor from 1.
    """

    function = staticmethod(colour.brightness)

    def __init__(self, strength: float = 0.4) -> None:
        self.strength = within("strength", strength, 0, 10)


@canon(
    "data/contrast", kind="augmentation", paper="Krizhevsky et al. 2012, ImageNet classification", names=("contrast",)
)
class Contrast(Jitter):
    """Multiply the distances from the image's mean grey.

    Args:
        strength: the largest distance of the factor from 1.
    """

    function = staticmethod(colour.contrast)

    def __init__(self, strength: float = 0.4) -> None:
        self.strength = within("strength", strength, 0, 10)


@canon(
    "data/saturation",
    kind="augmentation",
    paper="Krizhevsky et al. 2012, ImageNet classification",
    names=("saturation",),
)
class Saturation(Jitter):
    """Multiply the distances from each pixel's grey.

    Args:
        strength: the largest distance of the factor from 1.
    """

    function = staticmethod(colour.saturation)

    def __init__(self, strength: float = 0.4) -> None:
        self.strength = within("strength", strength, 0, 10)


@canon("data/hue", kind="augmentation", paper="Krizhevsky et al. 2012, ImageNet classification", names=("hue",))
class Hue(Tint):
    """Turn the colour circle.

    Args:
        strength: the largest turn, of a full one.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self.strength = within("strength", strength, 0, 0.5)

    def paint(self, images: Images, draws: Draws) -> Images:
        """Return images of other hues."""
        return colour.hue(images, self.strength * spread(draws, "hue", len(images))[:, 0])


@canon("data/colour", kind="augmentation", paper="Krizhevsky et al. 2012, ImageNet classification", names=("colour",))
class Colour(Tint):
    """Brightness, contrast, saturation and hue, in this order.

    Args:
        brightness: strength.
        contrast: strength.
        saturation: strength.
        hue: strength, of a full turn.
    """

    def __init__(
        self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.1
    ) -> None:
        tints = (brightness, Brightness), (contrast, Contrast), (saturation, Saturation), (hue, Hue)
        self.tints: list[Tint] = [kind(strength) for strength, kind in tints if strength]

    def paint(self, images: Images, draws: Draws) -> Images:
        """Return images of other colours."""
        for tint in self.tints:
            images = tint.paint(images, draws)
        return images


@canon(
    "data/noise",
    kind="augmentation",
    paper="Bishop 1995, Training with noise is equivalent to Tikhonov regularization",
    names=("noise",),
)
class Noise(Tint):
    """Add Gaussian noise to every value.

    Args:
        deviation: its standard deviation, where values go from 0 to 1.
    """

    def __init__(self, deviation: float = 0.1) -> None:
        self.deviation = within("deviation", deviation, 0, 10)

    def paint(self, images: Images, draws: Draws) -> Images:
        """Return noisy images."""
        return torch.add(images, draws.normal("noise", images), alpha=self.deviation).clamp_(0, 1)


@canon(
    "data/erase",
    kind="augmentation",
    paper="DeVries & Taylor 2017, Improved regularization of convolutional neural networks with cutout",
    names=("erase",),
)
class Erase(Tint):
    """Put a square of zeros at a random place; its centre is in the image, its edges need not be (cutout).

    Args:
        side: of the square, in pixels.
    """

    def __init__(self, side: int = 8) -> None:
        self.side = int(within("side", side, 0, 4096))

    def paint(self, images: Images, draws: Draws) -> Images:
        """Return images with a hole each."""
        size = torch.tensor(images.shape[2:], device=images.device)
        centre = (draws.uniform("erase", len(images), 2) * size).long()
        top, left = (centre - self.side // 2).unbind(1)
        return colour.erase(images, top, left, self.side)
