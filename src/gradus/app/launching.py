"""What every verb that trains shares: words to a recipe, the run folder first, then torch, progress and an answer."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gradus import __version__
from gradus.app.parsing import gather, parse
from gradus.app.verb import Answer, Verb, shown
from gradus.engine.folder import RunFolder, free_name, runs_home
from gradus.engine.group import Vary, member, summarise
from gradus.engine.recipe import Recipe, from_json, recipe_class, to_json
from gradus.errors import GradusError

__all__ = ["Launch", "Order", "extend", "learn", "make_folder", "order", "place", "read_recipe", "train_members"]


@dataclass(kw_only=True)
class Launch(Verb):
    """How a run is started and shown."""

    name: str | None = None
    """The run's name; the recipe's last word and a number when left out."""
    seeds: int = 1
    """Train this many members, with seeds counted up from --seed, in one group."""
    ensemble: int = 1
    """Train this many members on the same division of the data, to be used as one."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self) -> None:
        """Refuse groups that cannot be meant."""
        for flag in ("seeds", "ensemble"):
            if getattr(self, flag) < 1:
                raise GradusError(f"--{flag} must be positive, got {getattr(self, flag)}")
        if self.seeds > 1 and self.ensemble > 1:
            raise GradusError("--seeds and --ensemble both ask for a group: give one of them")


class Order(NamedTuple):
    """What a user asked to be trained: a recipe's id, the recipe, and how to start it."""

    id: str
    recipe: Recipe
    launch: Launch


def order(argv: Sequence[str], verb: str = "train") -> Order:
    """Return what `RECIPE [flags]` or `--recipe FILE.json [flags]` mean.

    Args:
        argv: the words after the verb.
        verb: for help and messages.
    """
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

            usage = f"usage: gradus {verb} RECIPE [flags]\n       gradus {verb} --recipe FILE.json [flags]"
            usage += "\n       gradus train --data X --auto [flags]" if verb == "train" else ""
            print(f"{usage}\n\n{recipes_table()}")
            raise SystemExit(0)
        raise GradusError(f"name a recipe: `gradus {verb} vision/classify`; `gradus list` shows them all")
    import tyro

    recipe = recipe_class(id)
    flat = tyro.conf.OmitArgPrefixes
    Command = dataclasses.make_dataclass("Command", [("recipe", flat[recipe]), ("launch", flat[Launch])])
    Command.__doc__ = recipe.__doc__
    start = None if default is None else Command(recipe=default, launch=Launch())
    found: Any = parse(Command, words, f"gradus {verb} {id}", start)
    return Order(id, found.recipe, found.launch)


def place(asked: Order) -> Path:
    """Return where a run is to be made.

    Raises:
        GradusError: if its name is no plain name.
    """
    name = asked.launch.name or free_name(asked.id.split("/")[-1], asked.launch.runs_dir)
    if Path(name).name != name or name in (".", "..", "latest"):
        raise GradusError(f"--name {name!r} is no plain name: leave slashes out, and use --runs-dir for the place")
    return runs_home(asked.launch.runs_dir) / name


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


def train_members(
    group: RunFolder, count: int, vary: Vary, asked: Order, longer: Mapping[str, int] | None = None
) -> Answer:
    """Train, or go on with, every member of a group; return their metrics' mean and interval.

    Args:
        group: the folder that holds the members.
        count: how many.
        vary: what differs between them.
        asked: recipe and how to show it.
        longer: fields by which finished members are to be extended.
    """
    for i in range(count):
        recipe, path = member(asked.recipe, vary, i), group.members / str(i)
        try:
            folder = RunFolder(path) if path.exists() else make_folder(path, asked.id, recipe)
            if longer:
                recipe = extend(folder, recipe, longer)
            answer = learn(recipe, folder, asked.launch, again=bool(longer))
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


def extend(folder: RunFolder, recipe: Recipe, longer: Mapping[str, int]) -> Recipe:
    """Return a recipe with a new length, and write it to its run folder.

    Raises:
        GradusError: if the run's length is bound to its snapshots.
    """
    from gradus.engine.folder import digest, write_atomically

    if getattr(recipe, "snapshots", None):
        raise GradusError(f"run {folder.path.name!r} is cut into snapshots, which fixes its length: start a new run")
    fields = {"max_epochs": None, "max_steps": None, **longer}
    extended = dataclasses.replace(recipe, **fields)  # type: ignore[arg-type]
    changed = {**folder.read(), "options": to_json(extended)}
    with folder.locked():
        if folder.product.is_dir():
            shutil.rmtree(folder.product)  # it is not what the extended run will have learned
        write_atomically(folder.recipe_file, json.dumps({**changed, "sha256": digest(changed)}, indent=1) + "\n")
    return extended


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
