"""Settings of optimisers and schedules: checked against what the registry says, so that a slip is told in one sentence.

The parameters of a registered function are read off the syntax tree (`gradus.canon.scan`), so a check costs no import.
"""

import math
from collections.abc import Mapping
from typing import Any

from gradus.canon import Entry
from gradus.errors import GradusError, nearest

__all__ = ["accept", "inside"]


def accept(entry: Entry, settings: Mapping[str, Any], reserved: tuple[str, ...] = ()) -> None:
    """Refuse settings that the registered function does not take.

    Args:
        entry: the registered function.
        settings: what the user set, by name.
        reserved: parameters that the caller fills in itself.

    Raises:
        GradusError: for the first unknown name, with the nearest known one.
    """
    known = [name for name in entry.parameters if name not in reserved]
    for name in settings:
        if name not in known:
            raise GradusError(f"{entry.kind} {entry.names[0]!r} has no setting {name!r}{nearest(name, known)}")


def inside(owner: str, name: str, value: float, low: float, high: float = math.inf, *, open: bool = False) -> float:
    """Return `value` when low <= value <= high (value < high when `open`); NaN is never inside.

    Raises:
        GradusError: otherwise, naming the setting and its range.
    """
    if not (low <= value < high if open else low <= value <= high) or math.isinf(value):
        bracket = ")" if open or math.isinf(high) else "]"
        raise GradusError(f"{owner}: {name}={value} is out of range; give a number in [{low:g}, {high:g}{bracket}")
    return value
