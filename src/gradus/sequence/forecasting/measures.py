"""What a forecast is worth, in the units of the series.

    MAE = mean |e|      RMSE = √ mean e²      MASE = MAE / mean_{t ≤ n} |y_t − y_{t−m}|      RelMAE = MAE / MAE_naive

Both compare with the seasonal naive forecast, below 1 is better than that: MASE with its errors one season ahead in the
training part, which makes series comparable; RelMAE with its forecasts of the very same windows.

References:
    Hyndman, Koehler 2006, Another look at measures of forecast accuracy.
"""

from jaxtyping import Float
from torch import Tensor

__all__ = ["naive_error", "of_forecasts"]


def naive_error(train: Float[Tensor, " time"], season: int) -> float:
    """Return the mean error of the seasonal naive forecast in the training part; of the last value, if it is short.

    Args:
        train: values in the order of time.
        season: m.
    """
    season = season if season < len(train) else 1
    return float((train[season:] - train[:-season]).abs().mean())


def of_forecasts(
    found: Float[Tensor, "windows horizon"], true: Float[Tensor, "windows horizon"],
    naive: Float[Tensor, "windows horizon"], scale: float, prefix: str,
) -> dict[str, float]:  # fmt: skip
    """Return MAE, RMSE, MASE and RelMAE.

    Args:
        found: forecasts.
        true: what came.
        naive: seasonal naive forecasts.
        scale: error of the seasonal naive forecast in the training part.
        prefix: name of the split.
    """
    error = found.double() - true.double()
    mae = float(error.abs().mean())
    smallest = 1e-12 * max(1.0, float(true.abs().max()))  # a series that repeats itself exactly leaves no scale
    return {
        f"{prefix}/mae": mae,
        f"{prefix}/rmse": float(error.square().mean().sqrt()),
        f"{prefix}/mase": mae / max(scale, smallest),
        f"{prefix}/rel_mae": mae / max(float((naive.double() - true.double()).abs().mean()), smallest),
    }
