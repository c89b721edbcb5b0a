"""What a teller hands to the page about a product: headline facts, chapters, a sentence, numbers for programs."""

from dataclasses import dataclass, field
from typing import Any

from gradus.app.report.facts import RunFacts
from gradus.app.report.page import Section
from gradus.app.report.svg import count, percent, seconds
from gradus.engine.folder import RunFolder

__all__ = ["STEMS", "Subject", "Told", "figure", "lead", "plain", "steps"]


@dataclass(frozen=True)
class Subject:
    """What a teller is given.

    Attributes:
        folder: of the run.
        facts: what the folder says.
        product: loaded, on its device.
        attacked: the most inputs to attack.
    """

    folder: RunFolder
    facts: RunFacts
    product: Any
    attacked: int = 0


@dataclass
class Told:
    """What there is to tell.

    Attributes:
        lead: the run in a sentence.
        tiles: headline facts, as markup.
        chapters: between the training and the recipe.
        metrics: what was measured; empty where nothing was.
        notes: what could not be told, each one sentence.
        data: facts of the data.
        curves: whether the course of the training means something.
        timed: what took time, and where it is no training what its steps are.
    """

    lead: str = ""
    tiles: list[str] = field(default_factory=list)
    chapters: list[Section] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    data: dict[str, object] = field(default_factory=dict)
    curves: bool = True
    timed: tuple[str, str] = ("Training time", "steps")


STEMS = {"mse": "MSE", "mae": "MAE", "r2": "R²", "f1": "F₁", "auc": "AUC", "ece": "ECE", "bleu": "BLEU"}


def plain(name: str) -> str:
    """Return a metric's name as words: `test/accuracy` is Test accuracy."""
    part, _, stem = name.partition("/")
    return f"{part.capitalize()} {STEMS.get(stem, stem.replace('_', ' '))}".strip()


def figure(name: str, number: float) -> str:
    """Return a metric's value as people read it."""
    if name.endswith("/accuracy"):
        return percent(number, 2)
    return f"{number:.4f}" if abs(number) < 10 else f"{number:.5g}"


def steps(number: int) -> str:
    """Return a number of steps in words."""
    return "one step" if number == 1 else f"{count(number)} steps"


def lead(facts: RunFacts, parameters: int | None = None) -> str:
    """Return a trained run in a sentence, without what it is worth."""
    name = facts.product.get("model")
    subject = f"The model {name}" if name else f"A run of {facts.recipe or 'a program'}"
    if parameters is not None:
        subject += f" with {count(parameters)} parameters"
    return f"{subject}, trained for {steps(facts.step)} in {seconds(facts.seconds)}."
