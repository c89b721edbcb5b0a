"""The recipes of vision, as flat typed data. Imports no torch: building does."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.options import Divided, Optimised, between
from gradus.engine.recipe import Build, positive
from gradus.engine.validated import Judged, Validated
from gradus.errors import GradusError

if TYPE_CHECKING:
    from gradus.data.images import ImageSet, ImageSplits
    from gradus.engine.run import Run
    from gradus.vision.classify import Classifier, ClassifyImages, ImageModel

__all__ = ["Classify"]


@canon(
    "vision/classify", kind="recipe", paper="LeCun et al. 1998, Gradient-based learning applied to document recognition"
)
@dataclass(frozen=True, kw_only=True)
class Classify(Optimised, Divided, Validated):
    """Train an image classifier on a named data set or on a folder with one sub-folder of images per class."""

    data: str = "digits"
    """A registered data set (digits, mnist, fashion-mnist, cifar10, cifar10-jpeg) or a folder of images."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    model: str = "auto"
    """A named architecture (`gradus list --kind classifier`); auto is lenet up to 32 pixels, else resnet18."""
    heads: int = 1
    """Heads on one trunk, each with a loss of its own, that predict together."""
    image_size: int | None = None
    """Side in pixels that images are brought to; their own size when left out."""
    channels: int | None = None
    """1 for grey, 3 for colour; as the data when left out."""
    limit: int | None = None
    """Use at most this many training images."""
    batch_size: int = 64
    """Images per step, over all processes."""
    workers: int = 0
    """Processes that decode images, for folders too large for memory."""
    augment: str = "none"
    """Augmentations, e.g. flip,crop=4,rotate=10,mixup=0.2."""
    label_smoothing: float = 0.0
    """Probability mass spread evenly over the classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weigh the classes in the loss; balanced makes each count the same."""
    monitor: str = "val/accuracy"
    """Metric by which the best weights are kept: val/accuracy or val/loss."""
    from_run: str | None = None
    """Start from the weights of another run (also spelled --from)."""
    freeze: Literal["none", "trunk"] = "none"
    """trunk: train the head only."""
    trunk_lr: float = 1.0
    """Factor on the learning rate below the head, for fine-tuning."""

    rarely: ClassVar[int] = 1
    capabilities: ClassVar[tuple[str, ...]] = ("predict", "explain", "attack", "export")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "heads", "image_size", "channels", "limit", "batch_size", "trunk_lr")
        between(self, 0, 1, "label_smoothing")
        if self.monitor not in ("val/accuracy", "val/loss"):
            raise GradusError(f"--monitor is val/accuracy or val/loss, got {self.monitor!r}")
        if self.workers < 0:
            raise GradusError(f"--workers must not be negative, got {self.workers}")
        if self.freeze != "none" and self.from_run is None:
            raise GradusError(
                "--freeze trunk trains only the head, so the trunk must come from somewhere: add --from RUN"
            )

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        name = "lenet" if self.model == "auto" else self.model
        return {"model": registry.lookup("classifier", name, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "name", "classes", "channels", "image_size")

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.data.augment import Augment
        from gradus.data.sources import ImageSource
        from gradus.vision.classify import ClassifyImages

        splits = self.splits()
        model, facts = self.model_for(splits, run)
        source = ImageSource(
            splits.train, batch_size=min(self.batch_size, len(splits.train)), seed=run.streams.derive("data"),
            augment=None if self.augment == "none" else Augment(self.augment),
            device=run.device, rank=run.ranks.rank, world=run.ranks.world, workers=self.workers,
        )  # fmt: skip
        steps = self.planned_steps(source.batches_per_epoch)
        network = model.network
        parts = {"head": network.head, "trunk": network} if self.trunk_lr != 1 else {"": network}
        update = self.updater(parts, steps, {"trunk": self.trunk_lr})
        learner = ClassifyImages(
            model, update, label_smoothing=self.label_smoothing, class_weights=self._class_weights(splits, run),
            frozen=[model.network.trunk] if self.freeze == "trunk" else [], classes=splits.classes, facts=facts,
            fingerprint=splits.fingerprint,
        )  # fmt: skip
        best: Judged = (self.monitor, "max" if self.monitor == "val/accuracy" else "min")
        validate = self._validation(run, learner, splits.val)
        watchers = self.watchers(run, learner, validate, source.batches_per_epoch, best)
        notes = {
            "model": facts["model"], "parameters": sum(p.numel() for p in model.parameters()),
            "train": len(splits.train), "val": len(splits.val), "test": len(splits.test),
            "classes": len(splits.classes), "steps": steps, "data": splits.fingerprint[:12],
        }  # fmt: skip
        return Build(learner, source, steps, watchers, notes)

    def splits(self) -> "ImageSplits":
        """Return the data of the run."""
        from gradus.data.registry import load_images

        return load_images(
            self.data, data_dir=self.data_dir, image_size=self.image_size, channels=self.channels,
            limit=self.limit, **self.division,
        )  # fmt: skip

    def model_for(self, splits: "ImageSplits", run: "Run") -> tuple["ImageModel", dict[str, Any]]:
        """Return the model, prepared on the device, and the facts that rebuild it."""
        import torch

        from gradus.vision import classify

        origin = run.load(self.from_run, device="cpu") if self.from_run else None
        if origin is not None and not isinstance(origin, classify.Classifier):
            raise GradusError(f"--from {self.from_run}: that run holds no image classifier")
        facts = classify.describe(
            self.model if origin is None or self.model != "auto" else origin.facts["model"],
            splits, self.settings()["model"], None if origin is None else origin.facts, self.heads,
        )  # fmt: skip
        with run.stream("init"):
            model = classify.fresh(facts, len(splits.classes))
        if origin is not None:
            classify.transfer(origin.module, model, self.from_run or "")
        if self.freeze == "trunk":
            for p in model.network.trunk.parameters():
                p.requires_grad_(False)
        model = model.to(memory_format=torch.channels_last)  # faster for grey images too
        return run.prepare(model), facts  # type: ignore[return-value]

    def _class_weights(self, splits: "ImageSplits", run: "Run") -> Any:
        if self.class_weights == "none":
            return None
        import torch

        counts = torch.bincount(splits.train.labels, minlength=len(splits.classes)).clamp(min=1).float()
        return (counts.sum() / (len(counts) * counts)).to(run.device)

    def _validation(
        self, run: "Run", learner: "ClassifyImages", val: "ImageSet"
    ) -> "Callable[[], Mapping[str, float]]":
        from gradus.vision import classify

        part = val.take(range(min(2 * self.batch_size, len(val)))) if self.fast_dev_run else val
        return lambda: classify.evaluate(learner.model, part.batches(256, run.device), "val")

    def product(self, learner: "ClassifyImages") -> "Classifier":
        """Return the classifier with the weights that the learner holds, averaged ones where there are any."""
        from gradus.vision.classify import Classifier

        raw = None if learner.update.ema is None else {k: v.clone() for k, v in learner.model.state_dict().items()}
        with learner.averaged():
            module = copy.deepcopy(learner.model).eval()
        return Classifier(module, learner.classes, learner.facts, raw)

    def evaluate(self, product: "Classifier", split: str, device: str = "auto") -> dict[str, float]:
        """Return loss and accuracy on `val` or `test`."""
        from gradus.vision.classify import evaluate

        splits = self.splits()
        if splits.classes != product.classes:
            raise GradusError(f"the data {self.data!r} has other classes now than when the run was trained")
        part = {"train": splits.train, "val": splits.val, "test": splits.test}[split]
        return evaluate(product.scores, part.batches(256, product.device), split)
