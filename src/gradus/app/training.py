"""`gradus train`, `gradus resume` and `gradus cross-validate`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from gradus.app.choosing import FLAG, AutoTrain, finish
from gradus.app.launching import Launch, Order, extend, learn, make_folder, order, place, train_members
from gradus.app.using import Evaluate
from gradus.app.verb import Answer, Verb
from gradus.engine.folder import RunFolder, find_run, write_atomically
from gradus.engine.group import Vary, divided
from gradus.engine.recipe import from_json, recipe_class
from gradus.errors import GradusError

__all__ = ["CrossValidate", "Resume", "Train"]


class Train:
    """Trains a recipe in a new run folder.

    Args:
        asked: what to do, and how to start and show it.
    """

    def __init__(self, asked: Order) -> None:
        self.asked, self.json = asked, asked.launch.json

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Train | AutoTrain":
        """Return the command that the words after `train` mean."""
        return AutoTrain.parse(argv) if FLAG in argv else cls(order(argv))

    def __call__(self) -> Answer:
        """Make the folder, train, and say what came out."""
        id, recipe, launch = self.asked
        count = max(launch.seeds, launch.ensemble)
        if count == 1:
            return learn(recipe, make_folder(place(self.asked), id, recipe), launch)
        vary: Vary = "seed" if launch.seeds > 1 else "ensemble"
        if vary == "ensemble":
            divided(id, recipe, "--ensemble")
        group = make_folder(place(self.asked), id, recipe, members=count, vary=vary)
        return train_members(group, count, vary, self.asked)


class CrossValidate:
    """Trains a recipe once for each fold, tests each on the part it has not seen, and gives mean and variance.

    Args:
        asked: a recipe that divides its data, and how to start and show it.
    """

    FOLDS = 5

    def __init__(self, asked: Order) -> None:
        self.asked, self.json = asked, asked.launch.json

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "CrossValidate":
        """Return the command that the words after `cross-validate` mean."""
        return cls(order(argv, "cross-validate"))

    def __call__(self) -> Answer:
        """Train the members of a group of folds, evaluate them, and write `cross-validation.json`."""
        id, recipe, launch = self.asked
        divided(id, recipe, "cross-validate")
        if launch.seeds > 1 or launch.ensemble > 1:
            raise GradusError("cross-validate makes one member a fold: leave --seeds and --ensemble out")
        if recipe.fold:  # type: ignore[attr-defined]
            raise GradusError("cross-validate tests on every fold in turn: leave --fold out")
        folds = recipe.folds or self.FOLDS  # type: ignore[attr-defined]
        asked = Order(id, replace(recipe, folds=folds), launch)  # type: ignore[call-arg]
        group = make_folder(place(asked), id, asked.recipe, members=folds, vary="fold")
        answer = train_members(group, folds, "fold", asked)
        if answer.code:
            return answer
        found = Evaluate(run=str(group.path), split="test", device=recipe.device)()
        write_atomically(group.path / "cross-validation.json", json.dumps(found.data, indent=1) + "\n")
        return found


@dataclass(kw_only=True)
class Resume(Verb):
    """Go on with a run where it stopped; with --max-epochs or --max-steps, extend it."""

    run: str = "latest"
    """Which run (also given as the first word)."""
    max_epochs: int | None = None
    """Extend the run to this many epochs."""
    max_steps: int | None = None
    """Extend the run to this many steps."""
    quiet: bool = False
    """Show no progress."""

    operands: ClassVar[tuple[str, ...]] = ("run",)

    def __call__(self) -> Answer:
        """Restore the last checkpoint and train to the end."""
        folder = RunFolder(find_run(self.run, self.runs_dir, whole=True))
        body = folder.read()
        if body["recipe"] is None:
            raise GradusError(f"run {folder.path.name!r} was driven from Python: go on there, by `Run.open` and `fit`")
        recipe = from_json(recipe_class(body["recipe"]), body["options"])
        longer: dict[str, int] = {k: v for k in ("max_epochs", "max_steps") if (v := getattr(self, k)) is not None}
        asked = Order(body["recipe"], recipe, Launch(quiet=self.quiet, json=self.json, runs_dir=self.runs_dir))
        if body.get("vary") == "auto":
            if longer:
                winner = f"{folder.path.name}/members/<number>"
                raise GradusError(f"the lengths of {folder.path.name!r} fit a time limit: extend one member, {winner}")
            return finish(folder, asked.launch)
        if body.get("members"):
            return train_members(folder, body["members"], body.get("vary", "seed"), asked, longer)
        if longer:
            recipe = extend(folder, recipe, longer)
        return learn(recipe, folder, asked.launch, again=bool(longer))
