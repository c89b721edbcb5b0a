"""Growing a tree level by level, all nodes and features of a level at once.

Rows are sorted once for each feature. From then on each level keeps them sorted by (node, value): the sums left of
every possible threshold are differences of one cumulative sum, and dividing the nodes is a stable partition, O(rows ×
features) a level without sorting again. Features of two values (categories, one-hot) need sums only.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["CRITERIA", "Grown", "grow"]

Sums = Float[Tensor, "*any statistics"]
AT_ONCE = 1 << 23
ROUNDING = 1e-12


class Grown(NamedTuple):
    """The nodes of a tree, level by level.

    Attributes:
        feature: that a node asks about; −1 for a leaf.
        threshold: rows at or below it go to the first child.
        children: both.
        value: frequencies of the classes, or the mean.
        weight: of the rows.
        gain: fall of impurity by the node's question.
        depth: questions before it.
        features: how many the rows have.
    """

    feature: Int64[Tensor, " nodes"]
    threshold: Float[Tensor, " nodes"]
    children: Int64[Tensor, "nodes 2"]
    value: Float[Tensor, "nodes outputs"]
    weight: Float[Tensor, " nodes"]
    gain: Float[Tensor, " nodes"]
    depth: Int64[Tensor, " nodes"]
    features: int


class Criterion(NamedTuple):
    """An impurity, from the sums of a node's statistics.

    Attributes:
        total: weight times impurity.
        weight: of the rows.
        value: what a leaf says.
    """

    total: Callable[[Sums], Float[Tensor, "*any"]]
    weight: Callable[[Sums], Float[Tensor, "*any"]]
    value: Callable[[Sums], Float[Tensor, "*any outputs"]]


def _share(sums: Sums) -> Sums:
    kept = sums.clamp(min=0)  # a difference of cumulative sums may be a rounding error below zero
    return kept / kept.sum(-1, keepdim=True).clamp(min=1e-300)


def _weight(sums: Sums) -> Float[Tensor, "*any"]:
    return sums.clamp(min=0).sum(-1)


CRITERIA: dict[str, Criterion] = {
    "gini": Criterion(lambda s: _weight(s) * (1 - _share(s).square().sum(-1)), _weight, _share),
    "entropy": Criterion(lambda s: _weight(s) * torch.special.entr(_share(s)).sum(-1) / math.log(2), _weight, _share),
    "variance": Criterion(
        lambda s: (s[..., 2] - s[..., 1].square() / s[..., 0].clamp(min=1e-300)).clamp(min=0),
        lambda s: s[..., 0],
        lambda s: s[..., 1:2] / s[..., :1].clamp(min=1e-300),
    ),
}


class Level(NamedTuple):
    """The nodes of a level that may still be divided, and their rows.

    Attributes:
        order: rows sorted by (node, value), for each feature of many values; in the last line by node.
        sizes: rows of each node.
        nodes: their numbers.
    """

    order: Int64[Tensor, "orders places"]
    sizes: Int64[Tensor, " nodes"]
    nodes: Int64[Tensor, " nodes"]

    @property
    def owner(self) -> Int64[Tensor, " places"]:
        """Which node each place belongs to."""
        return torch.repeat_interleave(torch.arange(len(self.sizes)), self.sizes)

    @property
    def starts(self) -> Int64[Tensor, " nodes"]:
        """Where each node's places begin."""
        return self.sizes.cumsum(0) - self.sizes

    def keep(self, nodes: Bool[Tensor, " nodes"]) -> "Level":
        """Return the level with some of its nodes only."""
        if bool(nodes.all()):
            return self
        return Level(self.order[:, nodes[self.owner]], self.sizes[nodes], self.nodes[nodes])


class Search(NamedTuple):
    """What the best questions of a level are looked for in.

    Attributes:
        statistics: of each row.
        level: the nodes.
        sums: of the statistics of each node.
        rule: the impurity.
        min_leaf: fewest rows of a leaf.
    """

    statistics: Float[Tensor, "rows statistics"]
    level: Level
    sums: Float[Tensor, "nodes statistics"]
    rule: Criterion
    min_leaf: int


class Split(NamedTuple):
    """The best question of each node of a level."""

    gain: Float[Tensor, " nodes"]
    feature: Int64[Tensor, " nodes"]
    threshold: Float[Tensor, " nodes"]


