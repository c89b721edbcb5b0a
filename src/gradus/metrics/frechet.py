"""Distances between two clouds of features: Fréchet's, between fitted Gaussians, and the kernel distance.

    d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½)

Of features of the Inception network it is the Fréchet inception distance; any other map to vectors serves as well.
The trace of the root is the sum of the roots of the eigenvalues of a symmetric matrix, so no general matrix root
(with its complex rounding) is needed.

References:
    Dowson and Landau 1982, The Fréchet distance between multivariate normal distributions.
    Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter 2017, GANs trained by a two time-scale update rule converge
    to a local Nash equilibrium.
    Bińkowski, Sutherland, Arbel and Gretton 2018, Demystifying MMD GANs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.metrics.metric import Metric, wide

__all__ = ["FrechetDistance", "frechet_distance", "kernel_distance"]


def frechet_distance(
    mean: Float[Tensor, " features"],
    covariance: Float[Tensor, "features features"],
    other_mean: Float[Tensor, " features"],
    other_covariance: Float[Tensor, "features features"],
) -> Float[Tensor, ""]:
    """Return the squared Fréchet (2-Wasserstein) distance of two Gaussians.

    d² = ‖μ₁ − μ₂‖² + tr(Σ₁) + tr(Σ₂) − 2 Σᵢ √λᵢ(Σ₁^½ Σ₂ Σ₁^½)
    """
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = root @ other_covariance @ root
    # Rounding leaves it not quite symmetric, and a singular covariance's zero eigenvalues not quite zero.
    cross = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp(min=0).sqrt().sum()
    return (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * cross


@canon(
    "metrics/frechet-distance",
    kind="metric",
    paper="Heusel et al. 2017, GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
    names=("frechet-distance", "fid"),
    example=lambda: FrechetDistance(3),
)
class FrechetDistance(Metric):
    """Fréchet distance between generated and real samples, from streamed sums of features and of their products.

    d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½) ,   Σ unbiased

    Kept are 2 (1 + D + D²) float64 numbers. A covariance read off sums of products loses digits as (mean/spread)²:
    features of mean 1000 and spread 1 keep about ten.

    Args:
        dimensions: D, the number of features.
        features: maps a batch of samples to vectors; None where samples are vectors already. Not part of the state.

    Raises:
        GradusError: if there is no dimension.
    """

    def __init__(self, dimensions: int, features: Callable[[Tensor], Tensor] | None = None) -> None:
        if dimensions < 1:
            raise GradusError(f"a Fréchet distance needs at least 1 dimension, not {dimensions}")
        shapes = {"count": (2,), "total": (2, dimensions), "products": (2, dimensions, dimensions)}
        sums = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        super().__init__(sums, dimensions=dimensions)
        self.features = features

    @torch.no_grad()
    def update(
        self, samples: Float[Tensor, "batch *shape"], real: bool | Bool[Tensor, " batch"] | Int[Tensor, " batch"]
    ) -> None:
        """Add a batch.

        Args:
            samples: of either kind, or of both.
            real: whether they are real, for all or one by one: 1 says so, any other number that they are not.

        Raises:
            GradusError: if the features are not D numbers a sample.
        """
        dimensions = self.settings["dimensions"]
        rows = samples if self.features is None else self.features(samples)
        if rows.shape != (len(samples), dimensions):
            raise GradusError(
                f"features of shape {tuple(rows.shape)} were given to a distance of {dimensions} features"
            )
        rows = rows.to(wide(rows.device))
        if isinstance(real, bool):
            one_kind = rows.new_zeros(2)
            one_kind[int(real)] = 1
            count, total, products = len(rows) * one_kind, one_kind[:, None] * rows.sum(0), rows.T @ rows
            self._add(count=count, total=total, products=one_kind[:, None, None] * products)
            return
        kinds = torch.stack([real != 1, real == 1]).to(rows)
        self._add(count=kinds.sum(1), total=kinds @ rows, products=(kinds.unsqueeze(2) * rows).mT @ rows)

    def moments(self, real: bool) -> tuple[Float[Tensor, " features"], Float[Tensor, "features features"]]:
        """Return mean and unbiased covariance of the real or of the generated features."""
        count, total, products = (self.sums[name][int(real)] for name in ("count", "total", "products"))
        mean = total / count
        return mean, (products - count * torch.outer(mean, mean)) / (count - 1)

    def compute(self) -> Float[Tensor, ""]:
        """Return the distance; NaN before there are two samples of each kind."""
        if bool((self.sums["count"] < 2).any()):
            return torch.full_like(self.sums["count"][0], torch.nan)
        return frechet_distance(*self.moments(True), *self.moments(False))


def kernel_distance(
    first: Float[Tensor, "batch features"], second: Float[Tensor, "others features"], degree: int = 3
) -> Float[Tensor, ""]:
    """Return the squared maximum mean discrepancy under a polynomial kernel, unbiased.

    d² = mean_{i≠j} k(xᵢ, xⱼ) + mean_{i≠j} k(yᵢ, yⱼ) − 2 mean k(xᵢ, yⱼ) ,   k(x, y) = (xᵀy/D + 1)^degree

    Of Inception features it is the kernel inception distance. Unlike Fréchet's its mean does not depend on how many
    samples there are; it needs them in memory, so a stream takes the mean over blocks. It may be negative.

    Raises:
        GradusError: if there are not two samples of each.
    """
    if min(len(first), len(second)) < 2:
        raise GradusError(f"a kernel distance needs two samples of each, not {len(first)} and {len(second)}")
    x, y = first.to(wide(first.device)), second.to(wide(second.device))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** degree

    def pairs(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.trace()) / (len(a) * (len(a) - 1))

    return pairs(x) + pairs(y) - 2 * kernel(x, y).mean()
