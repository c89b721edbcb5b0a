"""What `gradus train --auto` may try: the task that data poses, the candidates of each task, and what fits the time.

A candidate that descends a gradient is rehearsed for a fraction of a second. With c seconds a step, e an evaluation and
b to begin, it is given n steps and k evaluations with b + n c + k e within its share of the time, so that its schedule
runs to the end; a method with an answer is rehearsed on a few rows. Shares that a candidate does not need go to those
behind it.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from gradus import canon
from gradus.engine.recipe import Build, Recipe, recipe_class
from gradus.errors import GradusError, nearest

__all__ = [
    "CANDIDATES",
    "Candidate",
    "Pace",
    "Planned",
    "Task",
    "candidates",
    "plan",
    "rehearse",
    "rehearse_all",
    "task_of",
]

SMALL = 40  # the longest side of images that small networks are made for
MOST_CLASSES = 20  # whole numbers with more values than this are taken for quantities
FEW_ROWS = 2000  # for the rehearsal of a method with an answer
EVALUATIONS = 12
LEAST_STEPS = 1500  # are never too few, and as many are no waste on small data
WORTHLESS = 100  # steps, below which nothing is learned whatever the epochs
REHEARSING = 0.15  # the part of the time after which no further candidate is rehearsed
USED = 0.8  # the part of the time that is planned; the rest is for a machine that is slower than in the rehearsal


@dataclass(frozen=True)
class Task:
    """What data asks for.

    Attributes:
        kind: a key of `CANDIDATES`.
        recipe: id of the recipe.
        options: of every candidate, such as the data.
        metric: on the validation part, by which the best is chosen.
        sign: 1 where more of it is better, −1 where less is.
        note: what was decided for the user, in words.
        size: examples to learn from.
    """

    kind: str
    recipe: str
    options: Mapping[str, Any]
    metric: str
    sign: int
    note: str
    size: int


@dataclass(frozen=True)
class Candidate:
    """A model with its options.

    Attributes:
        name: in a word or two.
        options: of the recipe.
        epochs: the fewest that are worth a trial, and the most that are of use.
        weight: of its share of the time.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    epochs: tuple[int, int] = (1, 1)
    weight: float = 1.0


GENTLE = {"schedule": "one_cycle", "augment": "translate=0.1,rotate=10"}
MIRRORED = {"schedule": "one_cycle", "augment": "flip,crop=4"}
NETWORK = {"model": "mlp", "schedule": "one_cycle", "lr": 0.003}

# Cheap ones first: what they leave of the time goes to the others.
CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "small grey images": (
        Candidate("lenet", {**GENTLE, "model": "lenet", "lr": 0.003}, (10, 80)),
        Candidate("resnet20", {**GENTLE, "model": "resnet20", "lr": 0.003}, (10, 40), 2.0),
    ),
    "small colour images": (
        Candidate("lenet, mirrored", {**MIRRORED, "model": "lenet", "lr": 0.003}, (10, 80)),
        Candidate("resnet20", {**GENTLE, "model": "resnet20", "lr": 0.003}, (10, 40), 2.0),
        Candidate("resnet20, mirrored", {**MIRRORED, "model": "resnet20", "lr": 0.003}, (10, 60), 3.0),
    ),
    "large images": (
        Candidate("lenet, 32 pixels", {**GENTLE, "model": "lenet", "image_size": 32, "lr": 0.003}, (10, 80)),
        Candidate("resnet20, 64 pixels", {**GENTLE, "model": "resnet20", "image_size": 64, "lr": 0.003}, (10, 60), 2.0),
        Candidate("resnet18", {**MIRRORED, "model": "resnet18", "lr": 0.001}, (10, 60), 3.0),
    ),
    "labelled texts": (
        Candidate("tf-idf", {"model": "tfidf"}, (5, 30)),
        Candidate("tf-idf, pairs of words", {"model": "tfidf", "ngrams": "1,2"}, (5, 30)),
        Candidate("convolution", {"model": "cnn"}, (3, 12), 2.0),
        Candidate("lstm", {"model": "lstm"}, (3, 8), 3.0),
    ),
    "a table with classes": (
        Candidate("softmax", {"model": "softmax"}),
        Candidate("tree", {"model": "tree"}),
        Candidate("network", {**NETWORK, "dropout": 0.1}, (5, 60)),
        Candidate("wide network", {**NETWORK, "hidden": (256, 256), "dropout": 0.3}, (5, 60)),
    ),
    "a table with numbers": (
        Candidate("ridge", {"model": "ridge"}),
        Candidate("lasso", {"model": "lasso"}),
        Candidate("tree", {"model": "tree"}),
        Candidate("network", {**NETWORK, "dropout": 0.1}, (5, 100)),
        Candidate("wide network", {**NETWORK, "hidden": (256, 256), "dropout": 0.2}, (5, 100)),
    ),
}


