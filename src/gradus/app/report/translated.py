"""What is told of a translator: its worth on test pairs, translations beside references, where it looked."""

from collections.abc import Sequence
from typing import Any

import torch

from gradus.app.report.held_out import recipe_of
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.svg import count, number, percent, tag, text
from gradus.app.report.told import Subject, Told, figure, lead, plain
from gradus.data.pair_sets import Pairs
from gradus.data.pairs import PairSplits
from gradus.errors import GradusError
from gradus.sequence.translation.alignment import Alignment
from gradus.sequence.translation.product import nats_of, worth

__all__ = ["alignment_figure", "tell_translation"]

SHOWN = 12
DRAWN = 4
LONGEST_DRAWN = 60  # tokens of a source that still fit into a picture
BINS = 4


def tell_translation(subject: Subject) -> Told:
    """Measure a translator on its test pairs; where they are gone, tell of the model only."""
    product, model = subject.product, subject.facts.product.get("model")
    parameters = sum(p.numel() for p in product.module.parameters())
    out = Told(lead=lead(subject.facts, parameters))
    try:
        splits = _splits(subject)
        found = product.translate(splits.test.sources)
        _measured(product, splits.test, found, out)
        out.lead = (
            f"The model {model} with {count(parameters)} parameters, trained on {count(len(splits.train))} pairs of "
            f"{splits.name}, translates {percent(out.metrics['test/exact'])} of {count(len(splits.test))} texts it has "
            "never seen exactly as their references"
        ) + (f"; its BLEU is {out.metrics['test/bleu']:.1f}." if "test/bleu" in out.metrics else ".")
        out.chapters += [_samples(splits.test, found), *_by_length(splits.test, found)]
        out.chapters += _alignments(product, splits.test)
        parts = " / ".join(count(len(pairs)) for pairs in splits.parts.values())
        facts = {"Data": splits.name, "Train / val / test": parts, "Fingerprint": splits.fingerprint}
        out.data = {**facts, "Notes": "; ".join(splits.notes) or None}
    except GradusError as error:
        out.notes.append(f"The data of this run is not there, so only what the run folder holds is shown: {error}.")
    sizes = f"{count(len(product.source))} → {count(len(product.target))}"
    out.tiles.append(tile("Tokens", text(sizes), text(product.source.kind)))
    return out


def _splits(subject: Subject) -> PairSplits:
    recipe: Any = recipe_of(subject.facts.body, subject.facts.name)
    splits = recipe.splits()
    if not len(splits.test):
        raise GradusError(f"the test part of {splits.name!r} is empty")
    return splits


def _measured(product: Any, test: Pairs, found: Sequence[str], out: Told) -> None:
    """Add the metrics of `gradus evaluate`, and their tiles."""
    nats = nats_of(product.module, product.columns(test), product.padding)
    perplexity = float(torch.tensor(nats, dtype=torch.float64).exp())
    out.metrics = {"test/loss": nats, "test/perplexity": perplexity, **worth(found, test.targets, "test")}
    width = f"beam of {product.facts['beam']}"
    notes = {"test/loss": "nats per token", "test/bleu": width, "test/exact": width}
    for name, measured in out.metrics.items():
        shown = percent(measured, 2) if name == "test/exact" else figure(name, measured)
        out.tiles.append(tile(plain(name), value(measured, shown), text(notes.get(name, ""))))


