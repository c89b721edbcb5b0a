"""Sentences that the data doctors share: how many, which, and that classes are far from balanced."""

from collections.abc import Iterator, Mapping, Sequence

__all__ = ["number", "some", "unbalanced"]

IMBALANCE = 10


def number(count: int, noun: str) -> str:
    """Return a number of things, in the plural where there are several."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first names of a list, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unbalanced(counts: Mapping[str, int], noun: str) -> Iterator[str]:
    """Tell of classes of which one has many times the examples of another; empty ones are told of elsewhere.

    Args:
        counts: examples by class, of train.
        noun: what they are.
    """
    filled = {label: count for label, count in counts.items() if count}
    if len(filled) > 1:
        most, least = max(filled, key=filled.__getitem__), min(filled, key=filled.__getitem__)
        if filled[most] >= IMBALANCE * filled[least]:
            yield (
                f"the classes are far from balanced: {most!r} has {filled[most]:,} {noun}, {least!r} "
                f"{filled[least]:,}; weigh the classes, and look at more than accuracy"
            )
