"""The silhouette: how much closer is a point to its own cluster than to the nearest other one?

    sᵢ = (bᵢ − aᵢ) / max(aᵢ, bᵢ) ,   aᵢ = mean distance to the others of its cluster,
                                     bᵢ = least mean distance to another cluster

The exact form needs all pairs, hence all points. Two forms stream, once the clusters are described by few numbers:
the simplified one puts each cluster's centre in its place, and that of squared distances is exact, because the mean
squared distance from x to a cluster is ‖x − μ‖² + v with its mean μ and its mean squared distance v from the mean.

References:
    Rousseeuw 1987, Silhouettes: a graphical aid to the interpretation and validation of cluster analysis.
    Hruschka, de Castro and Campello 2004, Evolutionary algorithms for clustering gene-expression data.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, check_known, wide

__all__ = ["CentroidSilhouette", "Silhouette", "silhouettes"]

_ROWS = 1024


def silhouettes(points: Float[Tensor, "points features"], labels: Int[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Return the exact silhouette of every point under the Euclidean distance; their mean is the silhouette score.

    sᵢ = (bᵢ − aᵢ) / max(aᵢ, bᵢ), and 0 for a point alone in its cluster. Time is quadratic in the points, memory not.

    Args:
        points: all of them.
        labels: the cluster of each, any whole numbers.

    Raises:
        GradusError: if there are not 2 to n − 1 clusters.
    """
    names, cluster = labels.unique(return_inverse=True)
    if not 2 <= len(names) < len(points):
        raise GradusError(f"a silhouette of {len(points)} points needs 2 to n − 1 clusters, not {len(names)}")
    points = points.to(wide(points.device))
    member = torch.nn.functional.one_hot(cluster, len(names)).to(points)
    sizes = member.sum(0)
    found = []
    for rows, own in zip(points.split(_ROWS), cluster.split(_ROWS), strict=True):
        # By differences, not by ‖x‖² − 2xᵀy + ‖y‖²: the latter loses the digits of near points.
        total = torch.cdist(rows, points, compute_mode="donot_use_mm_for_euclid_dist") @ member
        at_home = torch.nn.functional.one_hot(own, len(names)).bool()
        inner = total[at_home] / (sizes[own] - 1)
        outer = (total / sizes).masked_fill(at_home, torch.inf).amin(1)
        found.append(torch.where(sizes[own] > 1, _relative(inner, outer), 0.0))
    return torch.cat(found)


def _relative(inner: Float[Tensor, " points"], outer: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    widest = torch.maximum(inner, outer)
    return torch.where(widest > 0, (outer - inner) / widest, 0.0)


class Silhouette(NamedTuple):
    """Mean silhouettes.

    Attributes:
        score: over all points.
        by_cluster: over each cluster's, NaN where it has none.
    """

    score: Float[Tensor, ""]
    by_cluster: Float[Tensor, " clusters"]


@canon(
    "metrics/silhouette",
    kind="metric",
    paper="Rousseeuw 1987, Silhouettes: a graphical aid to the interpretation and validation of cluster analysis",
    names=("silhouette",),
    example=lambda: CentroidSilhouette([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
)
class CentroidSilhouette(Metric):
    """Silhouette of a stream against clusters known beforehand, by their centres or by their moments.

    simplified:   aᵢ = ‖xᵢ − μ_own‖ ,   bᵢ = min over the others of ‖xᵢ − μ_k‖
    squared:      aᵢ = n/(n−1) (‖xᵢ − μ_own‖² + v_own) ,   bᵢ = min over the others of ‖xᵢ − μ_k‖² + v_k

    With sizes and spreads of the very points that follow, the second is the exact silhouette of squared distances: one
    pass for the moments, one for the score. Kept are two numbers a cluster.

    Args:
        centres: μ_k, one row of features for each cluster.
        sizes: n_k, points of each cluster; with `spreads`, else leave both out for the simplified form.
        spreads: v_k, mean squared distance of each cluster's points from its mean.

    Raises:
        GradusError: if there are not two clusters or the parts do not fit.
    """

    def __init__(
        self,
        centres: Sequence[Sequence[float]] | Float[Tensor, "clusters features"],
        sizes: Sequence[float] | Float[Tensor, " clusters"] | Int[Tensor, " clusters"] | None = None,
        spreads: Sequence[float] | Float[Tensor, " clusters"] | None = None,
    ) -> None:
        given = torch.as_tensor(centres, dtype=torch.float64)
        if given.dim() != 2 or len(given) < 2 or not bool(given.isfinite().all()):
            raise GradusError(
                f"a silhouette needs finite centres of at least 2 clusters, not shape {tuple(given.shape)}"
            )
        if (sizes is None) != (spreads is None):
            raise GradusError("a silhouette of squared distances needs both sizes and spreads; give both or neither")
        moments: list[tuple[float, ...] | None] = [None, None]
        if sizes is not None and spreads is not None:
            moments = [tuple(torch.as_tensor(part, dtype=torch.float64).tolist()) for part in (sizes, spreads)]
            if any(part is None or len(part) != len(given) for part in moments):
                raise GradusError(f"a silhouette of {len(given)} centres needs as many sizes and spreads")
        # Plain numbers, not tensors: settings are compared when metrics merge, and travel in the state.
        rows = tuple(tuple(row) for row in given.tolist())
        sums = {name: torch.zeros(len(given), dtype=torch.float64) for name in ("total", "count")}
        sums["unknown"] = torch.zeros((), dtype=torch.int64)
        super().__init__(sums, centres=rows, sizes=moments[0], spreads=moments[1])
        self._parts = [given, *(torch.tensor(part or (), dtype=torch.float64) for part in moments)]

    def update(self, points: Float[Tensor, "batch features"], labels: Int[Tensor, " batch"]) -> None:
        """Add points.

        Args:
            points: some.
            labels: the cluster of each, as a row of the centres.

        Raises:
            GradusError: if the points have other features than the centres.
        """
        rows = points.detach().to(wide(points.device))
        # They move once and stay: to send them again with every batch would wait for the device.
        centres, sizes, spreads = self._parts = [part.to(rows) for part in self._parts]
        if rows.shape[1] != centres.shape[1]:
            raise GradusError(f"points of {rows.shape[1]} features were given to centres of {centres.shape[1]}")
        clusters = torch.arange(len(centres), device=rows.device)
        at_home = labels.unsqueeze(1) == clusters
        distance = (rows.unsqueeze(1) - centres).square().sum(2)
        alone = torch.zeros_like(clusters, dtype=torch.bool)
        if self.settings["sizes"] is None:
            distance, inner = distance.sqrt(), distance.sqrt()
        else:
            distance, alone = distance + spreads, sizes <= 1
            inner = distance * torch.where(alone, 0, sizes / (sizes - 1))
        inner = torch.where(at_home, inner, 0.0).sum(1)
        score = _relative(inner, distance.masked_fill(at_home, torch.inf).amin(1))
        # A label outside the clusters is nobody's row, so it adds to no sum and is told at the end.
        member = at_home.to(rows)
        unknown = (~at_home.any(1)).sum()
        self._add(total=score @ (member * ~alone), count=member.sum(0), unknown=unknown)

    def compute(self) -> Silhouette:
        """Return the mean silhouettes; raises a GradusError if a label was outside the clusters."""
        check_known(self.sums["unknown"], len(self.settings["centres"]))
        total, count = self.sums["total"], self.sums["count"]
        return Silhouette(total.sum() / count.sum(), total / count)
