"""Flags that recipes share whose weights are judged on a validation part, and the watchers that do so.

Every so many steps the averaged weights are measured; the best are kept, a schedule that watches is told, and training
stops when nothing improves any more. Imports no torch at module level: these are flags first.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from gradus.engine.recipe import Recipe, positive

if TYPE_CHECKING:
    from gradus.engine.learner import Watcher
    from gradus.engine.run import Run

__all__ = ["Averaging", "Judged", "Validated"]

RARELY = 50
Judged = tuple[str, Literal["min", "max"]]


@runtime_checkable
class Averaging(Protocol):
    """A learner whose averaged weights take the place of the last ones for a while."""

    def averaged(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, kw_only=True)
class Validated(Recipe):
    """Flags of recipes that keep the best of the weights they come by."""

    patience: int | None = None
    """Stop when the monitored metric has not improved for this many evaluations."""
    evaluate_every: int | None = None
    """Steps between two evaluations; every epoch, but 50 steps at least, when left out."""

    best: ClassVar[Judged] = ("val/loss", "min")
    rarely: ClassVar[int] = RARELY  # an epoch of little data is a step or two, too short to evaluate and save after

    def __post_init__(self) -> None:
        """Check both."""
        super().__post_init__()
        positive(self, "patience", "evaluate_every")

    def watchers(
        self,
        run: "Run",
        learner: Averaging,
        validate: Callable[[], Mapping[str, float]] | None,
        per_epoch: int,
        best: Judged | None = None,
    ) -> "list[Watcher]":
        """Return what evaluates, keeps the best weights, saves and stops.

        Args:
            run: the run.
            learner: whose averaged weights are evaluated; the schedule of its `update`, if it has one, is told.
            validate: returns metrics named `val/…`, `best` among them; None where there is nothing to validate on.
            per_epoch: steps of an epoch.
            best: the metric by which weights are kept, and whether less or more is better; the recipe's when left out.
        """
        import torch

        from gradus.engine.watchers import Checkpoint, EarlyStopping, Evaluate, KeepBest, MaxTime, Watched

        often = max(per_epoch, self.rarely)
        watchers: list[Watcher] = []
        if validate is not None:
            metric, mode = best or self.best

            def evaluate() -> dict[str, float]:
                with learner.averaged(), run.autocast(), torch.inference_mode():
                    return dict(validate())

            watchers.append(Evaluate(run, evaluate, every_steps=self.evaluate_every or often))
            if (update := getattr(learner, "update", None)) is not None:
                watchers.append(Watched(update.schedule, metric, mode))
            watchers.append(KeepBest(run, metric, mode))
            if self.patience is not None:
                watchers.append(EarlyStopping(metric, self.patience, mode))
        watchers.append(Checkpoint(run, every_steps=self.checkpoint_every or often))
        if self.max_time is not None:
            watchers.append(MaxTime(run, self.max_time))
        return watchers
