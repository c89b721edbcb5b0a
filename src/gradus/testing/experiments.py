"""The contract of experiments: what every one of them does on the command line, as tiny as `--fast-dev-run` makes it.

`check_experiment` needs no test framework; it raises an AssertionError that says what was broken.
"""

import contextlib
import dataclasses
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from gradus import canon
from gradus.app.cli import main
from gradus.engine.folder import RunFolder
from gradus.engine.loop import fit
from gradus.engine.recipe import from_json, recipe_class, to_json
from gradus.engine.run import Run
from gradus.engine.training import train
from gradus.errors import GradusError
from gradus.experiments.experiment import Experiment, Row
from gradus.experiments.findings import Findings

__all__ = ["check_experiment"]

PREFIX = "experiments/"
OWN = ("cells", "measure", "findings", "draw")
SMALLEST_FIGURE = 1000  # bytes


def check_experiment(id: str, *flags: str) -> None:
    """Assert the contract of a registered experiment.

    It is a dataclass of flags, all told what they are for, whose defaults round-trip through JSON; its cells are few,
    different and the same whenever asked; a wrong flag leaves nothing behind; with `--fast-dev-run` it writes its
    product, a table with a row a cell, figures, and finite findings that follow from the table alone; done in halves it
    comes to the same bytes.

    Args:
        id: of the experiment.
        flags: further words of the command line.

    Raises:
        AssertionError: naming what was broken.
    """
    cls = recipe_class(id)
    assert issubclass(cls, Experiment), f"{cls.__name__} is no Experiment"
    _check_words(id, cls)
    _check_data(cls)
    with tempfile.TemporaryDirectory() as home:
        _check_refusal(id, home)
        whole, told = _check_run(id, home, flags)
        experiment = from_json(cls, json.loads((whole / "recipe.json").read_text(encoding="utf-8"))["options"])
        assert isinstance(experiment, Experiment)
        rows = _check_table(experiment, whole)
        _check_findings(experiment, rows, told)
        _check_figures(experiment, rows, whole, Path(home, "again"))
        _check_halves(experiment, id, whole, Path(home, "halves"))


