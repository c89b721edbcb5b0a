"""`gradus compare`: runs side by side, what differs in their recipes, and whether the numbers differ beyond luck."""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.report.facts import RunFacts, read_facts
from gradus.app.verb import Answer, Verb, shown
from gradus.engine.folder import write_atomically
from gradus.engine.group import interval
from gradus.errors import GradusError, nearest
from gradus.metrics.intervals import Difference, paired, welch

__all__ = ["Compare"]


@dataclass
class Side:
    """One run, or one group with a value for each member.

    Attributes:
        label: what the tables call it.
        facts: of its folder.
        metrics: values by name; those of the kept weights where there are any, else the last.
        last: values at the last step.
        parameters: of its model; None without a product.
    """

    label: str
    facts: RunFacts
    metrics: dict[str, list[float]]
    last: dict[str, list[float]]
    parameters: int | None

    @property
    def members(self) -> tuple[RunFacts, ...]:
        """The group's members, or the run itself."""
        return self.facts.members or (self.facts,)

    @property
    def seeds(self) -> list[Any]:
        """The seed of each member."""
        return [member.options.get("seed") for member in self.members]


@dataclass(kw_only=True)
class Compare(Verb):
    """Put runs side by side: gradus compare RUN RUN …; groups (--seeds) with intervals over their members."""

    runs: tuple[str, ...] = ()
    """The runs (also given as the first words)."""
    metric: str | None = None
    """The metric to judge by; test/accuracy with --evaluate, else the one the first run kept its best by."""
    evaluate: bool = False
    """Measure every run on the test split of its data."""
    out: str | None = None
    """Also write a page with the curves laid over each other: FILE.html."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""

    rest: ClassVar[str | None] = "runs"

    def __call__(self) -> Answer:
        """Read the folders, measure if asked to, and lay everything side by side."""
        if len(self.runs) < 2:
            raise GradusError("name at least two runs: gradus compare RUN RUN; `gradus list --kind run` shows them")
        path = None if self.out is None else Path(self.out)
        if path is not None and (not path.parent.is_dir() or path.is_dir()):
            raise GradusError(f"--out {path}: name a file in a folder that exists")
        sides = [self._side(run) for run in self.runs]
        differing = differences(sides)
        metric = self._metric(sides)
        verdicts = [compared(sides[0], other, metric) for other in sides[1:]] if metric else []
        data = {
            "metric": metric, "runs": [_told(side) for side in sides], "differences": differing,
            "comparisons": [verdict[0] for verdict in verdicts],
        }  # fmt: skip
        rows = table_rows(sides, differing)
        sentences = [verdict[1] for verdict in verdicts]
        text = "\n".join([drawn(sides, rows), *sentences])
        if path is not None:
            from gradus.app.report.overlaid import overlaid

            try:
                write_atomically(path, overlaid([(s.label, s.facts) for s in sides], rows, sentences))
            except OSError as error:
                raise GradusError(f"--out {path} cannot be written ({error.strerror})") from None
            data["page"] = str(path.resolve())
            text += f"\n{shown(path)}: open it in a browser"
        return Answer(data, text)

    def _side(self, run: str) -> Side:
        """Read one run, and measure it if asked to."""
        folder = self.folder(run)
        facts = read_facts(folder)
        name = facts.name
        if self.runs.count(run) == 1 and [Path(other).name for other in self.runs].count(name) > 1:
            name = run
        parts = facts.members or (facts,)
        paths = [folder.members / part.name for part in facts.members] or [folder.path]
        metrics = _gathered([kept(part) for part in parts])
        if self.evaluate:
            from gradus.app.using import Evaluate

            found = [Evaluate(run=str(path), device=self.device)().data["metrics"] for path in paths]
            metrics |= _gathered(found)
        return Side(name, facts, metrics, _gathered([part.last() for part in parts]), _parameters(paths[0]))

    def _metric(self, sides: Sequence[Side]) -> str | None:
        """Return the metric to judge by."""
        shared = [name for name in sides[0].metrics if all(name in side.metrics for side in sides)]
        if self.metric is None:
            best = (sides[0].members[0].best or {}).get("metric")
            usual = ["test/accuracy", best, *[name for name in shared if not name.startswith("train/")]]
            return next((name for name in usual if name in shared), None)
        if self.metric not in shared:
            if self.metric.startswith("test/") and not self.evaluate:
                raise GradusError(f"--metric {self.metric} is not in the runs' logs: add --evaluate to measure it")
            raise GradusError(f"--metric: not all runs have {self.metric!r}{nearest(self.metric, shared)}")
        return self.metric


def kept(facts: RunFacts) -> dict[str, float]:
    """Return every metric at the step whose weights were kept, or else its last value; no learning rates."""
    step = -1 if facts.best is None else facts.best["step"]
    found = {}
    for name, points in facts.series.items():
        if not name.endswith("/lr"):
            found[name] = dict(points).get(step, points[-1][1])
    return found


def _gathered(found: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Return the values of the metrics that all members have."""
    names = [name for name in found[0] if all(name in one for one in found)]
    return {name: [one[name] for one in found] for name in names}