# What else data may be, and what is trained on it.
ELSEWHERE = {
    "corpus": "sequence/language-model", "pairs": "sequence/translate", "tags": "sequence/tag",
    "series": "sequence/forecast",
}  # fmt: skip


def task_of(data: str, target: str | None = None, data_dir: str | None = None) -> Task:
    """Return what data asks for: classes of images, of texts or of rows, or numbers of rows.

    Args:
        data: a registered set of one of these, a folder of images or texts by class, or a file with columns.
        target: the column to predict; its own, or the last one, when left out.
        data_dir: where registered data is looked for.

    Raises:
        GradusError: if there is no such data, or it cannot be used.
    """
    from gradus.data.kinds import kind_of

    kind = kind_of(data, target)
    if kind == "images":
        if target is not None:
            raise GradusError(f"--target names a column of a table, and {data!r} holds images: leave it out")
        return _images(data, data_dir)
    if kind == "texts":
        return _texts(data, target, data_dir)
    if kind == "table":
        return _table(data, target, data_dir)
    raise GradusError(
        f"--auto chooses among methods for images, tables and labelled texts, and {data!r} is something else: "
        f"gradus train {ELSEWHERE[kind]} --data {data}"
    )


def _images(data: str, data_dir: str | None) -> Task:
    from gradus.data.registry import load_images

    train = load_images(data, data_dir=data_dir).train
    if max(train.image_size) > SMALL:
        kind = "large images"
    else:
        kind = "small grey images" if train.channels == 1 else "small colour images"
    size = " × ".join(map(str, train.image_size))
    note = f"{kind} ({size} pixels) in {len(train.classes)} classes"
    options = {"data": data, "data_dir": data_dir}
    return Task(kind, "vision/classify", options, "val/accuracy", 1, note, len(train))


def _texts(data: str, target: str | None, data_dir: str | None) -> Task:
    from gradus.data.labelled_text import load_labelled

    splits = load_labelled(data, target=target, data_dir=data_dir)
    column = f" in column {splits.columns[0]!r}" if splits.columns else ""
    note = f"texts{column}, each in one of {len(splits.classes)} classes"
    options = {"data": data, "target": target, "data_dir": data_dir}
    return Task("labelled texts", "sequence/classify", options, "val/accuracy", 1, note, len(splits.train))


