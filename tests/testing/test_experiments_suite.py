"""Every registered experiment keeps the contract, and the contract rejects experiments with planted bugs."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gradus import canon
from gradus.engine import recipe as recipes
from gradus.experiments.bias_variance import BiasVariance
from gradus.experiments.experiment import Cell, Experiment, Row
from gradus.experiments.findings import Findings
from gradus.testing import check_experiment

EXPERIMENTS = sorted(id for id, entry in canon.scan().items() if entry.kind == "experiment")


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_contract(id: str) -> None:
    check_experiment(id)


def test_the_registry_knows_experiments() -> None:
    assert "experiments/bias-variance" in EXPERIMENTS


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any, str], None]:
    """Give a function that puts a bug into an experiment and requires its rejection."""

    def planted(name: str, bug: Any, said: str) -> None:
        monkeypatch.setattr(BiasVariance, name, bug)
        with pytest.raises(AssertionError, match=said):
            check_experiment("experiments/bias-variance")

    return planted


Plant = Callable[[str, Any, str], None]
HONEST = {name: getattr(BiasVariance, name) for name in ("cells", "measure")}


def test_a_method_without_words_is_rejected(plant: Plant) -> None:
    plant("measure", lambda self, cell, run: HONEST["measure"](self, cell, run), "measure has no docstring")


def test_checking_nothing_is_rejected(plant: Plant) -> None:
    plant("__post_init__", lambda self: None, "a negative seed is accepted")


def test_one_cell_only_is_rejected(plant: Plant) -> None:
    def cells(self: Experiment) -> Sequence[Cell]:
        """Return the first cell."""
        return HONEST["cells"](self)[:1]

    plant("cells", cells, "measures 1 cells")


def test_cells_that_repeat_are_rejected(plant: Plant) -> None:
    def cells(self: Experiment) -> Sequence[Cell]:
        """Return the first cell twice."""
        return HONEST["cells"](self)[:1] * 2

    plant("cells", cells, "two cells are the same")


def test_cells_by_dice_are_rejected(plant: Plant) -> None:
    count = iter(range(99))

    def cells(self: Experiment) -> Sequence[Cell]:
        """Return other cells at every call."""
        return [{**cell, "call": next(count)} for cell in HONEST["cells"](self)]

    plant("cells", cells, "the cells differ from one call to the next")


def test_measuring_nothing_is_rejected(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: Experiment, cell: Cell, run: Any) -> Row:
        """Return no more than the cell."""
        return {}

    def findings(self: Experiment, rows: Sequence[Row]) -> dict[str, float]:
        """Return a number that needs no rows."""
        return {"rows": len(rows)}

    def draw(self: Experiment, rows: Sequence[Row], folder: Path) -> None:
        """Write what could be a figure."""
        (folder / "figure.png").write_bytes(bytes(2000))

    monkeypatch.setattr(BiasVariance, "findings", findings)
    monkeypatch.setattr(BiasVariance, "draw", draw)
    plant("measure", measure, "nothing was measured")


def test_a_row_that_is_not_finite_is_rejected(plant: Plant) -> None:
    def measure(self: Experiment, cell: Cell, run: Any) -> Row:
        """Lose one number."""
        return {**HONEST["measure"](self, cell, run), "odd": [float("nan")]}

    plant("measure", measure, "holds what is not finite")


def test_a_measure_that_remembers_earlier_cells_is_rejected(plant: Plant) -> None:
    def measure(self: Experiment, cell: Cell, run: Any) -> Row:
        """Draw on what outlives the cell."""
        drawn = torch.rand((), generator=DICE).item()
        return {**HONEST["measure"](self, cell, run), "drawn": drawn}

    plant("measure", measure, "comes to another table")


DICE = torch.Generator().manual_seed(0)


def test_findings_that_are_not_finite_are_rejected(plant: Plant) -> None:
    def findings(self: Experiment, rows: Sequence[Row]) -> dict[str, float]:
        """Divide by nothing."""
        return {"ratio": float("inf")}

    plant("findings", findings, "the finding ratio is")


def test_findings_from_elsewhere_are_rejected(plant: Plant) -> None:
    def findings(self: Experiment, rows: Sequence[Row]) -> dict[str, float]:
        """Tell the time."""
        return {"seconds": time.perf_counter()}

    plant("findings", findings, "the table does not give the findings")


def test_drawing_nothing_is_rejected(plant: Plant) -> None:
    def draw(self: Experiment, rows: Sequence[Row], folder: Path) -> None:
        """Draw nothing."""

    plant("draw", draw, "there is no figure")


def test_an_empty_figure_is_rejected(plant: Plant) -> None:
    def draw(self: Experiment, rows: Sequence[Row], folder: Path) -> None:
        """Write an empty file."""
        (folder / "figure.png").touch()

    plant("draw", draw, "has 0 bytes only")


def test_options_that_json_loses_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = recipes.to_json
    monkeypatch.setattr("gradus.testing.experiments.to_json", lambda recipe: {**honest(recipe), "examples": 11})
    with pytest.raises(AssertionError, match="does not round-trip through JSON"):
        check_experiment("experiments/bias-variance")


def test_a_table_that_loses_a_row_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Findings.load

    def forgetful(folder: Path, facts: dict[str, Any]) -> Findings:
        return honest(folder, {**facts, "rows": facts["rows"][:-1]})

    monkeypatch.setattr(Findings, "load", forgetful)
    with pytest.raises(AssertionError, match="2 cells made 1 rows"):
        check_experiment("experiments/bias-variance")
