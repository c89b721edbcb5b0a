"""The lasso by coordinate descent, by iterative soft thresholding, or read off its exact path.

    min 1/(2n) ‖y − Xw − b‖² + α ‖w‖₁                S(z, t) = sign(z) max(|z| − t, 0)
    coordinate descent    w_j ← S(c_j + G_jj w_j, α) / G_jj         c = (Xᵀy − XᵀXw)/n,  G = XᵀX/n
    ISTA, FISTA           w ← S(w + c/L, α/L), with momentum        L = λ_max(G)

Both stop where the optimality conditions hold: |c_j| ≤ α, with c_j = α sign(w_j) where w_j ≠ 0.

References:
    Tibshirani 1996, Regression shrinkage and selection via the lasso.
    Friedman, Hastie and Tibshirani 2010, Regularization paths for generalized linear models via coordinate descent.
    Daubechies, Defrise and De Mol 2004, An iterative thresholding algorithm for linear inverse problems.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.proximal import fista, ista, soft_threshold
from gradus.tabular.lasso_homotopy import lasso_path
from gradus.tabular.linear import Affine, centred

__all__ = ["lasso", "violation"]

Vector = Float64[np.ndarray, " features"]


@canon(
    "tabular/lasso",
    kind="estimator",
    paper="Tibshirani 1996, Regression shrinkage and selection via the lasso",
    names=("lasso",),
    example=lambda: ("numbers", lambda x, y, weights=None: lasso(x, y, alpha=0.1, weights=weights)),
)
def lasso(
    x: Float[Tensor, "rows features"],
    y: Float[Tensor, " rows"],
    *,
    alpha: float = 1.0,
    method: Literal["path", "coordinate", "ista", "fista"] = "path",
    weights: Float[Tensor, " rows"] | None = None,
    tol: float = 1e-10,
    max_sweeps: int = 100_000,
) -> Affine:
    """The lasso: min 1/(2n) Σ_i w_i (y_i − w·x_i − b)² + α ‖w‖₁, b not penalised.

    Args:
        x: features.
        y: targets.
        alpha: α; at 0 the least-squares solution.
        method: follow the exact path down to α; cyclic coordinate descent; proximal gradient steps, plain or fast.
        weights: of the rows; n is then their sum.
        tol: largest violation of the optimality conditions, as a part of the α at which all w are zero.
        max_sweeps: of the iterative methods.

    Returns:
        The affine map, in float64, its zeros exact.

    Raises:
        GradusError: if α is negative, the rows cannot be learned from, or the iteration does not end in time.

    References:
        Tibshirani 1996, Regression shrinkage and selection via the lasso.
    """
    if not alpha >= 0:
        raise GradusError(f"the penalty alpha cannot be negative, got {alpha}")
    if method == "path":
        return lasso_path(x, y, min_alpha=alpha, weights=weights).at(alpha)
    rows = centred(x, y, weights)
    count = float(len(x) if weights is None else weights.double().sum())
    gram, q = rows.x.T @ rows.x / count, rows.x.T @ rows.y / count
    limit = tol * float(q.abs().max())
    if method == "coordinate":
        found = _coordinate(gram, q, alpha, limit, max_sweeps)
    else:
        found = _proximal({"ista": ista, "fista": fista}[method], gram, q, alpha, limit, max_sweeps)
    if found is None:
        raise GradusError(f"the lasso did not converge in {max_sweeps:,} sweeps: use method='path', or a larger alpha")
    return rows.affine(found)


def violation(w: Float[Tensor, " features"], c: Float[Tensor, " features"], alpha: float) -> Float[Tensor, ""]:
    """Return the largest violation of the optimality conditions: the distance of c from α ∂‖w‖₁.

    Args:
        w: coefficients.
        c: (Xᵀy − XᵀXw)/n.
        alpha: α.
    """
    return torch.where(w != 0, (c - alpha * w.sign()).abs(), (c.abs() - alpha).clamp(min=0)).max()


def _coordinate(gram: Tensor, q: Tensor, alpha: float, tol: float, max_sweeps: int) -> Tensor | None:
    """Sweep over the active features until they rest, then over all, until nothing moves any more."""
    g, w, c = gram.numpy(), np.zeros(len(q)), q.numpy().copy()
    every = np.flatnonzero(g.diagonal() > 0)
    for _ in range(max_sweeps):
        _sweep(g, w, c, alpha, every)
        active = np.flatnonzero(w)
        for _ in range(max_sweeps):
            if not len(active) or np.abs(c[active] - alpha * np.sign(w[active])).max() <= tol:
                break
            _sweep(g, w, c, alpha, active)
            active = np.flatnonzero(w)
        c = q.numpy() - g @ w
        if float(violation(torch.from_numpy(w), torch.from_numpy(c), alpha)) <= tol:
            return torch.from_numpy(w)
    return None


def _sweep(g: Float64[np.ndarray, "f f"], w: Vector, c: Vector, alpha: float, features: np.ndarray) -> None:
    """Minimise over one coefficient after the other; `w` and `c` are changed in place."""
    for j in features.tolist():
        old, curvature = w[j], g[j, j]
        z = c[j] + curvature * old
        w[j] = np.sign(z) * max(abs(z) - alpha, 0.0) / curvature
        if w[j] != old:
            c -= g[j] * (w[j] - old)


def _proximal(method: Callable, gram: Tensor, q: Tensor, alpha: float, tol: float, max_sweeps: int) -> Tensor | None:
    """Take proximal gradient steps of length 1/L."""
    length = 1 / float(torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-300))
    found = method(
        lambda w: 0.5 * w @ gram @ w - q @ w, torch.zeros_like(q), prox=lambda z, t: soft_threshold(z, t * alpha),
        step=length, grad=lambda w: gram @ w - q, gtol=tol, max_iterations=max_sweeps,
    )  # fmt: skip
    return found.x if found.success else None
