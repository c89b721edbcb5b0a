"""Random geometry: mirrors, crops, rotations, shears, scalings and moves, each image with its own.

References:
    Simard, Steinkraus & Platt 2003, Best practices for convolutional neural networks applied to visual documents.
    Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks (mirrors).
    He et al. 2016, Deep residual learning for image recognition (padded crops).
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.data import geometry
from gradus.data.augment import Geometric, spread, within
from gradus.data.draws import Draws

__all__ = ["Crop", "Flip", "Mirror", "Rotate", "Scale", "Shear", "Translate", "VFlip"]

Images = Float[Tensor, "batch channels height width"]
Maps = Float[Tensor, "batch 3 3"]


class Mirror(Geometric):
    """A mirror that each image meets or not; `signs` are what x and y are multiplied by."""

    exact = True
    stream: ClassVar[str]
    signs: ClassVar[tuple[float, float]]
    probability: float

    def _chosen(self, draws: Draws, count: int) -> Float[Tensor, " batch"]:
        return (draws.uniform(self.stream, count)[:, 0] < self.probability).float()

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return diag(±1, ±1, 1)."""
        chosen = self._chosen(draws, count)
        x, y = (1 - chosen * (1 - sign) for sign in self.signs)
        return geometry.flipping(x, y)

    def move(self, images: Images, draws: Draws) -> Images:
        """Return the images, some mirrored."""
        mirrored = geometry.flip(images) if self.signs[0] < 0 else geometry.vflip(images)
        # Weights of 0 and 1 are exact, and quicker than `torch.where`.
        return torch.lerp(images, mirrored, self._chosen(draws, len(images))[:, None, None, None])


@canon("data/flip", kind="augmentation", paper="Krizhevsky et al. 2012, ImageNet classification", names=("flip",))
class Flip(Mirror):
    """Mirror left to right.

    Args:
        probability: of an image to be mirrored.
    """

    stream, signs = "flip", (-1.0, 1.0)

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = within("probability", probability, 0, 1)


@canon("data/vflip", kind="augmentation", paper="Krizhevsky et al. 2012, ImageNet classification", names=("vflip",))
class VFlip(Mirror):
    """Mirror top to bottom.

    Args:
        probability: of an image to be mirrored.
    """

    stream, signs = "vflip", (1.0, -1.0)

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = within("probability", probability, 0, 1)


@canon("data/crop", kind="augmentation", paper="He et al. 2016, Deep residual learning", names=("crop",))
class Crop(Geometric):
    """Pad with zeros and cut out a window of the image's size at a random place.

    Args:
        padding: zeros on every side, in pixels.
    """

    exact = True

    def __init__(self, padding: int = 4) -> None:
        self.padding = int(within("padding", padding, 0, 4096))

    def _corner(self, draws: Draws, count: int) -> tuple[Tensor, Tensor]:
        top, left = (draws.uniform("crop", count, 2) * (2 * self.padding + 1)).long().unbind(1)
        return top, left

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return moves by whole pixels."""
        top, left = self._corner(draws, count)
        return geometry.translation((self.padding - left).float(), (self.padding - top).float())

    def move(self, images: Images, draws: Draws) -> Images:
        """Return one window of each image."""
        return geometry.crop(images, *self._corner(draws, len(images)), self.padding)


@canon(
    "data/rotate",
    kind="augmentation",
    paper="Simard et al. 2003, Best practices for convolutional neural networks",
    names=("rotate",),
)
class Rotate(Geometric):
    """Rotate about the centre by an angle uniform in [−degrees, degrees].

    Args:
        degrees: the largest angle.
    """

    def __init__(self, degrees: float = 10.0) -> None:
        self.degrees = within("degrees", degrees, 0, 180)

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return rotations."""
        return geometry.rotation(spread(draws, "rotate", count)[:, 0] * self.degrees)


@canon(
    "data/shear",
    kind="augmentation",
    paper="Simard et al. 2003, Best practices for convolutional neural networks",
    names=("shear",),
)
class Shear(Geometric):
    """Tilt verticals by an angle uniform in [−degrees, degrees].

    Args:
        degrees: the largest angle.
    """

    def __init__(self, degrees: float = 10.0) -> None:
        self.degrees = within("degrees", degrees, 0, 80)

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return shears along x."""
        return geometry.shearing(spread(draws, "shear", count)[:, 0] * self.degrees)


@canon(
    "data/scale",
    kind="augmentation",
    paper="Simard et al. 2003, Best practices for convolutional neural networks",
    names=("scale",),
)
class Scale(Geometric):
    """Enlarge or shrink about the centre by a factor, its logarithm uniform in ±log(1 + range).

    Args:
        range: 0.1 for factors between 1/1.1 and 1.1.
    """

    def __init__(self, range: float = 0.1) -> None:
        self.range = within("range", range, 0, 10)

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return scalings."""
        return geometry.scaling((1 + self.range) ** spread(draws, "scale", count)[:, 0])


@canon(
    "data/translate",
    kind="augmentation",
    paper="Simard et al. 2003, Best practices for convolutional neural networks",
    names=("translate",),
)
class Translate(Geometric):
    """Move by up to a fraction of width and height.

    Args:
        fraction: the farthest move, of the side.
    """

    def __init__(self, fraction: float = 0.1) -> None:
        self.fraction = within("fraction", fraction, 0, 1)

    def maps(self, draws: Draws, count: int, size: tuple[int, int]) -> Maps:
        """Return moves."""
        right, down = (spread(draws, "translate", count, 2) * self.fraction).unbind(1)
        return geometry.translation(right * size[1], down * size[0])
