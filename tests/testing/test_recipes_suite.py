"""Every registered recipe keeps the contract, and the contract rejects recipes with planted bugs."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gradus import canon
from gradus.app.training import Resume
from gradus.app.using import Evaluate
from gradus.engine import recipe as recipes
from gradus.engine.recipe import Recipe
from gradus.testing import check_recipe
from gradus.testing.recipes import capable
from gradus.vision.classify import Classifier
from gradus.vision.recipes import Classify

RECIPES = sorted(id for id, entry in canon.scan().items() if entry.kind == "recipe")
SMALL = ("--limit", "64", "--batch-size", "16")


@pytest.mark.parametrize("id", RECIPES)
def test_contract(id: str) -> None:
    check_recipe(id)


def test_the_registry_knows_recipes() -> None:
    assert "vision/classify" in RECIPES


def test_capabilities_may_be_named_by_their_verbs() -> None:
    assert not capable(object(), "attack")
    with pytest.raises(AssertionError, match="no capability 'fly'"):
        capable(object(), "fly")


def rejected(said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_recipe("vision/classify", *SMALL)


def test_options_that_json_loses_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = recipes.to_json
    monkeypatch.setattr("gradus.testing.recipes.to_json", lambda recipe: {**honest(recipe), "batch_size": 1})
    rejected("does not round-trip through JSON")


def test_unknown_options_that_are_let_through_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = recipes.from_json
    known = {field.name for field in dataclasses.fields(Classify)}

    def lenient(cls: type[Recipe], options: dict[str, Any]) -> Recipe:
        return honest(cls, {key: value for key, value in options.items() if key in known})

    monkeypatch.setattr("gradus.testing.recipes.from_json", lenient)
    rejected("'no_such_option' = 1 from JSON is accepted")


def test_a_recipe_that_checks_nothing_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classify, "__post_init__", lambda self: None)
    rejected("a negative seed is accepted")


def test_a_recipe_that_claims_too_much_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classify, "capabilities", (*Classify.capabilities, "sample"))
    rejected("says its product can sample")


def test_a_recipe_that_claims_nothing_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classify, "capabilities", ())
    rejected("capabilities is empty")


def test_a_resume_that_writes_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Resume.__call__

    def careless(self: Resume) -> Any:
        answer = honest(self)
        with open(self.folder(self.run).metrics_file, "a", encoding="utf-8") as file:
            file.write("2,0.0,train/loss,1.0\n")
        return answer

    monkeypatch.setattr(Resume, "__call__", careless)
    rejected("resuming the finished run changed metrics.csv")


def test_chatter_beside_the_json_object_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Evaluate.__call__

    def chatty(self: Evaluate) -> Any:
        print("evaluating …")
        return honest(self)

    monkeypatch.setattr(Evaluate, "__call__", chatty)
    rejected("evaluate --json did not print exactly one JSON object")


def test_an_evaluation_on_another_split_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Classify.evaluate
    monkeypatch.setattr(Classify, "evaluate", lambda self, product, split, device="auto": honest(self, product, "val"))
    rejected("evaluate measures the test split by default")


def test_an_evaluation_with_dice_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(9))
    monkeypatch.setattr(Classify, "evaluate", lambda *args, **settings: {"test/loss": float(next(count))})
    rejected("evaluating twice gave different numbers")


def test_a_product_that_loads_as_another_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Classifier.load

    def forgetful(folder: Path, facts: dict[str, Any]) -> Classifier:
        return honest(folder, {**facts, "settings": {"dropout": 0.25}})

    monkeypatch.setattr(Classifier, "load", forgetful)
    rejected("saving the loaded product again gives another product.json")
