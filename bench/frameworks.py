"""Ours against PyTorch Lightning and Keras on torch, each written as its own documentation shows.

Same LeNet-5 from the same weights, batches of 64, AdamW with the same settings, loss and accuracy of every step.
What is not training is off on their side (checkpoints, loggers, progress bars, summaries), while ours keeps its
watchers and progress. They drive, because their `fit` cannot be left and entered again; ours has its turn inside.
"""

import importlib
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.gradus_side import Gradus, Standardised, mnist_shaped
from bench.loops import LeNet, loader
from bench.turns import Turns, milliseconds, paired
from gradus.data.images import ImageSplits
from gradus.errors import GradusError

__all__ = ["keras_torch", "lightning"]

LR, EPS, DECAY = 1e-3, 1e-8, 0.01
TOLERANCE = 1e-3

Fit = Callable[[Standardised, int, bool, Callable[[], None]], list[float]]


def lightning(
    rounds: int = 40, chunk: int = 25, images: int = 60_000, batch_size: int = 64, agree: int = 8, seed: int = 0
) -> dict[str, float]:
    """Ours against `lightning.Trainer`: a LightningModule with `training_step`, two `self.log`, a default DataLoader.

    Args:
        rounds: how many are kept.
        chunk: steps of a turn.
        images: training images.
        batch_size: images a step.
        agree: steps of the untimed comparison of losses.
        seed: of the data and the training.

    Raises:
        GradusError: if Lightning is not installed.
    """
    L = _package("lightning")

    def train(start: Standardised, steps: int, same: bool, hand_over: Callable[[], None]) -> list[float]:
        data = start.dealt(steps * batch_size) if same else (start.images, start.labels)
        module = _lightning_module(L)(LeNet(start.weights), keep=same)
        after_step = type("HandOver", (L.Callback,), {"on_train_batch_end": lambda *_: hand_over()})()
        with warnings.catch_warnings(), tempfile.TemporaryDirectory() as place:
            warnings.simplefilter("ignore")
            trainer = L.Trainer(
                accelerator="cpu", devices=1, max_steps=steps, max_epochs=-1, logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                callbacks=[after_step], default_root_dir=place,
            )  # fmt: skip
            trainer.fit(module, loader(*data, batch_size, shuffle=not same))
        return _running_means([float(loss) for loss in module.losses])

    quiet = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    for logger in quiet:
        logger.setLevel(logging.ERROR)
    return _against("lightning", train, rounds, chunk, images, batch_size, agree, seed)


def _lightning_module(L: Any) -> type:
    """Return the LightningModule of Lightning's own introduction, with LeNet in it."""

    class LitLeNet(L.LightningModule):
        def __init__(self, network: LeNet, keep: bool) -> None:
            super().__init__()
            self.network, self.keep = network, keep
            self.losses: list[Tensor] = []

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            logits = self.network(x)
            loss = F.cross_entropy(logits, y)
            self.log("train_loss", loss)
            self.log("train_accuracy", (logits.argmax(1) == y).float().mean())
            if self.keep:
                self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=LR)

    return LitLeNet


def keras_torch(
    rounds: int = 40,
    chunk: int = 25,
    images: int = 60_000,
    batch_size: int = 64,
    agree: int = 8,
    seed: int = 0,
    channels_first: bool = False,
) -> dict[str, float]:
    """Ours against Keras on torch: `compile(optimizer, loss, metrics=["accuracy"])` and `fit(x, y, batch_size=64)`.

    Args:
        rounds: how many are kept.
        chunk: steps of a turn.
        images: training images.
        batch_size: images a step.
        agree: steps of the untimed comparison of losses.
        seed: of the data and the training.
        channels_first: lay images out as torch likes; Keras' default, and its documentation, is channels last.

    Raises:
        GradusError: if Keras is not installed, or was imported before with another backend.
    """
    os.environ["KERAS_BACKEND"] = "torch"
    keras = _package("keras")
    if keras.backend.backend() != "torch":
        raise GradusError("Keras was imported with another backend before: start anew with KERAS_BACKEND=torch")

    def train(start: Standardised, steps: int, same: bool, hand_over: Callable[[], None]) -> list[float]:
        x, y = start.dealt(steps * batch_size) if same else (start.images, start.labels)
        x = x if channels_first else x.permute(0, 2, 3, 1).contiguous()
        model = _keras_model(keras, start.weights, channels_first)
        means: list[float] = []

        def step(data: Any) -> Any:
            logs = one_step(data)
            if same:
                means.append(float(logs["loss"]))
            made[0] += 1
            model.stop_training = made[0] >= steps
            hand_over()
            return logs

        made = [0]
        model.make_train_function()
        one_step, model.train_function = model.train_function, step
        model.fit(x.numpy(), y.numpy(), batch_size=batch_size, epochs=1_000_000, shuffle=not same, verbose=0)
        return means

    return _against("keras", train, rounds, chunk, images, batch_size, agree, seed)


