"""The product: an image classifier whose weights were learned by this room, ready to be used as any other.

It computes by the network's mirror in PyTorch, so that it can be explained, attacked and exported.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.backprop.architectures import build
from gradus.backprop.mirror import Mirror
from gradus.backprop.network import Network
from gradus.canon import canon
from gradus.data.images import ImageSet
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State

__all__ = ["NetworkClassifier"]


@canon("backprop/network", kind="product")
class NetworkClassifier:
    """An image classifier trained by hand-written gradients: raw pixels in, class probabilities out.

    Args:
        network: the trained network; its weights are copied.
        facts: what rebuilds it: `model`, `channels`, `size`, `mean`, `std`, `classes`, `settings`.
    """

    kind = "an image classifier"

    def __init__(self, network: Network, facts: State) -> None:
        self.facts, self.classes = facts, tuple(facts["classes"])
        self.module = Mirror(network, (int(facts["size"][0]), int(facts["size"][1])))
        self.module.eval()

    def __repr__(self) -> str:
        model, channels = self.facts["model"], self.facts["channels"]
        return f"NetworkClassifier({model}, {len(self.classes)} classes, {channels} channels)"

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return next(self.module.parameters()).device

    @property
    def feature_map(self) -> nn.Module:
        """The last spatial layer, for Grad-CAM: the last rectified maps, or for a perceptron the image itself."""
        stages = len(self.facts["settings"].get("width", ()))
        return self.module.get_submodule(f"relu{stages}" if stages else "standardise")

    def scores(self, inputs: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the logits of images in [0, 1]; differentiable."""
        return self.module(inputs)

    def predict(self, inputs: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return class probabilities of images in [0, 1]."""
        with torch.inference_mode():
            return self.module(inputs.to(self.device)).softmax(1)

    def read(self, path: Path, batch_size: int = 64) -> Iterator[InputBatch]:
        """Read image files (one, or a folder of them) in batches as raw inputs."""
        images = ImageSet.at(path, channels=self.facts["channels"], image_size=self.module.size)
        for i, batch in enumerate(images.batches(batch_size, self.device)):
            yield InputBatch(images.names[i * batch_size : (i + 1) * batch_size], batch.images)

    def exportable(self) -> tuple[nn.Module, Tensor]:
        """Return the module to export and an example input."""
        return self.module, torch.rand(2, self.facts["channels"], *self.module.size, device=self.device)

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, and what is needed to build the network again."""
        save_product(folder, "network", self.facts, {"model": dict(self.module.state_dict())})

    @classmethod
    def load(cls, folder: Path, facts: State) -> "NetworkClassifier":
        """Build the network from `product.json` and load its weights."""
        keys = ("model", "channels", "size", "mean", "std", "classes", "settings")
        described = {key: facts[key] for key in keys}
        network = build(described, np.random.default_rng(0))
        network.cast(np.float32)
        product = cls(network, described)
        load_weights(product.module, folder)
        return product
