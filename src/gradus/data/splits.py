"""Train, val and test by seed: every class in proportion, equal images on one side.

Images with the same content form a group that is never divided, so that no image of val or test was seen in training.
In each class the groups are shuffled by the seed, small ones first, and fill the parts asked for up to
max(1, round(f·n)) images of its n; the rest is train. The result depends on the order of the rows, the seed and the
equality of contents, on nothing else.
"""

from collections import defaultdict, deque
from collections.abc import Hashable, Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus.data.draws import generator
from gradus.errors import GradusError

__all__ = ["divide", "thin"]


def divide(
    labels: Int64[Tensor, " count"],
    contents: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> dict[str, Int64[Tensor, " part"]]:
    """Return rows of `train` and of every part named in `fractions`, sorted.

    Args:
        labels: class of each row.
        contents: equal for rows that must stay together.
        fractions: share of the rows that each part gets; 0 for an empty part.
        seed: of the shuffling.
        classes: names of the classes, for errors.

    Raises:
        GradusError: if the fractions leave nothing to train on, or a class has too few images.
    """
    if any(not 0 <= share < 1 for share in fractions.values()) or sum(fractions.values()) >= 1:
        shown = ", ".join(f"{part} {share:g}" for part, share in fractions.items())
        raise GradusError(f"the fractions ({shown}) leave nothing to train on: they must sum to less than 1")
    wanted = {part: share for part, share in fractions.items() if share > 0}
    parts: dict[str, list[int]] = {"train": [], **{part: [] for part in fractions}}
    for label, groups in sorted(_groups(labels.tolist(), contents).items()):
        if len(groups) <= len(wanted):
            raise GradusError(
                f"class {classes[label]!r} has too few images ({len(groups)} different) to be split into train, "
                f"{' and '.join(wanted)}: add images, or give the splits folders of their own"
            )
        for part, rows in _dealt(groups, wanted, seed, label).items():
            parts[part] += rows
    return {part: torch.tensor(sorted(rows), dtype=torch.int64) for part, rows in parts.items()}


def thin(
    labels: Int64[Tensor, " count"], rows: Int64[Tensor, " part"], limit: int, seed: int
) -> Int64[Tensor, " fewer"]:
    """Return at most `limit` of some rows, the classes in proportion, sorted."""
    if len(rows) <= limit:
        return rows
    shuffled = rows[torch.randperm(len(rows), generator=generator(seed, "limit"))]
    own = labels[shuffled]
    order = torch.argsort(own, stable=True)
    counts = torch.bincount(own)
    starts = counts.cumsum(0) - counts
    place = (torch.arange(len(rows)) - starts[own[order]] + 0.5) / counts[own[order]]
    return shuffled[order[torch.argsort(place, stable=True)[:limit]]].sort().values


def _groups(labels: Sequence[int], contents: Sequence[Hashable]) -> dict[int, list[list[int]]]:
    """Return the groups of equal content by class; one whose labels disagree counts for the class of its first row."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        members[content].append(row)
    by_class: dict[int, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        by_class[labels[rows[0]]].append(rows)
    return by_class


def _dealt(groups: list[list[int]], shares: Mapping[str, float], seed: int, label: int) -> dict[str, list[int]]:
    total = sum(map(len, groups))
    shuffled = torch.randperm(len(groups), generator=generator(seed, "split", label)).tolist()
    queue = deque(sorted((groups[i] for i in shuffled), key=len))
    dealt: dict[str, list[int]] = {}
    for served, (part, share) in enumerate(shares.items()):
        quota, rows = max(1, round(share * total)), list[int]()
        kept = len(shares) - served  # one group each for the parts still to come and for train
        while len(queue) > kept and (not rows or len(rows) + len(queue[0]) <= quota):
            rows += queue.popleft()
        dealt[part] = rows
    return {**dealt, "train": [row for group in queue for row in group]}
