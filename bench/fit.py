"""What our training loop costs and gains, on LeNet-5 with batches of 64 images of MNIST's shape.

`overhead`: ours against a loop written by hand that does the same work, step for step, to the same losses.
`shipped`: ours against PyTorch's tutorial loop with its default settings, and what each difference brings.
`lightning`, `keras_torch`: ours against those libraries, each as its own documentation writes it.

All take turns in one process; `ratio` is the median over the rounds. Before anything is timed, or while it is, the
losses of both sides are compared: `difference` is the largest.
"""

import copy
import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bench.frameworks import keras_torch, lightning
from bench.gradus_side import Gradus, Standardised, mnist_shaped
from bench.loops import LeNet, adamw_kernel, adamw_torch, advancing, bare, batches_by_index, loader, tutorial
from bench.turns import Turns, milliseconds, paired
from gradus.data.images import ImageSplits, Memory

__all__ = ["keras_torch", "lightning", "overhead", "shipped"]

LR = 1e-3
TOLERANCE = 1e-4


def overhead(
    rounds: int = 40,
    instances: int = 1,
    chunk: int = 50,
    images: int = 60_000,
    batch_size: int = 64,
    log_every: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """Ours as shipped against a hand-written loop doing the same work.

    The same batches, gathered by index from the same bytes; the same network, layout, standardisation, parameter
    groups, cosine, accuracy and log. `ratio` is against the leanest loop there is, which calls torch's fused AdamW
    kernel itself; `ratio_torch_optim` against the same loop with `torch.optim.AdamW(fused=True)`. A turn is as long
    as a logging interval, so that each has one log entry. Evaluation and checkpoints, which come with the end of an
    epoch, are not timed.

    One and the same loop, built twice, differs from itself by a hundredth, by where its memory comes to lie. So all
    sides are built anew several times, the earlier ones kept so that the later lie elsewhere; the rounds of all
    instances count alike, and `instances_low` and `instances_high` are the extremes of the instances' own medians.

    Args:
        rounds: how many are kept of each instance.
        instances: how often all sides are built anew.
        chunk: steps of a turn.
        images: training images.
        batch_size: images a step.
        log_every: steps between two log entries, on all sides.
        seed: of the data and the training.
    """
    options = {"batch_size": batch_size, "log_every": log_every, "seed": seed, "lr": LR}
    kept, medians = [], []
    times: dict[str, list[float]] = {}
    differences: list[float] = []
    for _ in range(instances):
        splits = mnist_shaped(images, seed)
        with tempfile.TemporaryDirectory() as place:
            found, apart, instance = _in_turns(splits, Path(place), rounds, chunk, options)
        kept.append((splits, instance))
        differences += apart
        for name, seconds in found.items():
            times.setdefault(name, []).extend(seconds)
        medians.append(paired(found, "gradus", "by_hand")["ratio"])
    assert max(differences) < TOLERANCE, f"the sides do different work: their losses differ by {max(differences)}"
    return {
        **paired(times, "gradus", "by_hand"),
        "instances_low": min(medians), "instances_high": max(medians),
        **paired(times, "gradus", "by_hand_torch_optim", "ratio_torch_optim"),
        **milliseconds(times),
        "difference": max(differences), "compared": float(len(differences)),
    }  # fmt: skip


def _in_turns(
    splits: ImageSplits, folder: Path, rounds: int, chunk: int, options: dict[str, Any]
) -> tuple[dict[str, list[float]], list[float], Any]:
    """Return the times of one instance of every side, what separates their logs, and what keeps its memory."""
    total = chunk * (rounds + 2)
    ours = Gradus(splits, folder, max_steps=total, evaluate_every=total, checkpoint_every=total, **options)
    with open(folder / "kernel.csv", "w") as first, open(folder / "torch.csv", "w") as second:
        loops = {
            "by_hand": _by_hand(ours, splits, adamw_kernel, total, first, options),
            "by_hand_torch_optim": _by_hand(ours, splits, adamw_torch, total, second, options),
        }
        turns = Turns("gradus", {name: advancing(loop) for name, loop in loops.items()}, chunk=chunk, rounds=rounds)
        history = ours.drive(turns.tick)
    theirs = [_column(folder / name, 1) for name in ("kernel.csv", "torch.csv")]
    hits = _column(folder / "kernel.csv", 2)
    losses, accuracy = ([v for _, v in history.metrics[f"train/{name}"]] for name in ("loss", "accuracy"))
    pairs = [(a, b) for logged in theirs for a, b in zip(losses, logged, strict=False)]
    pairs += zip(accuracy, hits, strict=False)
    return turns.times, [abs(a - b) for a, b in pairs], (ours, loops)


def _by_hand(ours: Gradus, splits: ImageSplits, rule: Any, total: int, log: Any, options: dict[str, Any]) -> Iterator:
    """Return the hand-written loop over the same bytes, in the same order, from the same weights and layout."""
    network = copy.deepcopy(ours.model.network).train()
    train, source = splits.train, ours.build.source
    assert isinstance(train.pixels, Memory)
    every = train.pixels.pixels.clone()  # else ours, whose turn comes first, would warm the cache for the others
    labels = torch.zeros(len(every), dtype=torch.int64).index_copy_(0, train.rows, train.labels)
    return bare(
        network, rule(network), every, labels,
        lambda epoch: train.rows[source.sampler.order(epoch)],  # type: ignore[attr-defined]
        mean=ours.model.mean, std=ours.model.std, lr=options["lr"], batch_size=options["batch_size"], total=total,
        log=log, log_every=options["log_every"],
    )  # fmt: skip


def _column(path: Path, index: int) -> list[float]:
    with open(path, newline="") as file:
        return [float(row[index]) for row in csv.reader(file)]


def shipped(
    rounds: int = 40, chunk: int = 25, images: int = 60_000, batch_size: int = 64, agree: int = 8, seed: int = 0
) -> dict[str, float]:
    """Ours as shipped against PyTorch's tutorial loop: `DataLoader(TensorDataset(…), shuffle=True)`, default AdamW.

    The tutorial's images are standardised floats already, so it neither decodes nor normalises; its LeNet is written
    plainly; it counts no right answers and has no schedule. Its loop is then changed one thing after the other, and
    `batching`, `fusion` and `layout` say what each change brings: batches gathered by index from bytes instead of a
    `DataLoader`, torch's fused AdamW, channels-last weights. `rest` is ours against the last of them: below 1 it is
    what our accuracy, schedule, log and watchers cost beyond what our own kernel calls save.

    Args:
        rounds: how many are kept.
        chunk: steps of a turn.
        images: training images.
        batch_size: images a step.
        agree: steps of the untimed comparison of losses.
        seed: of the data and the training.
    """
    splits = mnist_shaped(images, seed)
    total = chunk * (rounds + 2)
    difference, loss = _agreement(splits, agree, batch_size, seed)
    with tempfile.TemporaryDirectory() as place:
        ours = Gradus(
            splits, Path(place), max_steps=total, evaluate_every=total, checkpoint_every=total, batch_size=batch_size,
            seed=seed,
        )  # fmt: skip
        sides = _variants(ours, ours.start(splits), splits, batch_size)
        turns = Turns("gradus", {name: advancing(loop) for name, loop in sides.items()}, chunk=chunk, rounds=rounds)
        ours.drive(turns.tick)
    ladder = ("plain", "batched", "fused", "channels_last", "gradus")
    found = {
        name: paired(turns.times, slow, fast)["ratio"]
        for name, slow, fast in zip(("batching", "fusion", "layout", "rest"), ladder, ladder[1:], strict=False)
    }
    return {
        **paired(turns.times, "plain", "gradus"), **found, **milliseconds(turns.times),
        "difference": difference, "loss": loss,
    }  # fmt: skip


def _variants(ours: Gradus, start: Standardised, splits: ImageSplits, batch_size: int) -> dict[str, Iterator]:
    """Return the tutorial's loop, and the same with our batches, then fused too, then channels-last too."""
    assert isinstance(splits.train.pixels, Memory)
    pixels = splits.train.pixels.pixels.index_select(0, splits.train.rows)
    by_index = batches_by_index(pixels, start.labels, batch_size, ours.model.mean, ours.model.std)
    loading = loader(start.images, start.labels, batch_size)

    def network(layout: torch.memory_format = torch.contiguous_format) -> LeNet:
        return LeNet(start.weights).to(memory_format=layout)

    return {
        "plain": tutorial(network(), lambda: iter(loading), lr=LR),
        "batched": tutorial(network(), by_index, lr=LR),
        "fused": tutorial(network(), by_index, lr=LR, fused=True),
        "channels_last": tutorial(network(torch.channels_last), by_index, lr=LR, fused=True),
    }


def _agreement(splits: ImageSplits, steps: int, batch_size: int, seed: int) -> tuple[float, float]:
    """Train both on the same batches at a constant rate; return the largest difference of losses, and our last."""
    ours = Gradus(splits, max_steps=steps, log_every=1, schedule="constant", batch_size=batch_size, seed=seed)
    start = ours.start(splits)
    loading = loader(*start.dealt(steps * batch_size), batch_size, shuffle=False)
    theirs: list[float] = []
    advancing(tutorial(LeNet(start.weights), lambda: iter(loading), lr=LR), theirs)(steps)
    losses = [value for _, value in ours.drive().metrics["train/loss"]]
    difference = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
    assert difference < TOLERANCE, f"the sides do different work: their losses differ by {difference}"
    return difference, losses[-1]
