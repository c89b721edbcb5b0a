"""The recipes of this room, as flat typed data: a perceptron and a convolutional network. Imports no torch."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import Divided, between
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError

if TYPE_CHECKING:
    from gradus.backprop.classifier import NetworkClassifier
    from gradus.backprop.learner import Backpropagation
    from gradus.data.images import ImageSplits
    from gradus.engine.run import Run

__all__ = ["TrainCNN", "TrainMLP"]


@dataclass(frozen=True, kw_only=True)
class Backprop(Divided):
    """What both recipes have in common: images, SGD, and NumPy, which computes on the CPU in float32."""

    data: str = "digits"
    """A registered data set (digits, mnist, fashion-mnist, cifar10, cifar10-jpeg) or a folder of images."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    image_size: int | None = None
    """Side in pixels that images are brought to; their own size when left out."""
    channels: int | None = None
    """1 for grey, 3 for colour; as the data when left out."""
    limit: int | None = None
    """Use at most this many training images."""
    augment: str = "none"
    """Augmentations, e.g. flip,crop=4,rotate=10."""
    batch_size: int = 32
    """Images per step."""
    lr: float = 0.05
    """Learning rate at its highest."""
    schedule: str = "cosine"
    """Course of the learning rate (`gradus list --kind schedule`)."""
    momentum: float = 0.9
    """Share of the last step's velocity that is kept."""
    weight_decay: float = 1e-4
    """Pull of the weights towards zero; biases and gains are left alone."""
    dropout: float = 0.2
    """Part of the hidden numbers that is dropped at random in training."""

    capabilities: ClassVar[tuple[str, ...]] = ("predict", "explain", "attack", "export")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "image_size", "channels", "limit", "batch_size", "lr")
        between(self, 0, 1, "momentum", "dropout")
        if not 0 <= self.weight_decay < math.inf:
            raise GradusError(f"--weight-decay must not be negative, got {self.weight_decay}")
        registry.lookup("schedule", self.schedule)
        if self.device not in ("auto", "cpu"):
            raise GradusError(f"--device {self.device}: this recipe computes with NumPy, on the CPU; leave it out")
        for name, plain in (("precision", "float32"), ("compile", False), ("shard", False)):
            if getattr(self, name) != plain:
                raise GradusError(
                    f"--{name}: this recipe computes with NumPy, in float32, as it is written; leave it out"
                )

    @property
    @abstractmethod
    def model(self) -> tuple[str, dict[str, Any]]:
        """Name and settings of the architecture."""

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        import numpy as np

        from gradus.backprop import architectures
        from gradus.backprop.learner import Backpropagation
        from gradus.backprop.sgd import SGD
        from gradus.data.sources import ImageSource
        from gradus.optim.schedules import make as make_schedule

        if run.ranks.world > 1:
            raise GradusError("this recipe trains in one process: start it without torchrun")
        splits = self.splits()
        batch_size = min(self.batch_size, len(splits.train))
        source = ImageSource(
            splits.train, batch_size=batch_size, seed=run.streams.derive("data"),
            augment=None if self.augment == "none" else self.augment,
            drop_last=len(splits.train) % batch_size == 1,  # batch normalisation cannot train on one image
        )  # fmt: skip
        steps = self.planned_steps(source.batches_per_epoch)
        facts = self.facts(splits)
        network = architectures.build(facts, np.random.default_rng(run.streams.derive("init")))
        network.cast(np.float32)
        schedule = make_schedule(self.schedule, total_steps=steps)
        learner = Backpropagation(
            network, SGD(network.params, self.momentum, self.weight_decay), lambda t: self.lr * schedule(t),
            facts=facts, fingerprint=splits.fingerprint,
        )  # fmt: skip
        notes = {
            "model": facts["model"], "parameters": sum(p.size for p in network.params.values()),
            "train": len(splits.train), "val": len(splits.val), "test": len(splits.test),
            "classes": len(splits.classes), "steps": steps, "data": splits.fingerprint[:12],
        }  # fmt: skip
        return Build(learner, source, steps, self._watchers(run, learner, splits), notes)

    def splits(self) -> "ImageSplits":
        """Return the data of the run."""
        from gradus.data.registry import load_images

        return load_images(
            self.data, data_dir=self.data_dir, image_size=self.image_size, channels=self.channels,
            limit=self.limit, **self.division,
        )  # fmt: skip

    def facts(self, splits: "ImageSplits") -> dict[str, Any]:
        """Return what rebuilds the network, without its weights."""

        name, settings = self.model
        mean, std = splits.train.moments()
        return {
            "model": name, "channels": splits.train.channels, "size": list(splits.train.image_size),
            "mean": mean, "std": std, "classes": list(splits.classes), "settings": settings,
        }  # fmt: skip

    def _watchers(self, run: "Run", learner: "Backpropagation", splits: "ImageSplits") -> Sequence[Any]:
        from gradus.backprop.learner import evaluate
        from gradus.engine.watchers import Checkpoint, Evaluate, KeepBest, MaxTime

        val = splits.val.take(range(min(2 * self.batch_size, len(splits.val)))) if self.fast_dev_run else splits.val
        watchers: list[Any] = []
        if len(val):
            watchers = [
                Evaluate(run, lambda: evaluate(learner.scores, val.batches(256), "val")),
                KeepBest(run, "val/loss", "min"),  # a small set has too few images for accuracy to tell epochs apart
            ]
        every = {"every_steps": self.checkpoint_every, "every_epochs": None if self.checkpoint_every else 1}
        watchers.append(Checkpoint(run, **every))
        return watchers if self.max_time is None else [*watchers, MaxTime(run, self.max_time)]

    def product(self, learner: "Backpropagation") -> "NetworkClassifier":
        """Return the classifier with the weights that the learner holds."""
        from gradus.backprop.classifier import NetworkClassifier

        return NetworkClassifier(learner.network, learner.facts)

    def evaluate(self, product: Any, split: str, device: str = "auto") -> dict[str, float]:
        """Return loss and accuracy on `val` or `test`."""
        from gradus.backprop.learner import evaluate, scores_of

        splits = self.splits()
        if splits.classes != product.classes:
            raise GradusError(f"the data {self.data!r} has other classes now than when the run was trained")
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        return evaluate(scores_of(product), part.batches(256), split)


