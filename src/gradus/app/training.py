"""`gradus train` and `gradus resume`: make the run folder first, then import torch and learn."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradus import __version__
from gradus.app.parsing import gather, parse
from gradus.app.verb import Answer, Verb, shown
from gradus.engine.folder import RunFolder, free_name, runs_home
from gradus.engine.group import summarise
from gradus.engine.recipe import Recipe, from_json, recipe_class, to_json
from gradus.errors import GradusError

__all__ = ["Resume", "Train"]

USAGE = "usage: gradus train RECIPE [flags]\n       gradus train --recipe FILE.json [flags]"


@dataclass(kw_only=True)
class Launch(Verb):
    """How a run is started and shown."""

    name: str | None = None
    """The run's name; the recipe's last word and a number when left out."""
    seeds: int = 1
    """Train this many members, with seeds counted up from --seed, in one group."""
    quiet: bool = False
    """Show no progress."""


class Train:
    """Trains a recipe in a new run folder.

    Args:
        id: of the recipe.
        recipe: what to do.
        launch: how to start and show it.
    """

    def __init__(self, id: str, recipe: Recipe, launch: Launch) -> None:
        self.id, self.recipe, self.launch = id, recipe, launch
        self.json = launch.json

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Train":
        """Return the command that `RECIPE [flags]` or `--recipe FILE [flags]` means."""
        words = gather(argv)
        id, default = "", None
        if words and not words[0].startswith("-"):
            id, words = words[0], words[1:]
        for i, word in enumerate(words):
            if word.split("=")[0] == "--recipe":
                path = word.partition("=")[2] or "".join(words[i + 1 : i + 2])
                id, default = read_recipe(path, id)
                words = words[:i] + words[i + (1 if "=" in word else 2) :]
                break
        if not id:
            if {"-h", "--help"} & set(words):
                from gradus.app.listing import recipes_table

                print(f"{USAGE}\n\n{recipes_table()}")
                raise SystemExit(0)
            raise GradusError("name a recipe: `gradus train vision/classify`; `gradus list` shows them all")
        import tyro

        recipe = recipe_class(id)

        flat = tyro.conf.OmitArgPrefixes
        Command = dataclasses.make_dataclass("Command", [("recipe", flat[recipe]), ("launch", flat[Launch])])
        Command.__doc__ = recipe.__doc__
        start = None if default is None else Command(recipe=default, launch=Launch())
        found: Any = parse(Command, words, f"gradus train {id}", start)
        return cls(id, found.recipe, found.launch)

    def __call__(self) -> Answer:
        """Make the folder, train, and say what came out."""
        launch = self.launch
        if launch.seeds < 1:
            raise GradusError(f"--seeds must be positive, got {launch.seeds}")
        name = launch.name or free_name(self.id.split("/")[-1], launch.runs_dir)
        if Path(name).name != name or name in (".", "..", "latest"):
            raise GradusError(f"--name {name!r} is no plain name: leave slashes out, and use --runs-dir for the place")
        path = runs_home(launch.runs_dir) / name
        if launch.seeds > 1:
            return self._group(path)
        folder = make_folder(path, self.id, self.recipe)
        return learn(self.recipe, folder, launch)

    def _group(self, path: Path) -> Answer:
        """Train one member after the other inside a group folder."""
        group = make_folder(path, self.id, self.recipe, members=self.launch.seeds)
        return train_members(group, self.launch.seeds, self.id, self.recipe, self.launch)


def train_members(group: RunFolder, count: int, id: str, recipe: Recipe, launch: Launch) -> Answer:
    """Train, or go on with, every member of a group; return their metrics' mean and interval."""
    for i in range(count):
        member = dataclasses.replace(recipe, seed=recipe.seed + i)
        path = group.members / str(i)
        try:
            folder = RunFolder(path) if path.exists() else make_folder(path, id, member)
            answer = learn(member, folder, launch)
        except GradusError:
            if i == 0 and not any(group.members.glob("*/metrics.csv")):
                shutil.rmtree(group.path, ignore_errors=True)
            raise
        if answer.code:
            return answer
    found = summarise(group)
    lines = [f"{group.path.name}: {count} members"]
    lines += [f"  {name:<16} {v['mean']:.4f} ± {v['half_width']:.4f}" for name, v in found.items()]
    return Answer({"run": group.path.name, "path": str(group.path), "metrics": found}, "\n".join(lines))


