"""Columns of a table: what kind each is, and its text as numbers.

    number   itself                    boolean   0 or 1
    category its place in a sorted list          date   days since 1970-01-01, year, month, day, weekday, hour
    missing  NaN                                 a category never seen   −1

A kind is inferred from the distinct values. Where nine of ten are numbers (or dates) and one is not, that one is a
mistake, and is told with its row rather than turned into a category.
"""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from gradus.errors import GradusError

__all__ = ["MISSING", "Column", "Where", "convert", "infer", "is_number", "parse_date", "sort_labels"]

Kind = Literal["number", "boolean", "category", "date"]
Where = Callable[[int], str]
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "."})
BOOLEANS = ({"false": 0.0, "true": 1.0}, {"no": 0.0, "yes": 1.0}, {"f": 0.0, "t": 1.0}, {"n": 0.0, "y": 1.0})
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTHS = {name: i + 1 for i, name in enumerate(_MONTHS)}
PARTS = ("days", "year", "month", "day", "weekday")
EPOCH = date(1970, 1, 1).toordinal()
MOSTLY = 0.9

_CLOCK = (
    r"(?:[T ]\s*(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2}(?:\.\d+)?))?\s*(?P<half>[AaPp][Mm])?\s*"
    r"(?P<zone>Z|[+-]\d{2}:?\d{2})?)?$"
)
_DATES = {
    "ymd": re.compile(r"(?P<y>\d{4})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})" + _CLOCK),
    "mdy": re.compile(r"(?P<m>\d{1,2})(?P<sep>[-/])(?P<d>\d{1,2})(?P=sep)(?P<y>\d{4})" + _CLOCK),
    "dmy": re.compile(r"(?P<d>\d{1,2})(?P<sep>[-/.])(?P<m>\d{1,2})(?P=sep)(?P<y>\d{4})" + _CLOCK),
    "d month y": re.compile(r"(?P<d>\d{1,2})[- ](?P<name>[A-Za-z]{3,9})\.?[- ,]+(?P<y>\d{4})" + _CLOCK),
    "month d y": re.compile(r"(?P<name>[A-Za-z]{3,9})\.? (?P<d>\d{1,2}),? (?P<y>\d{4})" + _CLOCK),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as in the header.
        kind: how its text is read.
        categories: of a category column, its values in order.
        form: of a date column, the order of its parts; "mdy hour" has a time of day too.
        left_out: why it is not used; empty where it is.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    form: str = ""
    left_out: str = ""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers that a value of this column becomes."""
        if self.left_out:
            return ()
        if self.kind != "date":
            return (self.name,)
        return tuple(f"{self.name} ({part})" for part in (*PARTS, *(["hour"] if self.form.endswith(" hour") else [])))

    def to_json(self) -> dict[str, Any]:
        """Return the column as JSON literals."""
        return {**asdict(self), "categories": list(self.categories)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "Column":
        """Return the column that `to_json` wrote."""
        return cls(**{**facts, "categories": tuple(facts["categories"])})


def is_number(text: str) -> bool:
    """Say whether a text is a number as people write them; `nan`, `inf` and `1_000` are not."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and not text.lstrip("+-").lower().startswith(("n", "i"))


def parse_date(text: str, form: str) -> tuple[float, ...] | None:
    """Return days since 1970 (with the time of day as a fraction, in UTC), year, month, day, weekday, hour.

    Args:
        text: of one value.
        form: order of the parts, a key such as "ymd".

    Returns:
        The six numbers, weekday 0 for Monday; None if the text is no date of that form.
    """
    match = _DATES[form.removesuffix(" hour")].match(text)
    if match is None:
        return None
    found = match.groupdict()
    month = MONTHS.get(found["name"][:3].lower(), 0) if "name" in found else int(found["m"])
    try:
        day = date(int(found["y"]), month, int(found["d"]))
    except ValueError:
        return None
    hour, minute, second = (float(found[part] or 0) for part in ("H", "M", "S"))
    if found["half"]:
        hour = hour % 12 + 12 * (found["half"].lower() == "pm")
    if hour >= 24 or minute >= 60 or second >= 61:
        return None
    hours = hour + minute / 60 + second / 3600
    zone = (found["zone"] or "Z").replace(":", "")
    shift = 0.0 if zone == "Z" else float(zone[0] + "1") * (int(zone[1:3]) + int(zone[3:5]) / 60)
    days = day.toordinal() - EPOCH + (hours - shift) / 24
    return (days, day.year, day.month, day.day, day.weekday(), hours)


def infer(name: str, texts: Sequence[str], where: Where, as_category: bool = False) -> Column:
    """Return what a column is, judged by its values.

    Args:
        name: of the column.
        texts: its values, stripped.
        where: names a row for an error, "data.csv, row 3 (line 4)".
        as_category: take numbers and dates for categories.

    Raises:
        GradusError: if all but a few values are numbers (or dates), naming the first that is not.
    """
    distinct = {text for text in set(texts) if text.lower() not in MISSING}
    if len(distinct) <= 1:
        why = "constant" if distinct else "empty"
        return Column(name, "category", tuple(sorted(distinct)), left_out=why)
    if as_category:
        return Column(name, "category", sort_labels(distinct))
    if any({text.lower() for text in distinct} <= set(words) for words in BOOLEANS):
        return Column(name, "boolean")
    strays = {text for text in distinct if not is_number(text)}
    if not strays:
        return Column(name, "number")
    _refuse_strays(name, texts, strays, where, "a number")
    form = _date_form(distinct)
    strays = {text for text in distinct if parse_date(text, form) is None}
    if not strays:
        timed = any(parse_date(text, form)[5] for text in distinct)  # type: ignore[index]
        return Column(name, "date", form=form + " hour" * timed)
    _refuse_strays(name, texts, strays, where, "a date like the others")
    return Column(name, "category", sort_labels(distinct))


def sort_labels(labels: set[str]) -> tuple[str, ...]:
    """Return labels in order: numbers by value, everything else by letter."""
    if all(map(is_number, labels)):
        return tuple(sorted(labels, key=lambda label: (float(label), label)))
    return tuple(sorted(labels))


def _date_form(distinct: set[str]) -> str:
    """Return the form that most values have; of equals the first."""
    some = sorted(distinct)[:: max(1, len(distinct) // 200)]
    hits = {form: sum(parse_date(text, form) is not None for text in some) for form in _DATES}
    likely = [form for form in hits if hits[form] >= MOSTLY * max(hits.values())]
    if len(likely) > 1 and max(hits.values()):
        hits = {form: sum(parse_date(text, form) is not None for text in distinct) for form in likely}
    return max(hits, key=hits.__getitem__)


def _refuse_strays(name: str, texts: Sequence[str], strays: set[str], where: Where, what: str) -> None:
    """Raise an error if the strays are so few among the values that they must be mistakes."""
    odd = [i for i, text in enumerate(texts) if text in strays]
    present = sum(text.lower() not in MISSING for text in texts)
    if len(odd) > (1 - MOSTLY) * present:
        return
    raise GradusError(
        f"{where(odd[0])}, column {name!r}: {texts[odd[0]]!r} is not {what}; correct it, leave it empty, "
        f"or read the column as categories with --categorical {name}"
    )


def convert(column: Column, texts: Sequence[str], where: Where) -> Float64[np.ndarray, "rows features"]:
    """Return a column's values as numbers, one row each and one column for each of `column.features`.

    Args:
        column: how to read it.
        texts: stripped values.
        where: names a row for an error.

    Raises:
        GradusError: naming row and column of a value that is no number (or date) or not finite.
    """
    places = {text: float(i) for i, text in enumerate(column.categories)}
    known = {text: _value(column, places, text) for text in set(texts)}
    unknown = [text for text, value in known.items() if value is None]
    if unknown:
        row = next(i for i, text in enumerate(texts) if known[text] is None)
        if column.kind != "category":
            what = {"number": "a number", "boolean": "yes or no, as in the training data", "date": "a date"}
            raise GradusError(
                f"{where(row)}, column {column.name!r}: {texts[row]!r} is not {what[column.kind]}; "
                "correct it, or leave it empty"
            )
        others = f" and {len(unknown) - 1} other values" if len(unknown) > 1 else ""
        warnings.warn(
            f"column {column.name!r}: {texts[row]!r} ({where(row)}){others} did not occur when the model was trained, "
            "and counts as unknown",
            stacklevel=2,
        )
    table = np.array([value or (-1.0,) for value in known.values()], dtype=np.float64).reshape(len(known), -1)
    number = {text: i for i, text in enumerate(known)}
    which = np.fromiter(map(number.__getitem__, texts), np.int64, len(texts))
    return table[which, : len(column.features)]


def _value(column: Column, places: Mapping[str, float], text: str) -> tuple[float, ...] | None:
    """Return the numbers of one text; None where it cannot be read."""
    if text.lower() in MISSING:
        return (float("nan"),) * (len(PARTS) + 1 if column.kind == "date" else 1)
    if column.kind == "number":
        return (float(text),) if is_number(text) and abs(float(text)) < float("inf") else None
    if column.kind == "boolean":
        return next(((words[text.lower()],) for words in BOOLEANS if text.lower() in words), None)
    if column.kind == "date":
        return parse_date(text, column.form)
    return (places[text],) if text in places else None
