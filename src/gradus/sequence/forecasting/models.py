"""Forecasters: a stretch of history in, the next values of its first column out.

    naive       ŷ_{T+h} = y_{T+h−m⌈h/m⌉}                            the value of the season before
    linear      ŷ = naive + W (x − y_T) + b                         one linear map of the history, level taken out
    recurrent   ŷ_{T+h} = naive_h + (W s_T + b)_h                   direct: all steps from the last state
                ŷ_{T+h} = naive_h + W s_{T+h−1} + b                 recursive: each step feeds the next

s_t is the state of an RNN, GRU or LSTM. What is learned is how the future differs from the season before: the last
layer starts at zero, so that training begins with the naive forecast. Least squares finds the linear map at once.

References:
    Hyndman, Athanasopoulos 2021, Forecasting: principles and practice (the seasonal naive forecast).
    Zeng et al. 2023, Are transformers effective for time series forecasting? (linear maps of the history)
    Ben Taieb et al. 2012, A review and comparison of strategies for multi-step ahead time series forecasting.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.recurrent import Recurrent

__all__ = ["LinearForecaster", "RecurrentForecaster", "SeasonalNaive", "linear", "naive", "recurrent", "seasonal_naive"]

History = Float[Tensor, "batch time columns"]
Future = Float[Tensor, "batch horizon"]


def seasonal_naive(target: Float[Tensor, "batch time"], horizon: int, season: int) -> Future:
    """Return the last season, repeated; the last value, where the history is shorter than a season.

    Args:
        target: values up to now.
        horizon: how many to forecast.
        season: m.
    """
    time = target.shape[1]
    season = season if season <= time else 1
    ahead = torch.arange(horizon, device=target.device) % season
    return target[:, time - season + ahead]


class SeasonalNaive(nn.Module):
    """The forecast to beat: what was there a season ago.

    Args:
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
    """

    def __init__(self, horizon: int, season: int) -> None:
        super().__init__()
        self.horizon, self.season = horizon, season

    def forward(self, history: History) -> Future:
        """Return the next values of the first column."""
        return seasonal_naive(history[..., 0], self.horizon, self.season)

    def extra_repr(self) -> str:
        return f"horizon={self.horizon}, season={self.season}"


class LinearForecaster(nn.Module):
    """One linear map of the history, which least squares finds at once.

    Args:
        columns: of the history.
        history: its steps.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
        alpha: α of the ridge that keeps neighbouring steps, which are nearly alike, from cancelling each other.
    """

    def __init__(self, columns: int, history: int, horizon: int, season: int, alpha: float = 1e-4) -> None:
        super().__init__()
        if not alpha > 0:
            raise GradusError(f"alpha={alpha} leaves the linear map undetermined: give a small positive number")
        self.base, self.alpha = SeasonalNaive(horizon, season), alpha
        self.head = _zero(nn.Linear(history * columns, horizon))

    def forward(self, history: History) -> Future:
        """Return the next values of the first column."""
        return self.base(history) + self.head((history - history[:, -1:]).flatten(1))

    @torch.no_grad()
    def fit(self, windows: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take the weights that minimise Σ ‖y − ŷ‖² + α n ‖W‖² over all windows, in float64.

        (W, b) = (Σ z zᵀ + α n diag(1, …, 1, 0))⁻¹ Σ z rᵀ,   z = (x − y_T, 1),  r = y − naive

        Args:
            windows: histories with what followed, in parts.
        """
        width = self.head.in_features + 1
        squares = torch.zeros(width, width, dtype=torch.float64)
        products = torch.zeros(width, self.head.out_features, dtype=torch.float64)
        count = 0
        for history, future in windows:
            level = (history - history[:, -1:]).flatten(1).double().cpu()
            z = torch.cat([level, level.new_ones(len(level), 1)], 1)
            squares += z.mT @ z
            products += z.mT @ (future - self.base(history)).double().cpu()
            count += len(z)
        ridge = torch.full((width,), self.alpha * count, dtype=torch.float64)
        ridge[-1] = 0
        found = torch.linalg.solve(squares + ridge.diag(), products)
        self.head.weight.copy_(found[:-1].mT)
        self.head.bias.copy_(found[-1])


