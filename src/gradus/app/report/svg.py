"""A few lines of SVG: escaped elements, scales with round ticks, and the frame that every chart stands in.

Colours are classes, not values, so that the page's style sheet decides them for light, dark and print.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["THIN", "Frame", "Scale", "compact", "count", "number", "percent", "percents", "seconds", "tag", "text"]

THIN = "\u202f"


def text(value: object) -> str:
    """Return any value as text that is safe inside markup."""
    return escape(str(value), quote=True)


def tag(name: str, *children: str, **attributes: object) -> str:
    """Return an element; underscores in attribute names become hyphens, None leaves an attribute out.

    Args:
        name: of the element.
        children: markup, already safe.
        attributes: values of any kind; they are escaped. `class_` is written class.
    """
    words = []
    for key, value in attributes.items():
        if value is not None:
            shown = number(value) if isinstance(value, float) else value
            words.append(f' {key.rstrip("_").replace("_", "-")}="{text(shown)}"')
    return f"<{name}{''.join(words)}>{''.join(children)}</{name}>"


def number(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def percent(value: float, digits: int = 1) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.{digits}f}{THIN}%"


def percents(values: Sequence[float]) -> Callable[[float], str]:
    """Return how to write these shares as per cent with as few digits as they need."""
    digits = next((d for d in (0, 1, 2) if all(abs(v * 100 - round(v * 100, d)) < 1e-9 for v in values)), 3)
    return lambda value: percent(value, digits)


def count(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,.0f}".replace(",", THIN)


def compact(value: float) -> str:
    """Return a number in at most five or so characters."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    size = abs(value)
    if size >= 10_000:
        for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if size >= limit:
                return f"{value / limit:.3g}{unit}"
    if size < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}" if size >= 1000 else f"{value:.3g}"


def seconds(value: float) -> str:
    """Return a duration as a person says it."""
    if value < 60:
        return f"{value:.1f}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest:02d}{THIN}s"
    return f"{minutes // 60}{THIN}h {minutes % 60:02d}{THIN}min"


@dataclass(frozen=True)
class Scale:
    """Values to pixels.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: pixel.
        end: pixel.
        log: whether equal factors, not equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, held within the scale."""
        low, high, at = (math.log10(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        part = 0.5 if high == low else (at - low) / (high - low)
        return self.start + min(max(part, -0.02), 1.02) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Return round values on the scale, about as many as wanted."""
        if self.log:
            return self._powers(wanted)
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = 10 ** math.floor(math.log10(span / wanted))
        step *= min((m for m in (1, 2, 5, 10) if span / (step * m) <= wanted), default=10)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]

    def _powers(self, wanted: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        every = max(1, math.ceil((last - first + 1) / wanted))
        powers = [10.0**k for k in range(first, last + 1, every)]
        if len(powers) > 2:
            return powers
        fine = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
        return [v for v in fine if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart.

    Attributes:
        width: of the whole drawing.
        height: of the whole drawing.
        left: room for the labels of y.
        bottom: room for the labels of x.
        top: room above.
        right: room at the right.
    """

    width: float = 360
    height: float = 236
    left: float = 44
    bottom: float = 38
    top: float = 10
    right: float = 12

    @classmethod
    def wide(cls) -> "Frame":
        """Return the frame of a chart that has half the page."""
        return cls(width=430, height=256)

    def x(self, low: float, high: float) -> Scale:
        """Return the horizontal scale."""
        return Scale(low, high, self.left, self.width - self.right)

    def y(self, low: float, high: float, log: bool = False) -> Scale:
        """Return the vertical scale."""
        return Scale(low, high, self.height - self.bottom, self.top, log)

    def axes(
        self,
        x: Scale,
        y: Scale,
        x_name: str,
        y_text: Callable[[float], str] = compact,
        x_text: Callable[[float], str] = compact,
        x_ticks: Sequence[float] | None = None,
    ) -> str:
        """Return horizontal grid lines, the labels of both axes and the name of x."""
        floor, right = self.height - self.bottom, self.width - self.right
        parts = []
        for value in y.ticks(4):
            at = y(value)
            parts.append(tag("line", class_="grid", x1=self.left, x2=right, y1=at, y2=at))
            parts.append(
                tag("text", text(y_text(value)), class_="tick", x=self.left - 7, y=at + 3.8, text_anchor="end")
            )
        for value in x.ticks(5) if x_ticks is None else x_ticks:
            at = x(value)
            parts.append(tag("line", class_="axis", x1=at, x2=at, y1=floor, y2=floor + 4))
            parts.append(tag("text", text(x_text(value)), class_="tick", x=at, y=floor + 16, text_anchor="middle"))
        parts.append(tag("line", class_="axis", x1=self.left, x2=right, y1=floor, y2=floor))
        parts.append(tag("text", text(x_name), class_="name", x=right, y=self.height - 4, text_anchor="end"))
        return "".join(parts)

    def drawing(self, *children: str, label: str) -> str:
        """Return the whole drawing, with what it shows said in words."""
        box = f"0 0 {number(self.width)} {number(self.height)}"
        return tag("svg", *children, viewBox=box, role="img", aria_label=label)
