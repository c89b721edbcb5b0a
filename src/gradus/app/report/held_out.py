"""The labelled images that a run's recipe held out, if its data is still there."""

from collections.abc import Mapping
from typing import Any

from gradus.data.images import ImageSplits
from gradus.engine.recipe import Recipe, from_json, recipe_class
from gradus.errors import GradusError

__all__ = ["held_out", "recipe_of"]


def recipe_of(body: Mapping[str, Any], name: str) -> Recipe:
    """Return the recipe in a `recipe.json`.

    Raises:
        GradusError: for a run that was driven from Python, or whose recipe is unknown here.
    """
    if body["recipe"] is None:
        raise GradusError(f"run {name!r} was driven from Python, so its data is not known here")
    return from_json(recipe_class(body["recipe"]), body["options"])


def held_out(body: Mapping[str, Any], name: str, classes: tuple[str, ...]) -> ImageSplits:
    """Return the splits of a run's data.

    Args:
        body: its `recipe.json`.
        name: of the run, for the sentence.
        classes: of its product; the data must have the same.

    Raises:
        GradusError: if the recipe has no labelled images, or they are gone, or their classes have changed.
    """
    recipe = recipe_of(body, name)
    splits = getattr(recipe, "splits", lambda: None)()
    if not isinstance(splits, ImageSplits):
        raise GradusError(f"the recipe {body['recipe']} has no labelled images to look at")
    if splits.classes != tuple(classes):
        raise GradusError(f"the data {splits.name!r} has other classes now than when run {name!r} was trained")
    return splits
