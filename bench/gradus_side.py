"""Our side of the benchmarks: the recipe `vision/classify` as shipped, on data of MNIST's shape made on the spot.

Nothing is left out or made for the occasion: the recipe builds learner, source, Updater and watchers, and `fit` runs
them with a run folder, the CSV log, the progress watcher and the NaN guard. Only the data loading is replaced.
"""

import io
import math
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradus.app.progress import Plain
from gradus.data.images import ImageSet, ImageSplits
from gradus.engine.learner import Stop
from gradus.engine.loop import History, fit
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.vision.recipes import Classify

__all__ = ["Gradus", "Standardised", "mnist_shaped", "recipe_for", "standardised"]

CLASSES = 10


def mnist_shaped(images: int = 60_000, seed: int = 0, test: int = 10) -> ImageSplits:
    """Return grey 28×28 images of ten classes, a tenth of the training images kept for validation as with MNIST.

    Args:
        images: training images, those for validation included.
        seed: of patterns and noise.
        test: test images.
    """
    stream = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (images + test,), generator=stream)
    patterns = torch.randint(0, 128, (CLASSES, 1, 28, 28), generator=stream, dtype=torch.uint8)
    noise = torch.randint(0, 128, (images + test, 1, 28, 28), generator=stream, dtype=torch.uint8)
    everything = ImageSet.of_tensor(noise.add_(patterns[labels]), labels, [str(i) for i in range(CLASSES)])
    order = torch.randperm(images, generator=stream)
    parts = [order[images // 10 :].sort().values, order[: images // 10].sort().values]
    train, val = (everything.take(rows) for rows in parts)
    held = everything.take(range(images, images + test))
    return ImageSplits(train, val, held, "mnist-shaped", train.classes, f"mnist-shaped-{images}-{seed}")


def recipe_for(splits: ImageSplits, **options: Any) -> Classify:
    """Return the recipe with its shipped defaults but for `options`, on given data."""

    class Given(Classify):
        def splits(self) -> ImageSplits:
            return splits

    return Given(data=splits.name, **{"model": "lenet", "device": "cpu", **options})


@dataclass
class Standardised:
    """What everybody else trains on: the same images as standardised floats, and where training starts.

    Attributes:
        images: (count, 1, 28, 28), the training images after (x / 255 − mean) / std.
        labels: (count,).
        order: the rows of the first epoch in the order that our source deals them.
        weights: LeNet's initial parameters, in the order of its layers.
    """

    images: Tensor
    labels: Tensor
    order: Tensor
    weights: list[Tensor]

    def dealt(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first images and labels in our source's order, for runs that must agree step by step."""
        rows = self.order[:count]
        return self.images[rows], self.labels[rows]


class Gradus:
    """A training as shipped.

    Args:
        splits: the data.
        folder: where the run folder is made; None runs without one.
        options: of the recipe.
    """

    def __init__(self, splits: ImageSplits, folder: Path | None = None, **options: Any) -> None:
        self.recipe = recipe_for(splits, **options)
        settings: dict[str, Any] = {"seed": self.recipe.seed, "device": "cpu", "log_every": self.recipe.log_every}
        self.run = Run.ephemeral(**settings) if folder is None else Run.create(folder / "run", **settings)
        self.build: Build = self.recipe.build(self.run)
        # Progress without a terminal; its line of every ten seconds would only litter the output.
        self.watchers = [*self.build.watchers, Plain("bench", every=math.inf)]
        self._pause = _Pause()

    @property
    def model(self) -> Any:
        """The image model that is trained."""
        return self.build.learner.model  # type: ignore[attr-defined]

    def start(self, splits: ImageSplits) -> Standardised:
        """Return the data and the initial weights for the other side; call it before training."""
        return standardised(splits, self.model, self.build.source.sampler.order(0))  # type: ignore[attr-defined]

    def drive(self, tick: Callable[..., None] | None = None) -> History:
        """Train to the end, calling `tick` after every step before any other watcher."""
        watchers = [*([tick] if tick else []), *self.watchers]
        with self.run, redirect_stderr(io.StringIO()):
            return self._fit(watchers)

    def advance(self, steps: int) -> None:
        """Make a number of steps, as another loop's turn: `fit` is left by a watcher and entered again.

        Leaving and entering cost some microseconds a turn, which count against us.
        """
        self._pause.left = steps
        self._fit([*self.watchers, self._pause])

    def _fit(self, watchers: Sequence[Any]) -> History:
        build = self.build
        return fit(build.learner, build.source, run=self.run, steps=build.steps, watchers=watchers)


class _Pause:
    """Leaves `fit` after a number of steps; as the last watcher it lets the others see an ordinary step."""

    left = 0

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop("the others' turn")


def standardised(splits: ImageSplits, model: Any, order: Tensor) -> Standardised:
    """Return the training images as a tutorial would hold them, with the weights that a model has now."""
    batches = [(images - model.mean.cpu()) / model.std.cpu() for images, _ in splits.train.batches(4096)]
    weights = [p.detach().clone() for p in model.network.parameters()]
    return Standardised(torch.cat(batches), splits.train.labels, order, weights)