def make_folder(path: Path, id: str, recipe: Recipe, **facts: Any) -> RunFolder:
    """Make the run folder; under `torchrun` the first rank makes it and the others wait for it."""
    if int(os.environ.get("RANK", "0")) == 0:
        return RunFolder.create(path, id, to_json(recipe), gradus=__version__, **facts)
    for _ in range(600):
        if (path / "recipe.json").exists():
            return RunFolder(path)
        time.sleep(0.1)
    raise GradusError(f"{path} was not made by the first process within a minute: see that one's message")


def learn(recipe: Recipe, folder: RunFolder, launch: Launch, again: bool = False) -> Answer:
    """Train in a folder, showing progress; return what came out."""
    from gradus.app.progress import progress
    from gradus.engine.training import train

    show = None if launch.quiet or int(os.environ.get("RANK", "0")) else progress
    history = train(recipe, folder, watch=show, again=again)
    name = folder.path.name
    final = {key: values[-1][1] for key, values in history.metrics.items()}
    data = {"run": name, "path": str(folder.path), "steps": history.step, "reason": history.reason, "metrics": final}
    if history.signal is not None:
        text = f"{name}: {history.reason} after step {history.step}, saved; go on with `gradus resume {name}`"
        return Answer(data, text, 128 + history.signal)
    best = "  ".join(f"{key} {value:.4f}" for key, value in final.items() if key.startswith("val/"))
    lines = [f"{name}: {history.step} steps in {history.seconds:.1f} s ({history.reason})  {best}".rstrip()]
    lines.append(f"  {shown(folder.path)}: next `gradus evaluate {name}`, `gradus report {name}`")
    return Answer(data, "\n".join(lines))


def read_recipe(path: str, id: str) -> tuple[str, Recipe]:
    """Return the recipe in a `recipe.json`, of a run or written by hand.

    Raises:
        GradusError: if the file is missing, no recipe, or one of another kind than asked for.
    """
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
        found, options = body["recipe"], body["options"]
    except OSError as error:
        raise GradusError(f"--recipe {path}: the file cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise GradusError(f'--recipe {path}: it must hold {{"recipe": "room/name", "options": {{…}}}}') from None
    if id and id != found:
        raise GradusError(f"--recipe {path} is for {found}, not for {id}")
    return found, from_json(recipe_class(found), options)


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
        folder = self.folder(self.run)
        body = folder.read()
        if body["recipe"] is None:
            raise GradusError(f"run {folder.path.name!r} was driven from Python: go on there, by `Run.open` and `fit`")
        recipe = from_json(recipe_class(body["recipe"]), body["options"])
        longer = {k: v for k in ("max_epochs", "max_steps") if (v := getattr(self, k)) is not None}
        launch = Launch(quiet=self.quiet, json=self.json, runs_dir=self.runs_dir)
        if body.get("members"):
            return train_members(folder, body["members"], body["recipe"], recipe, launch)
        if longer:
            recipe = extend(folder, body, recipe, longer)
        return learn(recipe, folder, launch, again=bool(longer))


def extend(folder: RunFolder, body: dict[str, Any], recipe: Recipe, longer: dict[str, int]) -> Recipe:
    """Return the recipe with a new length, and write it to the run folder."""
    from gradus.engine.folder import digest, write_atomically

    fields = {"max_epochs": None, "max_steps": None, **longer}
    extended = dataclasses.replace(recipe, **fields)  # type: ignore[arg-type]
    changed = {**body, "options": to_json(extended)}
    with folder.locked():
        shutil.rmtree(folder.product, ignore_errors=True)  # it is not what the extended run will have learned
        write_atomically(folder.recipe_file, json.dumps({**changed, "sha256": digest(changed)}, indent=1) + "\n")
    return extended
