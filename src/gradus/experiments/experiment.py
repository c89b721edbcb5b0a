"""What an experiment is: cells to measure one after the other, headline numbers, and figures drawn from all cells.

Imports no torch: the fields of an experiment are flags. Every cell has random streams of its own, derived from the seed
and the cell's number, so that a resumed experiment measures what an uninterrupted one does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gradus.engine.recipe import Build, Recipe
from gradus.errors import GradusError

if TYPE_CHECKING:
    from gradus.engine.run import Run
    from gradus.experiments.findings import Findings

__all__ = ["Cell", "Experiment", "Row"]

Cell = dict[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment(Recipe):
    """A question that a table of measurements answers."""

    log_every: int = 1
    """Cells between two log entries."""

    capabilities: ClassVar[tuple[str, ...]] = ()

    def cells(self) -> Sequence[Cell]:
        """Return what is to be measured, as JSON literals; few and small ones under `fast_dev_run`."""
        raise TypeError(f"{type(self).__name__} has no cells")

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Measure one cell.

        Args:
            cell: one of `cells()`.
            run: device, precision and random streams of this cell alone.

        Returns:
            JSON literals by name; single numbers are logged too.
        """
        raise TypeError(f"{type(self).__name__} measures nothing")

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the headline numbers of a whole table, whose rows are cells with what was measured."""
        raise TypeError(f"{type(self).__name__} finds nothing")

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Write the figures of a whole table into a folder."""
        raise TypeError(f"{type(self).__name__} draws nothing")

    def build(self, run: "Run") -> Build:
        """Return a learner whose steps measure the cells."""
        from gradus.engine.watchers import Checkpoint, MaxTime
        from gradus.experiments.table import Cells, Table

        cells = list(self.cells())
        watchers: list[Any] = [Checkpoint(run, every_steps=self.checkpoint_every or 1)]
        if self.max_time is not None:
            watchers.append(MaxTime(run, self.max_time))
        steps = len(cells) if self.max_steps is None else min(self.max_steps, len(cells))
        return Build(Table(self, run), Cells(cells), steps, watchers, {"cells": len(cells)})

    def product(self, learner: Any) -> "Findings":
        """Return the table with its findings; saving it draws the figures."""
        from gradus.experiments.findings import Findings

        rows = learner.rows
        return Findings(type(self).__name__, rows, self.findings(rows), self.draw)

    def evaluate(self, product: Any, split: str, device: str = "auto") -> dict[str, float]:
        """Refuse: an experiment has no splits.

        Raises:
            GradusError: always.
        """
        raise GradusError("this run holds an experiment, which has measured already: `gradus show` tells its findings")
