"""Both learners of tables keep the learners' contract: deterministic, and exactly resumable."""

import pytest

from gradus.tabular.recipes import Classify, Regress
from gradus.testing import check_learner


def make(recipe):
    def build(run):
        parts = recipe.build(run)
        return parts.learner, parts.source

    return build


@pytest.mark.parametrize(
    "recipe",
    [
        Classify(model="mlp", data="wine", dropout=0.2, norm="batch", ema=0.9, batch_size=16, class_weights="balanced"),
        Regress(model="mlp", accumulate=2, clip=1.0, batch_size=32),
        Classify(model="tree"),
        Regress(model="lasso"),
    ],
    ids=["network of classes", "network of numbers", "tree", "lasso"],
)
def test_contract(recipe):
    check_learner(make(recipe), watch=lambda run, learner: recipe.build(run).watchers[:0])
