"""Flags that the recipes of sequences share. Imports no torch: building does."""

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from gradus.engine.options import Divided, Optimised
from gradus.engine.recipe import positive

if TYPE_CHECKING:
    from gradus.engine.learner import Watcher
    from gradus.engine.run import Run
    from gradus.sequence.learning import Descend

__all__ = ["SequenceRecipe"]

RARELY = 50  # an epoch of a small corpus is a step or two, too short to evaluate and save after each


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe(Optimised, Divided, ABC):
    """Flags of every recipe that learns from text or series by descending a gradient."""

    data: str = ""
    """A registered name, a file or a folder."""
    data_dir: str | None = None
    """Where registered data is looked for; GRADUS_DATA when left out."""
    limit: int | None = None
    """Use at most this many examples of each split."""
    batch_size: int = 32
    """Sequences per step, over all processes."""
    patience: int | None = None
    """Stop when the monitored metric has not improved for this many evaluations."""
    evaluate_every: int | None = None
    """Steps between two evaluations; every epoch, but 50 steps at least, when left out."""

    best: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/loss", "min")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "limit", "batch_size", "patience", "evaluate_every")

    def watchers(
        self,
        run: "Run",
        learner: "Descend",
        validate: Callable[[], Mapping[str, float]] | None,
        per_epoch: int,
    ) -> "list[Watcher]":
        """Return what evaluates, keeps the best weights, saves and stops.

        Args:
            run: the run.
            learner: whose averaged weights are evaluated.
            validate: returns metrics named `val/…`, `best` among them; None where there is nothing to validate on.
            per_epoch: steps of an epoch.
        """
        import torch

        from gradus.engine.watchers import Checkpoint, EarlyStopping, Evaluate, KeepBest, MaxTime, Watched

        often = max(per_epoch, RARELY)
        watchers: list[Watcher] = []
        if validate is not None:
            metric, mode = self.best

            def evaluate() -> dict[str, float]:
                with learner.averaged(), run.autocast(), torch.inference_mode():
                    return dict(validate())

            watchers += [
                Evaluate(run, evaluate, every_steps=self.evaluate_every or often),
                Watched(learner.update.schedule, metric, mode),
                KeepBest(run, metric, mode),
            ]
            if self.patience is not None:
                watchers.append(EarlyStopping(metric, self.patience, mode))
        watchers.append(Checkpoint(run, every_steps=self.checkpoint_every or often))
        if self.max_time is not None:
            watchers.append(MaxTime(run, self.max_time))
        return watchers
