"""What is told of an experiment: its findings, its figures, its table."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradus import canon
from gradus.app.report.page import Section, table, tile, value
from gradus.app.report.svg import compact, count, seconds, tag, text
from gradus.app.report.told import Subject, Told

__all__ = ["tell_experiment"]

TILES, ROWS = 6, 100
PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif", ".jpg": "image/jpeg"}


def tell_experiment(subject: Subject) -> Told:
    """Tell what an experiment found; its curves would be cells in the order in which they were measured."""
    product = subject.product
    numbers: Mapping[str, float] = product.numbers
    shown = [tile(_words(name), value(number, _number(number))) for name, number in list(numbers.items())[:TILES]]
    entry = canon.scan().get(str(subject.facts.recipe))
    question = entry.summary if entry is not None else f"{product.title}."
    lead = f"{question} {count(len(product.rows))} measurements in {seconds(subject.facts.seconds)}."
    chapters = [_findings(numbers)] if len(numbers) > TILES else []
    chapters += [_figures(subject.folder.plots), _rows(product.rows)]
    chapters = [chapter for chapter in chapters if chapter.body]
    return Told(lead, shown, chapters, metrics=dict(numbers), curves=False, timed=("Time", "measurements"))


def _words(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _number(number: float) -> str:
    return count(number) if number == int(number) and abs(number) < 1e6 else f"{number:.4g}"


def _findings(numbers: Mapping[str, float]) -> Section:
    rows = [
        tag("tr", tag("th", text(_words(name)), scope="row"), tag("td", value(number, _number(number))))
        for name, number in numbers.items()
    ]
    return Section("findings", "Findings", table(["finding", "value"], rows, label="Everything that was found"))


def _figures(folder: Path) -> Section:
    """Return every picture of a folder, embedded; large ones are as large as they were drawn."""
    found = sorted(p for p in folder.iterdir() if p.suffix in PICTURES) if folder.is_dir() else []
    figures = []
    for path in found:
        address = f"data:{PICTURES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
        name = _words(path.stem.replace("-", " "))
        picture = f'<img src="{address}" alt="{text(f"Figure: {name}")}">'
        figures.append(tag("figure", tag("figcaption", tag("b", text(name))), picture, class_="plot"))
    return Section("figures", "Figures", "".join(figures))


def _rows(rows: Sequence[Mapping[str, Any]]) -> Section:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [tag("tr", *(tag("td", text(_cell(row.get(name)))) for name in names)) for row in rows[:ROWS]]
    inside = table(names, lines, label="What was measured")
    rest = len(rows) - len(lines)
    note = f"{count(len(rows))} rows" + (
        f", the first {ROWS} of them here; product/table.csv holds all" if rest else ""
    )
    heading = tag("summary", "What was measured", tag("small", text(note)))
    return Section("table", "Table", tag("details", heading, tag("div", inside)) if rows else "")


def _cell(found: Any) -> str:
    if isinstance(found, float):
        return compact(found)
    if isinstance(found, list):
        return ", ".join(_cell(one) for one in found[:4]) + (", …" if len(found) > 4 else "")
    return "–" if found is None else str(found)
