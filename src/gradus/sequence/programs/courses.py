"""How near questions are to each other, and which courses they form.

TF-IDF       v_t = tf_t · (1 + ln((1 + n) / (1 + df_t))),  scaled to length 1
distance     d(a, b) = 1 − aᵀb / (‖a‖ ‖b‖)
clusters     k-means on unit vectors, from centres drawn far apart; k by the best mean silhouette

References:
    Salton and Buckley 1988, Term-weighting approaches in automatic text retrieval.
    Lloyd 1982, Least squares quantization in PCM.
    Arthur and Vassilvitskii 2007, k-means++: the advantages of careful seeding.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.errors import GradusError
from gradus.metrics.silhouette import silhouettes

__all__ = ["Clusters", "Vectors", "cluster", "cosine_distance", "k_means", "tf_idf"]

WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
Vectors = Callable[[Sequence[str]], Float[Tensor, "texts features"]]


def tf_idf(texts: Sequence[str]) -> Float[Tensor, "texts features"]:
    """Return a vector of length 1 for each text, from the words of these texts alone; without words, zeros."""
    counts = [Counter(WORD.findall(text.casefold())) for text in texts]
    place = {word: i for i, word in enumerate(sorted(set().union(*counts)))}
    found = torch.zeros(len(texts), max(len(place), 1), dtype=torch.float64)
    holding = Counter(word for count in counts for word in count)
    for row, count in enumerate(counts):
        for word, times in count.items():
            found[row, place[word]] = times * (1 + math.log((1 + len(texts)) / (1 + holding[word])))
    return torch.nn.functional.normalize(found, dim=1)


def cosine_distance(
    a: Float[Tensor, "rows features"], b: Float[Tensor, "others features"]
) -> Float[Tensor, "rows others"]:
    """Return 1 − cos of the angle between every two vectors; 1 where one of them is zero."""
    return 1 - torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).mT


class Clusters(NamedTuple):
    """A division of points.

    Attributes:
        labels: the cluster of each.
        centres: mean of each cluster.
        within: Σ ‖x − its centre‖².
        silhouette: mean over the points; NaN for a single cluster.
    """

    labels: Int64[Tensor, " points"]
    centres: Float[Tensor, "clusters features"]
    within: float
    silhouette: float


def k_means(
    points: Float[Tensor, "points features"], clusters: int, *, seed: int = 0, tries: int = 8, rounds: int = 100
) -> Clusters:
    """Return the best of some runs of Lloyd's algorithm, each from centres drawn far apart.

    Args:
        points: what is divided.
        clusters: k.
        seed: of the drawing.
        tries: runs.
        rounds: most assignments of a run.

    Raises:
        GradusError: if there are fewer points than clusters.
    """
    if not 1 <= clusters <= len(points):
        raise GradusError(f"{len(points)} questions do not make {clusters} clusters: ask for fewer")
    generator = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor, Tensor] | None = None
    for _ in range(tries):
        centres = _far_apart(points, clusters, generator)
        labels = torch.full((len(points),), -1)
        for _ in range(rounds):
            distance = torch.cdist(points, centres).square()
            nearest = distance.argmin(1)
            if torch.equal(nearest, labels):
                break
            labels = nearest
            member = torch.nn.functional.one_hot(labels, clusters).to(points)
            sizes = member.sum(0)
            # A centre that lost its points stays where it is.
            centres = torch.where(sizes[:, None] > 0, member.mT @ points / sizes.clamp(min=1)[:, None], centres)
        within = float((points - centres[labels]).square().sum())
        if best is None or within < best[0]:
            best = within, labels, centres
    assert best is not None
    within, labels, centres = best
    several = 2 <= len(labels.unique()) < len(points)
    return Clusters(labels, centres, within, float(silhouettes(points, labels).mean()) if several else math.nan)


def cluster(points: Float[Tensor, "points features"], most: int = 12, *, seed: int = 0) -> Clusters:
    """Return the division, into as many clusters as give the best mean silhouette; one where no division is better.

    Args:
        points: what is divided.
        most: largest k tried.
        seed: of the drawing.
    """
    tried = [k_means(points, k, seed=seed) for k in range(2, min(most, len(points) - 1) + 1)]
    good = [found for found in tried if found.silhouette > 0]
    return max(good, key=lambda found: found.silhouette) if good else k_means(points, 1, seed=seed)


def _far_apart(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return points as first centres, each drawn with probability in proportion to its squared distance."""
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    for _ in range(clusters - 1):
        weight = torch.cdist(points, points[chosen]).amin(1).square()
        weight = weight if float(weight.sum()) > 0 else torch.ones_like(weight)
        chosen.append(int(torch.multinomial(weight, 1, generator=generator)))
    return points[chosen]
