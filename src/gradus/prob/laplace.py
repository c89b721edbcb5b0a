"""Bayesian logistic regression by Laplace's method: a normal posterior at the mode, predictions averaged over it.

    m = argmin_w Σ_i ς(−s_i wᵀφ_i) + ½ α |w|²,  s_i = ±1        S⁻¹ = α + Σ_i σ_i (1 − σ_i) φ_i φ_iᵀ
    p(y = 1 | φ) = E[σ(a)], a ~ N(μ, v)  ≈  σ(μ / √(1 + π v / 8)),    μ = mᵀφ,  v = φᵀ S φ

Away from the data v grows, and the probability returns towards one half, which the mode alone never does. On features
of a network this is its Bayesian last layer for two classes.

References:
    MacKay 1992, The evidence framework applied to classification networks. Spiegelhalter and Lauritzen 1990, Sequential
    updating of conditional probabilities on directed graphical structures (the averaged sigmoid).
    Kristiadi, Hein and Hennig 2020, Being Bayesian, even just a bit, fixes overconfidence in ReLU networks.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from gradus.errors import GradusError

__all__ = ["LaplaceLogistic", "laplace_logistic"]

ROUNDS = 100


@dataclass(frozen=True)
class LaplaceLogistic:
    """A normal posterior of logistic weights.

    Attributes:
        mean: m, the mode.
        covariance: S.
        log_evidence: Laplace's approximation of log p(y).
    """

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    log_evidence: float

    def predict(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the probability of class 1, averaged over the posterior.

        Args:
            features: Φ of new points.
        """
        variance = ((features @ self.covariance) * features).sum(-1)
        return (features @ self.mean / (1 + math.pi * variance / 8).sqrt()).sigmoid()


def laplace_logistic(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"] | Bool[Tensor, " n"],
    *,
    alpha: float = 1.0,
) -> LaplaceLogistic:
    """Return the posterior of logistic regression by Newton's method and the curvature at the mode.

    Args:
        features: Φ; append a column of ones for an intercept.
        labels: 0 or 1.
        alpha: precision of the prior, α.

    Raises:
        GradusError: for a prior that is not positive, labels other than 0 and 1, or features that are not finite.
    """
    if not 0 < alpha < math.inf:
        raise GradusError(f"alpha={alpha} is out of range; give a positive number")
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise GradusError("labels other than 0 and 1; this is a method of two classes")
    if not bool(features.isfinite().all()):
        raise GradusError("features are not finite; clean them before the regression")
    phi, sign = features.double(), 2 * labels.double() - 1
    mean = _mode(phi, sign, alpha)
    factor = torch.linalg.cholesky(_curvature(phi, mean, alpha))
    log_evidence = (
        -_loss(phi, sign, alpha, mean) + phi.shape[1] * math.log(alpha) / 2 - float(factor.diagonal().log().sum())
    )
    return LaplaceLogistic(mean.to(features.dtype), torch.cholesky_inverse(factor).to(features.dtype), log_evidence)


def _loss(phi: Tensor, sign: Tensor, alpha: float, w: Tensor) -> float:
    return float(-F.logsigmoid(sign * (phi @ w)).sum() + alpha * (w @ w) / 2)


def _curvature(phi: Tensor, w: Tensor, alpha: float) -> Tensor:
    activation = phi @ w
    weight = activation.sigmoid() * (-activation).sigmoid()
    return (phi.mT * weight) @ phi + alpha * torch.eye(len(w), dtype=phi.dtype, device=phi.device)


def _mode(phi: Tensor, sign: Tensor, alpha: float) -> Tensor:
    """Return the minimum of the strictly convex loss, by Newton steps that are halved until they descend."""
    w = phi.new_zeros(phi.shape[1])
    value = _loss(phi, sign, alpha, w)
    for _ in range(ROUNDS):
        gradient = -phi.mT @ (sign * (-sign * (phi @ w)).sigmoid()) + alpha * w
        step = torch.linalg.solve(_curvature(phi, w, alpha), gradient)
        decrement, share = float(gradient @ step), 1.0
        if decrement < 1e-18 * (1 + abs(value)):
            break
        while share > 1e-10 and _loss(phi, sign, alpha, w - share * step) > value - 0.1 * share * decrement:
            share /= 2
        w = w - share * step
        value = _loss(phi, sign, alpha, w)
    return w
