"""Decision trees: grown greedily, every node divided where the impurity of its rows falls most (CART; ID3's gain).

    gain(f, t) = Q(node) − (n_l/n) Q(left) − (n_r/n) Q(right)        left: x_f ≤ t
    entropy  Q = −Σ_k p_k log₂ p_k        gini  Q = 1 − Σ_k p_k²        variance  Q = mean (y − ȳ)²

A leaf gives the classes (n_k + 1)/(n + K) of its rows (Laplace's estimate, so that no class is impossible), or their
mean.

References:
    Breiman, Friedman, Olshen and Stone 1984, Classification and regression trees.
    Quinlan 1986, Induction of decision trees.
    Provost and Domingos 2003, Tree induction for probability-based ranking.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.tabular.linear import check_rows, count_classes
from gradus.tabular.tree_growing import CRITERIA, Grown, grow

__all__ = ["Tree", "tree"]

Rows = Float[Tensor, "rows features"]


class Tree(nn.Module):
    """A decision tree, its nodes numbered level by level from the root.

    Args:
        grown: the nodes.
        classes: how many; 0 for a tree of numbers.
    """

    form = "tree"
    feature: Tensor
    threshold: Tensor
    child: Tensor
    weight: Tensor
    gain: Tensor
    level: Tensor

    def __init__(self, grown: Grown, classes: int) -> None:
        super().__init__()
        self.classes, self.features, self.depth = classes, grown.features, int(grown.depth.max())
        for name in ("feature", "threshold", "weight", "gain"):
            self.register_buffer(name, getattr(grown, name))
        self.register_buffer("child", grown.children)
        self.register_buffer("level", grown.depth)
        self.value = nn.Parameter(grown.value, requires_grad=False)

    @property
    def leaves(self) -> int:
        """How many leaves there are."""
        return int((self.feature < 0).sum())

    def apply_rows(self, x: Rows) -> Int[Tensor, " rows"]:
        """Return the leaf that each row ends in."""
        node = torch.zeros_like(x[:, 0], dtype=torch.int64)  # a length would bind exported programs to one
        for _ in range(self.depth):
            feature = self.feature[node]
            value = x.gather(1, feature.clamp(min=0)[:, None])[:, 0]
            below = (value > self.threshold[node]).long()
            node = torch.where(feature < 0, node, self.child[node, below])
        return node

    def forward(self, x: Rows) -> Float[Tensor, "rows outputs"]:
        """Return log-probabilities of the classes, or the number, of every row."""
        node = self.apply_rows(x)
        if not self.classes:
            return self.value[node]
        weight = self.weight[node][:, None]
        return ((self.value[node] * weight + 1) / (weight + self.classes)).log()

    def importance(self) -> Float[Tensor, " features"]:
        """Return the share of each feature in the whole fall of impurity."""
        inner = self.feature >= 0
        falls = self.gain[inner] * self.weight[inner]
        total = torch.zeros(self.features, dtype=falls.dtype, device=falls.device)
        total = total.index_add(0, self.feature[inner], falls)
        return total / total.sum() if bool(total.any()) else total

    def cut(self, depth: int) -> "Tree":
        """Return the tree with nothing below a depth."""
        kept = self.level <= depth
        inner = (self.level < depth)[kept] & (self.feature[kept] >= 0)
        return Tree(
            Grown(
                torch.where(inner, self.feature[kept], -1), self.threshold[kept],
                torch.where(inner[:, None], self.child[kept], 0), self.value.detach()[kept].clone(),
                self.weight[kept], torch.where(inner, self.gain[kept], 0.0), self.level[kept], self.features,
            ),
            self.classes,
        )  # fmt: skip

    def rules(
        self, condition: Callable[[int, float, bool], str], conclusion: Callable[[Float[Tensor, " outputs"]], str]
    ) -> str:
        """Return the tree as nested rules.

        Args:
            condition: words for feature, threshold and whether the feature is above it.
            conclusion: words for a leaf's value.
        """
        lines: list[str] = []

        def tell(node: int, indent: str) -> None:
            for above in (False, True):
                child = int(self.child[node, int(above)])
                words = condition(int(self.feature[node]), float(self.threshold[node]), above)
                leaf = int(self.feature[child]) < 0
                end = f": {conclusion(self.value[child])}  ({float(self.weight[child]):g})" if leaf else ""
                lines.append(f"{indent}{words}{end}")
                if not leaf:
                    tell(child, indent + "    ")

        if int(self.feature[0]) < 0:
            return f"always {conclusion(self.value[0])}  ({float(self.weight[0]):g})"
        tell(0, "")
        return "\n".join(lines)

    def facts(self) -> dict[str, int]:
        """Return the sizes that make an empty one."""
        nodes, outputs = self.value.shape
        return {
            "nodes": nodes, "outputs": outputs, "classes": self.classes, "features": self.features,
            "depth": self.depth,
        }  # fmt: skip

    @classmethod
    def empty(cls, nodes: int, outputs: int, classes: int, features: int, depth: int) -> "Tree":
        """Return a tree of a size, to be filled."""
        whole, real = torch.zeros(nodes, dtype=torch.int64), torch.zeros(nodes)
        grown = Grown(
            whole, real, torch.zeros(nodes, 2, dtype=torch.int64), torch.zeros(nodes, outputs), real.clone(),
            real.clone(), torch.full((nodes,), depth), features,
        )  # fmt: skip
        return cls(grown, classes)

    def extra_repr(self) -> str:
        """Return the sizes, for `repr`."""
        return f"{len(self.feature)} nodes, depth {self.depth}, {self.features} features"


@canon(
    "tabular/tree",
    kind="estimator",
    paper="Breiman, Friedman, Olshen and Stone 1984, Classification and regression trees",
    names=("tree",),
    example=lambda: ("both", lambda x, y, weights=None: tree(x, y, max_depth=4, weights=weights)),
)
def tree(
    x: Rows,
    y: Int[Tensor, " rows"] | Float[Tensor, " rows"],
    *,
    classes: int | None = None,
    criterion: Literal["auto", "gini", "entropy", "variance"] = "auto",
    max_depth: int | None = None,
    min_leaf: int = 1,
    min_gain: float = 0.0,
    weights: Float[Tensor, " rows"] | None = None,
) -> Tree:
    """Grow a decision tree: of classes where y are whole numbers, of numbers where they are real.

    Args:
        x: features.
        y: class indices, or numbers.
        classes: how many; one more than the largest index when left out.
        criterion: the impurity; auto is gini for classes and variance for numbers.
        max_depth: most questions on the way to a leaf; None for any number.
        min_leaf: fewest rows of a leaf.
        min_gain: least fall of impurity worth a question.
        weights: of the rows.

    Returns:
        The tree.

    Raises:
        GradusError: for a criterion that does not fit y, impossible limits, or rows that cannot be learned from.

    References:
        Breiman, Friedman, Olshen and Stone 1984, Classification and regression trees.

    Deviations:
        There is no pruning by cost; limit the depth, or choose it by validation with `Tree.cut`.
    """
    check_rows(x, y, weights)
    chosen = _criterion(criterion, not y.is_floating_point())
    if (max_depth is not None and max_depth < 1) or min_leaf < 1 or min_gain < 0:
        told = f"{max_depth}, {min_leaf} and {min_gain}"
        raise GradusError(f"max_depth and min_leaf must be positive and min_gain not negative, got {told}")
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    if chosen == "variance":
        mean = (w @ y.double()) / w.sum()
        residual = y.double() - mean  # so that sums of squares do not cancel
        statistics = torch.stack([w, w * residual, w * residual.square()], dim=1)
        grown = grow(x.double(), statistics, chosen, max_depth, min_leaf, min_gain)
        return Tree(grown._replace(value=grown.value + mean), 0)
    count = count_classes(y, classes)
    statistics = nn.functional.one_hot(y.long(), count).double() * w[:, None]
    return Tree(grow(x.double(), statistics, chosen, max_depth, min_leaf, min_gain), count)


def _criterion(name: str, labels: bool) -> str:
    """Return the impurity that a name means for classes, or else for numbers."""
    chosen = ("gini" if labels else "variance") if name == "auto" else name
    if chosen not in CRITERIA or (chosen == "variance") is labels:
        fitting = "gini or entropy for classes" if labels else "variance for numbers"
        raise GradusError(f"the criterion {name!r} does not fit these targets: take {fitting}")
    return chosen
