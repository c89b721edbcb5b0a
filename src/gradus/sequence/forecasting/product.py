"""A forecaster ready to be used: a CSV file that ends now in, the next values out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.capabilities import InputBatch
from gradus.engine.product import load_weights, save_product
from gradus.engine.state import State
from gradus.errors import GradusError

__all__ = ["ForecastModel", "Forecaster", "build_forecaster"]

AT_ONCE = 512


def build_forecaster(name: str, *, columns: int, history: int, horizon: int, season: int, **settings: Any) -> nn.Module:
    """Return the forecaster that a user's name means.

    Args:
        name: as registered.
        columns: of the history.
        history: its steps.
        horizon: how many values to forecast.
        season: steps after which the series is likely to repeat itself.
        settings: the model's own.
    """
    entry = registry.lookup("forecaster", name, "model")
    named = {"name": name.lower()} if "name" in entry.parameters else {}
    return registry.load(entry)(**named, columns=columns, history=history, horizon=horizon, season=season, **settings)


class ForecastModel(nn.Module):
    """A network between raw values: standardised going in, in the units of the target coming out.

    Args:
        network: standardised history to standardised future.
        centre: mean of each column in the training part.
        scale: standard deviation of each.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, centre: Float[Tensor, " columns"], scale: Float[Tensor, " columns"]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("centre", centre.double())
        self.register_buffer("scale", scale.double())

    def forward(self, history: Float[Tensor, "batch time columns"]) -> Float[Tensor, "batch horizon"]:
        """Return the next values, in float64."""
        inputs = ((history.double() - self.centre) / self.scale).float()
        return self.network(inputs).double() * self.scale[0] + self.centre[0]


@canon("sequence/forecaster", kind="product", names=("forecaster",))
class Forecaster:
    """A forecaster of a series.

    Args:
        module: raw history to raw future.
        facts: `model` and its `settings`, `columns` (the target first), `history`, `horizon`, `season` and `error`, the
            error of the seasonal naive forecast in the training part.
    """

    kind = "a forecaster"

    def __init__(self, module: ForecastModel, facts: State) -> None:
        self.module, self.facts = module, facts

    def __repr__(self) -> str:
        f = self.facts
        return f"Forecaster({f['model']}, {f['columns'][0]!r}, {f['horizon']} steps from {f['history']})"

    @property
    def target(self) -> str:
        """Name of what is forecast."""
        return self.facts["columns"][0]

    @property
    def device(self) -> torch.device:
        """Where the product computes."""
        return self.module.centre.device

    def forecast(self, history: Float[Tensor, "batch time columns"]) -> Float[Tensor, "batch horizon"]:
        """Return the next values of the target.

        Args:
            history: raw values, the target in the first column; the last `history` steps of it are looked at.

        Raises:
            GradusError: if it is shorter than the model looks back, or has other columns.
        """
        need, width = self.facts["history"], len(self.facts["columns"])
        if history.shape[1] < need or history.shape[2] != width:
            raise GradusError(
                f"this forecaster looks back {need} steps at {width} columns, and was given {history.shape[1]} steps "
                f"of {history.shape[2]}: give it as many"
            )
        if not bool(history.isfinite().all()):
            raise GradusError("the history has values that are not finite: fill them in")
        with torch.inference_mode():
            parts = history[:, -need:].split(AT_ONCE)
            return torch.cat([self.module(part.to(self.device)).cpu() for part in parts])

    def predict(self, inputs: Sequence[Float[Tensor, "time columns"]]) -> Float[Tensor, " values"]:
        """Return the next values after the ends of some histories, one after the other."""
        return torch.cat([self.forecast(history[None])[0] for history in inputs])

    def read(self, path: Path) -> Iterator[InputBatch]:
        """Read a CSV file with the columns of training, as a history that ends with its last row.

        Raises:
            GradusError: if a column is missing, a value is no number, or the file is too short.
        """
        from gradus.data.series import read_series

        values = read_series(path, self.facts["columns"])
        if len(values) < self.facts["history"]:
            raise GradusError(
                f"{path} has {len(values)} rows, and this forecaster looks back {self.facts['history']}: add some"
            )
        yield InputBatch([f"+{step}" for step in range(1, self.facts["horizon"] + 1)], [values])

    def save(self, folder: Path) -> None:
        """Write `product/`: weights, columns, and what is needed to build the model again."""
        save_product(folder, "forecaster", self.facts, {"model": dict(self.module.state_dict())})

    @classmethod
    def load(cls, folder: Path, facts: State) -> "Forecaster":
        """Build the model from `product.json` and load its weights."""
        kept = {k: facts[k] for k in ("model", "settings", "columns", "history", "horizon", "season", "error")}
        columns = len(kept["columns"])
        network = build_forecaster(
            kept["model"], columns=columns, history=kept["history"], horizon=kept["horizon"], season=kept["season"],
            **kept["settings"],
        )  # fmt: skip
        module = ForecastModel(network, torch.zeros(columns), torch.ones(columns))
        load_weights(module, folder)
        return cls(module.eval(), kept)
