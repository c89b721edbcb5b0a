"""Bayesian linear regression in closed form, and as the last layer of a network.

    w ~ N(0, α⁻¹),  y | x ~ N(wᵀφ(x), β⁻¹)        S = (α + β ΦᵀΦ)⁻¹,  m = β S Φᵀy,  y* ~ N(mᵀφ*, β⁻¹ + φ*ᵀ S φ*)
    noise unknown:  β ~ Gamma(a₀, b₀), w | β ~ N(0, (β α)⁻¹)
                    a = a₀ + n/2,  b = b₀ + ½ (yᵀy − mᵀ Λ m),  Λ = α + ΦᵀΦ,  y* ~ t_{2a}(mᵀφ*, (b/a)(1 + φ*ᵀ Λ⁻¹ φ*))
    evidence:       α ← γ / mᵀm,  β ← (n − γ) / |y − Φm|²,  γ = Σ λ_i / (λ_i + α),  λ_i eigenvalues of β ΦᵀΦ

φ are features: inputs, polynomials, or what a network computes before its last layer, whose weights alone are then
uncertain. Everything goes through one eigendecomposition of ΦᵀΦ, so that an update of α and β costs O(d).

References:
    MacKay 1992, Bayesian interpolation (evidence). Bishop 2006, Pattern recognition and machine learning, chapter 3.
    Snoek et al. 2015, Scalable Bayesian optimization using deep neural networks (last layer).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.monte_carlo_dropout import Moments

__all__ = ["BayesianLinear", "LastLayer", "StudentLinear", "bayesian_last_layer", "linear_posterior", "student_linear"]

Features = Callable[[Tensor], Tensor]
ROUNDS = 1000


@dataclass(frozen=True)
class BayesianLinear:
    """A normal posterior of the weights, for a given noise.

    Attributes:
        mean: m.
        covariance: S.
        alpha: precision of the prior.
        beta: precision of the noise.
        log_evidence: log p(y | α, β).
        effective: γ, the number of weights that the data decide.
    """

    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]
    alpha: float
    beta: float
    log_evidence: float
    effective: float

    def predict(self, features: Float[Tensor, "n d"]) -> Moments:
        """Return mean and variance of new targets, noise included.

        Args:
            features: Φ of the new points.
        """
        return Moments(features @ self.mean, 1 / self.beta + _quadratic(features, self.covariance))


@dataclass(frozen=True)
class StudentLinear:
    """A normal–gamma posterior of the weights and the precision of the noise.

    Attributes:
        mean: m.
        precision_inverse: Λ⁻¹; given β, the weights' covariance is Λ⁻¹ / β.
        shape: a of β ~ Gamma(a, b).
        rate: b.
        log_evidence: log p(y).
    """

    mean: Float[Tensor, " d"]
    precision_inverse: Float[Tensor, "d d"]
    shape: float
    rate: float
    log_evidence: float

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the predictive Student distribution, 2a."""
        return 2 * self.shape

    def scale(self, features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return the scale of the predictive Student distribution, whose location is mᵀφ."""
        return (self.rate / self.shape * (1 + _quadratic(features, self.precision_inverse))).sqrt()

    def predict(self, features: Float[Tensor, "n d"]) -> Moments:
        """Return mean and variance of new targets, noise included; infinite with two degrees of freedom or less.

        Args:
            features: Φ of the new points.
        """
        spread = self.freedom / (self.freedom - 2) if self.freedom > 2 else math.inf
        return Moments(features @ self.mean, spread * self.scale(features) ** 2)


def _quadratic(features: Tensor, matrix: Tensor) -> Tensor:
    return ((features @ matrix) * features).sum(-1)


def _checked(features: Tensor, targets: Tensor) -> None:
    if len(features) != len(targets) or not len(features):
        raise GradusError(f"{len(features)} rows of features and {len(targets)} targets; give one target a row")
    if not (bool(features.isfinite().all()) and bool(targets.isfinite().all())):
        raise GradusError("features or targets are not finite; clean them before the regression")


def _positive(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise GradusError(f"{name}={value} is out of range; give a positive number")


@canon(
    "prob/bayesian-linear",
    kind="uncertainty",
    paper="MacKay 1992, Bayesian interpolation",
    names=("bayesian-linear", "evidence"),
    example=lambda: lambda x, y: linear_posterior(x, y).predict,
)
def linear_posterior(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, " n"],
    *,
    alpha: float | None = None,
    beta: float | None = None,
    tolerance: float = 1e-9,
) -> BayesianLinear:
    """Return the posterior of the weights; a precision left out is found by maximising the evidence.

    Args:
        features: Φ; append a column of ones for an intercept.
        targets: y.
        alpha: precision of the prior, α.
        beta: precision of the noise, β.
        tolerance: relative change of both at which the maximisation ends.

    Raises:
        GradusError: for shapes that differ, numbers that are not finite, or precisions that are not positive.
    """
    _checked(features, targets)
    _positive(**{name: value for name, value in (("alpha", alpha), ("beta", beta)) if value is not None})
    phi, y = features.double(), targets.double()
    eigenvalues, vectors = torch.linalg.eigh(phi.mT @ phi)
    spectrum, projected = eigenvalues.clamp_min(0), vectors.mT @ (phi.mT @ y)
    total = float(y @ y)
    a, b = _evidence_maximum(spectrum, projected, total, len(y), alpha, beta, tolerance)
    curvature = a + b * spectrum
    rotated = b * projected / curvature
    log_evidence = (
        len(spectrum) * math.log(a) + len(y) * math.log(b / (2 * math.pi))
        - b * _residual(spectrum, projected, rotated, total) - a * float(rotated @ rotated)
        - float(curvature.log().sum())
    ) / 2  # fmt: skip
    return BayesianLinear(
        (vectors @ rotated).to(features.dtype),
        ((vectors / curvature) @ vectors.mT).to(features.dtype),
        a,
        b,
        log_evidence,
        float((b * spectrum / curvature).sum()),
    )


def _residual(spectrum: Tensor, projected: Tensor, rotated: Tensor, total: float) -> float:
    """Return |y − Φm|² from the eigenbasis."""
    return max(total - 2 * float(rotated @ projected) + float(spectrum @ rotated**2), 0.0)


def _evidence_maximum(
    spectrum: Tensor, projected: Tensor, total: float, n: int, alpha: float | None, beta: float | None, tolerance: float
) -> tuple[float, float]:
    """Return α and β where the evidence is stationary, by MacKay's fixed point."""
    a, b = 1.0 if alpha is None else alpha, max(n, 1) / max(total, 1e-12) if beta is None else beta
    # An exact fit has no noise, and weights that are all zero no prior: both precisions would run to infinity.
    least, most = 1e-12, 1e12
    for _ in range(ROUNDS if alpha is None or beta is None else 0):
        rotated = b * projected / (a + b * spectrum)
        gamma = float((b * spectrum / (a + b * spectrum)).sum())
        residual = _residual(spectrum, projected, rotated, total)
        new_a = min(max(gamma / max(float(rotated @ rotated), 1e-300), least), most) if alpha is None else alpha
        new_b = min(max((n - gamma) / max(residual, 1e-300), least), most) if beta is None else beta
        settled = abs(new_a - a) <= tolerance * a and abs(new_b - b) <= tolerance * b
        a, b = new_a, new_b
        if settled:
            break
    return a, b


@canon(
    "prob/student-linear",
    kind="uncertainty",
    paper="Bishop 2006, Pattern recognition and machine learning, chapter 3",
    names=("student-linear", "normal-gamma-linear"),
    example=lambda: lambda x, y: student_linear(x, y, rate=0.01).predict,
)
def student_linear(
    features: Float[Tensor, "n d"],
    targets: Float[Tensor, " n"],
    *,
    alpha: float = 1.0,
    shape: float = 1.0,
    rate: float = 1.0,
) -> StudentLinear:
    """Return the joint posterior of the weights and of the noise, under a normal–gamma prior.

    Args:
        features: Φ; append a column of ones for an intercept.
        targets: y.
        alpha: prior precision of the weights in units of the noise's.
        shape: a₀.
        rate: b₀.

    Raises:
        GradusError: for shapes that differ, numbers that are not finite, or a prior that is not positive.
    """
    _checked(features, targets)
    _positive(alpha=alpha, shape=shape, rate=rate)
    phi, y = features.double(), targets.double()
    precision = phi.mT @ phi + alpha * torch.eye(phi.shape[1], dtype=phi.dtype, device=phi.device)
    factor = torch.linalg.cholesky(precision)
    mean = torch.cholesky_solve((phi.mT @ y).unsqueeze(1), factor).squeeze(1)
    a = shape + len(y) / 2
    # |y − Φm|² + α|m|² is yᵀy − mᵀΛm without the cancellation.
    b = rate + float(((y - phi @ mean) ** 2).sum() + alpha * (mean**2).sum()) / 2
    log_evidence = (
        math.lgamma(a) - math.lgamma(shape) + shape * math.log(rate) - a * math.log(b)
        + phi.shape[1] * math.log(alpha) / 2 - float(factor.diagonal().log().sum()) - len(y) * math.log(2 * math.pi) / 2
    )  # fmt: skip
    inverse = torch.cholesky_inverse(factor)
    return StudentLinear(mean.to(features.dtype), inverse.to(features.dtype), a, b, log_evidence)


@dataclass(frozen=True)
class LastLayer:
    """Features that are certain under a linear layer that is not.

    Attributes:
        features: from inputs to Φ, without the column of ones.
        linear: posterior of the weights and the intercept, which is the last one.
    """

    features: Features
    linear: BayesianLinear

    def predict(self, x: Float[Tensor, "n *inputs"]) -> Moments:
        """Return mean and variance of new targets, noise included.

        Args:
            x: new inputs.
        """
        return self.linear.predict(_with_ones(self.features, x))


def _with_ones(features: Features, x: Tensor) -> Tensor:
    with torch.no_grad():
        phi = features(x)
    if phi.dim() != 2 or len(phi) != len(x):
        raise GradusError(f"features of shape {tuple(phi.shape)} for {len(x)} inputs; return one row an input")
    return torch.cat([phi, torch.ones_like(phi[:, :1])], dim=1)


@canon(
    "prob/bayesian-last-layer",
    kind="uncertainty",
    paper="Snoek et al. 2015, Scalable Bayesian optimization using deep neural networks",
    example=lambda: lambda x, y: bayesian_last_layer(lambda z: torch.cat([z, z.relu()], 1), x, y).predict,
)
def bayesian_last_layer(
    features: Features,
    x: Float[Tensor, "n *inputs"],
    targets: Float[Tensor, " n"],
    *,
    alpha: float | None = None,
    beta: float | None = None,
) -> LastLayer:
    """Return a network whose last layer has been replaced by a Bayesian one with an intercept.

    Args:
        features: what the network computes before its last layer, in evaluation; any function of a batch.
        x: the training inputs.
        targets: y.
        alpha: precision of the prior; found by the evidence when left out.
        beta: precision of the noise; found by the evidence when left out.

    Raises:
        GradusError: for features or targets that do not fit, or are not finite.
    """
    return LastLayer(features, linear_posterior(_with_ones(features, x), targets, alpha=alpha, beta=beta))
