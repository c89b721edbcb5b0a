"""Logistic and softmax regression by Newton's method.

    logistic   L = Σ_i w_i log(1 + e^{−s_i z_i}) + α/2 ‖w‖²          z = w·x + b,  s = ±1
               H = Xᵀ diag(w p (1 − p)) X + α I                      iteratively reweighted least squares
    softmax    L = −Σ_i w_i log softmax(W x_i + b)_{y_i} + α/2 ‖W‖²
               H V = Xᵀ diag(w) (P ∘ Z − P ∘ (P ∘ Z) 11ᵀ) + α V      Z = XV; solved by conjugate gradients in the
                                                                     space Σ_k V_k = 0, preconditioned by H's blocks
                                                                     Xᵀ diag(w P_k (1 − P_k)) X + α I
Each step is shortened until it decreases L enough (Armijo); b is not penalised.

References:
    Nelder and Wedderburn 1972, Generalized linear models.
    Nocedal and Wright 2006, Numerical optimization, algorithm 7.1 (truncated Newton).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.tabular.linear import Affine, check_rows, count_classes

__all__ = ["logistic", "softmax"]

Rows = Float[Tensor, "rows features"]
Labels = Int[Tensor, " rows"]
Weights = Float[Tensor, " rows"]
ARMIJO = 1e-4
ROUNDING = 1e-13  # of the loss: where it hides the decrease, Newton's own step is the best there is
SEPARATED = 1e-6


@canon(
    "tabular/logistic",
    kind="estimator",
    paper="Cox 1958, The regression analysis of binary sequences",
    names=("logistic",),
    example=lambda: ("classes", logistic),
)
def logistic(
    x: Rows,
    y: Labels,
    *,
    alpha: float = 1.0,
    weights: Weights | None = None,
    tol: float = 1e-10,
    max_steps: int = 100,
) -> Affine:
    """Logistic regression: min Σ_i w_i log(1 + e^{−s_i (w·x_i + b)}) + α/2 ‖w‖².

    Args:
        x: features.
        y: classes 0 and 1.
        alpha: α; 1/C of other libraries.
        weights: of the rows.
        tol: of the gradient's largest entry, or the root of twice the loss left to gain, as parts of the rows' weight.
        max_steps: Newton steps.

    Returns:
        The affine map to the scores of both classes, in float64; those of class 0 are zero, those of class 1 the
        log-odds.

    Raises:
        GradusError: for other classes, or if there is no minimum because α = 0 and a plane divides the classes.

    References:
        Cox 1958, The regression analysis of binary sequences.
    """
    own, w, _ = _checked(x, y, 2, alpha, weights)
    loss = _Logistic(own, y.double(), w, _penalty(own, alpha))
    theta = _minimised(loss, own.new_zeros(own.shape[1]), float(w.sum()), tol, max_steps)
    _require_overlap(loss.value(theta), w, alpha)
    return _affine(torch.stack([torch.zeros_like(theta), theta], dim=1))


@canon(
    "tabular/softmax",
    kind="estimator",
    paper="Theil 1969, A multinomial extension of the linear logit model",
    names=("softmax",),
    example=lambda: ("classes", softmax),
)
def softmax(
    x: Rows,
    y: Labels,
    *,
    classes: int | None = None,
    alpha: float = 1.0,
    weights: Weights | None = None,
    tol: float = 1e-10,
    max_steps: int = 200,
) -> Affine:
    """Softmax regression: min −Σ_i w_i log softmax(W x_i + b)_{y_i} + α/2 ‖W‖²; Σ_k b_k = 0.

    Args:
        x: features.
        y: class indices.
        classes: how many; one more than the largest index when left out.
        alpha: α; 1/C of other libraries.
        weights: of the rows.
        tol: of the gradient's largest entry, or the root of twice the loss left to gain, as parts of the rows' weight.
        max_steps: Newton steps.

    Returns:
        The affine map to the scores, in float64.

    Raises:
        GradusError: for labels outside the classes, or if there is no minimum because α = 0 and the classes can be
            separated.

    References:
        Theil 1969, A multinomial extension of the linear logit model.
    """
    own, w, count = _checked(x, y, classes, alpha, weights)
    loss = _Softmax(own, F.one_hot(y.long(), count).double(), w, _penalty(own, alpha)[:, None])
    theta = _minimised(loss, own.new_zeros(own.shape[1], count), float(w.sum()), tol, max_steps)
    _require_overlap(loss.value(theta), w, alpha)
    theta[-1] -= theta[-1].mean()
    return _affine(theta)


class _Loss(NamedTuple):
    """What both losses are made of: rows with a column of ones, targets, weights, and α for each row of θ."""

    own: Tensor
    target: Tensor
    w: Tensor
    penalty: Tensor


class _Logistic(_Loss):
    """Σ_i w_i (log(1 + e^z_i) − y_i z_i) + ½ Σ_j α_j θ_j²."""

    def value(self, theta: Tensor) -> Tensor:
        z = self.own @ theta
        return (self.w * (F.softplus(z) - self.target * z)).sum() + 0.5 * (self.penalty * theta.square()).sum()

    def gradient(self, theta: Tensor) -> Tensor:
        return self.own.T @ (self.w * ((self.own @ theta).sigmoid() - self.target)) + self.penalty * theta

    def newton(self, theta: Tensor, gradient: Tensor) -> Tensor:
        p = (self.own @ theta).sigmoid()
        hessian = self.own.T @ ((self.w * p * (1 - p))[:, None] * self.own) + self.penalty.diag()
        return torch.linalg.lstsq(hessian, -gradient[:, None], driver="gelsd").solution[:, 0]


class _Softmax(_Loss):
    """Σ_i w_i (log Σ_k e^z_ik − z_iy) + ½ Σ_jk α_j θ_jk²."""

    def value(self, theta: Tensor) -> Tensor:
        z = self.own @ theta
        each = z.logsumexp(1) - (self.target * z).sum(1)
        return (self.w * each).sum() + 0.5 * (self.penalty * theta.square()).sum()

    def gradient(self, theta: Tensor) -> Tensor:
        error = (self.own @ theta).softmax(1) - self.target
        return self.own.T @ (self.w[:, None] * error) + self.penalty * theta

    def newton(self, theta: Tensor, gradient: Tensor) -> Tensor:
        own, w, p = self.own, self.w[:, None], (self.own @ theta).softmax(1)
        factors = _blocks(own, w * p * (1 - p), self.penalty)

        def curve(v: Tensor) -> Tensor:
            z = p * (own @ v)
            return own.T @ (w * (z - p * z.sum(1, keepdim=True))) + self.penalty * v

        def precondition(r: Tensor) -> Tensor:
            solved = torch.cholesky_solve(r.T[:, :, None], factors)[:, :, 0].T
            return solved - solved.mean(1, keepdim=True)

        return _conjugate_gradients(curve, -gradient, precondition)


def _penalty(own: Rows, alpha: float) -> Float[Tensor, " inputs"]:
    """Return α for every coefficient and nothing for the constant, which comes last."""
    penalty = torch.full((own.shape[1],), alpha, dtype=torch.float64)
    penalty[-1] = 0.0
    return penalty


def _checked(
    x: Rows, y: Labels, classes: int | None, alpha: float, weights: Weights | None
) -> tuple[Tensor, Tensor, int]:
    """Return the rows in float64 with a column of ones, their weights, and how many classes there are."""
    check_rows(x, y, weights)
    if not alpha >= 0:
        raise GradusError(f"the penalty alpha cannot be negative, got {alpha}")
    own = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    return own, w, count_classes(y, classes)


def _blocks(
    own: Rows, weights: Float[Tensor, "rows classes"], penalty: Float[Tensor, "features 1"]
) -> Float[Tensor, "classes features features"]:
    """Return the Cholesky factors of Xᵀ diag(w_k) X + α I for every class."""
    eye = torch.eye(own.shape[1], dtype=torch.float64)
    blocks = torch.stack([own.T @ (part[:, None] * own) for part in weights.unbind(1)]) + penalty.flatten().diag()
    tiny = 1e-10 * blocks.diagonal(dim1=1, dim2=2).amax(1).clamp(min=1e-30)
    return torch.linalg.cholesky(blocks + tiny[:, None, None] * eye)


def _require_overlap(value: Tensor, w: Tensor, alpha: float) -> None:
    """Require a loss above zero where there is no penalty: it sinks to zero when a plane divides the classes."""
    if alpha == 0 and float(value) < SEPARATED * float(w.sum()):
        raise GradusError("a plane divides the classes, so without a penalty there is no minimum: give alpha above 0")


def _affine(theta: Float[Tensor, "inputs outputs"]) -> Affine:
    return Affine(theta[:-1].T.contiguous(), theta[-1].clone())


def _minimised(loss: "_Logistic | _Softmax", theta: Tensor, weight: float, tol: float, max_steps: int) -> Tensor:
    """Return the minimum, by Newton steps that are halved until they decrease enough."""
    value = loss.value(theta)
    for _ in range(max_steps):
        uphill = loss.gradient(theta)
        if float(uphill.abs().max()) <= tol * weight:
            return theta
        step = loss.newton(theta, uphill)
        slope, length = float((uphill * step).sum()), 1.0
        if -slope <= tol * tol * weight:  # what is left to gain, whatever the units of the features
            return theta + step
        while length > 1e-12:
            moved = theta + length * step
            found = loss.value(moved)
            if float(found) <= float(value) * (1 + ROUNDING) + ARMIJO * length * slope:
                break
            length /= 2
        else:
            return theta  # rounding hides any further decrease
        theta, value = moved, found
    raise GradusError(
        f"no minimum was reached in {max_steps} Newton steps: standardise the features, give a larger alpha, or more "
        "max_steps"
    )


def _conjugate_gradients(
    curve: Callable[[Tensor], Tensor], target: Tensor, precondition: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return an approximate solution of H v = t, the closer the smaller t is (superlinear convergence of Newton)."""
    v, r = torch.zeros_like(target), target.clone()
    z = precondition(r)
    p, product = z, (r * z).sum()
    start = float(product)
    enough = min(0.25, start**0.5) ** 2 * 1e-2
    for _ in range(10 * target.numel()):
        if float(product) <= max(enough * start, 1e-300):
            break
        bent = curve(p)
        curvature = (p * bent).sum()
        if float(curvature) <= 0:
            break
        rate = product / curvature
        v, r = v + rate * p, r - rate * bent
        z = precondition(r)
        before, product = product, (r * z).sum()
        p = z + product / before * p
    return v