class Features(NamedTuple):
    """The features of all rows; those of two values only need no order.

    Attributes:
        x: all of them, (features, rows).
        many: numbers of those with three values or more.
        two: numbers of those with two.
        high: which rows have the higher of two values, (rows, two).
        bounds: between the two values.
    """

    x: Float[Tensor, "features rows"]
    many: Int64[Tensor, " many"]
    two: Int64[Tensor, " two"]
    high: Float[Tensor, "rows two"]
    bounds: Float[Tensor, " two"]


def _features(x: Float[Tensor, "rows features"]) -> Features:
    columns = x.T.contiguous()
    low, top = columns.amin(1, keepdim=True), columns.amax(1, keepdim=True)
    binary = ((columns == low) | (columns == top)).all(1)
    many, two = (~binary).nonzero()[:, 0], binary.nonzero()[:, 0]
    high = (columns[two] == top[two]).T.to(torch.float64).contiguous()
    return Features(columns, many, two, high, _between(low[two, 0], top[two, 0]))


def _between(low: Tensor, high: Tensor) -> Tensor:
    """Return thresholds halfway; the lower value where rounding leaves nothing between."""
    middle = low + (high - low) / 2
    return torch.where(middle < high, middle, low)


def grow(
    x: Float[Tensor, "rows features"],
    statistics: Float[Tensor, "rows statistics"],
    criterion: str,
    max_depth: int | None,
    min_leaf: int,
    min_gain: float,
) -> Grown:
    """Return the nodes of a tree.

    Args:
        x: features.
        statistics: of each row, whose sums give the impurity: w·onehot(y), or w, wy, wy².
        criterion: a name in `CRITERIA`.
        max_depth: most questions on the way to a leaf.
        min_leaf: fewest rows of a leaf.
        min_gain: least fall of impurity worth a question.
    """
    rule, features = CRITERIA[criterion], _features(x)
    sums = root = statistics.sum(0, keepdim=True)
    parts = [_leaves(root, rule, 0)]
    order = features.x[features.many].argsort(dim=1, stable=True)
    level = Level(torch.cat([order, torch.arange(len(x))[None]]), torch.tensor([len(x)]), torch.tensor([0]))
    count = 1
    while max_depth is None or len(parts) <= max_depth:
        hopeful = (level.sizes >= 2 * min_leaf) & (rule.total(sums) > ROUNDING * rule.total(root))
        level, sums = level.keep(hopeful), sums[hopeful]
        if not len(level.nodes):
            break
        split = _best(features, Search(statistics, level, sums, rule, min_leaf))
        good = split.gain > max(ROUNDING, min_gain) * rule.weight(sums)
        level, split = level.keep(good), Split(*(part[good] for part in split))
        if not len(level.nodes):
            break
        first = count + 2 * torch.arange(len(level.nodes))
        _ask(parts, level.nodes, split, first)
        level = _divided(features.x, level, split, first)
        sums = torch.zeros(len(level.nodes), statistics.shape[1], dtype=statistics.dtype)
        sums = sums.index_add(0, level.owner, statistics[level.order[-1]])
        parts.append(_leaves(sums, rule, len(parts)))
        count += len(level.nodes)
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in Grown._fields[:-1]}
    return Grown(**whole, features=x.shape[1])


def _leaves(sums: Sums, rule: Criterion, depth: int) -> Grown:
    """Return new nodes, which are leaves until they are asked to divide."""
    count = len(sums)
    empty = torch.zeros(count, dtype=torch.float64)
    return Grown(
        torch.full((count,), -1), empty, torch.zeros(count, 2, dtype=torch.int64), rule.value(sums), rule.weight(sums),
        empty.clone(), torch.full((count,), depth), 0,
    )  # fmt: skip


def _ask(parts: list[Grown], nodes: Int64[Tensor, " nodes"], split: Split, first: Int64[Tensor, " nodes"]) -> None:
    """Write the questions of some nodes of the last level, whose children are numbered from `first`."""
    own = parts[-1]
    at = nodes - sum(len(part.feature) for part in parts[:-1])
    own.feature[at], own.threshold[at] = split.feature, split.threshold
    own.children[at] = torch.stack([first, first + 1], dim=1)
    own.gain[at] = split.gain / own.weight[at]


