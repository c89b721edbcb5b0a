"""One runner of the race of optimisers: a small perceptron on images, trained by one update rule at one rate.

    L(θ) = (1/B) Σ_i −log softmax(f_θ(x_i))_{y_i}

x are pixels, standardised by mean and deviation of all training images.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.data.registry import load_images
from gradus.data.sources import TensorSource
from gradus.engine.learner import Clock, Metrics, Stop
from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.engine.state import State, collect, restore
from gradus.engine.updater import Updater
from gradus.nn.mlp import MLP
from gradus.optim.rule import make

__all__ = ["Images", "Lap", "images", "race"]

LOST = 1e4  # a mean loss of a whole epoch from which nobody comes back


class Images(NamedTuple):
    """Standardised images as rows, with their labels, by split."""

    train: tuple[Float[Tensor, "count pixels"], Int64[Tensor, " count"]]
    val: tuple[Float[Tensor, "count pixels"], Int64[Tensor, " count"]]
    test: tuple[Float[Tensor, "count pixels"], Int64[Tensor, " count"]]
    classes: int


class Lap(NamedTuple):
    """How one training went.

    Attributes:
        losses: mean training loss of each epoch.
        val: accuracy on the validation images after each epoch.
        test: accuracy on the test images at the end.
    """

    losses: list[float]
    val: list[float]
    test: float


@lru_cache(maxsize=1)
def images(data: str, data_dir: str | None, seed: int) -> Images:
    """Return a data set's images as the race takes them."""
    splits = load_images(data, data_dir=data_dir, seed=seed)
    parts = [splits.train, splits.val, splits.test]
    flat = [torch.cat([batch.images.flatten(1) for batch in part.batches(1024)]) for part in parts]
    mean, std = flat[0].mean(), flat[0].std()
    train, val, test = (((x - mean) / std, part.labels) for x, part in zip(flat, parts, strict=True))
    return Images(train, val, test, len(splits.classes))


class _Runner:
    """The learner: cross-entropy of a perceptron."""

    def __init__(self, model: MLP, update: Updater) -> None:
        self.model, self.update = model, update

    def step(self, batch: tuple[Tensor, Tensor]) -> Metrics:
        """Make one update."""
        x, labels = batch
        # Not called "loss": a rate that makes it overflow is a result here, no mistake to stop the experiment for.
        return {"running": self.update(F.cross_entropy(self.model(x), labels)).loss}

    def accuracy(self, part: tuple[Tensor, Tensor], device: torch.device) -> float:
        """Return the share of right answers."""
        with torch.no_grad():
            return (self.model(part[0].to(device)).argmax(1).cpu() == part[1]).double().mean().item()

    def state_dict(self) -> State:
        """Return the model's and the Updater's state."""
        return collect(model=self.model, update=self.update)

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        restore(state, model=self.model, update=self.update)


def race(
    entrants: Images,
    optimizer: str,
    lr: float,
    *,
    hidden: tuple[int, ...],
    batch_size: int,
    epochs: int,
    seed: int,
    device: torch.device,
) -> Lap | None:
    """Train one perceptron; initial weights and the order of the batches are functions of the seed alone.

    Args:
        entrants: the data.
        optimizer: name of the update rule.
        lr: its learning rate.
        hidden: units of the hidden layers.
        batch_size: images a step.
        epochs: passes over the training images.
        seed: of everything random.
        device: where to compute.

    Returns:
        How it went, or None where the loss diverged.
    """
    x, labels = entrants.train
    source = TensorSource((x, labels), batch_size=min(batch_size, len(x)), seed=seed, device=device)
    run = Run(None, seed=seed, device=str(device), prefix="race/", log_every=source.batches_per_epoch)
    with run.stream("init"):
        model = MLP(x.shape[1], entrants.classes, hidden=hidden).to(device)
    runner = _Runner(model, Updater(model, make(optimizer, lr=lr)))
    lap = Lap([], [], 0.0)

    def watch(clock: Clock, metrics: Any) -> None:
        if "train/running" in metrics:
            loss = metrics["train/running"]
            if not math.isfinite(loss) or loss > LOST:
                raise Stop("lost")
            lap.losses.append(loss)
            lap.val.append(runner.accuracy(entrants.val, device))

    with run.stream("step"):
        fit(runner, source, run=run, steps=epochs * source.batches_per_epoch, watchers=[watch])
    if len(lap.losses) < epochs:
        return None
    if not all(p.isfinite().all() for p in model.parameters()):
        return None
    return lap._replace(test=runner.accuracy(entrants.test, device))
