"""Mixing pairs of images, and their labels in the same proportion.

Mixup: x' = λx + (1 − λ)x̃. Cutmix: a rectangle of x̃ covers the share 1 − λ of x.
Both: y' = λy + (1 − λ)ỹ, with λ ~ Beta(α, α).

The partner x̃ of an image is its neighbour in this process's share of the (shuffled) batch; λ and the rectangle are
drawn once a global batch.

References:
    Zhang et al. 2018, mixup: beyond empirical risk minimization.
    Yun et al. 2019, CutMix: regularization strategy to train strong classifiers with localizable features.
"""

import math
from abc import abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.data.augment import Augmentation, within
from gradus.data.draws import Draws
from gradus.data.images import ImageBatch

__all__ = ["Cutmix", "Mixing", "Mixup", "soft"]

Images = Float[Tensor, "batch channels height width"]


def soft(
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"], classes: int
) -> Float[Tensor, "batch classes"]:
    """Return labels as distributions over the classes; distributions stay as they are."""
    return labels if labels.is_floating_point() else F.one_hot(labels.long(), classes).to(torch.float32)


class Mixing(Augmentation):
    """One that mixes each image with its neighbour in the batch.

    Args:
        alpha: of λ ~ Beta(α, α): small for weak mixing, 1 for any.
        probability: of a batch to be mixed.
    """

    stream = "mixing"

    def __init__(self, alpha: float, probability: float) -> None:
        self.alpha, self.probability = within("alpha", alpha, 0, 1e6), within("probability", probability, 0, 1)

    @abstractmethod
    def mix(self, images: Images, share: float, numbers: np.random.Generator) -> tuple[Images, float]:
        """Return the mixed images and the share of them that is their own.

        Args:
            images: the batch.
            share: λ.
            numbers: for what else is drawn.
        """

    def __call__(self, batch: ImageBatch, draws: Draws, classes: int) -> ImageBatch:
        """Return mixed images with distributions for labels."""
        labels = soft(batch.labels, classes)
        numbers = draws.shared(self.stream)
        if self.alpha == 0 or numbers.random() >= self.probability:
            return ImageBatch(batch.images, labels)
        images, share = self.mix(batch.images, numbers.beta(self.alpha, self.alpha), numbers)
        return ImageBatch(images, torch.lerp(labels.roll(1, 0), labels, share))


@canon(
    "data/mixup",
    kind="augmentation",
    paper="Zhang et al. 2018, mixup: beyond empirical risk minimization",
    names=("mixup",),
)
class Mixup(Mixing):
    """Average each image, and its label, with another's.

    Args:
        alpha: of λ ~ Beta(α, α): small for weak mixing, 1 for any.
        probability: of a batch to be mixed.
    """

    stream = "mixup"

    def __init__(self, alpha: float = 0.2, probability: float = 1.0) -> None:
        super().__init__(alpha, probability)

    def mix(self, images: Images, share: float, numbers: np.random.Generator) -> tuple[Images, float]:
        """Return λx + (1 − λ)x̃."""
        return torch.lerp(images.roll(1, 0), images, share), share


@canon(
    "data/cutmix",
    kind="augmentation",
    paper="Yun et al. 2019, CutMix: regularization strategy to train strong classifiers",
    names=("cutmix",),
)
class Cutmix(Mixing):
    """Paste a rectangle of another image into each, and mix the labels by area.

    Args:
        alpha: of λ ~ Beta(α, α), the share of the own image.
        probability: of a batch to be mixed.
    """

    stream = "cutmix"

    def __init__(self, alpha: float = 1.0, probability: float = 1.0) -> None:
        super().__init__(alpha, probability)

    def mix(self, images: Images, share: float, numbers: np.random.Generator) -> tuple[Images, float]:
        """Return x with a rectangle of x̃, its centre uniform, and the share of x that is left after clipping."""
        height, width = images.shape[2:]
        side = math.sqrt(1 - share)
        top, bottom = _span(height, side, numbers)
        left, right = _span(width, side, numbers)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(length: int, share: float, numbers: np.random.Generator) -> tuple[int, int]:
    centre, half = int(numbers.integers(length)), int(length * share) // 2
    return max(centre - half, 0), min(centre + half, length)
