"""`gradus train --data X --auto`: the task is read off the data, candidates are trained within a limit, one is kept.

The candidates are members of a group. Which is best is decided on the validation part alone and written to
`choice.json`; from then on the group's name means the best member, so that every verb works on it as on any run.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradus.app.candidates import candidates, plan, rehearse_all, task_of
from gradus.app.launching import Launch, Order, learn, make_folder, place
from gradus.app.parsing import gather, parse
from gradus.app.verb import Answer, Verb, shown
from gradus.engine.folder import CHOICE, RunFolder, free_name, write_atomically
from gradus.engine.log import read_metrics
from gradus.engine.recipe import from_json, recipe_class, to_json
from gradus.errors import GradusError

__all__ = ["FLAG", "AutoTrain", "finish", "read_choice", "table_of"]

FLAG = "--auto"
CLOSING = 1.0  # seconds kept for choosing and writing


@dataclass(kw_only=True)
class AutoTrain(Verb):
    """Find a model for any data: gradus train --data X --auto picks task, model and options within a time limit."""

    data: str = ""
    """A registered data set or table, a folder with one sub-folder of images per class, or a CSV file."""
    target: str | None = None
    """The column of a table to predict; the last one when left out."""
    data_dir: str | None = None
    """Where registered data is looked for; GRADUS_DATA when left out."""
    max_time: float = 60.0
    """Seconds for everything."""
    seed: int = 0
    """Seed of the division of the data and of every candidate."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    name: str | None = None
    """The run's name; auto and a number when left out."""
    quiet: bool = False
    """Show no progress."""

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "AutoTrain":
        """Return the command that words with `--auto` among them mean.

        Raises:
            GradusError: for a recipe or a flag of one, which are what is to be picked.
        """
        words = gather([word for word in argv if word != FLAG])
        if words and not words[0].startswith("-"):
            raise GradusError(f"{FLAG} picks the recipe itself: leave {words[0]} out, or leave {FLAG} out")
        known = [f"--{name.replace('_', '-')}" for name in cls.__dataclass_fields__]
        known += ["--help", *(f"--no-{flag[2:]}" for flag in known)]
        for word in words:
            flag = word.partition("=")[0].replace("_", "-")
            if flag.startswith("--") and flag not in known:
                raise GradusError(
                    f"{FLAG} picks models and their options itself: leave {flag} out, or leave {FLAG} out"
                )
        return parse(cls, words, f"gradus train {FLAG}")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.data:
            raise GradusError(f"name what to learn from: gradus train --data X {FLAG}")
        if not 0 < self.max_time < math.inf:
            raise GradusError(f"--max-time must be positive, got {self.max_time:g}")
        if self.seed < 0:
            raise GradusError(f"--seed must not be negative, got {self.seed}")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise GradusError(f"{FLAG} runs in one process: start it without torchrun")

    def __call__(self) -> Answer:
        """Look at the data, plan, make the group, train the candidates, choose."""
        started = time.perf_counter()
        launch = Launch(
            name=self.name or free_name("auto", self.runs_dir), quiet=self.quiet, json=self.json, runs_dir=self.runs_dir
        )
        if (where := place(Order("", from_json(recipe_class("vision/classify"), {}), launch))).exists():
            raise GradusError(
                f"{where} exists already: choose another --name, or go on with `gradus resume {launch.name}`"
            )
        task = task_of(self.data, self.target, self.data_dir)
        found = candidates(task, seed=self.seed, device=self.device)
        paces = rehearse_all(found, task.size, self.max_time - (time.perf_counter() - started))
        left = self.max_time - CLOSING - (time.perf_counter() - started)
        planned, without = plan(found, paces, max(left, 0.1))
        facts = {
            "note": task.note, "metric": task.metric, "sign": task.sign, "max_time": self.max_time, "left_out": without,
            "candidates": [{"name": one.name, "options": to_json(one.recipe)} for one in planned],
        }  # fmt: skip
        first = planned[0].recipe
        group = make_folder(where, task.recipe, first, members=len(planned), vary="auto", auto=facts)
        return finish(group, launch, started)


