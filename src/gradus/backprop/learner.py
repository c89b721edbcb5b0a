"""Training a network of this room: the whole of supervised learning in one short `step`.

ŷ = f(x; θ),   L = loss(ŷ, y),   dŷ = ∂L/∂ŷ,   dθ = backward(dŷ),   θ ← θ − η_t v_t(dθ)
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.backprop.layer import Array
from gradus.backprop.losses import SoftmaxCrossEntropy
from gradus.backprop.network import Network
from gradus.backprop.sgd import SGD
from gradus.data.images import ImageBatch
from gradus.engine.learner import Metrics
from gradus.engine.state import State, notice_change
from gradus.errors import GradusError

__all__ = ["Backpropagation", "evaluate", "scores_of"]


class Backpropagation:
    """The learner: softmax-cross-entropy of a network's scores, lowered by gradients written out by hand.

    Args:
        network: takes images, gives scores.
        update: holds the network's parameters.
        rate: the learning rate at step 0, 1, …
        facts: what rebuilds the network, for the product.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(
        self,
        network: Network,
        update: SGD,
        rate: Callable[[int], float],
        *,
        facts: State | None = None,
        fingerprint: str = "",
    ) -> None:
        self.network, self.update, self.rate = network, update, rate
        self.facts, self.fingerprint = facts or {}, fingerprint
        self.loss = SoftmaxCrossEntropy()
        self.steps = 0

    def __repr__(self) -> str:
        return f"Backpropagation({self.network!r})"

    def step(self, batch: ImageBatch) -> Metrics:
        """Make one forward pass, one backward pass and one update; returns loss, accuracy and learning rate."""
        images, labels = batch.images.numpy(), batch.labels.numpy()
        self.network.train()
        self.network.seek(self.steps)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            logits = self.network.forward(images)
            loss = self.loss.forward(logits, labels)
            self._require_finite(loss, images)
            self.network.backward(self.loss.backward())
            lr = self.rate(self.steps)
            self.update.step(self.network.grads, lr)
        self.steps += 1
        hard = labels if labels.ndim == 1 else labels.argmax(1)
        accuracy = float((logits.argmax(1) == hard).mean())
        return {"loss": torch.tensor(loss), "accuracy": torch.tensor(accuracy), "lr": lr}

    def _require_finite(self, loss: float, images: Float[Array, "batch channels height width"]) -> None:
        if not math.isfinite(loss):
            where = self.network.first_broken(images) or "in the loss itself"
            raise GradusError(f"the loss became {loss} at step {self.steps + 1}: it began {where}; lower --lr")

    def scores(self, images: Tensor) -> Float[Array, "batch classes"]:
        """Return the network's scores of images in evaluation."""
        self.network.train(False)
        return self.network.forward(images.numpy())

    def state_dict(self) -> State:
        """Return parameters, running statistics, velocities and the number of steps."""
        return {
            "params": self.network.params,
            "buffers": self.network.buffers,
            "velocity": self.update.velocity,
            "steps": self.steps,
            "fingerprint": self.fingerprint,
        }

    def load_state_dict(self, state: State) -> None:
        """Put all of them back in place."""
        for name in ("params", "buffers", "velocity"):
            live = self.state_dict()[name]
            assert live.keys() == state[name].keys(), f"the {name} are another network's"
            for key, array in live.items():
                array[...] = state[name][key]
        self.steps = state["steps"]
        notice_change(state["fingerprint"], self.fingerprint)


def scores_of(product: Any) -> Callable[[Tensor], Array]:
    """Return a function from images to the scores of a product, or of an ensemble of them, as an array."""

    def scores(images: Float[Tensor, "batch channels height width"]) -> Float[Array, "batch classes"]:
        with torch.inference_mode():
            return product.scores(images.to(product.device)).cpu().numpy()

    return scores


def evaluate(scores: Callable[[Tensor], Array], batches: Iterable[ImageBatch], prefix: str) -> dict[str, float]:
    """Return `<prefix>/loss` and `<prefix>/accuracy` of one pass.

    Args:
        scores: images to scores.
        batches: a finite pass over labelled images.
        prefix: name of the split.

    Raises:
        GradusError: if there are no images.
    """
    loss, total, correct, count = SoftmaxCrossEntropy(), 0.0, 0, 0
    for images, labels in batches:
        logits, truth = scores(images), labels.numpy()
        total += loss.forward(logits, truth) * len(truth)
        correct += int((logits.argmax(1) == truth).sum())
        count += len(truth)
    if not count:
        raise GradusError(f"the {prefix} split holds no images: raise --{prefix}-fraction")
    return {f"{prefix}/loss": total / count, f"{prefix}/accuracy": correct / count}
