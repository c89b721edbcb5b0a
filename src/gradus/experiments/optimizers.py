"""Update rules side by side: their paths over four surfaces of the plane, and a race on images.

Paths. Every rule sets out from the surface's usual start, without noise, in double precision, once with every rate of a
grid; of the rates whose path stays in the picture, the one with the lowest value at the end is shown. (Among all rates,
those that jump far and land well by chance would win.) On a surface without a minimum, the saddle, a path ends where it
leaves the picture, and counts there as much as the nearest place in the picture, so that a long last step earns
nothing; of equal rates the quickest is taken.

Race. A small perceptron is trained by every rule, from the same weights, on the same batches, once with every rate of
another grid; of these the one with the best accuracy on the validation images counts (of equal ones that with the least
training loss), and its accuracy on the test images is told.

References:
    Ruder 2016, An overview of gradient descent optimization algorithms (paths on Beale's function and on a saddle).
    Schmidt, Schneider and Hennig 2021, Descending through a crowded valley (rates tuned alike for every rule).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradus import canon as registry
from gradus.canon import canon
from gradus.engine.recipe import Build, positive
from gradus.errors import GradusError, nearest
from gradus.experiments.experiment import Cell, Experiment, Row

if TYPE_CHECKING:
    from gradus.engine.run import Run

__all__ = ["Optimizers"]

PLANE = ("sphere", "ellipsoid", "rosenbrock", "rastrigin", "beale", "booth", "himmelblau", "saddle")
PATH, RACE = "path", "race"


@canon(
    "experiments/optimizers", kind="experiment",
    paper="Ruder 2016, An overview of gradient descent optimization algorithms",
)  # fmt: skip
@dataclass(frozen=True, kw_only=True)
class Optimizers(Experiment):
    """Paths of optimisers on Beale, Rosenbrock, a saddle and Rastrigin, drawn and animated, and a race on digits."""

    optimizers: tuple[str, ...] = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
    """Update rules (`gradus list --kind optimizer`)."""
    surfaces: tuple[str, ...] = ("beale", "rosenbrock", "saddle", "rastrigin")
    """Surfaces: beale, rosenbrock, saddle, rastrigin, sphere, ellipsoid, booth, himmelblau."""
    steps: int = 200
    """Steps of each path."""
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
    """Learning rates of the paths, of which the best is shown."""
    animate: bool = True
    """Also write the paths as an animation."""
    race: bool = True
    """Also race on images."""
    data: str = "digits"
    """What is raced on: a registered image data set or a folder of images."""
    data_dir: str | None = None
    """Where data sets are looked for; GRADUS_DATA when left out."""
    hidden: tuple[int, ...] = (64,)
    """Hidden units of the perceptron that is raced."""
    batch_size: int = 64
    """Images a step."""
    epochs: int = 15
    """Passes over the training images."""
    race_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
    """Learning rates of the race, of which each rule takes the best on the validation images."""
    repeats: int = 5
    """Races, each from weights of its own."""

    def __post_init__(self) -> None:
        """Check names and numbers."""
        super().__post_init__()
        positive(self, "steps", "batch_size", "epochs", "repeats")
        for name in self.surfaces:
            if name not in PLANE:
                raise GradusError(f"--surfaces: there is no surface {name!r}{nearest(name, PLANE)}")
        if not self.optimizers or not (self.surfaces or self.race):
            raise GradusError("there is nothing to compare: name some --optimizers, and --surfaces or --race")
        for name in self.optimizers:
            registry.lookup("optimizer", name)
        for flag, rates in (("--rates", self.rates), ("--race-rates", self.race_rates)):
            if not rates or any(not 0 < rate < math.inf for rate in rates):
                raise GradusError(f"{flag} must be positive and finite, at least one of them, got {rates}")
        if any(units < 1 for units in self.hidden):
            raise GradusError(f"--hidden must be positive, got {self.hidden}")

    def cells(self) -> Sequence[Cell]:
        """Return one cell a surface and rule, and one a race and rule."""
        optimizers = self.optimizers[:2] if self.fast_dev_run else self.optimizers
        surfaces = self.surfaces[:1] if self.fast_dev_run else self.surfaces
        races = (1 if self.fast_dev_run else self.repeats) if self.race else 0
        paths: list[Cell] = [{"part": PATH, "surface": s, "optimizer": o} for s in surfaces for o in optimizers]
        return [*paths, *({"part": RACE, "repeat": r, "optimizer": o} for r in range(races) for o in optimizers)]

    def build(self, run: "Run") -> Build:
        """Read the images once, to refuse them before anything is measured."""
        if self.race:
            from gradus.experiments.race import images

            images(self.data, self.data_dir, self.seed)
        return super().build(run)

    def measure(self, cell: Cell, run: "Run") -> Row:
        """Follow one rule over one surface, or train one perceptron by it, with every rate."""
        return self._path(cell) if cell["part"] == PATH else self._race(cell, run)

    def _path(self, cell: Cell) -> Row:
        from gradus.experiments.trajectories import best_path
        from gradus.optim.surfaces import SURFACES

        steps = 10 if self.fast_dev_run else self.steps
        path = best_path(SURFACES[cell["surface"]], cell["optimizer"], self.rates, steps)
        return {"lr": path.lr, "value": path.value, "steps": len(path.x) - 1, "x": path.x, "y": path.y}

    def _race(self, cell: Cell, run: "Run") -> Row:
        from gradus.engine.streams import derive
        from gradus.experiments.race import images, race

        entrants = images(self.data, self.data_dir, self.seed)
        rates, epochs = (self.race_rates[1:2], 1) if self.fast_dev_run else (self.race_rates, self.epochs)
        seed = derive(self.seed, f"race {cell['repeat']}") % 2**32  # the same for every rule
        laps = {
            lr: lap
            for lr in rates
            if (lap := race(
                entrants, cell["optimizer"], lr, hidden=self.hidden, batch_size=self.batch_size, epochs=epochs,
                seed=seed, device=run.device,
            ))
        }  # fmt: skip
        if not laps:
            raise GradusError(f"--race-rates {rates}: {cell['optimizer']} diverges at all of them; give smaller ones")
        lr = max(laps, key=lambda rate: (laps[rate].val[-1], -laps[rate].losses[-1]))
        lap = laps[lr]
        return {
            "lr": lr, "val_accuracy": lap.val[-1], "test_accuracy": lap.test, "train_loss": lap.losses[-1],
            "losses": lap.losses, "accuracies": lap.val,
        }  # fmt: skip

    def findings(self, rows: Sequence[Row]) -> dict[str, float]:
        """Return the value each rule ends at on each surface, and its mean test accuracy in the race."""
        found = {f"{r['surface']}_{r['optimizer']}": r["value"] for r in rows if r["part"] == PATH}
        raced = [row for row in rows if row["part"] == RACE]
        for name in dict.fromkeys(row["optimizer"] for row in raced):
            own = [row["test_accuracy"] for row in raced if row["optimizer"] == name]
            found[f"test_accuracy_{name}"] = math.fsum(own) / len(own)
        return found

    def draw(self, rows: Sequence[Row], folder: Path) -> None:
        """Draw the paths over contours, animate them, and draw the race."""
        from gradus.experiments.trajectories import animate, draw_paths

        paths = [row for row in rows if row["part"] == PATH]
        if paths:
            draw_paths(paths, folder / "trajectories.png")
            if self.animate:
                animate(paths, folder / "trajectories.gif", frames=4 if self.fast_dev_run else 60)
        if raced := [row for row in rows if row["part"] == RACE]:
            _draw_race(raced, folder / "race.png")


def _draw_race(rows: Sequence[Row], path: Path) -> None:
    """Draw training loss and validation accuracy of every rule at its best rate, with bands over the repetitions."""
    from gradus.experiments.figures import band, canvas

    epochs = range(1, 1 + len(rows[0]["losses"]))
    with canvas(path, columns=2) as (losses, errors):
        for name in dict.fromkeys(row["optimizer"] for row in rows):
            own = [row for row in rows if row["optimizer"] == name]
            rates = sorted({row["lr"] for row in own})
            shown = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
            curves = list(zip(*(row["losses"] for row in own), strict=True))
            band(losses, list(epochs), curves, f"{name}, rate {shown}", log=True)
            accuracies = zip(*(row["accuracies"] for row in own), strict=True)
            band(errors, list(epochs), [[100 * (1 - a) for a in one] for one in accuracies], name)
        losses.set_yscale("log")
        losses.set(xlabel="epoch", ylabel="training loss")
        errors.set(xlabel="epoch", ylabel="validation error in %", ylim=(0, 12))
        losses.set_title("Every rule at its best rate (bands: one standard deviation)")
        errors.set_title("Mistakes on the images that chose the rate")
        losses.legend()