def _parameters(path: Path) -> int | None:
    from gradus.engine.product import load_product

    try:
        return sum(p.numel() for p in load_product(path, "cpu").module.parameters())
    except GradusError:
        return None


def differences(sides: Sequence[Side]) -> dict[str, list[Any]]:
    """Return the options that are not the same in all runs, with the value of each."""
    everything = [{"recipe": side.facts.recipe, **side.facts.options} for side in sides]
    names = dict.fromkeys(name for options in everything for name in options)
    found = {name: [options.get(name) for options in everything] for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def compared(first: Side, second: Side, metric: str) -> tuple[dict[str, Any], str]:
    """Return how far a metric of two runs differs, as data and as a sentence.

    Args:
        first: what is compared with.
        second: what is compared.
        metric: its name; both have it.
    """
    a, b = first.metrics[metric], second.metrics[metric]
    data: dict[str, Any] = {"first": first.label, "second": second.label, "metric": metric}
    head = f"{metric}, {second.label} less {first.label}: "
    if len(a) < 2 or len(b) < 2:
        mean = sum(b) / len(b) - sum(a) / len(a)
        data |= {"difference": mean, "half_width": None, "excludes_zero": None}
        return data, f"{head}{mean:+.4f}; no interval from a single run: train with --seeds 3 or more to have one"
    found = welch(a, b)
    data |= {"difference": found.mean, "half_width": found.half_width, "excludes_zero": found.excludes_zero}
    text = f"{head}{_interval(found)} (Welch)"
    if first.seeds == second.seeds and first.facts.options.get("data") == second.facts.options.get("data"):
        pairs = paired(a, b)
        data["paired"] = {"half_width": pairs.half_width, "excludes_zero": pairs.excludes_zero}
        text += f"; paired by seed {_interval(pairs)}"
    return data, text


def _interval(found: Difference) -> str:
    said = "the interval excludes zero" if found.excludes_zero else "the interval holds zero"
    return f"{found.mean:+.4f} ± {found.half_width:.4f}, {said}"


def _told(side: Side) -> dict[str, Any]:
    """Return one run as data: single numbers for a run, mean and interval for a group."""
    group = bool(side.facts.members)

    def one(values: list[float]) -> Any:
        return interval(values) if group else values[0]

    return {
        "run": side.label, "recipe": side.facts.recipe, "members": len(side.facts.members),
        "metrics": {name: one(values) for name, values in side.metrics.items()},
        "last": {name: one(values) for name, values in side.last.items()},
        "parameters": side.parameters, "steps": max(member.step for member in side.members),
        "seconds": sum(member.seconds for member in side.members),
    }  # fmt: skip


def table_rows(sides: Sequence[Side], differing: dict[str, list[Any]]) -> list[tuple[str, list[str]]]:
    """Return the rows of the table: a name and a cell for each run."""
    rows = [(f"--{name.replace('_', '-')}", [_option(v) for v in values]) for name, values in differing.items()]
    names = list(dict.fromkeys(name for side in sides for name in side.metrics))
    for name in sorted(names, key=_place):
        rows.append((name, [_cell(side.metrics.get(name)) for side in sides]))
        if name.startswith("val/") and any(side.last.get(name) != side.metrics.get(name) for side in sides):
            rows.append((f"{name}, last", [_cell(side.last.get(name)) for side in sides]))
    if any(side.facts.members for side in sides):
        rows.append(("members", [str(len(side.members)) for side in sides]))
    rows.append(("parameters", ["–" if side.parameters is None else f"{side.parameters:,}" for side in sides]))
    rows.append(("steps", [f"{max(member.step for member in side.members):,}" for side in sides]))
    rows.append(("seconds", [f"{sum(member.seconds for member in side.members):.1f}" for side in sides]))
    return rows


def _place(name: str) -> int:
    """Return where a metric's row belongs: test, val, train, the others."""
    places = ("test/", "val/", "train/")
    return next((i for i, prefix in enumerate(places) if name.startswith(prefix)), len(places))


def _option(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def _cell(values: list[float] | None) -> str:
    if values is None:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.4f}"
    found = interval(values)
    return f"{found['mean']:.4f} ± {found['half_width']:.4f}"


def drawn(sides: Sequence[Side], rows: Sequence[tuple[str, list[str]]]) -> str:
    """Return the table as text, no wider than the terminal where it fits."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("", overflow="fold")
    for side in sides:
        table.add_column(side.label, justify="right", overflow="fold")
    for name, cells in rows:
        table.add_row(name, *cells)
    file = io.StringIO()
    width = max(shutil.get_terminal_size((120, 24)).columns, 24 + 12 * len(sides))
    Console(file=file, width=width, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