def _best(features: Features, search: Search) -> Split:
    """Return each node's best question; of equal ones that of the first feature, at the lowest threshold."""
    order, nodes = search.level.order[:-1], len(search.level.nodes)
    best = Split(
        torch.full((nodes,), -1.0, dtype=torch.float64), torch.full((nodes,), len(features.x)),
        torch.zeros(nodes, dtype=torch.float64),
    )  # fmt: skip
    step = max(1, AT_ONCE // (order.shape[1] * search.statistics.shape[1]))
    for start in range(0, len(features.many), step):
        some = slice(start, start + step)
        values = features.x[features.many[some]].gather(1, order[some])
        found = _best_sorted(values, order[some], search)
        best = _better(best, found._replace(feature=features.many[some][found.feature]))
    if len(features.two):
        best = _better(best, _best_of_two(features, search))
    return best


def _better(one: Split, other: Split) -> Split:
    wins = (other.gain > one.gain) | ((other.gain == one.gain) & (other.feature < one.feature))
    return Split(*(torch.where(wins, new, old) for new, old in zip(other, one, strict=True)))


def _best_sorted(values: Float[Tensor, "some places"], order: Int64[Tensor, "some places"], search: Search) -> Split:
    """Return each node's best question about some features, numbered among these, from their sorted values."""
    statistics, level, sums, rule, min_leaf = search
    owner, starts, nodes, rows = level.owner, level.starts, len(level.nodes), level.order.shape[1]
    rank = torch.arange(rows) - starts[owner] + 1
    running = statistics[order].cumsum(1)
    base = torch.cat([torch.zeros_like(running[:, :1]), running], 1)[:, starts]
    left = running - base[:, owner]
    gain = rule.total(sums)[owner] - rule.total(left) - rule.total(sums[owner] - left)
    rises = torch.zeros_like(order, dtype=torch.bool)
    rises[:, :-1] = values[:, 1:] > values[:, :-1]
    roomy = (rank >= min_leaf) & (level.sizes[owner] - rank >= min_leaf)
    gain = torch.where(rises & roomy, gain, -1.0)
    most = gain.new_full((len(order), nodes), -1.0).scatter_reduce(1, owner.expand_as(gain), gain, "amax")
    top, feature = most.max(0)
    hit = gain[feature[owner], torch.arange(rows)] == top[owner]
    place = torch.where(hit, torch.arange(rows), rows)
    first = torch.full((nodes,), rows).scatter_reduce(0, owner, place, "amin")
    low, high = values[feature, first], values[feature, (first + 1).clamp(max=rows - 1)]
    return Split(top, feature, _between(low, high))


def _best_of_two(features: Features, search: Search) -> Split:
    """Return each node's best question about a feature of two values, from the sums over the higher one."""
    statistics, level, sums, rule, min_leaf = search
    owner, rows, nodes = level.owner, level.order[-1], len(level.nodes)
    high = features.high[rows]
    empty = torch.zeros(nodes, len(features.two), dtype=torch.float64)
    above = torch.stack(
        [empty.index_add(0, owner, high * part[:, None]) for part in statistics[rows].unbind(1)], dim=-1
    )
    count = empty.index_add(0, owner, high)
    gain = rule.total(sums)[:, None] - rule.total(above) - rule.total(sums[:, None] - above)
    roomy = (count >= min_leaf) & (level.sizes[:, None] - count >= min_leaf)
    top, which = torch.where(roomy, gain, -1.0).max(1)
    return Split(top, features.two[which], features.bounds[which])


def _divided(
    columns: Float[Tensor, "features rows"], level: Level, split: Split, first: Int64[Tensor, " nodes"]
) -> Level:
    """Return the next level: each node's rows, in their order, first those at or below its threshold."""
    owner, starts = level.owner, level.starts
    rows = level.order[-1]
    below = torch.zeros(columns.shape[1], dtype=torch.bool)
    below[rows] = columns[split.feature[owner], rows] <= split.threshold[owner]
    go = below[level.order]
    passed = go.long().cumsum(1)
    base = torch.cat([torch.zeros_like(passed[:, :1]), passed], 1)[:, starts]
    lefts = passed - base[:, owner]  # of the node, up to and with this place
    total = torch.zeros(len(level.nodes), dtype=torch.int64).index_add(0, owner, go[0].long())
    rank = torch.arange(len(owner)) - starts[owner]
    place = starts[owner] + torch.where(go, lefts - 1, total[owner] + rank - lefts)
    order = torch.empty_like(level.order).scatter_(1, place, level.order)
    sizes = torch.stack([total, level.sizes - total], dim=1).flatten()
    return Level(order, sizes, torch.stack([first, first + 1], dim=1).flatten())
