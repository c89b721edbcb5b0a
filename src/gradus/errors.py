"""What users see when they, not we, got it wrong: one sentence that names the thing and the remedy.

A `GradusError` ends a command with exit code 2 and no traceback. Everything else that escapes is a fault of ours.
"""

import difflib
from collections.abc import Iterable

__all__ = ["GradusError", "nearest"]


class GradusError(Exception):
    """A user's mistake, told in one sentence with its remedy."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the tail of an error sentence: the closest known name, or the names there are.

    Args:
        name: what the user wrote.
        known: what would have been understood.
    """
    names = sorted(set(known))
    word, folded = name.lower(), {known.lower(): known for known in reversed(names)}
    close = difflib.get_close_matches(word, folded, n=5, cutoff=0.5)
    if close:
        best = max(close, key=lambda other: _likeness(word, other))
        return f"; did you mean {folded[best]!r}?"
    if not names:
        return ""
    shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
    return f"; there is: {shown}"


def _likeness(a: str, b: str) -> tuple[float, int]:
    """Return how alike two words are, then the length of their common beginning."""
    common = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return difflib.SequenceMatcher(None, a, b).ratio(), common
