"""Driving a recipe: from a run folder to a finished product, at the start, in the middle or at the end.

The folder exists before torch is imported; a run that is killed before its first checkpoint starts again from step 0,
one killed later goes on from its last, and a finished one only writes its product if that is missing.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from gradus.engine.folder import RunFolder
from gradus.engine.learner import Watcher
from gradus.engine.log import open_tracker
from gradus.engine.loop import History, fit
from gradus.engine.recipe import Build, Recipe
from gradus.engine.run import Run
from gradus.engine.snapshots import Snapshots, gather
from gradus.errors import GradusError

__all__ = ["train"]

Watch = Callable[[Run, Build], Sequence[Watcher]]


def train(recipe: Recipe, folder: RunFolder, *, watch: Watch | None = None, again: bool = False) -> History:
    """Train a recipe in its folder to the end, and write the product.

    Args:
        recipe: what to do.
        folder: a run folder made for it, new or half-way.
        watch: returns further watchers (progress), given the run and its parts.
        again: go on although the run had finished.

    Returns:
        What was done; `signal` is set when it was stopped from outside.

    Raises:
        GradusError: for a mistake in the data or options; a run that had made no step is then removed again.
    """
    settings = {
        name: getattr(recipe, name) for name in ("seed", "device", "precision", "compile", "shard", "log_every")
    }
    begun = folder.metrics_file.exists()
    try:
        run = Run(folder, **settings).hold()
        build = recipe.build(run)
        run.trackers = [open_tracker(name, folder.path, dataclasses.asdict(recipe)) for name in recipe.track]
        watchers = [*build.watchers, *(watch(run, build) if watch else ())]
        if count := getattr(recipe, "snapshots", None):
            watchers.append(Snapshots(run, count, build.steps, lambda: recipe.product(build.learner)))
    except GradusError:
        if not begun:
            shutil.rmtree(folder.path, ignore_errors=True)
        raise
    with run:
        try:
            history = fit(build.learner, build.source, run=run, steps=build.steps, watchers=watchers, again=again)
        finally:
            _close(build.source, *watchers)
        if history.signal is None and (history.metrics or not (folder.product / "product.json").exists()):
            product = gather(folder) if folder.snapshots.is_dir() else recipe.product(build.learner)
            if run.ranks.rank == 0:
                product.save(folder.product)
        run.ranks.barrier()
    return history


def _close(*parts: Any) -> None:
    """Close what can be closed: worker processes, a live line on a terminal."""
    for part in parts:
        if hasattr(part, "close"):
            part.close()
