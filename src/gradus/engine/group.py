"""Groups: a run folder whose `members/<i>/` are full run folders, what differs between them, and what they say at last.

`seed` members differ in everything random, `ensemble` members in everything but the division of the data, so that they
may be tested together, and `fold` members in the part of the data that they are tested on.

The interval of n numbers is mean ± t · s/√n with Student's 97.5 % quantile of n − 1 degrees of freedom. No torch.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

from gradus.engine.folder import RunFolder
from gradus.engine.log import read_metrics
from gradus.engine.recipe import Recipe
from gradus.errors import GradusError

__all__ = ["Vary", "divided", "interval", "member", "members", "summarise"]

Vary = Literal["seed", "ensemble", "fold"]

# Student's t at 0.975 for 1 … 30 degrees of freedom; beyond that the normal's 1.96 is within 2 %.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
      2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
      2.042)  # fmt: skip


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean, standard deviation, half width of the 95 % interval and count of independent numbers."""
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return {"mean": mean, "std": 0.0, "half_width": 0.0, "count": 1}
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    t = _T[n - 2] if n - 2 < len(_T) else 1.96
    return {"mean": mean, "std": std, "half_width": t * std / math.sqrt(n), "count": n}


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