def _samples(test: Pairs, found: Sequence[str]) -> Section:
    """Return translations beside their references: some as they come, and some that differ."""
    right = [one.strip() == other.strip() for one, other in zip(found, test.targets, strict=True)]
    spread = [i * len(test) // SHOWN for i in range(min(SHOWN, len(test)))]
    wrong = [i for i in range(len(test)) if not right[i]]
    body = tag("p", text(f"{count(len(test))} test texts were translated; here are some, spread evenly over them."))
    body += _rows(test, found, spread, "Translations beside their references")
    if wrong and sum(right) > len(right) / 2:
        body += tag("h3", text(f"What is not as the reference: {count(len(wrong))}"), style="margin-top:28px")
        body += _rows(test, found, wrong[:SHOWN], "Translations that differ from their references")
    return Section("translations", "Translations", body)


def _rows(test: Pairs, found: Sequence[str], which: Sequence[int], label: str) -> str:
    rows = [
        tag(
            "tr", *(tag("td", text(words)) for words in (test.sources[i], test.targets[i], found[i])),
            class_="usual" if found[i].strip() == test.targets[i].strip() else None,
        )
        for i in which
    ]  # fmt: skip
    return table(["source", "reference", "translation"], rows, "words", label)


def _by_length(test: Pairs, found: Sequence[str]) -> list[Section]:
    """Return what the length of the source does, where there is enough to divide."""
    if len(test) < 10 * BINS:
        return []
    order = sorted(range(len(test)), key=lambda i: len(test.sources[i]))
    rows = []
    for b in range(BINS):
        part = order[b * len(order) // BINS : (b + 1) * len(order) // BINS]
        sizes = [len(test.sources[i]) for i in part]
        measured = worth([found[i] for i in part], [test.targets[i] for i in part], "bin")
        bleu, exact = measured.get("bin/bleu"), measured["bin/exact"]
        cells = [tag("th", text(f"{sizes[0]} to {sizes[-1]}"), scope="row"), tag("td", count(len(part)))]
        cells.append(tag("td", "–" if bleu is None else value(bleu, f"{bleu:.1f}")))
        cells.append(tag("td", value(exact, percent(exact))))
        rows.append(tag("tr", *cells))
    said = "The test texts, divided by length into four parts of one size."
    inside = table(["characters of the source", "texts", "BLEU", "exact"], rows, label="Worth by length")
    return [Section("length", "Length", tag("p", said) + inside)]


def _alignments(product: Any, test: Pairs) -> list[Section]:
    """Return pictures of where the decoder looked."""
    fitting = [text for text in test.sources if len(product.source.encode(text)) <= LONGEST_DRAWN]
    some = [fitting[i * len(fitting) // DRAWN] for i in range(min(DRAWN, len(fitting)))]
    looks = [found[0].alignment for found in product.translations(some, alignments=True)] if some else []
    figures = [alignment_figure(look) for look in looks if look is not None]
    if not figures:
        return []
    said = "With every token that it writes (a row) the decoder looks at tokens of the source (columns)."
    return [Section("alignment", "Alignment", tag("p", text(said)) + tag("div", *figures, class_="row wide"))]


def alignment_figure(alignment: Alignment) -> str:
    """Return a heat map of an alignment, source across, target down.

    Args:
        alignment: of one translation.
    """
    rows, columns = alignment.weights.shape
    cell, font = min(22.0, max(7.0, 460 / columns)), 11.0
    left = 12 + 0.62 * font * max(map(len, alignment.target))
    longest = max(map(len, alignment.source))
    head = 8 + (0.62 * font * longest if longest > 1 else font + 4)
    parts = [tag("rect", class_="ground", x=left, y=head, width=cell * columns, height=cell * rows)]
    for r, shares in enumerate(alignment.weights.tolist()):
        parts.append(_name(alignment.target[r], left - 6, head + (r + 0.5) * cell + 0.35 * font, font))
        for c, share in enumerate(shares):
            if share >= 0.005:
                tip = f"{alignment.target[r]} ← {alignment.source[c]}: {percent(share)}"
                x, y, side = left + c * cell, head + r * cell, cell - (1.0 if cell > 10 else 0.4)
                parts.append(
                    tag("rect", class_="cell right", x=x, y=y, width=side, height=side, fill_opacity=f"{share:.2f}",
                        data_tip=tip)
                )  # fmt: skip
    for c, name in enumerate(alignment.source):
        parts.append(_turned(name, left + (c + 0.5) * cell, head - 5, font, longest > 1))
    width, height = left + cell * columns + 4, head + cell * rows + 4
    label = f"Where the translator looked: {' '.join(alignment.source)} became {' '.join(alignment.target)}"
    box = f"0 0 {number(width)} {number(height)}"
    drawing = tag("svg", *parts, viewBox=box, role="img", aria_label=label, style=f"max-width:{number(width)}px")
    return tag("figure", drawing, class_="matrix")


def _name(name: str, x: float, y: float, font: float) -> str:
    return tag("text", text(name), class_="tick", x=x, y=y, font_size=font, text_anchor="end")


def _turned(name: str, x: float, y: float, font: float, turned: bool) -> str:
    if not turned:
        return tag("text", text(name), class_="tick", x=x, y=y, font_size=font, text_anchor="middle")
    at = x + 0.35 * font
    turn = f"rotate(-90 {number(at)} {number(y)})"
    return tag("text", text(name), class_="tick", x=at, y=y, font_size=font, text_anchor="start", transform=turn)
