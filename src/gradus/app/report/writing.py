"""Putting a report together: ask the folder, the product and the data for what they have, and say what is missing."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from gradus.app.report import sections, trained
from gradus.app.report.facts import RunFacts, read_facts
from gradus.app.report.measure import Effort, Measured, effort_of, wilson
from gradus.app.report.page import Section, page, tile, value
from gradus.app.report.svg import compact, count, percent, seconds, tag, text
from gradus.engine.folder import RunFolder
from gradus.engine.group import interval
from gradus.errors import GradusError

__all__ = ["Written", "write"]


@dataclass
class Written:
    """A report in the making.

    Attributes:
        html: the page.
        metrics: what was measured, or else last logged.
        notes: what could not be told, each one sentence.
    """

    html: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write(folder: RunFolder, device: str = "auto", attacked: int = 256) -> Written:
    """Return the report of a run folder.

    Args:
        folder: of a run or a group.
        device: where the product computes.
        attacked: the most images to attack; 0 leaves the attack out.

    Raises:
        GradusError: if it is no sound run folder, or the device is absent.
    """
    facts = read_facts(folder)
    if facts.body.get("members"):
        return _group(folder, facts, device)
    return _single(folder, facts, device, attacked)


def _single(folder: RunFolder, facts: RunFacts, device: str, attacked: int) -> Written:
    from gradus.engine.device import pick_device

    pick_device(device)
    out = Written(metrics=facts.last("val/"))
    product = _product(folder, device, out)
    splits = None if product is None else _data(facts, product, out)
    summary = None if product is None else _summary(product)
    measured: Measured | None = None
    found: list[Section] = []
    if splits is not None and product is not None and summary is not None:
        measured, found = _measured(product, splits.test, effort_of(product), attacked)
        out.metrics = measured.metrics
    chapters = [trained.training(facts), *found]
    if summary is not None:
        chapters.append(trained.model(summary, facts.product.get("model", type(product).__name__)))
    chapters += [trained.recipe(facts), trained.provenance(facts, _data_facts(splits))]
    tiles = _tiles(facts, measured, summary)
    head = _head("Report", facts, _lead(facts, measured, splits, summary), tiles, out.notes)
    out.html = page(f"{facts.name} · Gradus", head, chapters, _foot())
    return out


def _product(folder: RunFolder, device: str, out: Written) -> Any:
    """Return the product if there is one that can be looked into; note why not otherwise."""
    from gradus.engine.capabilities import ask
    from gradus.engine.product import load_product

    try:
        return ask(load_product(folder.path, device), "explain", folder.path.name)
    except GradusError as error:
        out.notes.append(f"No predictions are shown: {error}.")
        return None


def _data(facts: RunFacts, product: Any, out: Written) -> Any:
    """Return the splits of the run's data; note why not if they are gone."""
    from gradus.app.report.held_out import held_out

    try:
        splits = held_out(facts.body, facts.name, tuple(product.classes))
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
        return None
    if not len(splits.test):
        out.notes.append("The data has no test images, so only what the run folder holds is shown.")
        return None
    return splits


def _summary(product: Any) -> Any:
    from gradus.nn.summary import summary

    _, example = product.exportable()
    return summary(product.module, (1, *example.shape[1:]))


def _measured(product: Any, images: Any, effort: Effort, attacked: int) -> tuple[Measured, list[Section]]:
    """Return what the test images say, and its sections."""
    from gradus.app.report.attacked import attack_images
    from gradus.app.report.measure import look_at_mistakes, measure

    measured = measure(product, images, "test")
    worst = look_at_mistakes(product, images, measured, effort)
    found = [
        sections.classes(measured.confusion, product.classes),
        sections.calibration(measured),
        sections.mistakes(worst, product.classes, len(measured.mistakes())),
    ]
    if attacked:
        curve = attack_images(product, images, effort, attacked)
        found.append(sections.robustness(curve, product.classes))
    return measured, found


