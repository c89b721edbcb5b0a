"""The parts of a run that learns to forecast, as its recipe asks for them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gradus.data.series import SeriesSplits
from gradus.data.sources import TensorSource
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.engine.state import State, collect, notice_change, restore
from gradus.engine.watchers import Evaluate
from gradus.errors import GradusError
from gradus.sequence.forecasting.measures import naive_error, of_forecasts
from gradus.sequence.forecasting.models import seasonal_naive
from gradus.sequence.forecasting.product import AT_ONCE, build_forecaster
from gradus.sequence.forecasting.recipes import Forecast

__all__ = ["AtOnce", "SquaredError", "build", "windows"]


class SquaredError:
    """The objective: the mean squared error of all steps of the horizon, in standard deviations of the target.

    L = 1/(B H) Σ_i Σ_h (ŷ_{i,h} − y_{i,h})²

    Args:
        values: the standardised training part, the target first.
        history: steps looked back at.
        horizon: steps forecast.
    """

    def __init__(self, values: Float[Tensor, "time columns"], history: int, horizon: int) -> None:
        self.values, self.history = values, history
        self.ahead = torch.arange(history + horizon, device=values.device)

    def window(
        self, starts: Int64[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch history columns"], Float[Tensor, "batch horizon"]]:
        """Return the histories that begin at some steps, and what followed them."""
        found = self.values[starts[:, None] + self.ahead]
        return found[:, : self.history], found[:, self.history :, 0]

    def __call__(self, network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of windows that begin at the steps `start`, and the mean absolute error."""
        past, future = self.window(batch["start"])
        error = network(past).float() - future
        return error.square().mean(), {"mae": error.detach().abs().mean()}


class AtOnce:
    """The learner of a forecaster whose weights have a formula, or that has none: its one step finds them.

    Args:
        network: the forecaster; fitted where it has a `fit`.
        objective: the loss of the network on a batch.
        facts: for the product.
        fingerprint: of the data, to notice on resume that it has changed.
    """

    def __init__(self, network: nn.Module, objective: SquaredError, facts: Any, fingerprint: str) -> None:
        self.network, self.objective, self.facts, self.fingerprint = network, objective, facts, fingerprint

    def __repr__(self) -> str:
        return f"AtOnce({self.network})"

    def step(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor | float]:
        """Fit all windows; returns the mean loss on them."""
        parts = [{"start": part} for part in batch["start"].split(AT_ONCE)]
        if hasattr(self.network, "fit"):
            self.network.fit(self.objective.window(part["start"]) for part in parts)  # type: ignore[operator]
        with torch.no_grad():
            losses = torch.stack([self.objective(self.network, part)[0] for part in parts])
        sizes = losses.new_tensor([len(part["start"]) for part in parts])
        return {"loss": (losses * sizes).sum() / sizes.sum()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Evaluate: there is one answer."""
        self.network.eval()
        yield

    def state_dict(self) -> State:
        """Return the state of the network."""
        return {**collect(network=self.network), "fingerprint": self.fingerprint}

    def load_state_dict(self, state: State) -> None:
        """Put it back."""
        restore(state, network=self.network)
        notice_change(state["fingerprint"], self.fingerprint)


def windows(
    splits: SeriesSplits, part: str, history: int, horizon: int
) -> tuple[Float[Tensor, "windows history columns"], Float[Tensor, "windows horizon"]]:
    """Return every history, and the values that follow it within a part; histories may reach into the part before.

    Args:
        splits: the series.
        part: train, val or test.
        history: steps looked back at.
        horizon: steps forecast.
    """
    inside = splits.range(part)
    begin = max(inside.start - history, 0)
    stretch = splits.values[begin : inside.stop]
    if len(stretch) < history + horizon:
        return splits.values.new_zeros(0, history, len(splits.columns)), splits.values.new_zeros(0, horizon)
    found = stretch.unfold(0, history + horizon, 1).mT
    return found[:, :history], found[:, history:, 0]


def build(recipe: Forecast, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = recipe.splits()
    train, history, horizon = splits.train, recipe.history, recipe.horizon
    starts = len(train) - history - horizon + 1
    if starts < 1:
        raise GradusError(
            f"the training part of {recipe.data!r} has {len(train)} steps, fewer than --history {history} and "
            f"--horizon {horizon} together: shorten them, or give a longer series"
        )
    centre, scale = train.mean(0), train.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    settings = dict(recipe.settings()["model"])
    with run.stream("init"):
        network = build_forecaster(
            recipe.model,
            columns=len(splits.columns),
            history=history,
            horizon=horizon,
            season=splits.season,
            **settings,
        )
    error = naive_error(train[:, 0], splits.season)
    facts = (centre, scale, {
        "model": recipe.model, "settings": settings, "columns": list(splits.columns), "history": history,
        "horizon": horizon, "season": splits.season, "error": error,
    })  # fmt: skip
    objective = SquaredError(((train - centre) / scale).float().to(run.device), history, horizon)
    source = TensorSource(
        {"start": torch.arange(starts)}, batch_size=starts if recipe.at_once else min(recipe.batch_size, starts),
        seed=run.streams.derive("data"),
        device=run.device, rank=run.ranks.rank, world=run.ranks.world,
    )  # fmt: skip
    per_epoch = source.batches_per_epoch
    learner: Any
    if not recipe.at_once:
        network, steps = run.prepare(network), recipe.planned_steps(per_epoch)
        learner = Descend(network, recipe.updater(network, steps), objective, facts, splits.fingerprint)
    else:
        network, steps = network.to(run.device), 1
        learner = AtOnce(network, objective, facts, splits.fingerprint)
    past, future = windows(splits, "val", history, horizon)
    base = seasonal_naive(past[..., 0], horizon, splits.season)

    def validate() -> dict[str, float]:
        parts = ((part - centre) / scale for part in past.split(AT_ONCE))
        found = torch.cat([learner.network(part.float().to(run.device)).double().cpu() for part in parts])
        return of_forecasts(found * scale[0] + centre[0], future, base, error, "val")

    seen = validate if len(past) else None
    watchers = recipe.watchers(run, learner, None if recipe.at_once else seen, per_epoch)
    if seen is not None and recipe.at_once:
        watchers.insert(0, Evaluate(run, seen, every_steps=1))
    notes = {
        "model": recipe.model, "parameters": sum(p.numel() for p in network.parameters()), "target": splits.columns[0],
        "train": len(train), "val": len(splits.range("val")), "test": len(splits.range("test")),
        "season": splits.season, "steps": steps, "data": splits.fingerprint[:12],
    }  # fmt: skip
    return Build(learner, source, steps, watchers, notes)
