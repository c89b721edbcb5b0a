"""A recipe: what to do, as flat typed data that round-trips through JSON, and builds the parts of a run.

The fields of a recipe are its flags. This module and every `recipes.py` import no torch at module level, so that help
and errors about flags come at once; `build`, `product` and `evaluate` import what they need.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from gradus import canon
from gradus.engine.log import TRACKERS
from gradus.errors import GradusError, nearest

if TYPE_CHECKING:
    from gradus.engine.learner import Learner, Source, Watcher
    from gradus.engine.run import Run

__all__ = ["Build", "Recipe", "from_json", "positive", "recipe_class", "settings_for", "to_json"]


LEAST_STEPS = 1500


class Build(NamedTuple):
    """The parts of a run.

    Attributes:
        learner: what learns.
        source: what it learns from.
        steps: for how many steps in all; None until a watcher stops it.
        watchers: what looks on.
        notes: facts worth telling the user at the start.
    """

    learner: "Learner"
    source: "Source"
    steps: int | None
    watchers: "Sequence[Watcher]" = ()
    notes: Mapping[str, Any] = types.MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Fields that every recipe has."""

    seed: int = 0
    """Seed from which every random stream is derived."""
    max_epochs: int | None = None
    """Epochs to train for; the recipe's own number when left out."""
    max_steps: int | None = None
    """Steps to train for, in place of epochs."""
    max_time: float | None = None
    """Stop after this many seconds."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Precision of the computation (autocast); weights stay float32."""
    compile: bool = False
    """Compile the model with torch.compile."""
    shard: bool = False
    """Shard the model over the processes of torchrun (FSDP2)."""
    log_every: int = 50
    """Steps between two log entries."""
    track: tuple[str, ...] = ()
    """Also log to tensorboard, wandb or mlflow."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints; every epoch when left out."""
    fast_dev_run: bool = False
    """Run two steps of everything, to see that it works."""

    capabilities: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; subclasses add to it and import no torch."""
        positive(self, "max_epochs", "max_steps", "max_time", "log_every", "checkpoint_every")
        if self.seed < 0:
            raise GradusError(f"--seed must not be negative, got {self.seed}")
        for name in self.track:
            if name not in TRACKERS:
                raise GradusError(f"there is no tracker {name!r}{nearest(name, TRACKERS)}")

    def build(self, run: "Run") -> Build:
        """Return the learner, source, length and watchers of a run."""
        raise TypeError(f"{type(self).__name__} builds nothing")

    def planned_steps(self, per_epoch: int) -> int:
        """Return how many steps a run has; by default ten epochs, or more to make 1,500 steps.

        Args:
            per_epoch: steps of an epoch.
        """
        if self.fast_dev_run:
            return 2
        if self.max_steps is not None:
            return self.max_steps
        return (self.max_epochs or max(10, math.ceil(LEAST_STEPS / per_epoch))) * per_epoch

    def product(self, learner: Any) -> Any:
        """Return what was learned, ready to be used."""
        raise TypeError(f"{type(self).__name__} has no product")

    def evaluate(self, product: Any, split: str, device: str = "auto") -> dict[str, float]:
        """Return the product's metrics on a split of the recipe's data, named `split/metric`."""
        raise TypeError(f"{type(self).__name__} cannot evaluate")


def positive(recipe: Any, *fields: str) -> None:
    """Require fields to be positive where they are given.

    Raises:
        GradusError: naming the flag.
    """
    for name in fields:
        value = getattr(recipe, name)
        if value is not None and not value > 0:
            raise GradusError(f"--{name.replace('_', '-')} must be positive, got {value}")


def recipe_class(name: str) -> type[Recipe]:
    """Return the dataclass of a recipe by its id.

    Raises:
        GradusError: if there is none, naming the nearest.
    """
    known = canon.of_kind("recipe") | canon.of_kind("experiment")
    entry = known.get(name) or known.get(name.replace("_", "-"))
    if entry is None:
        raise GradusError(f"there is no recipe {name!r}{nearest(name, known)}")
    return canon.load(entry)


def to_json(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe's fields as JSON literals."""
    return {
        field.name: list(value) if isinstance(value := getattr(recipe, field.name), tuple) else value
        for field in dataclasses.fields(recipe)
    }


