"""Least squares, ridge, and the noise that equals a ridge.

    linear   min ‖y − Xw − b‖²                          w = X⁺ y          (X, y centred)
    ridge    min ‖y − Xw − b‖² + Σ_j α_j w_j²           w = (XᵀX + diag α)⁻¹ Xᵀ y
    input noise of deviation σ      E‖y − (X + E)w‖² = ‖y − Xw‖² + n σ² ‖w‖²
    dropout of inputs at rate p     E‖y − (X ∘ M)w/(1−p)‖² = ‖y − Xw‖² + p/(1−p) Σ_j ‖X_j‖² w_j²

References:
    Hoerl and Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems.
    Bishop 1995, Training with noise is equivalent to Tikhonov regularization.
    Wager, Wang and Liang 2013, Dropout training as adaptive regularization.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError

__all__ = [
    "Affine", "Centred", "centred", "check_rows", "count_classes", "dropout_penalty", "least_squares", "noise_penalty",
    "ridge", "ridge_path",
]  # fmt: skip

Rows = Float[Tensor, "rows features"]
Numbers = Float[Tensor, " rows"]


class Affine(nn.Module):
    """An affine map with fixed coefficients, f(x) = W x + b.

    Args:
        weight: W, one row an output.
        bias: b.
    """

    form = "affine"

    def __init__(self, weight: Float[Tensor, "outputs features"], bias: Float[Tensor, " outputs"]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Rows) -> Float[Tensor, "rows outputs"]:
        """Return W x + b of every row."""
        return nn.functional.linear(x, self.weight, self.bias)

    def facts(self) -> dict[str, int]:
        """Return the sizes that make an empty one."""
        return {"outputs": self.weight.shape[0], "features": self.weight.shape[1]}

    @classmethod
    def empty(cls, outputs: int, features: int) -> "Affine":
        """Return an affine map of a size, to be filled."""
        return cls(torch.zeros(outputs, features), torch.zeros(outputs))

    def extra_repr(self) -> str:
        """Return the sizes, for `repr`."""
        return f"{self.weight.shape[1]} features, {self.weight.shape[0]} outputs"


class Centred(NamedTuple):
    """Rows about their weighted mean, times the root of their weights.

    Attributes:
        x: √w (x − x̄).
        y: √w (y − ȳ).
        x_mean: x̄.
        y_mean: ȳ.
    """

    x: Rows
    y: Numbers
    x_mean: Float[Tensor, " features"]
    y_mean: Float[Tensor, ""]

    def affine(self, weight: Float[Tensor, " features"]) -> Affine:
        """Return the map with the intercept b = ȳ − w·x̄."""
        return Affine(weight[None].clone(), (self.y_mean - self.x_mean @ weight)[None])


def check_rows(x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
    """Require rows that can be learned from.

    Raises:
        GradusError: if there are none, lengths differ, or values are not finite.
    """
    if not len(x) or not x.shape[1]:
        raise GradusError(f"there is nothing to fit: {len(x)} rows of {x.shape[1]} features")
    for name, other in (("targets", y), *((("weights", weights),) if weights is not None else ())):
        if len(other) != len(x):
            raise GradusError(f"there are {len(x)} rows but {len(other)} {name}: give one for each row")
    for name, values in (("features", x), ("targets", y), *((("weights", weights),) if weights is not None else ())):
        if not bool(torch.isfinite(values).all()):
            raise GradusError(f"the {name} are not all finite: impute or remove those that are not")
    if weights is not None and (bool((weights < 0).any()) or not bool(weights.any())):
        raise GradusError("the weights of the rows must be positive or zero, and not all zero")


def count_classes(y: Tensor, classes: int | None) -> int:
    """Return how many classes there are: as many as said, else one more than the largest index.

    Raises:
        GradusError: if a label is outside them.
    """
    count = int(y.max()) + 1 if classes is None else classes
    if int(y.min()) < 0 or int(y.max()) >= count:
        raise GradusError(f"labels are from 0 to {count - 1} here, got {int(y.min())} to {int(y.max())}")
    return count


def centred(x: Rows, y: Numbers, weights: Numbers | None = None) -> Centred:
    """Return the rows in float64 about their weighted mean; raises as `check_rows` does."""
    check_rows(x, y, weights)
    x, y = x.double(), y.double()
    if weights is None:
        x_mean, y_mean = x.mean(0), y.mean()
        return Centred(x - x_mean, y - y_mean, x_mean, y_mean)
    w = weights.double()
    x_mean, y_mean, root = (w @ x) / w.sum(), (w @ y) / w.sum(), w.sqrt()
    return Centred(root[:, None] * (x - x_mean), root * (y - y_mean), x_mean, y_mean)


@canon(
    "tabular/linear",
    kind="estimator",
    paper="Gauss 1809, Theoria motus corporum coelestium",
    names=("linear", "least-squares"),
    example=lambda: ("numbers", least_squares),
)
def least_squares(x: Rows, y: Numbers, *, weights: Numbers | None = None) -> Affine:
    """Least squares: min Σ_i w_i (y_i − w·x_i − b)², of all solutions the shortest.

    Args:
        x: features.
        y: targets.
        weights: of the rows.

    Returns:
        The affine map, in float64.

    Raises:
        GradusError: if there are no rows, lengths differ, or values are not finite.

    References:
        Gauss 1809, Theoria motus corporum coelestium.
    """
    rows = centred(x, y, weights)
    return rows.affine(torch.linalg.lstsq(rows.x, rows.y[:, None], driver="gelsd").solution[:, 0])


@canon(
    "tabular/ridge",
    kind="estimator",
    paper="Hoerl and Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems",
    names=("ridge",),
    example=lambda: ("numbers", ridge),
)
def ridge(
    x: Rows, y: Numbers, *, alpha: float | Float[Tensor, " features"] = 1.0, weights: Numbers | None = None
) -> Affine:
    """Ridge regression: min Σ_i w_i (y_i − w·x_i − b)² + Σ_j α_j w_j², in closed form; b is not penalised.

    Args:
        x: features.
        y: targets.
        alpha: α, one for all features or one each; positive.
        weights: of the rows.

    Returns:
        The affine map, in float64.

    Raises:
        GradusError: if α is not positive, or as `least_squares` does.

    References:
        Hoerl and Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems.
    """
    rows = centred(x, y, weights)
    penalty = torch.as_tensor(alpha, dtype=torch.float64).expand(x.shape[1])
    if not bool((penalty > 0).all()):
        raise GradusError(f"the penalty alpha must be positive, got {float(penalty.min()):g}: use linear for none")
    if len(x) >= x.shape[1]:
        gram = rows.x.T @ rows.x + penalty.diag()
        return rows.affine(torch.cholesky_solve((rows.x.T @ rows.y)[:, None], torch.linalg.cholesky(gram))[:, 0])
    # More features than rows: w = A⁻¹Xᵀ(X A⁻¹ Xᵀ + I)⁻¹ y is the same, by a smaller system.
    scaled = rows.x / penalty
    kernel = rows.x @ scaled.T + torch.eye(len(x), dtype=torch.float64)
    return rows.affine(scaled.T @ torch.cholesky_solve(rows.y[:, None], torch.linalg.cholesky(kernel))[:, 0])


def ridge_path(
    x: Rows, y: Numbers, alphas: Float[Tensor, " alphas"], *, weights: Numbers | None = None
) -> tuple[Float[Tensor, "alphas features"], Float[Tensor, " alphas"]]:
    """Return the ridge's coefficients and intercepts for many α from one singular value decomposition.

    w(α) = V diag(s/(s² + α)) Uᵀ y

    Args:
        x: features.
        y: targets.
        alphas: positive.
        weights: of the rows.
    """
    rows = centred(x, y, weights)
    u, s, vh = torch.linalg.svd(rows.x, full_matrices=False)
    shrunk = s / (s.square() + alphas.double()[:, None]) * (u.T @ rows.y)
    coefficients = shrunk @ vh
    return coefficients, rows.y_mean - coefficients @ rows.x_mean


def noise_penalty(x: Rows, std: float) -> float:
    """Return the α of the ridge that least squares with Gaussian noise on its inputs is in expectation, n σ²."""
    return len(x) * std**2


def dropout_penalty(x: Rows, rate: float) -> Float[Tensor, " features"]:
    """Return the α of the ridge that least squares with dropout on its inputs is in expectation, p/(1−p) ‖X_j‖².

    Args:
        x: features as they are dropped, not centred.
        rate: p, of being dropped.
    """
    if not 0 <= rate < 1:
        raise GradusError(f"a dropout rate is at least 0 and below 1, got {rate}")
    return rate / (1 - rate) * x.double().square().sum(0)