def finish(group: RunFolder, launch: Launch, started: float | None = None) -> Answer:
    """Train the candidates that are not finished, choose among all, and say what came out.

    Args:
        group: made by `gradus train --auto`.
        launch: how to show it.
        started: when the whole began, to tell how long it took.
    """
    started = time.perf_counter() if started is None else started
    with group.locked():
        body = group.read()
        failed: dict[str, str] = {}
        for i, one in enumerate(body["auto"]["candidates"]):
            recipe, path = from_json(recipe_class(body["recipe"]), one["options"]), group.members / str(i)
            folder = RunFolder(path) if path.exists() else make_folder(path, body["recipe"], recipe)
            try:
                answer = learn(recipe, folder, launch)
            except GradusError as error:
                failed[one["name"]] = str(error)  # one that diverges is no reason to lose the others
                continue
            if answer.code:
                name = group.path.name
                text = f"{name}: stopped while training {one['name']}, saved; go on with `gradus resume {name}`"
                return Answer({**answer.data, "run": name, "path": str(group.path)}, text, answer.code)
        scores = _scores(group, body["auto"])
        if not any(scores):
            if not any(group.members.glob("*/metrics.csv")):
                shutil.rmtree(group.path, ignore_errors=True)
            raise GradusError(f"no candidate could be trained: {'; '.join(failed.values())}")
        choice = _choose(scores, {**body["auto"], "failed": failed}, time.perf_counter() - started)
        write_atomically(group.path / CHOICE, json.dumps(choice, indent=1) + "\n")
    return _told(group, choice)


def _scores(group: RunFolder, auto: dict[str, Any]) -> list[dict[str, float]]:
    """Return each candidate's validation metrics at the step whose weights it kept; none where it did not finish."""
    from gradus.engine.checkpoint import heads

    found: list[dict[str, float]] = []
    for i in range(len(auto["candidates"])):
        folder = RunFolder(group.members / str(i))
        head = heads(folder.checkpoints) if (folder.product / "product.json").exists() else None
        if head is None:
            found.append({})
            continue
        best: int = (head.get("best") or {}).get("step", -1)
        series = {k: dict(v) for k, v in read_metrics(folder.metrics_file).items() if k.startswith("val/")}
        found.append({k: v.get(best, list(v.values())[-1]) for k, v in series.items()})
    return found


def _choose(scores: Sequence[dict[str, float]], auto: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return which candidate is best on the validation part; of equal ones that with the smaller loss."""
    metric, names = auto["metric"], [one["name"] for one in auto["candidates"]]
    rows = [{"name": n, "metrics": m} for n, m in zip(names, scores, strict=True)]

    def rank(i: int) -> tuple[float, float]:
        found = rows[i]["metrics"]
        value, loss = found.get(metric, math.nan), found.get("val/loss", math.nan)
        return (auto["sign"] * value if math.isfinite(value) else -math.inf, -loss if loss == loss else -math.inf)

    best = max(range(len(rows)), key=rank)
    value = rows[best]["metrics"][metric]
    most = "highest" if auto["sign"] > 0 else "lowest"
    why = f"{names[best]} has the {most} {metric}, {value:.4f}, of {len(rows)} candidates"
    if len(rows) == 1:
        why = f"{names[best]} is the only candidate there was time for; its {metric} is {value:.4f}"
    return {
        "best": best, "metric": metric, "scores": rows, "why": why, "left_out": auto["left_out"],
        "failed": auto.get("failed", {}), "note": auto["note"], "seconds": seconds,
    }  # fmt: skip


def read_choice(group: Path) -> dict[str, Any] | None:
    """Return `choice.json` of a group; None where it has none yet."""
    path = group / CHOICE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def table_of(choice: dict[str, Any]) -> list[str]:
    """Return the candidates and their scores as lines, the best marked."""
    metrics = list(dict.fromkeys(name for row in choice["scores"] for name in row["metrics"]))
    width = max(len(row["name"]) for row in choice["scores"])
    lines = [f"  {'':<{width}}    " + "  ".join(f"{name:>12}" for name in metrics)]
    for i, row in enumerate(choice["scores"]):
        values = "  ".join(f"{row['metrics'].get(name, math.nan):>12.4f}" for name in metrics)
        lines.append(f"  {row['name']:<{width}}  {'*' if i == choice['best'] else ' '} {values}")
    lines += [f"  no time for {', '.join(choice['left_out'])}"] if choice["left_out"] else []
    lines += [f"  {name}: {sentence}" for name, sentence in choice["failed"].items()]
    return lines


def _told(group: RunFolder, choice: dict[str, Any]) -> Answer:
    name, best = group.path.name, choice["best"]
    lines = [f"{name}: {choice['note']}", *table_of(choice), f"  {choice['why']}; {choice['seconds']:.0f} s in all"]
    lines.append(f"  {shown(group.path)}: next `gradus evaluate {name}`, `gradus report {name}`")
    data = {"run": name, "path": str(group.path), "model": choice["scores"][best]["name"], "choice": choice}
    return Answer({**data, "metrics": choice["scores"][best]["metrics"]}, "\n".join(lines))