def _keras_model(keras: Any, weights: list[Tensor], channels_first: bool) -> Any:
    """Return LeNet-5 in Keras, compiled, with our weights put into its layout."""
    layers = keras.layers
    layout = {"data_format": "channels_first" if channels_first else "channels_last"}
    model = keras.Sequential(
        [
            keras.Input((1, 28, 28) if channels_first else (28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu", **layout),
            layers.MaxPooling2D(2, **layout),
            layers.Conv2D(16, 5, activation="relu", **layout),
            layers.MaxPooling2D(2, **layout),
            layers.Flatten(**layout),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    pairs = list(zip(weights[::2], weights[1::2], strict=True))
    for layer, (weight, bias) in zip([part for part in model.layers if part.weights], pairs, strict=True):
        if weight.ndim == 4:
            kernel = weight.permute(2, 3, 1, 0)
        elif weight.shape[1] == 400:  # Keras flattens rows, columns, channels in either layout
            kernel = weight.view(-1, 16, 5, 5).permute(2, 3, 1, 0).reshape(400, -1)
        else:
            kernel = weight.T
        layer.set_weights([kernel.contiguous().numpy(), bias.numpy()])
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=LR, weight_decay=DECAY, epsilon=EPS),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _against(
    name: str, train: Fit, rounds: int, chunk: int, images: int, batch_size: int, agree: int, seed: int
) -> dict[str, float]:
    """Compare losses on the same batches, then times on shuffled ones."""
    splits = mnist_shaped(images, seed)
    difference, loss = _agreement(splits, train, agree, batch_size, seed)
    total = chunk * (rounds + 2)
    # One step more than is made: ours must not come to its end, and evaluate, within a turn.
    ours = Gradus(splits, max_steps=total + 1, evaluate_every=total + 1, batch_size=batch_size, seed=seed,
                  checkpoint_every=total + 1)  # fmt: skip
    turns = Turns(name, {"gradus": ours.advance}, chunk=chunk, rounds=rounds)
    train(ours.start(splits), turns.steps, False, turns.tick)
    assert turns.finished, f"{name} made too few steps"
    return {
        **paired(turns.times, name, "gradus"), **milliseconds(turns.times),
        "saved_ms": paired_difference(turns.times, name, "gradus"), "difference": difference, "loss": loss,
    }  # fmt: skip


def paired_difference(times: dict[str, list[float]], slow: str, fast: str) -> float:
    """Return the median of the rounds' differences, in milliseconds a step."""
    differences = sorted(a - b for a, b in zip(times[slow], times[fast], strict=True))
    return 1e3 * differences[len(differences) // 2]


def _agreement(splits: ImageSplits, train: Fit, steps: int, batch_size: int, seed: int) -> tuple[float, float]:
    """Return the largest difference of the mean losses up to each step on the same batches, and our last."""
    ours = Gradus(splits, max_steps=steps, log_every=1, schedule="constant", batch_size=batch_size, seed=seed)
    theirs = train(ours.start(splits), steps, True, lambda: None)
    losses = _running_means([value for _, value in ours.drive().metrics["train/loss"]])
    difference = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
    assert difference < TOLERANCE, f"the sides do different work: their losses differ by {difference}"
    return difference, losses[-1]


def _running_means(losses: list[float]) -> list[float]:
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


def _package(name: str) -> Any:
    """Return a package that only this benchmark needs.

    Raises:
        GradusError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise GradusError(f"this benchmark compares with {name}, which is missing: run `make bench`") from None
