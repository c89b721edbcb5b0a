"""Fitting a table at once: the estimators by name, and what they leave to the validation part.

Left open, the penalty of ridge and lasso and the depth of a tree are those that do best on the validation rows: for the
ridge among 41 penalties from one singular value decomposition, for the lasso along the whole exact path, for the tree
among all the depths it reached.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus import canon
from gradus.tabular.decision_tree import Tree
from gradus.tabular.lasso_homotopy import lasso_path
from gradus.tabular.linear import ridge_path

__all__ = ["Part", "fitted"]

Features = Float[Tensor, "rows features"]
Target = Int[Tensor, " rows"] | Float[Tensor, " rows"]
UNCHOSEN = {"ridge": 1.0, "lasso": 0.1}


class Part(NamedTuple):
    """Features and targets of some rows."""

    x: Features
    y: Target


def fitted(
    model: str, train: Part, val: Part, settings: Mapping[str, Any], weights: Float[Tensor, " rows"] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the fitted model, and what was chosen for it.

    Args:
        model: name of an estimator.
        train: rows to learn from.
        val: rows to choose by; none leaves defaults.
        settings: of the estimator.
        weights: of the training rows.

    Raises:
        GradusError: as the estimator does.
    """
    chosen = dict(settings)
    more = {} if weights is None else {"weights": weights}
    estimator = canon.find("estimator", model)
    if model in UNCHOSEN and "alpha" not in chosen:
        chosen["alpha"] = _alpha(model, train, val, weights) if len(val.y) else UNCHOSEN[model]
    found = estimator(train.x, train.y, **chosen, **more)
    if model == "tree" and "max_depth" not in chosen and len(val.y) and found.depth:
        chosen["max_depth"] = _depth(found, val)
        found = found.cut(chosen["max_depth"])
    return found, chosen


def _alpha(model: str, train: Part, val: Part, weights: Float[Tensor, " rows"] | None) -> float:
    """Return the penalty with the least squared error on the validation rows; of equal ones the largest."""
    if model == "ridge":
        grid = len(train.x) * torch.logspace(2, -8, 41, dtype=torch.float64)
        coefficients, biases = ridge_path(train.x, train.y, grid, weights=weights)
        return float(grid[_residuals(val, coefficients, biases).square().sum(1).argmin()])
    path = lasso_path(train.x, train.y, weights=weights, max_kinks=4 * train.x.shape[1] + 100)
    kinks = _residuals(val, path.weights, path.biases)
    if len(kinks) == 1:
        return float(path.alphas[0])
    # Between two kinks residuals are linear in α, r + t d, so the error is least at t = −r·d/d·d.
    start, change = kinks[:-1], kinks.diff(dim=0)
    share = (-(start * change).sum(1) / change.square().sum(1).clamp(min=1e-300)).clamp(0, 1)
    best = int((start + share[:, None] * change).square().sum(1).argmin())
    return float(torch.lerp(path.alphas[best], path.alphas[best + 1], share[best]))


def _residuals(
    val: Part, coefficients: Float[Tensor, "models features"], biases: Float[Tensor, " models"]
) -> Float[Tensor, "models rows"]:
    return coefficients @ val.x.double().T + biases[:, None] - val.y.double()


def _depth(tree: Tree, val: Part) -> int:
    """Return the depth, from 1, at which a tree does best on the validation rows; of equal ones the least."""
    errors = []
    for depth in range(1, tree.depth + 1):
        outputs = tree.cut(depth)(val.x)
        wrong = outputs.argmax(1) != val.y if tree.classes else (outputs[:, 0] - val.y).square()
        errors.append(float(wrong.double().mean()))
    return 1 + errors.index(min(errors))
