"""Snapshot ensembles: one run goes through its schedule several times, and keeps what it is at each end.

The M cycles of a run of T steps end at the steps round(i T / M); a snapshot is the product of that moment, written to
`snapshots/<i>/` in the run folder. It is a function of the step, so a resumed run writes the same again.

References:
    Huang et al. 2017, Snapshot ensembles: train 1, get M for free.
"""

from collections.abc import Callable
from typing import Any

from gradus.engine.ensembles import Ensemble, together
from gradus.engine.folder import RunFolder
from gradus.engine.learner import Clock, Metrics
from gradus.engine.product import load_from
from gradus.engine.run import Run
from gradus.errors import GradusError

__all__ = ["Snapshots", "gather"]


class Snapshots:
    """Writes a run's product at the end of every cycle, and where it stops before the first one ends.

    Args:
        run: whose folder is written to.
        count: M, the number of cycles.
        steps: T, of the whole run.
        product: returns what has been learned so far, ready to be used.

    Raises:
        GradusError: if there are fewer steps than cycles, or nobody knows how many steps there are.
    """

    def __init__(self, run: Run, count: int, steps: int | None, product: Callable[[], Any]) -> None:
        if steps is None or steps < count:
            raise GradusError(f"--snapshots {count} needs at least as many steps, and to know how many there are")
        self.run, self.product = run, product
        self.ends = {round((i + 1) * steps / count): i for i in range(count)}

    def __call__(self, clock: Clock, metrics: Metrics) -> None:
        number = self.ends.get(clock.step)
        if number is None and clock.stop and clock.step < min(self.ends):
            number = 0
        if number is not None and self.run.folder is not None:
            product = self.product()
            if self.run.ranks.rank == 0:
                product.save(self.run.folder.snapshots / str(number))


def gather(folder: RunFolder) -> Ensemble:
    """Return the ensemble of a run's snapshots."""
    places = sorted(folder.snapshots.iterdir(), key=lambda place: int(place.name))
    return together([load_from(place) for place in places], folder.path.name)
