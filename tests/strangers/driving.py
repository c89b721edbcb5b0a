"""How a stranger is run from a command line: a run folder, the unchanged `fit`, a checkpoint every so often."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from gradus.engine import Checkpoint, History, Learner, Run, Source, fit
from gradus.engine.learner import Watcher

__all__ = ["Make", "drive"]

Make = Callable[[Run], tuple[Learner, Source]]


def drive(
    make: Make,
    steps: int,
    *,
    watch: Callable[[Run, Learner], Sequence[Watcher]] | None = None,
    argv: Sequence[str] | None = None,
) -> History:
    """Train in the folder that `--run` names: anew where there is none, else on from its last checkpoint.

    Args:
        make: returns the learner and the source.
        steps: how many, unless `--steps` says otherwise.
        watch: returns further watchers.
        argv: the command line's words.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True, help="the run folder")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--checkpoint-every", type=int, default=25)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.run.exists():
        run = Run.open(options.run)
    else:
        run = Run.create(options.run, seed=options.seed, device="cpu", log_every=options.log_every)
    with run:
        learner, source = make(run)
        watchers = [*(watch(run, learner) if watch else ()), Checkpoint(run, every_steps=options.checkpoint_every)]
        history = fit(learner, source, run=run, steps=options.steps, watchers=watchers)
    shown = "  ".join(f"{name} {values[-1][1]:.4g}" for name, values in history.metrics.items())
    print(f"{history.step} steps in {history.seconds:.1f} s: {shown}")
    return history
