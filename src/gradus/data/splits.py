"""Train, val and test by seed: every class in proportion, equal examples on one side.

Rows with the same content form a group that is never divided, so that nothing of val or test was seen in training.
In each class the groups are shuffled by the seed, small ones first, and fill the parts asked for up to
max(1, round(f·n)) rows of its n; the rest is train. The result depends on the order of the rows, the seed and the
equality of contents, on nothing else.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus.data.draws import generator
from gradus.errors import GradusError

__all__ = ["divide", "folds_of", "hold_out", "partition", "thin"]

Rows = Int64[Tensor, "_"]


def partition(
    labels: Int64[Tensor, " count"],
    contents: Callable[[Rows], Sequence[Hashable]],
    fixed: Mapping[str, Rows],
    fractions: Mapping[str, float],
    *,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
    classes: Sequence[str] = ("",),
    noun: str = "examples",
) -> dict[str, Rows]:
    """Return rows of train, val and test: those that the data fixes, the others taken out of train.

    Args:
        labels: class of each row.
        contents: what rows are compared by; equal ones stay together.
        fixed: rows of the parts that the data fixes, train among them.
        fractions: share of the rows for val and test, where the data does not fix them.
        seed: of the division.
        folds: for cross-validation: of all rows outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most rows of each part, the classes in proportion; None for all.
        classes: their names, for errors.
        noun: what rows are, for errors.

    Raises:
        GradusError: if nothing is left to train on, or a class has too few rows.
    """
    if limit is not None and limit < 1:
        raise GradusError(f"a limit of {limit} leaves no {noun}: give a positive number or leave it out")
    parts = dict(fixed)
    if folds is not None:
        pool = torch.cat([rows for part, rows in fixed.items() if part != "test"])
        rest, held = hold_out(labels[pool], contents(pool), folds, fold, seed)
        parts = {"train": pool[rest], "test": pool[held]}
    train, lacking = parts["train"], {part: share for part, share in fractions.items() if part not in parts}
    own = contents(train) if any(lacking.values()) else list(range(len(train)))
    found = divide(labels[train], own, lacking, seed, classes, noun)
    parts |= {part: train[rows] for part, rows in found.items()}
    if limit is not None:
        parts = {part: thin(labels, rows, limit, seed) for part, rows in parts.items()}
    return {part: parts[part] for part in ("train", "val", "test")}


def divide(
    labels: Int64[Tensor, " count"],
    contents: Sequence[Hashable],
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str] = ("",),
    noun: str = "examples",
) -> dict[str, Int64[Tensor, " part"]]:
    """Return rows of `train` and of every part named in `fractions`, sorted.

    Args:
        labels: class of each row.
        contents: equal for rows that must stay together.
        fractions: share of the rows that each part gets; 0 for an empty part.
        seed: of the shuffling.
        classes: names of the classes, for errors.
        noun: what rows are, for errors.

    Raises:
        GradusError: if the fractions leave nothing to train on, or a class has too few rows.
    """
    if any(not 0 <= share < 1 for share in fractions.values()) or sum(fractions.values()) >= 1:
        shown = ", ".join(f"{part} {share:g}" for part, share in fractions.items())
        raise GradusError(f"the fractions ({shown}) leave nothing to train on: they must sum to less than 1")
    wanted = {part: share for part, share in fractions.items() if share > 0}
    parts: dict[str, list[int]] = {"train": [], **{part: [] for part in fractions}}
    for label, groups in sorted(_groups(labels.tolist(), contents).items()):
        if len(groups) <= len(wanted):
            whose = f" of class {classes[label]!r}" if len(classes) > 1 else ""
            raise GradusError(
                f"there are too few {noun}{whose} ({len(groups)} different) to divide into {len(wanted) + 1} parts: "
                "add some, bring the parts divided, or set --val-fraction or --test-fraction to 0"
            )
        for part, rows in _dealt(groups, wanted, seed, label).items():
            parts[part] += rows
    return {part: torch.tensor(sorted(rows), dtype=torch.int64) for part, rows in parts.items()}


def folds_of(labels: Int64[Tensor, " count"], folds: int, seed: int | None = None) -> Int64[Tensor, " count"]:
    """Return the fold of each example for k-fold cross-validation, every class spread evenly over the folds.

    In the order in which their classes first appear the examples are dealt out to the folds in turn, which says how
    many of each class a fold gets; then each class fills the folds one after the other with its examples, shuffled
    where there is a seed. All labels equal gives plain k folds.

    Args:
        labels: class of each example, counted from 0.
        folds: k.
        seed: of the shuffling; None keeps the order.

    Raises:
        GradusError: if there are fewer examples than folds.

    References:
        Stone 1974, Cross-validatory choice and assessment of statistical predictions.
        Kohavi 1995, A study of cross-validation and bootstrap for accuracy estimation and model selection.
    """
    if len(labels) < folds:
        raise GradusError(f"{len(labels)} examples do not make {folds} folds: ask for fewer --folds")
    classes = list(dict.fromkeys(labels.tolist()))
    members = [(labels == label).nonzero().squeeze(1) for label in classes]
    places = torch.arange(len(labels)).split([len(rows) for rows in members])
    found = torch.empty(len(labels), dtype=torch.int64)
    for label, rows, place in zip(classes, members, places, strict=True):
        if seed is not None:
            rows = rows[torch.randperm(len(rows), generator=generator(seed, "folds", label))]
        found[rows] = (place % folds).sort().values
    return found


def hold_out(
    labels: Int64[Tensor, " count"], contents: Sequence[Hashable], folds: int, fold: int, seed: int
) -> tuple[Int64[Tensor, " rest"], Int64[Tensor, " held"]]:
    """Return the rows outside and inside one of k folds, sorted; rows of equal content are in the same fold.

    Args:
        labels: class of each row.
        contents: equal for rows that must stay together.
        folds: k.
        fold: which one is held out.
        seed: of the shuffling.
    """
    first: dict[Hashable, int] = {}
    group = torch.tensor([first.setdefault(content, len(first)) for content in contents], dtype=torch.int64)
    representative = torch.empty(len(first), dtype=torch.int64)
    representative[group.flip(0)] = labels.flip(0)  # written backwards, so that the first row of a group decides
    inside = folds_of(representative, folds, seed)[group] == fold
    return (~inside).nonzero().squeeze(1), inside.nonzero().squeeze(1)


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