def from_json(cls: type[Recipe], options: Mapping[str, Any]) -> Recipe:
    """Return the recipe that `to_json` wrote, types checked and unknown keys refused.

    Raises:
        GradusError: naming the key that is unknown or of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise GradusError(f"{key!r} is no option of this recipe{nearest(key, known)}")
        values[key] = _typed(key, value, hints[key])
    return cls(**values)


def _typed(key: str, value: Any, hint: Any) -> Any:
    """Return a JSON value as the annotated type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _typed(key, value, option)
            except GradusError:
                continue
    elif origin is Literal:
        if value in args:
            return value
        raise GradusError(f"{key!r} must be one of {', '.join(map(repr, args))}, got {value!r}")
    elif origin is tuple and isinstance(value, list):
        return tuple(_typed(key, item, args[0]) for item in value)
    elif hint is type(None) and value is None:
        return None
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    name = getattr(hint, "__name__", str(hint)).replace("NoneType", "None")
    raise GradusError(f"{key!r} must be {name if origin is None else str(hint)}, got {value!r}")


def settings_for(
    sets: Sequence[str], parts: Mapping[str, canon.Entry], fixed: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return `--set key=value` pairs, typed and dealt out to the parts that take them.

    Args:
        sets: `key=value` or `part.key=value` words.
        parts: registered entries by part name (`model`, `optimizer`), whose parameters are the keys.
        fixed: keys that the recipe gives itself.

    Raises:
        GradusError: if a word is malformed, a key unknown or ambiguous, or a value of the wrong type.
    """
    dealt: dict[str, dict[str, Any]] = {name: {} for name in parts}
    takes = {name: {k: p for k, p in entry.parameters.items() if k not in fixed} for name, entry in parts.items()}
    for word in sets:
        key, equals, text = word.partition("=")
        if not equals:
            raise GradusError(f"--set takes key=value, got {word!r}")
        part, _, bare = key.strip().replace("-", "_").rpartition(".")
        holders = [name for name in parts if bare in takes[name] and part in ("", name)]
        if not holders:
            known = [k for keys in takes.values() for k in keys]
            raise GradusError(f"--set {bare}: neither {' nor '.join(parts)} takes it{nearest(bare, known)}")
        if len(holders) > 1:
            raise GradusError(f"--set {bare}: {' and '.join(holders)} both take it; write {holders[0]}.{bare}={text}")
        dealt[holders[0]][bare] = _parse(bare, text.strip(), takes[holders[0]][bare].annotation)
    return dealt


_SCALARS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda text: {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()],
    "None": lambda text: {"none": None, "null": None}[text.lower()],
}


def _parse(key: str, text: str, annotation: str) -> Any:
    """Return a word of the command line as the type that an annotation names."""
    for option in (part.strip() for part in _alternatives(annotation)):
        try:
            if option in _SCALARS:
                return _SCALARS[option](text)
            if option.startswith("tuple["):
                inner = [part.strip() for part in option[6:-1].split(",") if part.strip() != "..."]
                words = text.strip("()[]").split(",")
                kinds = inner if len(inner) == len(words) else inner[:1] * len(words)
                return tuple(_SCALARS[kind](word.strip()) for kind, word in zip(kinds, words, strict=True))
            if option.startswith("Literal[") and text in (
                choices := [c.strip("\"' ") for c in option[8:-1].split(",")]
            ):
                return text
        except (ValueError, KeyError):
            continue
    if annotation.startswith("Literal["):
        choices = [c.strip("\"' ") for c in annotation[8:-1].split(",")]
        raise GradusError(f"--set {key}={text}: there is no such choice{nearest(text, choices)}")
    raise GradusError(f"--set {key}={text}: a value of type {annotation} is needed")


def _alternatives(annotation: str) -> list[str]:
    """Split an annotation at the `|` outside brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(annotation):
        depth += (c == "[") - (c == "]")
        if c == "|" and depth == 0:
            parts.append(annotation[start:i])
            start = i + 1
    return [*parts, annotation[start:]]
