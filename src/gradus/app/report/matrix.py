"""The confusion matrix as a heat map: what was right in one colour, what was confused in another.

The colour of a cell is its share of its row, the confusions on a scale of their own: in a good model they are few, and
on one scale with the diagonal nobody would see them. Classes come as given, or so that confused ones are neighbours:
sorted by the Fiedler vector of the symmetrised confusions.

References:
    Atkins, Boman and Hendrickson 1998, A spectral algorithm for seriation and the consecutive ones problem.
"""

import math
from collections.abc import Sequence

import numpy as np

from gradus.app.report.svg import count, number, percent, tag, text

__all__ = ["MOST_CLASSES", "confusion_figure", "confusions", "seriated"]

MOST_CLASSES = 100
WITH_COUNTS = 30
WITH_NAMES = 50


def confusions(matrix: np.ndarray, most: int = 6) -> list[tuple[int, int, int]]:
    """Return the most frequent mistakes as (true, predicted, count)."""
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    return [(int(i), int(j), int(wrong[i, j])) for i, j in zip(*np.unravel_index(order, wrong.shape)) if wrong[i, j]]


def seriated(matrix: np.ndarray) -> list[int]:
    """Return an order of the classes in which those that are confused stand side by side."""
    together = (matrix + matrix.T).astype(float)
    np.fill_diagonal(together, 0)
    if not together.any():
        return list(range(len(matrix)))
    together = np.sqrt(together) + 1e-3 * together.max() / len(matrix)
    np.fill_diagonal(together, 0)
    _, vectors = np.linalg.eigh(np.diag(together.sum(1)) - together)
    fiedler = vectors[:, 1] * (1 if vectors[np.abs(vectors[:, 1]).argmax(), 1] > 0 else -1)
    return np.argsort(fiedler, kind="stable").tolist()


def confusion_figure(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """Return the heat map, with a switch between the classes' own order and that of their likeness.

    Args:
        matrix: counts, rows are true classes, columns predictions.
        classes: their names.
    """
    note, kept = "", list(range(len(classes)))
    if len(classes) > MOST_CLASSES:
        wrong = matrix.sum(0) + matrix.sum(1) - 2 * np.diag(matrix)
        kept = sorted(np.argsort(-wrong, kind="stable")[:MOST_CLASSES].tolist())
        note = tag("p", f"The {MOST_CLASSES} classes with the most mistakes, of {count(len(classes))}.", class_="aside")
    part = matrix[np.ix_(kept, kept)]
    names = [classes[i] for i in kept]
    own, near = list(range(len(kept))), seriated(part)
    views = [tag("div", _drawing(part, names, own), class_="as-given")]
    switch = tag("figcaption", tag("b", "Confusion matrix"))
    if near != own and near != own[::-1]:
        views.append(tag("div", _drawing(part, names, near), class_="by-likeness"))
        switch = tag("figcaption", tag("b", "Confusion matrix"), tag("span", SWITCH))
    return note + tag("figure", switch, *views, class_="matrix")


SWITCH = (
    '<label><input type="radio" name="order" value="given" checked> as given</label> '
    '<label><input type="radio" name="order" value="likeness"> confused side by side</label>'
)


def _drawing(matrix: np.ndarray, names: Sequence[str], order: Sequence[int]) -> str:
    """Return one heat map, rows and columns in an order."""
    n = len(order)
    cell = min(46.0, max(5.6, 560 / n))
    named = n <= WITH_NAMES
    longest = max(len(_short(names[i])) for i in order)
    font = min(12.0, cell * 0.82)
    margin = min(14 + 0.6 * font * longest, 110) if named else 22.0
    head = 30.0 if longest <= 3 or not named else margin + 12
    rows = matrix.sum(1)
    wrong = matrix - np.diag(np.diag(matrix))
    worst = (wrong / np.maximum(rows, 1)[:, None]).max() or 1.0
    parts = [tag("rect", class_="ground", x=margin, y=head, width=cell * n, height=cell * n)]
    for r, i in enumerate(order):
        for c, j in enumerate(order):
            if matrix[i, j]:
                share = matrix[i, j] / rows[i]
                depth = share if i == j else math.sqrt(share / worst)
                tip = _tip(names, i, j, int(matrix[i, j]), int(rows[i]))
                parts.append(_cell(margin + c * cell, head + r * cell, cell, depth, i == j, tip))
                if n <= WITH_COUNTS:
                    parts.append(_count(margin + c * cell, head + r * cell, cell, int(matrix[i, j]), depth))
        if named:
            middle = head + (r + 0.5) * cell
            name = text(_short(names[i]))
            parts.append(_label(name, margin - 6, middle + 0.35 * font, font, "end"))
            across = margin + (r + 0.5) * cell
            parts.append(_label(name, across, head - 6, font, "middle", turned=longest > 3))
    width, height = margin + cell * n + 6, head + cell * n + 6
    parts.append(tag("text", "predicted →", class_="name", x=margin + cell * n, y=11, text_anchor="end"))
    parts.append(tag("text", "true ↓", class_="name", x=0, y=11))
    right = int(np.trace(matrix))
    label = f"Confusion matrix of {n} classes: {right} of {int(matrix.sum())} on the diagonal"
    box = f"0 0 {number(width)} {number(height)}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=label, style=f"max-width:{number(width)}px")


def _cell(x: float, y: float, size: float, depth: float, right: bool, tip: str) -> str:
    gap = 1.0 if size > 12 else 0.4
    look = f"cell {'right' if right else 'wrong'}"
    opacity = f"{0.08 + 0.87 * depth:.2f}"
    side = size - gap
    return tag("rect", class_=look, x=x, y=y, width=side, height=side, fill_opacity=opacity, data_tip=tip)


def _count(x: float, y: float, size: float, value: int, depth: float) -> str:
    font = min(12.0, size * 0.42)
    look = "in-cell deep" if depth > 0.55 else "in-cell"
    middle = x + (size - 1) / 2
    return tag("text", str(value), class_=look, x=middle, y=y + size / 2 + 0.33 * font, font_size=font)


def _label(name: str, x: float, y: float, font: float, anchor: str, turned: bool = False) -> str:
    if turned:
        turn = f"rotate(-90 {number(x)} {number(y)})"
        middle = y + 0.35 * font
        return tag("text", name, class_="tick", x=x, y=middle, font_size=font, text_anchor="start", transform=turn)
    return tag("text", name, class_="tick", x=x, y=y, font_size=font, text_anchor=anchor)


def _tip(names: Sequence[str], i: int, j: int, held: int, total: int) -> str:
    if i == j:
        return f"{names[i]}: {held} of {total} right, {percent(held / total)}"
    return f"{names[i]} taken for {names[j]}: {held} of {total}, {percent(held / total)}"


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
