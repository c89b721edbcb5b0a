"""The parts of a run on a table, as its recipe asks for them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor

from gradus.data.sources import TensorSource
from gradus.data.table import Table, TableSplits
from gradus.engine.descent import Descend
from gradus.engine.recipe import Build
from gradus.engine.run import Run
from gradus.tabular.encoder import Encoder, fit_encoder
from gradus.tabular.fitting import Part, fitted
from gradus.tabular.learning import Facts, FitTable, row_loss
from gradus.tabular.network import TableNetwork
from gradus.tabular.recipes import TableRecipe

__all__ = ["build"]


def build(recipe: TableRecipe, run: Run) -> Build:
    """Return the learner, the source and what watches them."""
    splits = recipe.splits()
    train = splits.train
    encoder = fit_encoder(train, recipe.cross)
    features, weights = encoder(train.values), recipe.weights(splits)
    facts = Facts(splits.schema, encoder)
    if not (recipe.at_once or splits.classes):
        facts = facts._replace(centre=float(train.target.mean()), scale=float(train.target.std(correction=0)) or 1.0)
    learner: FitTable | Descend
    if recipe.at_once:
        tensors = _tensors(features, train.target, weights)
        learner = FitTable(_fit(recipe, splits, encoder), facts, splits.fingerprint)
        source = TensorSource(tensors, batch_size=len(train), shuffle=False)
        steps = 1
    else:
        target = train.target if splits.classes else ((train.target - facts.centre) / facts.scale).float()
        tensors = _tensors(features.float(), target, None if weights is None else weights.float())
        source = TensorSource(
            tensors, batch_size=min(recipe.batch_size, len(train)), seed=run.streams.derive("data"),
            device=run.device, rank=run.ranks.rank, world=run.ranks.world,
        )  # fmt: skip
        steps = recipe.planned_steps(source.batches_per_epoch)
        learner = _network_learner(recipe, run, facts, steps, splits.fingerprint)
    rows = {part: len(members) for part, members in splits.parts.items()}
    notes = {
        "model": recipe.model, "columns": _counted(splits), "features": encoder.width, "train": rows["train"],
        "val": rows["val"], "test": rows["test"], "steps": steps, "data": splits.fingerprint[:12],
        **({"classes": len(splits.classes)} if splits.classes else {}),
        **({"note": "; ".join(splits.notes)} if splits.notes else {}),
    }  # fmt: skip
    watchers = recipe.watchers(run, learner, _validator(recipe, learner, splits.val), source.batches_per_epoch)
    return Build(learner, source, steps, watchers, notes)


def _counted(splits: TableSplits) -> str:
    """Return how many columns of each kind are used."""
    kinds = Counter(column.kind for column in splits.schema.used)
    return " + ".join(f"{count} {kind}" for kind, count in kinds.items())


def _tensors(
    features: Float[Tensor, "rows features"], target: Shaped[Tensor, " rows"], weights: Float[Tensor, " rows"] | None
) -> dict[str, Tensor]:
    more = {} if weights is None else {"weights": weights}
    return {"features": features, "target": target, **more}


def _fit(recipe: TableRecipe, splits: TableSplits, encoder: Encoder) -> Any:
    """Return what fits all training rows at once."""
    given = {key: value for key in ("alpha", "max_depth") if (value := getattr(recipe, key)) is not None}
    settings = {**recipe.settings()["model"], **given}
    if recipe.model == "tree":
        settings |= {"min_leaf": recipe.min_leaf, "criterion": recipe.criterion}
    if len(splits.classes) and recipe.model != "logistic":
        settings["classes"] = len(splits.classes)
    val = Part(encoder(splits.val.values), splits.val.target)

    def fit(batch: Mapping[str, Tensor]) -> Any:
        train = Part(batch["features"], batch["target"])
        found, chosen = fitted(recipe.model, train, val, settings, batch.get("weights"))
        return found, {key: value for key, value in chosen.items() if key != "classes"}

    return fit


def _network_learner(recipe: TableRecipe, run: Run, facts: Facts, steps: int, fingerprint: str) -> Descend:
    with run.stream("init"):
        network = TableNetwork(
            facts.encoder.width, len(facts.schema.classes) or 1, groups=facts.encoder.groups(),
            embedding=recipe.embedding, hidden=recipe.hidden, activation=recipe.activation, dropout=recipe.dropout,
            norm=recipe.norm,
        )  # fmt: skip
    network = run.prepare(network)  # type: ignore[assignment]
    return Descend(network, recipe.updater(network, steps), row_loss, facts, fingerprint)


def _validator(recipe: TableRecipe, learner: FitTable | Descend, val: Table) -> Any:
    """Return what measures the learner on the validation part; None where that is empty."""
    if not len(val):
        return None
    facts, features = learner.facts, learner.facts.encoder(val.values)

    def validate() -> dict[str, float]:
        network = learner.network
        outputs = network(features.to(next(network.parameters()))).double().cpu()
        return recipe.measure(outputs * facts.scale + facts.centre, val, "val")

    return validate
