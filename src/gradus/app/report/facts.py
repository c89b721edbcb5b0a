"""What a run folder says about itself, without its data: recipe, curves, status, environment. Imports no torch."""

import csv
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradus.engine.folder import RunFolder
from gradus.engine.group import members
from gradus.engine.log import Series, read_metrics
from gradus.engine.recipe import recipe_class, to_json
from gradus.errors import GradusError

__all__ = ["RunFacts", "command", "read_facts"]


@dataclass(frozen=True)
class RunFacts:
    """A run folder, read.

    Attributes:
        name: of the run.
        body: `recipe.json` as it was checked.
        changed: the options that are not the recipe's defaults.
        series: the logged metrics.
        seconds: training time up to the last log entry.
        head: of the newest sound checkpoint: status, step, best, environment.
        product: `product.json`; empty where there is none.
        members: the same of a group's members.
    """

    name: str
    body: dict[str, Any]
    changed: dict[str, Any]
    series: Series
    seconds: float
    head: dict[str, Any]
    product: dict[str, Any]
    members: "tuple[RunFacts, ...]" = field(default=())

    @property
    def recipe(self) -> str | None:
        """Id of the recipe; None for a run driven from Python."""
        return self.body["recipe"]

    @property
    def options(self) -> dict[str, Any]:
        """The recipe, resolved."""
        return self.body["options"]

    @property
    def best(self) -> dict[str, Any] | None:
        """Step, metric and value of the best checkpoint, whose weights are the product's."""
        return self.head.get("best")

    @property
    def step(self) -> int:
        """The last step that is known to have been made."""
        return max([self.head.get("step", 0), *(points[-1][0] for points in self.series.values())])

    def last(self, prefix: str = "") -> dict[str, float]:
        """Return the last logged value of every metric whose name begins with `prefix`."""
        return {name: points[-1][1] for name, points in self.series.items() if name.startswith(prefix)}


def read_facts(folder: RunFolder) -> RunFacts:
    """Read a run folder, and the members of a group.

    Raises:
        GradusError: if it is no sound run folder.
    """
    body = folder.read()
    return RunFacts(
        name=folder.path.name,
        body=body,
        changed=_changed(body),
        series=read_metrics(folder.metrics_file),
        seconds=_seconds(folder.metrics_file),
        head=_head(folder),
        product=_product(folder.product / "product.json"),
        members=tuple(read_facts(member) for member in members(folder)),
    )


def command(facts: RunFacts) -> str:
    """Return the words that start this run again."""
    if str(facts.recipe).startswith("experiments/"):
        words = ["gradus", "experiment", str(facts.recipe).removeprefix("experiments/")]
    else:
        words = ["gradus", "train", str(facts.recipe)]
    for key, value in facts.changed.items():
        flag = f"--{key.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        elif value is not None:
            words += [flag, str(value)]
    many = str(len(facts.members))
    extra = {"ensemble": ["--ensemble", many], "fold": []}.get(facts.body.get("vary", "seed"), ["--seeds", many])
    if facts.members and facts.body.get("vary") == "fold":
        words[1] = "cross-validate"
    words += extra if facts.members else []
    return shlex.join(words)


def _changed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that differ from the recipe's defaults; all of them where the recipe is unknown here."""
    try:
        usual = to_json(recipe_class(body["recipe"])()) if body["recipe"] is not None else {}
    except (GradusError, TypeError):
        usual = {}
    return {key: value for key, value in body["options"].items() if key not in usual or usual[key] != value}


def _seconds(path: Path) -> float:
    """Return the time of the last whole row of a metrics log."""
    latest = 0.0
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if len(row) == 4 and row[0].isdigit():
                    latest = float(row[1])
    return latest


def _head(folder: RunFolder) -> dict[str, Any]:
    from gradus.engine.checkpoint import heads

    found = heads(folder.checkpoints) if folder.checkpoints.is_dir() else None
    return {} if found is None else {key: found.get(key) for key in ("status", "step", "best", "facts")}


def _product(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
