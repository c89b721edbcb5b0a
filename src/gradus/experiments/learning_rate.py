"""The learning-rate range test on a model and data of one's choice, repeated from fresh weights.

    η_i = η_min (η_max / η_min)^{i / (n − 1)},   suggestion: where the smoothed loss falls most steeply in log η

A sweep is one noisy path: batches and initial weights move its steepest place. Several sweeps show how far, and their
geometric mean is what to take.

References:
    Smith 2017, Cyclical learning rates for training neural networks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from torch import Tensor

    from gradus.engine.run import Run
    from gradus.vision.recipes import Classify

__all__ = ["LearningRate"]

LEAST = 10  # rates that a sweep needs


@canon(
    "experiments/learning-rate", kind="experiment",
    paper="Smith 2017, Cyclical learning rates for training neural networks",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class LearningRate(Experiment):
    """Find a learning rate for an image classifier: train a few steps at growing rates, and watch the loss."""

    data: str = "digits"
    """A registered image data set or a folder of images."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    model: str = "auto"
    """A named architecture (`gradus list --kind classifier`); auto is lenet up to 32 pixels, else resnet18."""
    optimizer: str = "adamw"
    """The update rule that the rate is for."""
    batch_size: int = 64
    """Images per step; the rate found is for this batch size."""
    lowest: float = 1e-6
    """Where the rates begin."""
    highest: float = 10.0
    """Where they end, if the loss has not diverged before."""
    rates: int = 100
    """Rates to try, one step each."""
    repeats: int = 3
    """Sweeps, each from fresh weights."""
    set: tuple[str, ...] = ()
    """Rarer options of the model or optimiser, as key=value."""

    def __post_init__(self) -> None:
        """Check the numbers, and what `vision/classify` is to be asked for."""
        super().__post_init__()
        positive(self, "lowest", "batch_size", "repeats")
        if not self.lowest < self.highest < math.inf:
            raise GradusError(f"--highest must be above --lowest {self.lowest:g} and finite, got {self.highest:g}")
        if self.rates < LEAST:
            raise GradusError(f"--rates must be at least {LEAST}, got {self.rates}")
        self._recipe()

    def _recipe(self) -> "Classify":
        from gradus.vision.recipes import Classify

        return Classify(
            data=self.data, data_dir=self.data_dir, model=self.model, optimizer=self.optimizer, set=self.set,
            batch_size=self.batch_size, schedule="constant", seed=self.seed, precision=self.precision,
        )  # fmt: skip

    def cells(self) -> Sequence[Cell]:
        """Return one cell a sweep."""
        return [{"sweep": sweep} for sweep in range(2 if self.fast_dev_run else self.repeats)]

    def build(self, run: "Run") -> Build:
        """Read the data once, to refuse what cannot be trained on before anything is measured."""
        self._recipe().build(run)
        return super().build(run)

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Sweep the rates once."""
        from gradus.optim.lr_finder import find_learning_rate

        learner, source, *_ = self._recipe().build(run)
        model: Any = learner.model  # type: ignore[attr-defined]
        found = find_learning_rate(
            _loss(model.train(), source, run), model, learner.update.rule,  # type: ignore[attr-defined]
            lowest=self.lowest, highest=self.highest, steps=LEAST if self.fast_dev_run else self.rates,
        )  # fmt: skip
        return {
            "model": learner.facts["model"], "suggestion": found.suggestion,  # type: ignore[attr-defined]
            "least_loss": found.smoothed.min().item(), "diverged": found.diverged,
            "lrs": found.lrs.tolist(), "losses": found.losses.tolist(), "smoothed": found.smoothed.tolist(),
        }  # fmt: skip

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the suggestion, the geometric mean of the sweeps', and the largest of theirs over the smallest."""
        suggestions = [row["suggestion"] for row in rows]
        mean = math.exp(math.fsum(map(math.log, suggestions)) / len(suggestions))
        return {
            "suggestion": mean, "largest_over_smallest": max(suggestions) / min(suggestions),
            "sweeps_that_diverged": sum(row["diverged"] for row in rows),
        }  # fmt: skip

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw losses and smoothed losses against the rate, and mark the suggestion."""
        from gradus.experiments.figures import COLOURS, canvas

        suggestion = self.findings(rows)["suggestion"]
        with canvas(folder / "learning-rate.png", size=(6.4, 4.0)) as axes:
            for row in rows:
                axes.plot(row["lrs"], row["losses"], ".", color=COLOURS[0], alpha=0.2, markersize=4, markeredgewidth=0)
                label = "smoothed, one line a sweep" if row is rows[0] else None
                axes.plot(row["lrs"], row["smoothed"], color=COLOURS[0], alpha=0.75, linewidth=1.5, label=label)
                place = row["lrs"].index(row["suggestion"])
                axes.plot(row["suggestion"], row["smoothed"][place], "o", color=COLOURS[1], markersize=5, zorder=3)
            axes.axvline(suggestion, color=COLOURS[1], linewidth=1.4,
                         label=f"suggestion {suggestion:.2g} (dots: of each sweep)")  # fmt: skip
            start, least = rows[0]["smoothed"][0], min(row["least_loss"] for row in rows)
            # What comes behind the minimum only diverges: it would flatten everything before it.
            axes.set_ylim(least - 0.1 * (start - least), start + 0.5 * (start - least))
            axes.set_xscale("log")
            axes.set(xlabel=f"learning rate of {self.optimizer}", ylabel="loss of the next batch")
            axes.set_title(f"Where the loss falls fastest: {rows[0]['model']} on {self.data}")
            axes.legend(loc="lower left")


def _loss(model: Any, source: Any, run: "Run") -> "Callable[[], Tensor]":
    """Return the training loss of the next batch."""
    import torch.nn.functional as F

    def loss() -> "Tensor":
        images, labels = next(source)
        with run.autocast():
            outputs = model.outputs(images)
            return sum(weight * F.cross_entropy(logits, labels) for weight, logits in outputs)  # type: ignore[return-value]

    return loss
