"""Charts of numbers that were predicted: against the truth, and by their error; and of members side by side."""

import math
from collections.abc import Sequence

from gradus.app.report.charts import bar
from gradus.app.report.svg import Frame, compact, count, tag, text

__all__ = ["bars", "residual_histogram", "scatter"]

MOST_POINTS = 800
BINS = 24


def scatter(truth: Sequence[float], predicted: Sequence[float], name: str) -> str:
    """Return a figure of predictions against the truth; a perfect one lies on the diagonal.

    Args:
        truth: of each row.
        predicted: of each row.
        name: of what is predicted.
    """
    frame = Frame(width=430, height=330, left=56)
    stride = math.ceil(len(truth) / MOST_POINTS) or 1
    points = list(zip(truth, predicted, strict=True))[::stride]
    low, high = (extreme(v for point in points for v in point) for extreme in (min, max))
    room = 0.04 * (high - low) or abs(high) * 0.1 or 1.0
    x, y = frame.x(low - room, high + room), frame.y(low - room, high + room)
    dots = [
        tag("circle", class_="point", cx=x(t), cy=y(p), r=2.6, data_tip=f"true {compact(t)}, predicted {compact(p)}")
        for t, p in points
    ]
    diagonal = tag("line", class_="ideal", x1=x(low), y1=y(low), x2=x(high), y2=y(high))
    label = f"Predicted against true {name} of {count(len(points))} rows; a perfect prediction lies on the diagonal"
    note = tag("small", text(f"{count(len(points))} of {count(len(truth))} rows")) if stride > 1 else ""
    caption = tag("figcaption", tag("b", "Predicted against true"), note)
    svg = frame.drawing(frame.axes(x, y, f"true {name}"), diagonal, *dots, label=label)
    return tag("figure", caption, svg, class_="chart")


def residual_histogram(errors: Sequence[float]) -> str:
    """Return a figure of how often an error of each size occurs.

    Args:
        errors: predicted less true; of them the outermost hundredths stand in the bins at the edges.
    """
    frame = Frame(width=430, height=330, left=48)
    ranked = sorted(errors)
    cut = len(ranked) // 100
    bound = max(abs(ranked[cut]), abs(ranked[-1 - cut])) or 1.0
    held = [0] * BINS
    for error in errors:
        held[min(BINS - 1, max(0, int((error + bound) / (2 * bound) * BINS)))] += 1
    x, y = frame.x(-bound, bound), frame.y(0, max(held) * 1.08)
    edges = [-bound + 2 * bound * i / BINS for i in range(BINS + 1)]
    parts = [
        bar(x, y, left, right, 0, n, "bar", f"error {compact(left)} to {compact(right)}: {count(n)} rows")
        for left, right, n in zip(edges, edges[1:], held, strict=False)
        if n
    ]
    zero = tag("line", class_="ideal", x1=x(0), x2=x(0), y1=y.start, y2=y.end)
    label = f"How often an error of each size occurs among {count(len(errors))} rows"
    caption = tag("figcaption", tag("b", "Errors"), tag("span", tag("small", "rows")))
    svg = frame.drawing(frame.axes(x, y, "predicted − true"), *parts, zero, label=label)
    return tag("figure", caption, svg, class_="chart")


def bars(title: str, names: Sequence[str], values: Sequence[float], mean: float, things: str) -> str:
    """Return a figure with a bar for each member, and their mean.

    Args:
        title: what is drawn.
        names: of the members.
        values: of the members, finite.
        mean: of the values.
        things: what the members are.
    """
    frame = Frame(left=52)
    low, high = min(values), max(values)
    # Bars begin at zero, unless their differences would vanish: then just below the smallest.
    floor = 0.0 if low <= 0 or high - low > 0.2 * high else low - 2 * (high - low or 0.02 * high)
    x, y = frame.x(0, len(values)), frame.y(min(floor, low), high + 0.08 * (high - floor or 1.0))
    parts = [
        bar(x, y, i + 0.12, i + 0.88, floor, v, "bar", f"{things} {name}: {compact(v)}")
        for i, (name, v) in enumerate(zip(names, values, strict=True))
    ]
    every = math.ceil(len(names) / 12)
    for i, name in list(enumerate(names))[::every]:
        parts.append(
            tag(
                "text",
                text(name),
                class_="tick",
                x=x(i + 0.5),
                y=frame.height - frame.bottom + 16,
                text_anchor="middle",
            )
        )
    line = tag("line", class_="mean", x1=x(0), x2=x(len(values)), y1=y(mean), y2=y(mean))
    said = ", ".join(compact(v) for v in values)
    note = tag("small", text(f"mean {compact(mean)}" + ("" if floor == 0 else ", axis cut")))
    svg = frame.drawing(frame.axes(x, y, things, x_ticks=[]), *parts, line, label=f"{title} by {things}: {said}")
    return tag("figure", tag("figcaption", tag("b", text(title)), tag("span", note)), svg, class_="chart")
