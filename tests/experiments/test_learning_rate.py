"""The range test suggests a rate that trains, and tells how far sweeps agree."""

from typing import Any

import pytest

from experiments.tables import rows_of
from gradus.engine.loop import fit
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.experiments.learning_rate import LearningRate
from gradus.vision.classify import evaluate
from gradus.vision.recipes import Classify


def test_the_suggestion_trains() -> None:
    experiment = LearningRate(repeats=2, rates=50)
    rows = rows_of(experiment)
    found = experiment.findings(rows)
    assert 1e-4 < found["suggestion"] < 1e-1
    assert min(r["suggestion"] for r in rows) <= found["suggestion"] <= max(r["suggestion"] for r in rows)
    assert rows[0]["losses"] != rows[1]["losses"], "sweeps start from weights of their own"
    accuracy = {}
    for lr in (found["suggestion"], found["suggestion"] / 1000):
        recipe = Classify(lr=lr, schedule="constant", max_steps=60)
        run = Run.ephemeral(0)
        build = recipe.build(run)
        fit(build.learner, build.source, run=run, steps=60)
        learner: Any = build.learner
        model = learner.model.eval()
        accuracy[lr] = evaluate(model, recipe.splits().val.batches(256), "val")["val/accuracy"]
    assert accuracy[found["suggestion"]] > 0.8
    assert accuracy[found["suggestion"]] > accuracy[found["suggestion"] / 1000] + 0.2


def test_the_rates_are_those_asked_for() -> None:
    (row,) = rows_of(LearningRate(repeats=1, rates=12, lowest=1e-4, highest=1e-2))
    ratios = [b / a for a, b in zip(row["lrs"], row["lrs"][1:], strict=False)]
    assert row["lrs"][0] == pytest.approx(1e-4)
    assert ratios == pytest.approx([100 ** (1 / 11)] * len(ratios))


@pytest.mark.parametrize(
    "flags, named",
    [
        ({"lowest": 1.0, "highest": 0.1}, "--highest"),
        ({"rates": 9}, "--rates"),
        ({"model": "lenett"}, "lenet"),
        ({"optimizer": "adamm"}, "adam"),
        ({"set": ("no_such=1",)}, "no_such"),
    ],
)
def test_what_cannot_be_meant_is_refused(flags: dict, named: str) -> None:
    with pytest.raises(GradusError, match=named):
        LearningRate(**flags)
