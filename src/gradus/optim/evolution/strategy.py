"""Evolution strategies by `ask` and `tell`: a distribution proposes points, and learns from how they rank.

    X = ask() ∈ R^{λ×n},   tell(f(X₁), …, f(X_λ))

Asking and telling are apart, so the objective may run anywhere: as one batched function (`evolve`), in vectorised
environments, on other machines, with a checkpoint in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.evolution.journal import Best, State

__all__ = ["Evolved", "Strategy", "evolve"]

Objective = Callable[[Tensor], Tensor]


@runtime_checkable
class Strategy(Protocol):
    """What every strategy offers; all of them minimise."""

    @property
    def popsize(self) -> int:
        """λ, the rows of the next `ask`."""
        ...

    @property
    def best(self) -> Best:
        """The best point told of, and its value."""
        ...

    @property
    def evaluations(self) -> int:
        """Values told so far."""
        ...

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop, as reason and measured value; empty while there is something to gain."""
        ...

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return the points to evaluate next."""
        ...

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last."""
        ...

    def state_dict(self) -> State:
        """Return a copy of everything that changes."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""
        ...


@dataclass(frozen=True)
class Evolved:
    """What `evolve` found, in SciPy's fields.

    Attributes:
        x: the best point, (n,).
        fun: its value.
        nit: generations.
        nfev: evaluations.
        success: whether the target was reached or the strategy converged, rather than ran out of evaluations.
        message: why it ended.
        reasons: the strategy's `stop`.
    """

    x: Float[Tensor, " n"]
    fun: float
    nit: int
    nfev: int
    success: bool
    message: str
    reasons: dict[str, float]


def evolve(
    strategy: Strategy,
    fn: Objective,
    *,
    max_evaluations: int,
    target: float | None = None,
    callback: Callable[[Strategy], object] | None = None,
) -> Evolved:
    """Minimise a batched objective: ask, evaluate, tell, until the target, a stop or the last evaluation.

    Args:
        strategy: what proposes points; left as it ends, so a second call goes on.
        fn: maps points (popsize, n) to values (popsize,); +∞ marks an infeasible point.
        max_evaluations: no generation is begun that would exceed this many evaluations of this call.
        target: end once a value is at most this.
        callback: called with the strategy after every generation; ends the search by raising StopIteration.

    Returns:
        The best point with its value, and why the search ended.

    Raises:
        GradusError: for values of another shape, NaN or −∞, or a budget below one generation.

    Example:
        >>> found = evolve(CMAES(torch.zeros(10), 0.5), rosenbrock, max_evaluations=20_000, target=1e-8)
    """
    if max_evaluations < strategy.popsize:
        raise GradusError(
            f"evolve: max_evaluations={max_evaluations} is less than one generation of {strategy.popsize}; give more"
        )
    generations = evaluations = 0
    success, message = False, "out of evaluations"
    with torch.no_grad():
        while evaluations + strategy.popsize <= max_evaluations:
            points = strategy.ask()
            values = fn(points)
            if values.shape != points.shape[:1]:
                raise GradusError(
                    f"evolve: the objective maps {tuple(points.shape)} to {tuple(values.shape)}; give one value a row, "
                    f"shape ({len(points)},)"
                )
            strategy.tell(values)
            generations, evaluations = generations + 1, evaluations + len(points)
            try:
                if callback is not None:
                    callback(strategy)
            except StopIteration:
                message = "stopped by the callback"
                break
            if target is not None and strategy.best.value <= target:
                success, message = True, f"the target {target:g} is reached"
                break
            if reasons := strategy.stop:
                message = ", ".join(f"{name} = {value:.3g}" for name, value in reasons.items())
                success = bool({"tolfun", "tolx", "noeffect"} & reasons.keys())
                break
    best = strategy.best
    return Evolved(best.x, best.value, generations, evaluations, success, message, strategy.stop)
