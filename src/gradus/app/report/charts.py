"""The charts of the report: lines against steps, the reliability diagram, bars of confidence."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gradus.app.report.svg import Frame, Scale, compact, count, percent, percents, tag, text

__all__ = ["Band", "Line", "bar", "confidence_histogram", "line_chart", "reliability_diagram"]

Points = Sequence[tuple[float, float]]
MOST_POINTS = 500
FEW = 5
RELIABILITY = (("right answers", "c0"), ("too sure by", "c1"))


@dataclass(frozen=True)
class Line:
    """One series of a chart.

    Attributes:
        name: in the key; an empty one draws the line without an entry.
        points: (x, y), x rising; values that are not finite interrupt the line.
        look: colour class, c0 to c7, and `faint` or `dots` with it.
    """

    name: str
    points: Points
    look: str = "c0"

    def thinned(self) -> list[tuple[float, float]]:
        """Return at most `MOST_POINTS` of the points, evenly spread, the last among them."""
        stride = math.ceil(len(self.points) / MOST_POINTS) or 1
        rest = (len(self.points) - 1) % stride
        return list(self.points[rest::stride])


@dataclass(frozen=True)
class Band:
    """An area between two curves: (x, low, high)."""

    edges: Sequence[tuple[float, float, float]]
    look: str = "c0"


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_name: str = "step",
    share: bool = False,
    x_text: Callable[[float], str] = compact,
    x_ticks: Sequence[float] | None = None,
    log: bool | None = None,
    y_range: tuple[float, float] | None = None,
    bands: Sequence[Band] = (),
    mark: tuple[float, float, str] | None = None,
    frame: Frame | None = None,
) -> str:
    """Return a figure with lines, a key that shows the values under the pointer, and a marked point.

    Args:
        title: what is drawn.
        lines: the series; empty ones are left out.
        x_name: name of the horizontal axis.
        share: values are shares, written as per cent.
        x_text: writes a place.
        x_ticks: places that are labelled; round ones when left out.
        log: logarithmic values; by default where they span more than a factor of 20.
        y_range: lowest and highest value shown; those of the data when left out.
        bands: areas behind the lines.
        mark: x, y and words of one point.
        frame: size of the drawing.
    """
    lines = [line for line in lines if line.points]
    values = [v for line in lines for _, v in line.points if math.isfinite(v)]
    if not values:
        return ""
    frame = frame or Frame()
    y_text = percent if share else compact
    x = frame.x(0, max(p for line in lines for p, _ in line.points))
    y = _value_scale(frame, values, log, y_range)
    drawn = [_band(band, x, y) for band in bands]
    drawn += [_path(line, x, y) for line in lines]
    if mark is not None:
        drawn.append(_mark(mark, x, y, frame))
    said = ", ".join(f"{line.name} ends at {y_text(line.points[-1][1])}" for line in lines if line.name)
    scale = ", logarithmic" if y.log else ""
    label = f"{title} against {x_name}{scale}: {said}"
    svg = frame.drawing(
        frame.axes(x, y, x_name, percents(y.ticks(4)) if share else compact, x_text, x_ticks), *drawn, label=label
    )
    keyed = [line for line in lines if line.name]
    data = {
        "x": x_name,
        "lines": [
            [[round(x(p), 1), round(y(v), 1), x_text(p), y_text(v)] for p, v in line.thinned() if math.isfinite(v)]
            for line in keyed
        ],
    }
    key = "".join(_key(line, y_text) for line in keyed)
    note = tag("small", "log scale") if y.log else ""
    caption = tag("figcaption", tag("b", text(title), note), tag("span", key))
    return tag("figure", caption, svg, class_="chart", data_values=json.dumps(data, ensure_ascii=False))


def _value_scale(frame: Frame, values: Sequence[float], log: bool | None, fixed: tuple[float, float] | None) -> Scale:
    low, high = fixed or (min(values), max(values))
    if log is None:
        log = fixed is None and low > 0 and high / low > 20
    if log:
        return frame.y(low / 1.15, high * 1.15, True)
    room = 0.0 if fixed else 0.06 * (high - low) or abs(high) * 0.1 or 1
    return frame.y(low - room if low < 0 or low > room else 0, high + room)


def _key(line: Line, y_text: Callable[[float], str]) -> str:
    last = text(y_text(line.points[-1][1]))
    return tag("span", tag("i", ""), text(line.name), " ", tag("output", last), class_=f"key {line.look}")


def _path(line: Line, x: Scale, y: Scale) -> str:
    """Return the line as a path, lifted where a value is not finite."""
    points, moves, pen = line.thinned(), [], "M"
    for place, value in points:
        if math.isfinite(value):
            moves.append(f"{pen}{x(place):.1f} {y(value):.1f}")
            pen = "L"
        else:
            pen = "M"
    path = tag("path", class_=f"line {line.look}", d="".join(moves))
    if "dots" in line.look or len(points) == 1:
        path += "".join(tag("circle", class_=f"dot {line.look}", cx=x(p), cy=y(v), r=3.2) for p, v in points)
    return path


def _band(band: Band, x: Scale, y: Scale) -> str:
    edges = [(p, low, high) for p, low, high in band.edges if math.isfinite(low) and math.isfinite(high)]
    there = [(x(p), y(low)) for p, low, _ in edges]
    back = [(x(p), y(high)) for p, _, high in reversed(edges)]
    return tag("polygon", class_=f"band {band.look}", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in there + back))


def _mark(mark: tuple[float, float, str], x: Scale, y: Scale, frame: Frame) -> str:
    at, height = x(mark[0]), y(mark[1])
    late = at > (x.start + x.end) / 2
    low = height > (y.start + y.end) / 2
    return "".join(
        (
            tag("line", class_="marked", x1=at, x2=at, y1=frame.top, y2=frame.height - frame.bottom),
            tag("circle", class_="ring", cx=at, cy=height, r=4.5),
            tag(
                "text", text(mark[2]), class_="note", x=at + (-8 if late else 8), y=height + (-10 if low else 20),
                text_anchor="end" if late else "start",
            ),
        )
    )  # fmt: skip


def reliability_diagram(
    confidence: Sequence[float], accuracy: Sequence[float], samples: Sequence[float], things: str = "images"
) -> str:
    """Return a figure of accuracy against confidence, with the gap of every bin.

    Args:
        confidence: mean confidence of each bin.
        accuracy: share of right answers in each bin.
        samples: how many fell in each bin; empty bins are left out.
        things: what is counted.
    """
    frame = Frame(left=48)
    x, y = frame.x(0, 1), frame.y(0, 1)
    edges = [i / len(samples) for i in range(len(samples) + 1)]
    parts = []
    for (left, right), sure, right_share, held in zip(pairwise(edges), confidence, accuracy, samples, strict=True):
        if held:
            tip = f"confidence {percent(sure)}, right {percent(right_share)}, {count(held)} {things}"
            look, few = "gap" if sure > right_share else "under", " few" if held < FEW else ""
            parts.append(bar(x, y, left, right, 0, min(right_share, sure), f"bar{few}", tip))
            parts.append(bar(x, y, left, right, min(right_share, sure), max(right_share, sure), look + few, tip))
    diagonal = tag("line", class_="ideal", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
    axes = frame.axes(x, y, "confidence", lambda v: percent(v, 0), lambda v: percent(v, 0))
    label = "Share of right answers against confidence, in bins; perfect calibration is the diagonal"
    key = "".join(tag("span", tag("i", ""), name, class_=f"key {look}") for name, look in RELIABILITY)
    caption = tag("figcaption", tag("b", "Reliability"), tag("span", key))
    return tag("figure", caption, frame.drawing(axes, *parts, diagonal, label=label), class_="chart")


def confidence_histogram(samples: Sequence[float], things: str = "images") -> str:
    """Return a figure of how sure the model is, as shares of all images or rows.

    Args:
        samples: how many fell in each of the equal bins of confidence.
        things: what is counted.
    """
    frame = Frame(left=48)
    total = sum(samples)
    shares = [held / total for held in samples]
    x, y = frame.x(0, 1), frame.y(0, max(shares) * 1.12)
    parts = []
    for i, (held, share) in enumerate(zip(samples, shares, strict=True)):
        left, right = i / len(samples), (i + 1) / len(samples)
        tip = f"{percent(left, 0)} to {percent(right, 0)} sure: {count(held)} {things}"
        parts.append(bar(x, y, left, right, 0, share, "bar", tip) if held else "")
        if held:
            middle = x((left + right) / 2)
            parts.append(tag("text", count(held), class_="tick", x=middle, y=y(share) - 4, text_anchor="middle"))
    axes = frame.axes(x, y, "confidence", lambda v: percent(v, 0), lambda v: percent(v, 0))
    label = f"How sure the model is: share of the {count(total)} {things} in each bin of confidence"
    caption = tag("figcaption", tag("b", "How sure it is"), tag("span", tag("small", f"share of the {things}")))
    return tag("figure", caption, frame.drawing(axes, *parts, label=label), class_="chart")


def bar(x: Scale, y: Scale, left: float, right: float, low: float, high: float, look: str, tip: str) -> str:
    """Return a bar between two places of x and two values, with words under the pointer."""
    at, top = x(left) + 1, y(high)
    width, height = x(right) - x(left) - 2, y(low) - top
    return tag("rect", class_=look, x=at, y=top, width=width, height=max(height, 0.0), data_tip=tip)
