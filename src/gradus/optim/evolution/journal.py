"""What every evolution strategy keeps beside its distribution: its noise, the best point it was told of, its counts.

    best_t = argmin { f(x) : x asked for and told until t }

Values are judged in one place: NaN and −∞ are refused, +∞ ranks last (an infeasible point), and a generation that is
+∞ throughout is refused, since no ranking is left in it. Nothing but ranks ever reaches a distribution, so every
strategy here is invariant to strictly increasing transformations of the objective.

References:
    Hansen 2016, The CMA evolution strategy: a tutorial, section 0.4: invariance to order-preserving transformations.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Array", "Best", "Journal", "Journalled", "State", "shaped", "size"]

Array = npt.NDArray[np.float64]
State = dict[str, Any]


class Best(NamedTuple):
    """The best point so far and its value; before anything was told, the start and +∞."""

    x: Float[Tensor, " n"]
    value: float


def size(owner: str, popsize: int | None, default: int, least: int = 2, *, even: bool = False) -> int:
    """Return λ: what was asked for, or the default.

    Raises:
        GradusError: for fewer than `least`, or an odd number where pairs are needed.
    """
    chosen = default if popsize is None else popsize
    if chosen < least:
        raise GradusError(f"{owner}: popsize={chosen} is too small; give at least {least}")
    if even and chosen % 2:
        raise GradusError(f"{owner}: popsize={chosen} is odd, and points come in mirrored pairs; give {chosen + 1}")
    return chosen


def shaped(values: Array, utilities: Array) -> Array:
    """Return the utility of each value by its rank; equal values share the mean of what their ranks would get.

    Sharing makes a flat objective exert no pull, and mirrored points of equal value cancel exactly.

    Args:
        values: (λ,), to be minimised.
        utilities: (λ,), from the best rank to the worst.
    """
    ordered = np.sort(values)
    first, past = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    if (past - first).max() == 1:
        return utilities[first]
    sums = np.concatenate(([0.0], np.cumsum(utilities)))
    return (sums[past] - sums[first]) / (past - first)


@final
class Journal:
    """Noise, best point and counts of one strategy.

    Args:
        owner: name of the strategy, for messages.
        x0: the start; its dtype and device are those of every point asked for.
        sigma0: initial standard deviation, in the units of `x0`.
        generator: source of all noise; by default one of the strategy's own, seeded from torch's global state.

    Raises:
        GradusError: for a start that is not a finite floating-point vector, or a standard deviation that is not
            positive and finite.
    """

    def __init__(self, owner: str, x0: Tensor, sigma0: float, generator: torch.Generator | None) -> None:
        if x0.dim() != 1 or not len(x0) or not x0.is_floating_point():
            raise GradusError(
                f"{owner}: x0 is {x0.dtype} of shape {tuple(x0.shape)}; give a floating-point vector (n,), such as "
                "x0.flatten().double()"
            )
        if not bool(x0.isfinite().all()):
            raise GradusError(f"{owner}: x0 is not finite; start at a point where every coordinate is a number")
        if not (sigma0 > 0 and math.isfinite(sigma0)):
            raise GradusError(f"{owner}: sigma0={sigma0} is not a positive number; give about a third of the range")
        if generator is None:
            generator = torch.Generator(x0.device).manual_seed(int(torch.randint(2**53, ())))
        self.owner, self.generator = owner, generator
        self.dtype, self.device = x0.dtype, x0.device
        self.best = Best(x0.detach().clone(), math.inf)
        self.popsize: int | None = None  # where it never changes
        self.evaluations = self.generations = 0

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal noise of the strategy's dtype, on its device."""
        made = torch.randn(*shape, generator=self.generator, dtype=self.dtype, device=self.generator.device)
        return made.to(self.device)

    def seed(self) -> int:
        """Return a number of 53 bits drawn from the generator, to seed another one with."""
        return int(torch.randint(2**53, (), generator=self.generator, device=self.generator.device))

    def judge(self, values: Tensor, popsize: int, asked: bool) -> Array:
        """Return the values of a generation in float64, or refuse them.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or where no population was asked for.
        """
        if not asked:
            raise GradusError(f"{self.owner}: tell() without a population; call ask() and evaluate what it gives first")
        if values.shape != (popsize,):
            raise GradusError(
                f"{self.owner}: values have shape {tuple(values.shape)}; give one value for each of the {popsize} "
                f"points, shape ({popsize},)"
            )
        found = np.array(values.tolist())  # for a population's worth of numbers quicker than detach, to, and numpy
        if not math.isfinite(np.add.reduce(found)):
            self._refuse(found)
        return found

    def _refuse(self, values: Array) -> None:
        if np.isnan(values).any():
            where = np.flatnonzero(np.isnan(values)).tolist()
            raise GradusError(
                f"{self.owner}: the objective is NaN at points {where[:8]} of this generation; give inf where a point "
                "is infeasible, so that it ranks last"
            )
        if (values == -math.inf).any():
            raise GradusError(
                f"{self.owner}: the objective is -inf; there is nothing left to minimise, so bound it below"
            )
        if (values == math.inf).all():
            raise GradusError(
                f"{self.owner}: the objective is inf at every point of this generation; start where it is finite, or "
                "lower sigma0"
            )

    def note(self, values: Array, point: Callable[[int], Tensor]) -> None:
        """Count a generation, and keep its best point if it is better than all before.

        Args:
            values: (λ,), judged.
            point: gives the point of an index, in memory of its own; called for a new best only.
        """
        best = int(values.argmin())
        if values[best] < self.best.value:
            self.best = Best(point(best), float(values[best]))
        self.evaluations += len(values)
        self.generations += 1

    def copied(self, tensor: Any) -> Any:
        """Return a saved tensor as one of the strategy's own; None stays None."""
        return None if tensor is None else tensor.to(self.device, self.dtype, copy=True)

    def state_dict(self) -> State:
        """Return a copy of everything that changes."""
        return {
            "generator": self.generator.get_state().clone(),
            "best_x": self.best.x.clone(),
            "best_value": self.best.value,
            "evaluations": self.evaluations,
            "generations": self.generations,
            "popsize": self.popsize,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; the generator is set in place.

        Raises:
            GradusError: if it belongs to another dimension or population size.
        """
        if state["best_x"].shape != self.best.x.shape:
            raise GradusError(
                f"{self.owner}: the state is of dimension {len(state['best_x'])}, this strategy of {len(self.best.x)}; "
                "make the strategy with the same x0"
            )
        if state["popsize"] != self.popsize:
            raise GradusError(
                f"{self.owner}: the state is of popsize={state['popsize']}, this strategy of {self.popsize}; make the "
                f"strategy with popsize={state['popsize']}"
            )
        self.generator.set_state(state["generator"].cpu())
        self.best = Best(self.copied(state["best_x"]), float(state["best_value"]))
        self.evaluations, self.generations = int(state["evaluations"]), int(state["generations"])


class Journalled(ABC):
    """A strategy that keeps a journal: what is read off it, and what every strategy must give itself."""

    _journal: Journal

    @property
    def best(self) -> Best:
        """The best point told of, and its value; before anything was told, the start and +∞."""
        return Best(self._journal.best.x.clone(), self._journal.best.value)

    @property
    def evaluations(self) -> int:
        """Values told so far."""
        return self._journal.evaluations

    @property
    def generations(self) -> int:
        """Generations told so far."""
        return self._journal.generations

    @property
    @abstractmethod
    def mean(self) -> Float[Tensor, " n"]:
        """The centre of the distribution: under noise a better guess of the optimum than `best`."""

    @property
    @abstractmethod
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value; empty while there is something to gain."""

    @abstractmethod
    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return the points to evaluate next; what is told belongs to the points asked for last."""

    @abstractmethod
    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last."""

    @abstractmethod
    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension or population size."""
