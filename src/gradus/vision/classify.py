"""Image classification: the learner, and the product that takes raw pixels.

    p(y | x) = softmax f_θ((resize(x) − μ) / σ),     L = −(1/B) Σ_i w_{y_i} log p(y_i | x_i)

μ and σ are the training set's per channel; they, and the resizing, live inside the model, so that whatever looks at
the product (an attack, an explanation, an export) works on pixels in [0, 1].
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.data.images import ImageBatch, ImageSet, ImageSplits
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State, collect, notice_change, restore
from gradus.engine.updater import Updater
from gradus.errors import GradusError
from gradus.nn.many_heads import ManyHeads
from gradus.vision import models

__all__ = ["Classifier", "ClassifyImages", "ImageModel", "evaluate"]


class ImageModel(nn.Module):
    """A network with its preprocessing: resize to the network's size, standardise each channel.

    Args:
        network: takes standardised images, gives logits.
        size: height and width that the network sees.
        mean: per channel, in [0, 1].
        std: per channel.
    """

    network: Any
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, size: tuple[int, int], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network, self.size = network, size
        self.auxiliary = hasattr(network, "training_outputs")
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1))

    def prepare(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels h w"]:
        """Return images as the network sees them."""
        if images.shape[-2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=True)
        return (images - self.mean) / self.std

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images in [0, 1]."""
        return self.network(self.prepare(images))

    def outputs(self, images: Float[Tensor, "batch channels height width"]) -> list[tuple[float, Tensor]]:
        """Return weighted logits for training: the main ones, and those of auxiliary heads where there are any."""
        if self.auxiliary:
            return self.network.training_outputs(self.prepare(images))
        return [(1.0, self(images))]


