"""What is told of a classifier of texts: its worth, its worst mistakes with their words, and the most telling words."""

from collections import defaultdict
from typing import Any

import torch

from gradus.app.highlighting import Highlighted, highlight, markup
from gradus.app.report import sections
from gradus.app.report.held_out import recipe_of
from gradus.app.report.measure import Measured, measured_scores
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.seen import classifier_tiles
from gradus.app.report.svg import count, percent, tag, text
from gradus.app.report.told import Subject, Told, lead, plain
from gradus.data.labelled_text import TextSet, TextSplits
from gradus.data.splits import thin
from gradus.engine.capabilities import Highlights
from gradus.errors import GradusError

__all__ = ["tell_text", "telling_words"]

SHOWN = 12
EXPLAINED = 96
LONG = 600  # characters of a text that a page shows


def tell_text(subject: Subject) -> Told:
    """Measure a classifier on its test texts; where they are gone, tell of the model only."""
    product = subject.product
    parameters = sum(p.numel() for p in product.module.parameters())
    out = Told(lead=lead(subject.facts, parameters))
    try:
        splits = _splits(subject)
        _measured(subject, splits, out)
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
    out.tiles.append(tile("Parameters", value(parameters, count(parameters)), text(_reading(product))))
    return out


def _reading(product: Any) -> str:
    """Return what the model knows, in words."""
    tokenizer = product.tokenizer
    kinds = {"terms": "terms", "word": "words", "char": "characters"}
    return f"{count(len(tokenizer))} {kinds.get(tokenizer.kind, 'pieces of words')} known"


def _splits(subject: Subject) -> TextSplits:
    recipe: Any = recipe_of(subject.facts.body, subject.facts.name)
    splits = recipe.splits()
    if splits.classes != tuple(subject.product.classes):
        raise GradusError(f"the data {splits.name!r} has other classes now than when the run was trained")
    if not len(splits.test):
        raise GradusError(f"the test part of {splits.name!r} is empty")
    return splits


def _measured(subject: Subject, splits: TextSplits, out: Told) -> None:
    """Add metrics, tiles and chapters of the test texts; the metrics are those of `gradus evaluate`."""
    from gradus.sequence.classification.measures import of_texts

    product, test = subject.product, splits.test
    logs = product.predict(test.inputs).double().clamp(min=1e-300).log().cpu()
    measured = measured_scores(logs, test.labels, of_texts(logs, test.labels, "test"))
    out.metrics = measured.metrics
    out.tiles += classifier_tiles(measured)
    f1 = out.metrics["test/f1"]
    out.tiles.append(tile(plain("test/f1"), value(f1, f"{f1:.4f}")))
    out.chapters += [sections.classes(measured.confusion, splits.classes, "texts")]
    out.chapters += [sections.calibration(measured, "texts")]
    if isinstance(product, Highlights):
        out.chapters += [_mistakes(product, test, measured), telling_words(product, test, measured)]
    hits = int((measured.guesses == measured.labels).sum())
    out.lead = (
        f"The {subject.facts.product.get('model')} model, trained on {count(len(splits.train))} texts of "
        f"{splits.name}, puts {count(hits)} of {count(len(test))} texts it has never seen into the right one of "
        f"{len(splits.classes)} classes."
    )
    parts = " / ".join(count(len(part)) for part in (splits.train, splits.val, splits.test))
    facts = {"Data": splits.name, "Train / val / test": parts, "Fingerprint": splits.fingerprint}
    out.data = {**facts, "Notes": "; ".join(splits.notes) or None}


def _mistakes(product: Any, test: TextSet, measured: Measured) -> Section:
    """Return the most confident mistakes, or where there is none the least certain answers, with their words."""
    wrong = measured.mistakes()
    chosen = (wrong or measured.doubts())[:SHOWN]
    cards = []
    for i in chosen:
        shown = _shortened(test.inputs[i])
        found = highlight(product, shown)
        truth, guess = (product.classes[int(part[i])] for part in (measured.labels, measured.guesses))
        title = f"{truth} taken for {guess}" if truth != guess else f"{truth}, recognised"
        said = f"{percent(float(measured.confidence[i]))} sure"
        said += f"; {percent(float(measured.right[i]))} for {truth}" if truth != guess else ""
        more = " …" if shown != test.inputs[i] else ""
        body = tag("div", markup(found) + more, style="white-space:pre-wrap;overflow-wrap:anywhere")
        cards.append(tag("article", tag("h3", text(title)), tag("p", text(said)), body, class_="card"))
    if len(wrong) > len(chosen):
        said = f"The {len(chosen)} most confident of {count(len(wrong))} mistakes."
    elif wrong:
        said = f"All {len(wrong)} mistakes, the most confident first." if len(wrong) > 1 else "The only mistake."
    else:
        said = "There is no mistake; these are the texts of which the model is least sure."
    said += " Integrated gradients divide the score among the words."
    body = tag("p", text(said), " ", sections.KEY) + tag("div", *cards, class_="cards")
    return Section("mistakes", "Worst mistakes" if wrong else "Least certain", body)


def _shortened(given: Any) -> Any:
    """Return a text, or both of a pair, cut to what a page shows."""
    return given[:LONG] if isinstance(given, str) else tuple(text[:LONG] for text in given)


def telling_words(product: Any, test: TextSet, measured: Measured) -> Section:
    """Return for each class the words that speak most for it, by their mean share in the score of test texts.

    Args:
        product: is `Highlights`.
        test: labelled texts.
        measured: what it said of them.
    """
    asked = thin(measured.guesses, torch.arange(len(test)), EXPLAINED, 0).tolist()
    shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i in asked:
        found: Highlighted = highlight(product, _shortened(test.inputs[i]), "gradient-times-input")
        for piece in found.pieces:
            shares[found.explained][piece.text.lower()].append(piece.share)
    rows = []
    for name in product.classes:
        means = {word: sum(own) / len(own) for word, own in shares[name].items() if any(c.isalpha() for c in word)}
        best = sorted((word for word in means if means[word] > 0), key=means.__getitem__, reverse=True)[:SHOWN]
        shown = ", ".join(f"{word} {means[word]:+.2f}" for word in best) or "–"
        rows.append(tag("tr", tag("th", text(name), scope="row"), tag("td", text(shown))))
    said = (
        f"What stands in {count(len(asked))} of the test texts and speaks most for the class that the "
        "model named: mean of gradient times input, in units of the score."
    )
    body = tag("p", text(said)) + table(["class", "words"], rows, "words", "The most telling words of every class")
    return Section("words", "Telling words", body)