def _run(*words: str) -> tuple[int, str, str]:
    """Run one command in this process; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(words))
    return code, out.getvalue(), err.getvalue()


def _check_words(id: str, cls: type[Experiment]) -> None:
    entry = canon.scan()[id]
    assert id.startswith(PREFIX), f"the id {id!r} does not begin with {PREFIX!r}, where the command looks"
    assert entry.paper, f"{id} names no paper"
    assert entry.summary.endswith("."), f"the summary of {cls.__name__} is no sentence: {entry.summary!r}"
    for name in OWN:
        method = cls.__dict__.get(name)
        assert method is not None, f"{cls.__name__} has no {name} of its own"
        assert method.__doc__, f"{cls.__name__}.{name} has no docstring"


def _check_data(cls: type[Experiment]) -> None:
    assert dataclasses.is_dataclass(cls), f"{cls.__name__} is no dataclass"
    experiment = cls()
    options = json.loads(json.dumps(to_json(experiment)))
    assert from_json(cls, options) == experiment, "the default experiment does not round-trip through JSON"
    for field in dataclasses.fields(cls):
        assert not dataclasses.is_dataclass(field.type), f"{field.name} is nested: the fields are flags"
    told = ""
    try:
        cls(seed=-1)
    except GradusError as error:
        told = str(error)
    assert told, "a negative seed is accepted"
    assert "seed" in told, f"a negative seed is refused without naming it: {told}"


def _check_refusal(id: str, home: str) -> None:
    code, out, err = _run("experiment", id.removeprefix(PREFIX), "--no-such-flag", "1", "--runs-dir", home)
    assert code == 2, f"a wrong flag ended with {code}, not 2"
    assert not out, f"a wrong flag printed to standard output: {out[:80]}"
    assert len(err.strip().splitlines()) == 1, f"a wrong flag is told in more than one line: {err}"
    assert not any(Path(home).iterdir()), "a wrong flag left something behind"


def _check_run(id: str, home: str, flags: tuple[str, ...]) -> tuple[Path, dict[str, Any]]:
    """Run the experiment as a user does; return its folder and what it told."""
    name = id.removeprefix(PREFIX)
    where = ("--name", "whole", "--runs-dir", home, "--device", "cpu")
    code, out, err = _run("experiment", name, "--fast-dev-run", *where, "--quiet", "--json", *flags)
    assert code == 0, f"the experiment ended with {code}: {err}"
    try:
        told = json.loads(out)
    except ValueError:
        raise AssertionError(f"experiment --json did not print exactly one JSON object: {out[:200]!r}") from None
    folder = Path(home, "whole")
    for file in ("recipe.json", "metrics.csv", "product/product.json", "product/table.csv"):
        assert (folder / file).exists(), f"the run folder has no {file}"
    return folder, told


def _check_table(experiment: Experiment, folder: Path) -> list[Row]:
    """Return the rows, one for each of the cells."""
    cells = list(experiment.cells())
    assert len(cells) >= 2, f"a trial run measures {len(cells)} cells; two would show that the second differs"
    assert cells == list(experiment.cells()), "the cells differ from one call to the next"
    assert json.loads(json.dumps(cells)) == cells, "the cells are not JSON literals"
    assert all(cells.index(cell) == i for i, cell in enumerate(cells)), "two cells are the same"
    product = Run.load(folder, device="cpu")
    assert isinstance(product, Findings), f"the product is {product!r}, no Findings"
    assert len(product.rows) == len(cells), f"{len(cells)} cells made {len(product.rows)} rows"
    for cell, row in zip(cells, product.rows, strict=True):
        assert {key: row.get(key) for key in cell} == cell, f"the row of {cell} says otherwise: {row}"
        assert len(row) > len(cell), f"nothing was measured in {cell}"
        assert _finite(row), f"the row of {cell} holds what is not finite"
    return product.rows


def _finite(row: Row) -> bool:
    """Say whether a row can be written as JSON that other programs read."""
    try:
        json.dumps(row, allow_nan=False)
    except ValueError:
        return False
    return True


def _check_findings(experiment: Experiment, rows: list[Row], told: dict[str, Any]) -> None:
    numbers = told.get("findings")
    assert numbers, f"experiment --json tells no findings: {told}"
    for name, value in numbers.items():
        assert type(value) in (int, float), f"the finding {name} is {value!r}"
        assert math.isfinite(value), f"the finding {name} is {value}"
    again = {name: float(value) for name, value in experiment.findings(rows).items()}
    assert again == {name: float(value) for name, value in numbers.items()}, "the table does not give the findings"


def _check_figures(experiment: Experiment, rows: list[Row], folder: Path, other: Path) -> None:
    figures = sorted((folder / "plots").iterdir())
    assert figures, "there is no figure"
    for figure in figures:
        size = figure.stat().st_size
        assert size > SMALLEST_FIGURE, f"the figure {figure.name} has {size} bytes only"
    other.mkdir()
    experiment.draw(rows, other)
    again = sorted(figure.name for figure in other.iterdir())
    assert again == [figure.name for figure in figures], f"drawn again from the table, the figures are {again}"


def _check_halves(experiment: Experiment, id: str, whole: Path, place: Path) -> None:
    """Stop after the first cells, go on in a new run, and compare the tables."""
    folder = RunFolder.create(place, id, to_json(experiment))
    settings: dict[str, Any] = {"seed": experiment.seed, "device": experiment.device, "log_every": experiment.log_every}
    with Run(folder, **settings).hold() as run:
        build = experiment.build(run)
        half = max(1, len(experiment.cells()) // 2)
        fit(build.learner, build.source, run=run, steps=half, watchers=build.watchers)
    train(experiment, folder, again=True)
    assert (folder.product / "table.csv").read_bytes() == (whole / "product" / "table.csv").read_bytes(), (
        "half done and resumed, the experiment comes to another table"
    )
