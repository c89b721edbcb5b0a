"""Putting a report together: a teller for what the product is, around it the training, the recipe, the surroundings.

`TELLERS` is asked from the top for the first that fits a product; the last one fits all.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gradus.app.report import trained
from gradus.app.report.facts import RunFacts, read_facts
from gradus.app.report.page import Section, page, tile, value
from gradus.app.report.svg import count, seconds, tag, text
from gradus.app.report.told import Subject, Told, figure, lead, plain, steps
from gradus.engine.folder import RunFolder
from gradus.errors import GradusError

__all__ = ["TELLERS", "Teller", "Written", "write"]


@dataclass
class Written:
    """A report that was put together.

    Attributes:
        html: the page.
        metrics: what was measured, or else last logged.
        notes: what could not be told, each one sentence.
    """

    html: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Teller(NamedTuple):
    """Who tells of which products.

    Attributes:
        fits: whether a product is one of them.
        module: of this package.
        name: of the function there, `Subject -> Told`.
    """

    fits: Callable[[Any], bool]
    module: str
    name: str


def _has(*names: str) -> Callable[[Any], bool]:
    """Return whether a product has all these attributes."""
    return lambda product: all(hasattr(product, name) for name in names)


TELLERS = (
    Teller(_has("rows", "numbers"), "found", "tell_experiment"),
    Teller(_has("products", "combined"), "together", "tell_snapshots"),
    Teller(_has("schema", "in_words"), "tables", "tell_table"),
    Teller(_has("complete", "tokenizer"), "language", "tell_language"),
    Teller(_has("translate"), "translated", "tell_translation"),
    Teller(_has("most_similar"), "word_vectors", "tell_vectors"),
    Teller(_has("pieces", "classes", "predict"), "read_text", "tell_text"),
    Teller(_has("scores", "classes", "predict"), "seen", "tell_images"),
    Teller(lambda product: True, "measured", "tell_measured"),
)


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
    from gradus.app.report.together import candidates
    from gradus.engine.device import pick_device

    pick_device(device)
    told = _told(folder, facts, device, attacked)
    if not told.metrics:
        told.metrics = facts.last("val/")
        logged = [tile(plain(n), value(v, figure(n, v)), "last logged") for n, v in told.metrics.items()]
        told.tiles = [*logged, *told.tiles]
    where = (facts.head.get("facts") or {}).get("device")
    timed, made = told.timed
    note = (steps(facts.step) if made == "steps" else f"{count(facts.step)} {made}") + (f" on {where}" if where else "")
    told.tiles.append(tile(timed, text(seconds(facts.seconds)), text(note)))
    # What has an answer is found in one step, of which a curve says nothing.
    curves = [trained.training(facts)] if told.curves and facts.step != 1 else []
    model = [chapter for chapter in told.chapters if chapter.id == "model"]
    rest = [chapter for chapter in told.chapters if chapter.id != "model"]
    closing = [trained.recipe(facts), trained.provenance(facts, told.data)]
    chapters = [*curves, *rest, *candidates(folder), *model, *closing]
    return _written("Report", folder.name, facts, told, chapters)


def _told(folder: RunFolder, facts: RunFacts, device: str, attacked: int) -> Told:
    """Return what there is to tell of a run's product."""
    from importlib import import_module

    from gradus.engine.product import load_product

    try:
        product = load_product(folder.path, device)
    except GradusError as error:
        return Told(lead=lead(facts), notes=[f"No predictions are shown: {error}."])
    teller = next(teller for teller in TELLERS if teller.fits(product))
    tell = getattr(import_module(f"gradus.app.report.{teller.module}"), teller.name)
    return tell(Subject(folder, facts, product, attacked))


def _group(folder: RunFolder, facts: RunFacts, device: str) -> Written:
    """Return the report of a group: its members side by side, and what they say together."""
    from gradus.app.report.together import tell_group

    kind, told = tell_group(folder, facts, device)
    curves = any(member.step != 1 for member in facts.members) or not facts.members
    chapters = [*([trained.group_training(facts.members)] if curves else []), *told.chapters]
    chapters += [trained.recipe(facts), trained.provenance(facts, {})]
    return _written(kind.title, facts.name, facts, told, chapters)


def _written(kind: str, name: str, facts: RunFacts, told: Told, chapters: list[Section]) -> Written:
    head = _head(kind, name, facts, told)
    return Written(page(f"{name} · Gradus", head, chapters, _foot()), told.metrics, told.notes)


def _head(kind: str, name: str, facts: RunFacts, told: Told) -> str:
    over = f"{kind} · {facts.recipe or 'driven from Python'}"
    warned = [tag("p", text(note), class_="warn") for note in told.notes]
    parts = [tag("div", text(over), class_="over"), tag("h1", text(name)), tag("p", text(told.lead), class_="lead")]
    return "".join([*parts, *warned, tag("dl", *told.tiles, class_="facts")])


def _foot() -> str:
    from gradus import __version__

    day = datetime.date.today().isoformat()
    return text(f"Written by gradus {__version__} on {day}. This file stands alone: it loads nothing.")