class RecurrentForecaster(nn.Module):
    """Recurrent layers over the history, then one value after the other.

    Args:
        kind: of the cells: rnn, gru or lstm.
        columns: of the history.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
        hidden: hidden units of each layer.
        layers: how many.
        dropout: probability of dropping a feature between layers and in front of the head.
        strategy: direct, all values from the last state; or recursive, each fed back for the next.

    Raises:
        GradusError: if several columns are to be fed back, of which only one is forecast.
    """

    def __init__(
        self, kind: str, columns: int, horizon: int, season: int, *, hidden: int, layers: int, dropout: float,
        strategy: Literal["direct", "recursive"],
    ) -> None:  # fmt: skip
        super().__init__()
        if strategy not in ("direct", "recursive"):
            raise GradusError(f"a forecast is direct or recursive, not {strategy!r}")
        if strategy == "recursive" and columns > 1:
            raise GradusError("a recursive forecast knows the target only: leave --covariates out, or take direct")
        self.base, self.strategy = SeasonalNaive(horizon, season), strategy
        self.trunk = Recurrent(kind, columns, hidden, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = _zero(nn.Linear(hidden, horizon if strategy == "direct" else 1))

    def forward(self, history: History) -> Future:
        """Return the next values of the first column."""
        base = self.base(history)
        level = history[:, -1:]
        outputs, state = self.trunk(history - level)
        if self.strategy == "direct":
            return base + self.head(self.dropout(outputs[:, -1]))
        values, last = [], outputs[:, -1]
        for step in range(base.shape[1]):
            value = base[:, step : step + 1] + self.head(self.dropout(last))
            values.append(value)
            if step + 1 < base.shape[1]:
                outputs, state = self.trunk((value[:, None] - level), state)
                last = outputs[:, -1]
        return torch.cat(values, 1)

    def extra_repr(self) -> str:
        return f"strategy={self.strategy!r}"


def _zero(layer: nn.Linear) -> nn.Linear:
    """Return a layer that starts as zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@canon(
    "sequence/naive-forecaster",
    kind="forecaster",
    paper="Hyndman & Athanasopoulos 2021, Forecasting: principles and practice",
    names=("naive",),
    example=lambda: naive(columns=2, history=8, horizon=3, season=4),
)
def naive(*, columns: int, history: int, horizon: int, season: int) -> SeasonalNaive:
    """The seasonal naive forecast: what was there a season ago; nothing is learned.

    Args:
        columns: of the history.
        history: its steps.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.

    References:
        Hyndman & Athanasopoulos 2021, Forecasting: principles and practice.
    """
    return SeasonalNaive(horizon, season)


@canon(
    "sequence/linear-forecaster",
    kind="forecaster",
    paper="Zeng et al. 2023, Are transformers effective for time series forecasting?",
    names=("linear",),
    example=lambda: linear(columns=2, history=8, horizon=3, season=4),
)
def linear(*, columns: int, history: int, horizon: int, season: int, alpha: float = 1e-4) -> LinearForecaster:
    """A linear map of the history to all steps of the horizon, beside the seasonal naive forecast; by least squares.

    Args:
        columns: of the history.
        history: its steps.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
        alpha: strength of the ridge.

    References:
        Zeng et al. 2023, Are transformers effective for time series forecasting?
    """
    return LinearForecaster(columns, history, horizon, season, alpha)


@canon(
    "sequence/recurrent-forecaster",
    kind="forecaster",
    paper="Ben Taieb et al. 2012, A review and comparison of strategies for multi-step ahead forecasting",
    names=("rnn", "gru", "lstm"),
    example=lambda: recurrent(columns=2, history=8, horizon=3, season=4, hidden=5),
)
def recurrent(
    name: str = "lstm",
    *,
    columns: int,
    history: int,
    horizon: int,
    season: int,
    hidden: int = 64,
    layers: int = 1,
    dropout: float = 0.0,
    strategy: Literal["direct", "recursive"] = "direct",
) -> RecurrentForecaster:
    """A recurrent network that reads the history and forecasts, at once or step by step.

    Args:
        name: rnn, gru or lstm.
        columns: of the history.
        history: its steps.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
        hidden: hidden units of each layer.
        layers: how many.
        dropout: probability of dropping a feature between layers and in front of the head.
        strategy: direct or recursive.

    References:
        Ben Taieb et al. 2012, A review and comparison of strategies for multi-step ahead time series forecasting.
    """
    return RecurrentForecaster(
        name, columns, horizon, season, hidden=hidden, layers=layers, dropout=dropout, strategy=strategy
    )
