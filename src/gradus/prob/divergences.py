"""Entropy and divergences in closed form, for probability vectors and for normal distributions.

    H(p) = −Σ p log p                         KL(p ‖ q) = Σ p log (p / q)
    JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m),     m = (p + q) / 2;     0 ≤ JS ≤ log 2
    KL(N₀ ‖ N₁) = ½ [tr(Σ₁⁻¹ Σ₀) + (μ₁ − μ₀)ᵀ Σ₁⁻¹ (μ₁ − μ₀) − d + log |Σ₁| / |Σ₀|]

KL is not symmetric: KL(p ‖ q), minimised over q, covers all of p; KL(q ‖ p) seeks one of its modes. All is in nats,
with 0 log 0 = 0, over the last dimension; the others are batch and broadcast. From draws of p alone, with both
densities known, `kl_by_sampling` estimates KL with its standard error.

References:
    Shannon 1948, A mathematical theory of communication. Kullback and Leibler 1951, On information and sufficiency.
    Lin 1991, Divergence measures based on the Shannon entropy.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError

__all__ = [
    "Estimate",
    "cross_entropy",
    "entropy",
    "gaussian_entropy",
    "gaussian_kl",
    "js",
    "kl",
    "kl_by_sampling",
    "reverse_kl",
]

Vectors = Float[Tensor, "*#batch k"]
Values = Float[Tensor, "*batch"]
LOG_2_PI = 1.8378770664093453


def entropy(p: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Return H(p) = −Σ p log p.

    Args:
        p: probabilities.
    """
    return -torch.xlogy(p, p).sum(-1)


def cross_entropy(p: Vectors, q: Vectors) -> Values:
    """Return −Σ p log q = H(p) + KL(p ‖ q); infinite where q is zero and p is not.

    Args:
        p: probabilities of the outcomes.
        q: probabilities they are coded by.
    """
    return -torch.xlogy(p, q).sum(-1)


@canon("prob/kl", kind="divergence", paper="Kullback and Leibler 1951, On information and sufficiency")
def kl(p: Vectors, q: Vectors) -> Values:
    """Return KL(p ‖ q) = Σ p log (p / q); infinite where q is zero and p is not.

    Args:
        p: probabilities.
        q: probabilities.
    """
    p, q = torch.broadcast_tensors(p, q)
    # Outcomes that p never has cost nothing; their 0/0 must not reach the gradient either.
    one = torch.ones_like(q)
    ratio = torch.where(p > 0, p / torch.where(p > 0, q, one), one)
    return torch.xlogy(p, ratio).sum(-1)


@canon("prob/reverse-kl", kind="divergence", paper="Kullback and Leibler 1951, On information and sufficiency")
def reverse_kl(p: Vectors, q: Vectors) -> Values:
    """Return KL(q ‖ p): the divergence of variational inference, where p is the target.

    Args:
        p: probabilities.
        q: probabilities.
    """
    return kl(q, p)


@canon("prob/js", kind="divergence", paper="Lin 1991, Divergence measures based on the Shannon entropy")
def js(p: Vectors, q: Vectors) -> Values:
    """Return JS(p, q) = ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2; its root is a metric.

    Args:
        p: probabilities.
        q: probabilities.
    """
    middle = (p + q) / 2
    return (kl(p, middle) + kl(q, middle)) / 2


def gaussian_entropy(covariance: Float[Tensor, "*batch d d"]) -> Float[Tensor, "*batch"]:
    """Return the entropy of a normal distribution, ½ log |2πe Σ|.

    Args:
        covariance: Σ.

    Raises:
        GradusError: if it is not positive definite.
    """
    return (covariance.shape[-1] * (1 + LOG_2_PI) + _log_det(_factor(covariance))) / 2


def gaussian_kl(
    mean: Float[Tensor, "*#batch d"],
    covariance: Float[Tensor, "*#batch d d"],
    other_mean: Float[Tensor, "*#batch d"],
    other_covariance: Float[Tensor, "*#batch d d"],
) -> Float[Tensor, "*batch"]:
    """Return KL(N(μ₀, Σ₀) ‖ N(μ₁, Σ₁)).

    Args:
        mean: μ₀.
        covariance: Σ₀.
        other_mean: μ₁.
        other_covariance: Σ₁.

    Raises:
        GradusError: if a covariance is not positive definite.
    """
    own, other = _factor(covariance), _factor(other_covariance)
    whitened = torch.linalg.solve_triangular(other, own, upper=False)
    shift = torch.linalg.solve_triangular(other, (other_mean - mean).unsqueeze(-1), upper=False)
    squares = (whitened**2).sum((-2, -1)) + (shift**2).sum((-2, -1))
    return (squares - mean.shape[-1] + _log_det(other) - _log_det(own)) / 2


def _factor(covariance: Tensor) -> Tensor:
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if bool(failed.any()):
        raise GradusError("a covariance is not positive definite; add a small multiple of the identity to it")
    return factor


def _log_det(factor: Tensor) -> Tensor:
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class Estimate(NamedTuple):
    """A number known from draws.

    Attributes:
        value: its estimate.
        error: the standard error of that.
    """

    value: Float[Tensor, "*batch"]
    error: Float[Tensor, "*batch"]


def kl_by_sampling(log_p: Float[Tensor, "draws *batch"], log_q: Float[Tensor, "draws *batch"]) -> Estimate:
    """Return KL(p ‖ q) from draws of p: the mean of r − 1 − log r with r = q / p, each term of which is ≥ 0.

    E_p[r − 1] = 0 makes it a control variate of −log r: unbiased, and far steadier where p and q are close. It needs
    normalised densities and q without mass where p has none.

    Args:
        log_p: log p of each draw.
        log_q: log q of each draw.
    """
    log_ratio = log_q - log_p
    terms = torch.expm1(log_ratio) - log_ratio
    return Estimate(terms.mean(0), terms.std(0) / len(terms) ** 0.5)