class ClassifyImages:
    """The learner: cross-entropy of an image model's logits.

    Args:
        model: prepared by the run.
        update: owns the model's trainable parameters.
        label_smoothing: mass spread evenly over the classes.
        class_weights: w, one a class.
        frozen: modules that stay as they are, their running statistics included.
        classes: names, for the product.
        facts: what rebuilds the model, for the product.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(
        self,
        model: ImageModel,
        update: Updater,
        *,
        label_smoothing: float = 0.0,
        class_weights: Float[Tensor, " classes"] | None = None,
        frozen: Sequence[nn.Module] = (),
        classes: Sequence[str] = (),
        facts: State | None = None,
        fingerprint: str = "",
    ) -> None:
        self.model, self.update, self.fingerprint = model, update, fingerprint
        self.classes, self.facts = tuple(classes), facts or {}
        self.label_smoothing, self.class_weights, self.frozen = label_smoothing, class_weights, list(frozen)
        self._solvers = [module for module in model.modules() if hasattr(module, "nfev")]

    def __repr__(self) -> str:
        return f"ClassifyImages({self.facts.get('model', 'model')}, {len(self.classes)} classes, {self.update})"

    def step(self, batch: ImageBatch) -> Mapping[str, Tensor | float]:
        """Make one update; returns loss, accuracy and learning rate, and the evaluations of layers that solve."""
        if not self.model.training:  # walking the modules at every step would show in its time
            self.model.train()
            for module in self.frozen:
                module.eval()
        outputs = self.model.outputs(batch.images)
        info = self.update(self._total(outputs, batch.labels))
        hard = batch.labels if batch.labels.ndim == 1 else batch.labels.argmax(1)
        metrics: dict[str, Tensor | float] = {
            "loss": info.loss, "accuracy": outputs[0][1].argmax(1) == hard, "lr": info.lr,
        }  # fmt: skip
        if self._solvers:
            metrics["nfev"] = float(sum(module.nfev for module in self._solvers))
        return metrics if info.grad_norm is None else {**metrics, "grad_norm": info.grad_norm}

    def _total(self, outputs: Sequence[tuple[float, Tensor]], labels: Tensor) -> Tensor:
        """Return the weighted sum of the heads' losses."""
        total: Tensor | None = None
        for weight, logits in outputs:
            loss = F.cross_entropy(logits, labels, weight=self.class_weights, label_smoothing=self.label_smoothing)
            weighted = loss if weight == 1 else weight * loss
            total = weighted if total is None else total + weighted
        assert total is not None, "a model without outputs"
        return total

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights, where there are any, into the model in evaluation mode for a while."""
        self.model.eval()
        with self.update.ema.swap() if self.update.ema is not None else nullcontext():
            yield

    def state_dict(self) -> State:
        """Return the model's and the Updater's state."""
        return {**collect(model=self.model, update=self.update), "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        restore(state, model=self.model, update=self.update)
        notice_change(state["fingerprint"], self.fingerprint)


def evaluate(scores: Callable[[Tensor], Tensor], batches: Iterator[ImageBatch], prefix: str) -> dict[str, float]:
    """Return `<prefix>/loss` and `<prefix>/accuracy` of one pass, with one read from the device.

    Args:
        scores: images to logits.
        batches: a finite pass over labelled images.
        prefix: name of the split.
    """
    total: Tensor | None = None
    count = 0
    with torch.inference_mode():
        for images, labels in batches:
            logits = scores(images).float()
            loss = F.cross_entropy(logits, labels, reduction="sum").double()
            sums = torch.stack([loss, (logits.argmax(1) == labels).sum().double()])
            total = sums if total is None else total + sums
            count += len(labels)
    assert total is not None, "an empty split"
    loss_sum, correct = total.tolist()
    return {f"{prefix}/loss": loss_sum / count, f"{prefix}/accuracy": correct / count}


@canon("vision/classifier", kind="product")
class Classifier:
    """An image classifier ready to be used: raw pixels in, class probabilities out.

    Args:
        module: the model with its preprocessing.
        classes: names, in the order of the logits.
        facts: constructor arguments of the network: `model`, `channels`, `size`, `settings`, `mean`, `std`, `heads`.
        raw: state dict of the weights without averaging, where `module` holds averaged ones.
    """

    kind = "an image classifier"

    def __init__(
        self, module: ImageModel, classes: Sequence[str], facts: State, raw: dict[str, Tensor] | None = None
    ) -> None:
        self.module, self.classes, self.facts, self.raw = module, tuple(classes), facts, raw

    def __repr__(self) -> str:
        return f"Classifier({self.facts['model']}, {len(self.classes)} classes, {self.facts['channels']} channels)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return self.module.mean.device

    @property
    def channels(self) -> int:
        """Channels of an input image."""
        return self.facts["channels"]

    @property
    def feature_map(self) -> nn.Module:
        """The last spatial layer, for Grad-CAM."""
        return self.module.network.feature_map

    def scores(self, inputs: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images in [0, 1]; differentiable."""
        return self.module(inputs)

    def predict(self, inputs: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return class probabilities of images in [0, 1]."""
        with torch.inference_mode():
            return self.module(inputs.to(self.device)).float().softmax(1)

    def read(self, path: Path, batch_size: int = 64) -> Iterator[InputBatch]:
        """Read image files (one, or a folder of them) in batches as raw inputs."""
        images = ImageSet.at(path, channels=self.channels, image_size=self.module.size)
        for i, batch in enumerate(images.batches(batch_size, self.device)):
            yield InputBatch(images.names[i * batch_size : (i + 1) * batch_size], batch.images)

    def exportable(self) -> tuple[nn.Module, Tensor]:
        """Return the module to export and an example input."""
        return self.module, torch.rand(2, self.channels, *self.module.size, device=self.device)

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, and what is needed to build the model again."""
        weights = {"model": dict(self.module.state_dict())} | ({"raw": self.raw} if self.raw else {})
        save_product(folder, "classifier", {**self.facts, "classes": list(self.classes)}, weights)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "Classifier":
        """Build the model from `product.json` and load its weights."""
        keys = ("model", "channels", "size", "settings", "mean", "std", "heads")
        described = {key: facts[key] for key in keys if key in facts}
        module = assemble(described, len(facts["classes"]))
        load_weights(module, folder)
        return cls(module, facts["classes"], described)


def assemble(facts: State, classes: int) -> ImageModel:
    """Return the image model that `facts` describe, its weights fresh.

    Args:
        facts: `model`, `channels`, `size`, `settings`, `mean`, `std`, and `heads` where there are several.
        classes: how many.
    """
    size = (int(facts["size"][0]), int(facts["size"][1]))
    settings: State = {key: tuple(v) if isinstance(v, list) else v for key, v in facts["settings"].items()}
    shape: State = {"classes": classes, "channels": facts["channels"], "image_size": size}
    networks = [models.build(facts["model"], **shape, **settings) for _ in range(facts.get("heads", 1))]
    network = networks[0] if len(networks) == 1 else ManyHeads(networks)
    return ImageModel(network, size, facts["mean"], facts["std"])


def describe(name: str, splits: ImageSplits, settings: State, origin: State | None = None, heads: int = 1) -> State:
    """Return the facts that rebuild a model for a data set.

    Args:
        name: of the architecture, or `auto`.
        splits: the data, whose training images give size, channels, mean and deviation.
        settings: of the architecture.
        origin: facts of the model whose weights are taken over, with its size, channels and standardisation.
        heads: how many share the trunk.
    """
    height, width = splits.train.image_size
    several = {} if heads == 1 else {"heads": heads}
    if origin is not None:
        kept = {key: origin[key] for key in ("size", "channels", "mean", "std")}
        return {"model": name, "settings": {**origin["settings"], **settings}, **kept, **several}
    chosen = ("lenet" if max(height, width) <= 32 else "resnet18") if name == "auto" else name
    mean, std = splits.train.moments()
    shape = {"channels": splits.train.channels, "size": [height, width]}
    return {"model": chosen, **shape, "settings": settings, "mean": mean, "std": std, **several}


def fresh(facts: State, classes: int) -> ImageModel:
    """Return the image model that `facts` describe, with `size` raised to the least that the architecture can take.

    Args:
        facts: as `describe` gives them; `size` is changed in place.
        classes: how many.
    """
    model = assemble(facts, classes)
    least = model.network.minimum_size
    if min(model.size) >= least:
        return model
    facts["size"] = [max(side, least) for side in model.size]
    return assemble(facts, classes)


def transfer(origin: ImageModel, model: ImageModel, name: str) -> None:
    """Copy the weights of another run's model; a head for another number of classes stays fresh.

    Raises:
        GradusError: if the architectures differ.
    """
    theirs, own = origin.state_dict(), model.state_dict()
    fitting = {key: value for key, value in theirs.items() if key in own and own[key].shape == value.shape}
    missing = [key for key in own if key not in fitting and not key.startswith("network.head.")]
    if missing or theirs.keys() - own.keys():
        raise GradusError(
            f"--from {name}: that run's model is of another architecture; leave --model out to take over its own"
        )
    model.load_state_dict(fitting, strict=False)
