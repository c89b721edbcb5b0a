"""Our exact lasso path beside scikit-learn's `lars_path(method="lasso")`, the same data to the same path.

Both follow the homotopy in float64 from the first kink down to the same α; scikit-learn chooses by itself whether to
precompute the Gram matrix, as ours does. `ratio_<case>` is our time over theirs; both paths are compared at all their
kinks, and `difference` is the largest gap between coefficients, as a part of the largest coefficient.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.turns import interleave, milliseconds, paired
from gradus.data.table_loading import load_table
from gradus.tabular.lasso_homotopy import lasso_path

__all__ = ["path"]

TOLERANCE = 1e-7
CASES: dict[str, tuple[int, int, float, int]] = {  # rows, features, least α as a part of the first, paths of a turn
    "diabetes": (0, 0, 0.0, 8),
    "tall": (500, 200, 0.0, 1),
    "wide": (100, 400, 1e-2, 1),
    "large": (2000, 400, 0.0, 1),
}


def path(rounds: int = 40, cases: tuple[str, ...] | list[str] = tuple(CASES), seed: int = 0) -> dict[str, float]:
    """Time of our path over scikit-learn's, for data of four shapes; `ratio` is the largest.

    Args:
        rounds: how many are kept.
        cases: which shapes.
        seed: of the data.
    """
    from sklearn.linear_model import lars_path

    found: dict[str, float] = {}
    differences = []
    for case in cases:
        x, y, low = _data(case, seed)
        tx, ty = torch.from_numpy(x), torch.from_numpy(y)

        def ours(tx: torch.Tensor = tx, ty: torch.Tensor = ty, low: float = low) -> Any:
            return lasso_path(tx, ty, min_alpha=low)

        def theirs(x: np.ndarray = x, y: np.ndarray = y, low: float = low) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return lars_path(x, y, method="lasso", alpha_min=low, max_iter=100_000)

        differences.append(_difference(ours(), theirs()))
        assert differences[-1] < TOLERANCE, f"{case}: the two paths differ by {differences[-1]:.2g}"
        times = interleave({"ours": _times(ours), "sklearn": _times(theirs)}, chunk=CASES[case][3], rounds=rounds)
        found |= paired(times, "ours", "sklearn", f"ratio_{case}")
        found |= {f"{case}_{name}": value for name, value in milliseconds(times).items()}
        found[f"{case}_kinks"] = float(len(ours().alphas))
    found["ratio"] = max(found[f"ratio_{case}"] for case in cases)
    found["difference"] = max(differences)
    return found


def _data(case: str, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return centred features and targets, and the least α."""
    rows, features, share, _ = CASES[case]
    if case == "diabetes":
        table = load_table("diabetes", task="regress", val_fraction=0, test_fraction=0).table
        x, y = table.values.numpy(), table.target.numpy()
        x = (x - x.mean(0)) / x.std(0)
    else:
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(rows, features)) + generator.normal(size=(rows, 1))
        y = x[:, :10] @ generator.normal(size=10) + 2 * generator.normal(size=rows)
    x, y = x - x.mean(0), y - y.mean()
    return x, y, share * float(np.abs(x.T @ y).max()) / len(y)


def _times(run: Callable[[], Any]) -> Callable[[int], None]:
    def advance(times: int) -> None:
        for _ in range(times):
            run()

    return advance


def _difference(ours: Any, theirs: Any) -> float:
    """Return the largest gap between the coefficients at scikit-learn's kinks."""
    alphas, _, coefficients = theirs
    low = float(ours.alphas[-1])
    gaps = [
        np.abs(ours.at(max(float(a), low)).weight[0].numpy() - w).max()
        for a, w in zip(alphas, coefficients.T, strict=True)
    ]
    return float(max(gaps) / np.abs(coefficients).max())
