"""Groups: a run folder whose `members/<i>/` are full run folders, what differs between them, and what they say at last.

`seed` members differ in everything random, `ensemble` members in everything but the division of the data, so that they
may be tested together, and `fold` members in the part of the data that they are tested on.

Imports no torch.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from gradus.engine.folder import RunFolder
from gradus.engine.log import read_metrics
from gradus.engine.recipe import Recipe
from gradus.errors import GradusError
from gradus.metrics.intervals import student

__all__ = ["Vary", "divided", "interval", "member", "members", "summarise"]

Vary = Literal["seed", "ensemble", "fold"]


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean, standard deviation, half width of the 95 % interval (0 for one number) and count, as JSON."""
    found = student(values)
    half = found.half_width if math.isfinite(found.half_width) else 0.0
    return {"mean": found.mean, "std": found.std, "half_width": half, "count": found.size}


def divided(id: str, recipe: Recipe, flag: str) -> None:
    """Require a recipe whose data is divided by flags.

    Args:
        id: of the recipe.
        recipe: of any kind.
        flag: what asks for it, for the sentence.

    Raises:
        GradusError: if its data is not.
    """
    if not hasattr(recipe, "split_seed"):
        raise GradusError(f"{flag} divides data into parts, and {id} has none to divide: leave it out")


def member(recipe: Recipe, vary: Vary, i: int) -> Recipe:
    """Return the recipe of member i of a group.

    Args:
        recipe: of the group.
        vary: what differs between the members.
        i: counted from 0.
    """
    if vary == "seed":
        return dataclasses.replace(recipe, seed=recipe.seed + i)
    given = getattr(recipe, "split_seed", None)
    split = {"split_seed": recipe.seed if given is None else given}
    changed = {"fold": i} if vary == "fold" else {"seed": recipe.seed + i}
    return dataclasses.replace(recipe, **split, **changed)  # type: ignore[arg-type]


def members(group: RunFolder) -> list[RunFolder]:
    """Return the members of a group in order; none for a plain run."""
    if not group.members.is_dir():
        return []
    found = [p for p in group.members.iterdir() if p.name.isdigit()]
    return [RunFolder(p) for p in sorted(found, key=lambda p: int(p.name))]


def summarise(group: RunFolder) -> dict[str, dict[str, float]]:
    """Return the interval of every metric's last value over the members that have it."""
    last = [{name: values[-1][1] for name, values in read_metrics(m.metrics_file).items()} for m in members(group)]
    names = [name for name in last[0] if not name.endswith("/lr")] if last else []
    return {name: interval([one[name] for one in last if name in one]) for name in names}