@canon(
    "backprop/mlp",
    kind="recipe",
    paper="Rumelhart, Hinton and Williams 1986, Learning representations by back-propagating errors",
)
@dataclass(frozen=True, kw_only=True)
class TrainMLP(Backprop):
    """Train a multi-layer perceptron on images with NumPy alone, every gradient written out by hand."""

    hidden: tuple[int, ...] = (256, 128)
    """Length of each hidden layer."""
    activation: Literal["relu", "leaky_relu", "sigmoid", "tanh", "swish", "gelu"] = "relu"
    """What follows each hidden layer."""
    norm: Literal["none", "batch", "layer"] = "batch"
    """Normalisation before each activation."""

    def __post_init__(self) -> None:
        """Check the hidden layers."""
        super().__post_init__()
        if any(size < 1 for size in self.hidden):
            raise GradusError(f"--hidden takes positive lengths, got {' '.join(map(str, self.hidden))}")

    @property
    def model(self) -> tuple[str, dict[str, Any]]:
        """The perceptron's name and settings."""
        rest = {"activation": self.activation, "norm": self.norm, "dropout": self.dropout}
        return "mlp", {"hidden": list(self.hidden), **rest}


@canon(
    "backprop/cnn",
    kind="recipe",
    paper="LeCun et al. 1998, Gradient-based learning applied to document recognition",
)
@dataclass(frozen=True, kw_only=True)
class TrainCNN(Backprop):
    """Train a small convolutional network on images with NumPy alone, every gradient written out by hand."""

    width: tuple[int, ...] = (16, 32)
    """Channels of each stage; each halves height and width."""

    def __post_init__(self) -> None:
        """Check the stages."""
        super().__post_init__()
        if not self.width or any(size < 1 for size in self.width):
            raise GradusError(f"--width takes one positive number or more, got {' '.join(map(str, self.width))!r}")

    @property
    def model(self) -> tuple[str, dict[str, Any]]:
        """The network's name and settings."""
        return "cnn", {"width": list(self.width), "dropout": self.dropout}