def _group(folder: RunFolder, facts: RunFacts, device: str) -> Written:
    """Return the report of a group: its members side by side, and what they say together."""
    from gradus.app.using import Evaluate

    out = Written()
    metrics: list[dict[str, float]] = []
    for member in facts.members:
        try:
            path = str(folder.members / member.name)
            metrics.append(Evaluate(run=path, device=device)().data["metrics"])
        except GradusError as error:
            metrics.append({})
            out.notes.append(f"Member {member.name} is not measured: {error}.")
    measured = [one for one in metrics if one]
    intervals = {name: interval([one[name] for one in measured]) for name in (measured[0] if measured else {})}
    out.metrics = {name: found["mean"] for name, found in intervals.items()}
    tiles = [
        tile(
            _plain(name), value(v["mean"], _figure(name, v["mean"])),
            text(f"± {_figure(name, v['half_width'])}, 95 % interval over {v['count']} members"),
        )
        for name, v in sorted(intervals.items())
    ]  # fmt: skip
    tiles += [tile("Members", count(len(facts.members)))]
    tiles += [tile("Training time", text(seconds(sum(member.seconds for member in facts.members))), "all together")]
    named = f"gradus report {facts.name}/members/0"
    table = trained.member_rows(facts.members, metrics)
    inside = table + tag("p", "A member is a run of its own: ", tag("code", text(named)), class_="aside")
    chapters = [trained.group_training(facts.members), Section("members", "Members", inside)]
    chapters += [trained.recipe(facts), trained.provenance(facts, {})]
    data = facts.options.get("data")
    lead = f"{len(facts.members)} runs of {facts.recipe} that differ in their seed" + (f", on {data}." if data else ".")
    out.html = page(f"{facts.name} · Gradus", _head("Group report", facts, lead, tiles, out.notes), chapters, _foot())
    return out


def _plain(name: str) -> str:
    part, _, stem = name.partition("/")
    return f"{part.capitalize()} {stem}"


def _figure(name: str, number: float) -> str:
    return percent(number, 2) if name.endswith("/accuracy") else f"{number:.4f}"


def _lead(facts: RunFacts, measured: Measured | None, splits: Any, summary: Any) -> str:
    """Return the run in a sentence."""
    name = facts.product.get("model")
    subject = f"The model {name}" if name else f"A run of {facts.recipe or 'a program'}"
    if summary is not None:
        subject += f" with {count(summary.parameters)} parameters"
    if measured is None:
        return f"{subject}, trained for {count(facts.step)} steps in {seconds(facts.seconds)}."
    trained_on = f", trained on {count(len(splits.train))} images of {splits.name}"
    total = len(measured.labels)
    hits = int((measured.guesses == measured.labels).sum())
    return f"{subject}{trained_on}, recognises {count(hits)} of {count(total)} images it has never seen."


def _tiles(facts: RunFacts, measured: Measured | None, summary: Any) -> list[str]:
    tiles = []
    if measured is not None:
        accuracy, total = measured.metrics["test/accuracy"], len(measured.labels)
        low, high = wilson(accuracy * total, total)
        between = f"95 % interval {100 * low:.1f} to {percent(high)}"
        tiles.append(tile("Test accuracy", value(accuracy, percent(accuracy, 2)), text(between)))
        for name, shown in (("test/loss", "Test loss"), ("test/ece", "Calibration error")):
            tiles.append(tile(shown, value(measured.metrics[name], f"{measured.metrics[name]:.4f}")))
    else:
        for name, last in facts.last("val/").items():
            tiles.append(tile(_plain(name), value(last, _figure(name, last)), "last logged"))
    if summary is not None:
        work = f"{compact(summary.multiply_adds)} multiply-adds"
        tiles.append(tile("Parameters", value(summary.parameters, count(summary.parameters)), text(work)))
    where = (facts.head.get("facts") or {}).get("device")
    note = f"{count(facts.step)} steps" + (f" on {where}" if where else "")
    tiles.append(tile("Training time", text(seconds(facts.seconds)), text(note)))
    return tiles


def _data_facts(splits: Any) -> dict[str, object]:
    if splits is None:
        return {}
    size = " × ".join(map(str, (splits.train.channels, *splits.train.image_size)))
    parts = " / ".join(count(len(part)) for part in (splits.train, splits.val, splits.test))
    return {
        "Data": splits.name, "Train / val / test": parts, "Classes": len(splits.classes), "Images": size,
        "Fingerprint": splits.fingerprint,
    }  # fmt: skip


def _head(kind: str, facts: RunFacts, lead: str, tiles: list[str], notes: list[str]) -> str:
    over = f"{kind} · {facts.recipe or 'driven from Python'}"
    warned = [tag("p", text(note), class_="warn") for note in notes]
    parts = [tag("div", text(over), class_="over"), tag("h1", text(facts.name)), tag("p", text(lead), class_="lead")]
    return "".join([*parts, *warned, tag("dl", *tiles, class_="facts")])


def _foot() -> str:
    from gradus import __version__

    day = datetime.date.today().isoformat()
    return text(f"Written by gradus {__version__} on {day}. This file stands alone: it loads nothing.")
