"""What a classifier is worth on labelled images: one streaming pass, then a closer look at its worst mistakes."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.data.images import ImageSet
from gradus.metrics.calibration import Calibration, Reliability
from gradus.metrics.confusion import Confusion

__all__ = ["Effort", "Measured", "Mistake", "effort_of", "look_at_mistakes", "measure", "measured_scores"]

CPU_BUDGET = 3e11
DEVICE_BUDGET = 1e14
MEMORY_BUDGET = 2e9
PATH_STEPS = 16


@dataclass(frozen=True)
class Effort:
    """How much one part of a report may compute, so that no model, however large, makes it wait for long.

    Attributes:
        multiply_adds: of one image's forward pass.
        activation_bytes: of one image.
        cpu: whether the product computes on the CPU.
    """

    multiply_adds: int
    activation_bytes: int
    cpu: bool

    def images(self, passes: int, most: int) -> int:
        """Return how many images there is time for, at `passes` forward and backward passes each: at least 8."""
        budget = CPU_BUDGET if self.cpu else DEVICE_BUDGET
        return min(most, max(8, int(budget / max(1, 3 * self.multiply_adds * passes))))

    @property
    def chunk(self) -> int:
        """How many images there is memory for at once."""
        return min(256, max(1, int(MEMORY_BUDGET / max(1, 3 * self.activation_bytes))))


def effort_of(product: Any) -> Effort:
    """Return what one image costs a product."""
    from gradus.nn.summary import summary

    _, example = product.exportable()
    found = summary(product.module, (1, *example.shape[1:]))
    return Effort(found.multiply_adds, found.activation_bytes, product.device.type == "cpu")


@dataclass(frozen=True)
class Measured:
    """A classifier on a split.

    Attributes:
        metrics: `<split>/loss`, `<split>/accuracy` and `<split>/ece`.
        confusion: counts; rows are true classes.
        reliability: calibration in bins.
        confidence: highest probability of each image.
        guesses: class of that probability.
        right: probability of the true class.
        labels: the true classes.
    """

    metrics: dict[str, float]
    confusion: np.ndarray
    reliability: Reliability
    confidence: Float[Tensor, " count"]
    guesses: Int[Tensor, " count"]
    right: Float[Tensor, " count"]
    labels: Int[Tensor, " count"]

    def mistakes(self) -> list[int]:
        """Return the images that were taken for another class, the most confident first."""
        wrong = (self.guesses != self.labels).nonzero().squeeze(1)
        return wrong[self.confidence[wrong].argsort(descending=True, stable=True)].tolist()

    def doubts(self) -> list[int]:
        """Return all images, the least confident first."""
        return self.confidence.argsort(stable=True).tolist()


class _Listener:
    """Scores images, and keeps of each answer what the report tells."""

    def __init__(self, product: Any, labels: Tensor, classes: int) -> None:
        self.product, self.labels, self.at = product, labels, 0
        self.confusion, self.calibration = Confusion(classes), Calibration(10)
        self.kept: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        scores = self.product.scores(images)
        labels = self.labels[self.at : self.at + len(images)].to(scores.device)
        self.at += len(images)
        self.confusion.update(scores, labels)
        self.calibration.update(scores, labels)
        probabilities = scores.float().softmax(1)
        confidence, guess = probabilities.max(1)
        right = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
        self.kept.append(torch.stack([confidence, guess.float(), right]).cpu())
        return scores


def measured_scores(
    scores: Float[Tensor, "count classes"], labels: Int[Tensor, " count"], metrics: dict[str, float]
) -> Measured:
    """Return what scores say of a labelled test part.

    Args:
        scores: logits, or log-probabilities.
        labels: the true classes.
        metrics: what is measured already, named `test/…`.
    """
    confusion, calibration = Confusion(scores.shape[1]), Calibration(10)
    confusion.update(scores, labels)
    calibration.update(scores, labels)
    probabilities = scores.softmax(1)
    confidence, guesses = probabilities.max(1)
    reliability = calibration.compute()
    return Measured(
        metrics={**metrics, "test/ece": float(reliability.ece)},
        confusion=confusion.compute().cpu().numpy(),
        reliability=Reliability(*(part.cpu() for part in reliability)),
        confidence=confidence, guesses=guesses, right=probabilities.gather(1, labels[:, None])[:, 0], labels=labels,
    )  # fmt: skip


def measure(product: Any, images: ImageSet, split: str) -> Measured:
    """Measure a classifier on a split in one pass; loss and accuracy are those of `gradus evaluate`.

    Args:
        product: gives `scores` and `classes`.
        images: labelled.
        split: name of the metrics.
    """
    from gradus.vision.classify import evaluate

    listener = _Listener(product, images.labels, len(product.classes))
    metrics = evaluate(listener, images.batches(256, product.device), split)
    confidence, guesses, right = torch.cat(listener.kept, dim=1)
    reliability = listener.calibration.compute()
    return Measured(
        metrics={**metrics, f"{split}/ece": float(reliability.ece)},
        confusion=listener.confusion.compute().cpu().numpy(),
        reliability=Reliability(*(part.cpu() for part in reliability)),
        confidence=confidence, guesses=guesses.long(), right=right, labels=images.labels,
    )  # fmt: skip


class Mistake(NamedTuple):
    """One image with what the model said of it and why.

    Attributes:
        name: of the file, or the row in the data.
        truth: class.
        guess: class.
        confidence: probability of the guess.
        right: probability of the truth.
        image: in [0, 1].
        paths: integrated gradients of the guess.
        regions: Grad-CAM of the guess.
    """

    name: str
    truth: int
    guess: int
    confidence: float
    right: float
    image: Float[Tensor, "channels height width"]
    paths: Float[Tensor, "channels height width"]
    regions: Float[Tensor, "1 height width"]


def look_at_mistakes(
    product: Any, images: ImageSet, measured: Measured, effort: Effort, most: int = 12
) -> list[Mistake]:
    """Return the most confident mistakes, or where there is none the least confident answers, with attributions."""
    from gradus.explain import grad_cam, integrated_gradients
    from gradus.nn.probe import frozen

    chosen = (measured.mistakes() or measured.doubts())[: effort.images(PATH_STEPS + 1, most)]
    part = images.take(chosen)
    guesses = measured.guesses[chosen]
    found: list[Mistake] = []
    for batch, rows in zip(part.batches(effort.chunk, product.device), torch.arange(len(part)).split(effort.chunk)):
        target = guesses[rows].to(product.device)
        with frozen(product.module):
            paths = integrated_gradients(
                product.scores, batch.images, target=target, steps=PATH_STEPS, chunk=effort.chunk
            )
            regions = grad_cam(product.scores, batch.images, target=target, layer=product.feature_map)
        for i, image, path, region in zip(rows.tolist(), batch.images, paths, regions, strict=True):
            k = chosen[i]
            found.append(
                Mistake(
                    part.names[i], int(measured.labels[k]), int(measured.guesses[k]), float(measured.confidence[k]),
                    float(measured.right[k]), image.cpu(), path.cpu(), region.cpu(),
                )
            )  # fmt: skip
    return found