def _table(data: str, target: str | None, data_dir: str | None) -> Task:
    from gradus.data.table_columns import MISSING, is_number
    from gradus.data.table_loading import load_table
    from gradus.data.table_reading import read_csv

    own, said = "", ""
    if Path(data).expanduser().is_file() and data not in canon.names("table"):
        raw = read_csv(Path(data).expanduser())
    else:
        named = canon.find("table", data)(data_dir=data_dir)
        raw, own = named.raw, named.target
    if target is None and not own:
        said = ", the last column (--target names another)"
    column = target or own or raw.names[-1]
    if column not in raw.names:
        raise GradusError(f"--target: {raw.name} has no column {column!r}{nearest(column, raw.names)}")
    present = [value for value in raw.column(column) if value.lower() not in MISSING]
    distinct = set(present)
    quantity = bool(distinct) and all(map(is_number, distinct))
    if quantity and all(float(value).is_integer() for value in distinct):
        quantity = len(distinct) > min(MOST_CLASSES, max(2, len(present) // 3))
    verb: Literal["classify", "regress"] = "regress" if quantity else "classify"
    # The table is looked over now, so that what cannot be used is refused before anything is made.
    splits = load_table(data, target=column, task=verb, data_dir=data_dir)
    options = {"data": data, "target": column, "data_dir": data_dir}
    what = "a number" if quantity else f"one of {len(splits.classes)} classes"
    note = f"column {column!r}{said} is {what}, to be predicted from {len(splits.schema.used)} others"
    kind = "a table with numbers" if quantity else "a table with classes"
    metric, sign = ("val/mse", -1) if quantity else ("val/accuracy", 1)
    return Task(kind, f"tabular/{verb}", options, metric, sign, note, len(splits.parts["train"]))


def candidates(task: Task, **settings: Any) -> list[tuple[Candidate, Recipe]]:
    """Return the candidates of a task, each with its recipe.

    Args:
        task: what is asked for.
        settings: options of all of them: seed, device.
    """
    made = recipe_class(task.recipe)
    return [(one, made(**{**task.options, **one.options, **settings})) for one in CANDIDATES[task.kind]]


@dataclass(frozen=True)
class Pace:
    """How fast a candidate is here.

    Attributes:
        begin: seconds to read the data and build the model, and to save what was learned.
        step: seconds of a step.
        evaluation: seconds of an evaluation, and of the checkpoint that may come with it.
        per_epoch: steps of an epoch; 0 where all is done in one step.
    """

    begin: float
    step: float
    evaluation: float = 0.0
    per_epoch: int = 0

    def evaluations(self, seconds: float) -> int:
        """Return how many evaluations a share of the time bears: at most a sixth of it, at least one of them."""
        return min(EVALUATIONS, max(1, int((seconds - self.begin) / 6 / max(self.evaluation, 1e-6))))

    def seconds(self, steps: int) -> float:
        """Return how long so many steps take in all."""
        once = self.begin + steps * self.step
        return once + min(EVALUATIONS, max(1, int(once / 5 / max(self.evaluation, 1e-6)))) * self.evaluation

    def steps(self, seconds: float) -> int:
        """Return how many steps there is time for."""
        return int((seconds - self.begin - self.evaluations(seconds) * self.evaluation) / self.step)


def rehearse_all(found: Sequence[tuple[Candidate, Recipe]], size: int, seconds: float) -> list[Pace]:
    """Return the paces of the first candidates, of as many as can be rehearsed in a part of the time; of one at least.

    Args:
        found: candidates, cheap ones first.
        size: examples that they are going to learn from.
        seconds: that there are for everything.
    """
    started = time.perf_counter()
    paces = [rehearse(found[0][1], size)]
    for _, recipe in found[1:]:
        if time.perf_counter() - started > REHEARSING * seconds:
            break
        paces.append(rehearse(recipe, size))
    return paces


def rehearse(recipe: Recipe, size: int, patience: float = 0.5) -> Pace:
    """Return the pace of a recipe, from a few steps that leave nothing behind.

    Args:
        recipe: of a candidate.
        size: examples that it is going to learn from.
        patience: seconds after which enough steps have been made.

    Raises:
        GradusError: if it cannot be built on this data.
    """
    from gradus.engine.run import Run

    at_once = getattr(recipe, "at_once", False)
    if at_once and size > FEW_ROWS:
        recipe = dataclasses.replace(recipe, limit=FEW_ROWS)  # type: ignore[call-arg]
    started = time.perf_counter()
    build = recipe.build(Run.ephemeral(recipe.seed, recipe.device, precision=recipe.precision))
    begin = time.perf_counter() - started + 0.2
    taken: list[float] = []
    while not taken or (not at_once and sum(taken) < patience):
        started = time.perf_counter()
        found = build.learner.step(next(build.source))  # type: ignore[call-overload]
        float(found["loss"])  # waits for the device
        taken.append(time.perf_counter() - started)
    if at_once:
        return Pace(begin, 1.5 * taken[0] * max(1.0, size / FEW_ROWS))
    steady = taken[len(taken) // 3 :]  # the first steps are slower
    step = sum(steady) / len(steady)
    evaluation = _evaluation(recipe, build, step, patience) + 0.03 + 6e-8 * build.notes.get("parameters", 0)
    if hasattr(build.source, "close"):
        build.source.close()
    return Pace(begin, step, evaluation, getattr(build.source, "batches_per_epoch", 1))


def _evaluation(recipe: Recipe, build: Build, step: float, patience: float) -> float:
    """Return the seconds of an evaluation: measured, or judged by a step where it would take long."""
    from gradus.engine.watchers import Evaluate

    judged = 0.4 * step * build.notes["val"] / recipe.batch_size  # type: ignore[attr-defined]
    if judged > patience:
        return judged
    started = time.perf_counter()
    for watcher in build.watchers:
        if isinstance(watcher, Evaluate):
            watcher.function()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Planned:
    """A candidate with the recipe that fits its share of the time."""

    name: str
    recipe: Recipe


def plan(
    found: Sequence[tuple[Candidate, Recipe]], paces: Sequence[Pace], seconds: float
) -> tuple[list[Planned], list[str]]:
    """Return the candidates that there is time for, each with its length, and the names of the others.

    Args:
        found: candidates, cheap ones first.
        paces: of the first of them; those without are left out.
        seconds: that all of them have together.
    """
    kept = list(zip(found, paces, strict=False))
    while True:
        lengths = _lengths([(one, pace) for (one, _), pace in kept], USED * seconds)
        short = [i for i, steps in enumerate(lengths) if steps is None]
        if not short or len(kept) == 1:
            break
        kept.pop(_dropped(short[-1], [pace for _, pace in kept]))
    planned = []
    for ((one, recipe), pace), steps in zip(kept, lengths, strict=True):
        if pace.per_epoch:
            steps = steps or max(1, pace.steps(USED * seconds))
            recipe = _sized(recipe, steps, pace)
        planned.append(Planned(one.name, recipe))
    names = {one.name for one in planned}
    return planned, [one.name for one, _ in found if one.name not in names]


def _dropped(short: int, paces: Sequence[Pace]) -> int:
    """Return which candidate gives way where one's share is too short: itself, or the dearest that can be shortened."""
    return max(i for i, pace in enumerate(paces) if pace.per_epoch) if paces[short].per_epoch else short


def _lengths(kept: Sequence[tuple[Candidate, Pace]], seconds: float) -> list[int | None]:
    """Return the steps of each candidate, None where its share is too short."""
    lengths: list[int | None] = []
    for i, (one, pace) in enumerate(kept):
        share = seconds * one.weight / sum(later.weight for later, _ in kept[i:])
        least, most = (pace.per_epoch * epochs for epochs in one.epochs)
        least = min(LEAST_STEPS, max(WORTHLESS, least))
        steps = min(max(most, LEAST_STEPS), pace.steps(share)) if pace.per_epoch else 1
        enough = steps >= least if pace.per_epoch else pace.seconds(1) <= seconds
        lengths.append(steps if enough else None)
        seconds -= pace.seconds(steps) if enough else 0.0
    return lengths


def _sized(recipe: Recipe, steps: int, pace: Pace) -> Recipe:
    """Return a recipe with its length; averaged weights where there are steps enough to average."""
    seconds = pace.seconds(steps)
    often = math.ceil(steps / pace.evaluations(seconds))
    ema = min(0.999, 1 - 20 / steps) if steps >= 200 else None  # over the last twentieth
    limit = round((seconds - pace.begin) / USED + 0.1, 2)
    changed: dict[str, Any] = {"max_steps": steps, "max_time": limit, "ema": ema}
    changed |= {"evaluate_every": often, "checkpoint_every": often}
    return dataclasses.replace(recipe, **changed)
