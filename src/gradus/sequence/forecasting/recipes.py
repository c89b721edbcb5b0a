"""The recipe of forecasting, as flat typed data. Imports no torch: building does."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.sequence.recipe import SequenceRecipe

if TYPE_CHECKING:
    from gradus.data.series import SeriesSplits
    from gradus.engine.run import Run
    from gradus.sequence.forecasting.product import Forecaster

__all__ = ["Forecast"]


@canon(
    "sequence/forecast",
    kind="recipe",
    paper="Box & Jenkins 1970, Time series analysis: forecasting and control",
    names=("sequence/forecast",),
)
@dataclass(frozen=True, kw_only=True)
class Forecast(SequenceRecipe):
    """Forecast a series: gradus train sequence/forecast --data file.csv --target column --horizon 24 --history 168."""

    data: str = "seasons"
    """A registered series (`gradus list --kind series`) or a CSV file whose rows are in the order of time."""
    target: str | None = None
    """The column to forecast; a registered series knows its own, of a file it is the last one of numbers."""
    covariates: tuple[str, ...] = ()
    """Further columns to look back at."""
    horizon: int = 24
    """How many steps to forecast."""
    history: int = 168
    """How many steps to look back."""
    season: int | None = None
    """Steps after which the series is likely to repeat itself; found out when left out."""
    model: str = "linear"
    """The method: naive, linear, rnn, gru or lstm (`gradus list --kind forecaster`); --set strategy=recursive …"""
    limit: int | None = None
    """Use the last steps of the series only, at most this many."""

    capabilities: ClassVar[tuple[str, ...]] = ("regress",)
    best: ClassVar[tuple[str, Literal["min", "max"]]] = ("val/mae", "min")

    def __post_init__(self) -> None:
        """Check every option without importing torch."""
        super().__post_init__()
        positive(self, "horizon", "history", "season")
        if self.folds is not None:
            raise GradusError("--folds would learn from the future: a series is divided in the order of time")
        if self.snapshots is not None:
            raise GradusError("--snapshots makes an ensemble of class probabilities: leave it out for forecasts")

    @property
    def at_once(self) -> bool:
        """Whether the model is fitted in one step."""
        return self.model in ("naive", "linear")

    def parts(self) -> dict[str, registry.Entry]:
        """Return what `--set` reaches: model, optimiser and schedule."""
        return {"model": registry.lookup("forecaster", self.model, "model"), **super().parts()}

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the data or another flag decides."""
        return (*super().fixed(), "name", "columns", "history", "horizon", "season")

    def splits(self) -> "SeriesSplits":
        """Return the data of the run."""
        from gradus.data.series import load_series

        return load_series(
            self.data, target=self.target, covariates=self.covariates, season=self.season, data_dir=self.data_dir,
            val_fraction=self.val_fraction, test_fraction=self.test_fraction, limit=self.limit,
        )  # fmt: skip

    def build(self, run: "Run") -> Build:
        """Return the learner, the source and what watches them."""
        from gradus.sequence.forecasting.building import build

        return build(self, run)

    def product(self, learner: Any) -> "Forecaster":
        """Return the forecaster with the weights that the learner holds, averaged ones where there are any."""
        from gradus.sequence.forecasting.product import Forecaster, ForecastModel

        with learner.averaged():
            network = copy.deepcopy(learner.network).float().eval()
        centre, scale, facts = learner.facts
        return Forecaster(ForecastModel(network, centre, scale).cpu(), facts)

    def evaluate(self, product: "Forecaster", split: str, device: str = "auto") -> dict[str, float]:
        """Return MAE, RMSE, MASE and RelMAE of the forecasts from every moment of a split."""
        from gradus.sequence.forecasting.building import windows
        from gradus.sequence.forecasting.measures import of_forecasts
        from gradus.sequence.forecasting.models import seasonal_naive

        splits = self.splits()
        if list(splits.columns) != list(product.facts["columns"]):
            raise GradusError(f"the data {self.data!r} has other columns now than when the run was trained")
        history, horizon = product.facts["history"], product.facts["horizon"]
        past, future = windows(splits, split, history, horizon)
        if not len(past):
            raise GradusError(
                f"the {split} part of {self.data!r} has fewer than {horizon} steps: choose another --split or horizon"
            )
        error = product.facts["error"]
        base = seasonal_naive(past[..., 0], horizon, product.facts["season"])
        return of_forecasts(product.forecast(past), future, base, error, split)
