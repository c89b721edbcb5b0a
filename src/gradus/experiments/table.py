"""The table of an experiment as a learner, its cells as a source: what the engine drives, checkpoints and resumes."""

import zlib
from collections.abc import Iterator, Sequence

from gradus.engine.run import Run
from gradus.engine.state import State
from gradus.experiments.experiment import Cell, Experiment, Row

__all__ = ["Cells", "Table"]


class Cells:
    """Yields the cells with their numbers, and begins again after the last.

    Args:
        cells: at least one.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells, self.position = list(cells), 0
        self.batches_per_epoch = len(self.cells)

    def __iter__(self) -> Iterator[tuple[int, Cell]]:
        return self

    def __next__(self) -> tuple[int, Cell]:
        number = self.position
        self.position += 1
        return number, self.cells[number % len(self.cells)]

    def state_dict(self) -> State:
        """Return the position."""
        return {"position": self.position}

    def load_state_dict(self, state: State) -> None:
        """Go on from a position."""
        self.position = state["position"]


class Table:
    """The learner: every step measures a cell and adds a row.

    Args:
        experiment: measures.
        run: of the whole experiment.
    """

    def __init__(self, experiment: Experiment, run: Run) -> None:
        self.experiment, self.run = experiment, run
        self.rows: list[Row] = []

    def __repr__(self) -> str:
        return f"Table({type(self.experiment).__name__}, {len(self.rows)} rows)"

    def step(self, batch: tuple[int, Cell]) -> dict[str, float]:
        """Measure one cell in random streams of its own; returns the numbers among what was measured."""
        number, cell = batch
        # crc32 keeps the streams of a cell apart from those of its neighbours, whatever the seed
        seed = zlib.crc32(f"{self.run.seed}/{number}".encode())
        alone = Run(
            None, seed=seed, device=str(self.run.device), precision=self.run.machine.precision, prefix=f"cell-{number}/"
        )
        with alone.stream("cell"):
            found = self.experiment.measure(cell, alone)
        self.rows.append({**cell, **found})
        return {k: float(v) for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def state_dict(self) -> State:
        """Return the rows so far."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: State) -> None:
        """Go on from earlier rows."""
        self.rows = [dict(row) for row in state["rows"]]
