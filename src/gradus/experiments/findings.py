"""The product of an experiment: its table, its headline numbers, and, where it was just made, its figures."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from gradus.canon import canon
from gradus.engine.product import save_product
from gradus.engine.state import State
from gradus.experiments.experiment import Row

__all__ = ["Findings"]


@canon("experiments/findings", kind="product")
class Findings:
    """What an experiment found.

    Args:
        title: the experiment.
        rows: the table: every cell with what was measured.
        numbers: the headline.
        draw: writes the figures into a folder; None where the product was loaded.
    """

    kind = "an experiment"

    def __init__(
        self,
        title: str,
        rows: Sequence[Row],
        numbers: dict[str, float],
        draw: Callable[[Sequence[Row], Path], None] | None = None,
    ) -> None:
        self.title, self.rows, self.numbers, self.draw = title, list(rows), dict(numbers), draw
        self.module = nn.Module()

    def __repr__(self) -> str:
        return f"Findings({self.title}, {len(self.rows)} rows)"

    def save(self, folder: Path) -> None:
        """Write `product.json` and `table.csv`, and the figures into `plots/` beside the folder."""
        facts = {"title": self.title, "numbers": self.numbers, "rows": self.rows}
        save_product(folder, "findings", facts, {})
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with open(folder / "table.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, extrasaction="raise")
            writer.writeheader()
            writer.writerows(self.rows)
        if self.draw is not None:
            plots = folder.parent / "plots"
            plots.mkdir(exist_ok=True)
            self.draw(self.rows, plots)

    @classmethod
    def load(cls, folder: Path, facts: State) -> "Findings":
        """Return the table again."""
        return cls(facts["title"], facts["rows"], facts["numbers"])
