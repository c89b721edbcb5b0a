"""Flags that recipes share: how data is divided (`Divided`), and how weights are updated (`Optimised`).

A recipe inherits the groups of flags that mean something to it, and finds here what turns them into splits and into an
Updater. Imports no torch at module level: these are flags first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gradus import canon as registry
from gradus.engine.recipe import Recipe, positive, settings_for
from gradus.errors import GradusError

if TYPE_CHECKING:
    from torch import nn

    from gradus.engine.updater import Updater

__all__ = ["Divided", "Optimised", "between"]

# What an Updater's parts are given by the recipe itself, so that `--set` does not take it.
FIXED = ("lr", "total_steps", "warmup_steps")


def between(recipe: Any, low: float, high: float, *fields: str) -> None:
    """Require fields to lie in [low, high) where they are given.

    Raises:
        GradusError: naming the flag.
    """
    for name in fields:
        value = getattr(recipe, name)
        if value is not None and not low <= value < high:
            flag = name.replace("_", "-")
            raise GradusError(f"--{flag} must be at least {low:g} and below {high:g}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Divided(Recipe):
    """Flags of recipes whose data is divided into training, validation and test parts."""

    val_fraction: float = 0.1
    """Part of the examples kept for validation, where the data has no validation set."""
    test_fraction: float = 0.2
    """Part of the examples kept for testing, where the data has no test set."""
    split_seed: int | None = None
    """Seed of the division; --seed when left out."""
    folds: int | None = None
    """Divide all examples but a fixed test set into this many folds, and test on one of them."""
    fold: int = 0
    """Which fold is tested on, from 0."""

    def __post_init__(self) -> None:
        """Check the fractions and the fold."""
        super().__post_init__()
        between(self, 0, 1, "val_fraction", "test_fraction")
        if self.split_seed is not None and self.split_seed < 0:
            raise GradusError(f"--split-seed must not be negative, got {self.split_seed}")
        if self.folds is not None and self.folds < 2:
            raise GradusError(f"--folds must be at least 2, got {self.folds}")
        if not 0 <= self.fold < (self.folds or 1):
            many = "without --folds" if self.folds is None else f"with --folds {self.folds}"
            raise GradusError(f"--fold counts from 0: there is no fold {self.fold} {many}")

    @property
    def division(self) -> dict[str, Any]:
        """How data is divided, as keywords of the functions that load it."""
        seed = self.seed if self.split_seed is None else self.split_seed
        shares = {"val_fraction": self.val_fraction, "test_fraction": self.test_fraction}
        return {**shares, "seed": seed, "folds": self.folds, "fold": self.fold}


@dataclass(frozen=True, kw_only=True)
class Optimised(Recipe):
    """Flags of recipes whose weights are learned by one Updater."""

    optimizer: str = "adamw"
    """An update rule (`gradus list --kind optimizer`)."""
    lr: float | None = None
    """Learning rate; the rule's own when left out."""
    schedule: str = "cosine"
    """Course of the learning rate (`gradus list --kind schedule`)."""
    warmup: float = 0.0
    """Part of the steps in which the learning rate rises from zero."""
    set: tuple[str, ...] = ()
    """Rarer options of the model, optimiser or schedule, as key=value."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, which is then what is evaluated and kept."""
    clip: float | None = None
    """Largest global gradient norm."""
    accumulate: int = 1
    """Steps whose mean gradient makes one update."""
    snapshots: int | None = None
    """Go through the schedule this many times; the product is the ensemble of the weights at the ends."""

    def __post_init__(self) -> None:
        """Check every flag, `--set` included."""
        super().__post_init__()
        positive(self, "lr", "clip", "accumulate", "snapshots")
        between(self, 0, 1, "warmup", "ema")
        self.settings()

    def parts(self) -> dict[str, registry.Entry]:
        """Return the registered parts whose options `--set` takes; a recipe adds its model."""
        return {
            "optimizer": registry.lookup("optimizer", self.optimizer),
            "schedule": registry.lookup("schedule", self.schedule),
        }

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the `--set` options dealt out to the parts.

        Raises:
            GradusError: if a name or a key is unknown.
        """
        return settings_for(self.set, self.parts(), self.fixed())

    def fixed(self) -> Sequence[str]:
        """Return the options of parts that the recipe gives itself."""
        return FIXED

    def updater(
        self,
        modules: "nn.Module | Mapping[str, nn.Module]",
        steps: int,
        scales: "Mapping[str, float]" = MappingProxyType({}),
    ) -> "Updater":
        """Return the Updater that the flags ask for: matrices decay, biases, gains and norms do not.

        It is the learner's only one: its losses lead to what is learned here and to nothing else that is learned.

        Args:
            modules: what is learned, or parts of it by name; a parameter counts for the first part that holds it.
            steps: of the whole run; `accumulate` of them make one update.
            scales: factor on the learning rate by name of a part.
        """
        from gradus.engine.updater import Updater
        from gradus.optim.ema import running_statistics
        from gradus.optim.plateau import watched
        from gradus.optim.rule import make as make_rule
        from gradus.optim.schedules import make as make_schedule
        from gradus.optim.schedules import restarted

        settings = self.settings()
        rule = make_rule(self.optimizer, **settings["optimizer"], **({} if self.lr is None else {"lr": self.lr}))
        cycle = max(1, steps // self.accumulate // (self.snapshots or 1))
        warmup = int(self.warmup * cycle)
        schedule = make_schedule(self.schedule, total_steps=cycle, warmup_steps=warmup, **settings["schedule"])
        if self.snapshots is not None and watched(schedule) is not None:
            raise GradusError("--snapshots go through a schedule again and again, which plateau cannot: choose another")
        named = modules if isinstance(modules, Mapping) else {"": modules}
        return Updater(
            _grouped(named, scales, rule.weight_decay > 0), rule,
            schedule=schedule if self.snapshots is None else restarted(schedule, cycle), clip=self.clip,
            accumulate=self.accumulate, ema=self.ema, scaler=self.precision == "fp16",
            statistics=running_statistics(*named.values()), alone=True,
        )  # fmt: skip


def _grouped(named: "Mapping[str, nn.Module]", scales: "Mapping[str, float]", decays: bool) -> list[dict[str, Any]]:
    """Return trainable parameters by learning-rate scale and, where the rule decays weights, by whether they decay."""
    groups: dict[tuple[float, bool], list[Any]] = {}
    seen: set[int] = set()
    for name, module in named.items():
        for p in module.parameters():
            if p.requires_grad and id(p) not in seen:
                seen.add(id(p))
                groups.setdefault((scales.get(name, 1.0), p.ndim < 2 and decays), []).append(p)
    return [
        {"params": members, "lr_scale": scale, "weight_decay": 0.0 if flat else None}
        for (scale, flat), members in groups.items()
    ]
