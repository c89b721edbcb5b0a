"""Descent: a direction p from a model of the objective, a step t from a line search, x ← x + t p, and again.

    p = −∇f                                          steepest descent
    p = −∇f + β p₋,  β = max(0, ∇f·(∇f − ∇f₋) / ‖∇f₋‖²)    nonlinear conjugate gradients (Polak–Ribière, restarted)

Newton's method and its quasi-Newton kin are the same loop with another model. It ends when ‖∇f‖_∞ ≤ gtol. A model
whose direction does not descend, or along which no step is found, forgets what it learnt and starts again from −∇f.

References:
    Cauchy 1847, Méthode générale pour la résolution des systèmes d'équations simultanées.
    Polak and Ribière 1969, Note sur la convergence de méthodes de directions conjuguées.
    Nocedal and Wright 2006, Numerical optimization, chapters 2, 3 and 5.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.line_search import LineSearch, Probe, line_search, wolfe
from gradus.optim.objective import (
    CONVERGED,
    EXHAUSTED,
    STALLED,
    STOPPED,
    Callback,
    Function,
    Gradient,
    Minimum,
    Objective,
    Point,
    differentiating,
    report,
    shown,
)
from gradus.optim.settings import inside

__all__ = ["Model", "Search", "Step", "budget", "conjugate_gradients", "descend", "search_of", "steepest_descent"]

Search = str | LineSearch


class Step(NamedTuple):
    """One step taken: from where, along p, how far, to where; `slope` is ∇f·p at its beginning."""

    before: Point
    direction: Tensor
    length: float
    slope: float
    after: Point


@runtime_checkable
class Model(Protocol):
    """What a method knows of the objective.

    Attributes:
        natural: whether t = 1 is the step that the model itself proposes for its next direction, as Newton's does.
    """

    @property
    def natural(self) -> bool: ...

    def direction(self, point: Point) -> Float[Tensor, "n"]:
        """Return p at a point; it may be overwritten by the next call."""
        ...

    def learn(self, step: Step) -> None:
        """Take in a step that was made."""
        ...

    def forget(self) -> bool:
        """Start afresh, so that the next direction is downhill; say whether there was anything to forget."""
        ...


class Along:
    """f on the ray x + t p, as a line search asks for it.

    Args:
        objective: f.
        origin: x.
        direction: p.

    Attributes:
        broken: the last trial that was not finite, if there was one.
    """

    def __init__(self, objective: Objective, origin: Point, direction: Tensor) -> None:
        self.objective, self.origin, self.direction = objective, origin, direction
        self.broken: Point | None = None

    def __call__(self, step: float) -> Probe:
        point = self.objective.at(torch.add(self.origin.x, self.direction, alpha=step))
        if not math.isfinite(point.value):
            self.broken = point
        return Probe(step, point.value, lambda: torch.dot(point.grad, self.direction).item(), point)


def search_of(search: Search, c2: float = 0.9) -> LineSearch:
    """Return the line search that a setting means; Wolfe's by name gets the method's own c₂."""
    if not isinstance(search, str):
        return search
    found = line_search(search)
    return partial(found, c2=c2) if found is wolfe else found


def budget(max_iterations: int | None, n: int) -> int:
    """Return the largest number of iterations: as asked for, or 200 for each of n unknowns and at least 10,000."""
    if max_iterations is None:
        return max(10_000, 200 * n)
    return int(inside("minimize", "max_iterations", max_iterations, 0))


def descend(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    make_model: Callable[[Objective], Model],
    *,
    grad: Gradient,
    gtol: float,
    max_iterations: int | None,
    search: LineSearch,
    callback: Callback,
) -> Minimum:
    """Run the loop of this file's first lines.

    Args:
        fn: f.
        x0: the first point.
        make_model: gives the method's model, with nothing learnt yet.
        grad: as `Objective` takes it.
        gtol: bound on ‖∇f‖_∞.
        max_iterations: bound on the steps; None for a generous one.
        search: the line search.
        callback: called with a `Minimum` after every step; StopIteration ends the loop.

    Raises:
        GradusError: where the objective or its gradient is not finite, naming the iteration and the place.
    """
    inside("minimize", "gtol", gtol, 0)
    with differentiating():
        objective = Objective(fn, x0, grad)
        model, most = make_model(objective), budget(max_iterations, objective.start.numel())
        point, walk = objective.at(objective.start), Walk(objective, model, search)
        for iteration in range(most + 1):
            residual = math.nan
            if math.isfinite(point.value):
                residual = torch.linalg.vector_norm(point.grad, math.inf).item()
            objective.check(point, residual, iteration)
            made = partial(report, objective, point, nit=iteration, residual=residual)
            if iteration and callback is not None:
                try:
                    callback(made(status=EXHAUSTED, message="Under way."))
                except StopIteration:
                    return made(status=STOPPED)
            if residual <= gtol:
                return made(status=CONVERGED)
            if iteration == most:
                break
            following = walk.step(point, iteration)
            if following is None:
                return made(status=STALLED)
            point = following
        return made(status=EXHAUSTED)


class Walk:
    """One step after another, each beginning with what the last one taught.

    Args:
        objective: f.
        model: gives directions.
        search: gives lengths.
    """

    def __init__(self, objective: Objective, model: Model, search: LineSearch) -> None:
        self.objective, self.model, self.search = objective, model, search
        self.last: Step | None = None

    def step(self, point: Point, iteration: int) -> Point | None:
        """Return the next point, or None where even −∇f leads nowhere.

        Raises:
            GradusError: where trials along −∇f were not finite and no other was found.
        """
        broken: Point | None = None
        while True:
            direction = self.model.direction(point)
            slope = torch.dot(point.grad, direction).item()
            if -math.inf < slope < 0:
                ray = Along(self.objective, point, direction)
                start = Probe(0.0, point.value, slope, point)
                probe = self.search(ray, start, self._first(point, slope), eps=self.objective.eps)
                if probe is not None and not self._stands(point, probe):
                    self.last = Step(point, direction, probe.step, slope, probe.point)
                    self.model.learn(self.last)
                    return probe.point
                broken = ray.broken
            if not self.model.forget():
                break
            self.last = None
        if broken is not None:
            raise GradusError(
                f"the objective is {broken.value} at iteration {iteration}, x = {shown(broken.x)}, where the way down "
                f"from {shown(point.x)} leads; bound its arguments, or constrain x to where it is finite"
            )
        return None

    @staticmethod
    def _stands(point: Point, probe: Probe) -> bool:
        """Say whether a step was too short to change x."""
        return probe.value >= point.value and torch.equal(probe.point.x, point.x)

    def _first(self, point: Point, slope: float) -> float:
        """Return the first step to try.

        It is 1 where the model proposes that, shorter if the last decrease, expected again, comes sooner (Nocedal and
        Wright, 3.60); elsewhere, the change of the last step to first order; to begin with, a change of x by about 1.
        """
        last = self.last
        if self.model.natural:
            fall = 0.0 if last is None else 2.02 * (point.value - last.before.value) / slope
            return min(1.0, fall) if fall > 0 else 1.0
        if last is None:
            return min(1.0, 1.01 * torch.linalg.vector_norm(point.grad).item() / -slope)
        return max(last.length * last.slope / slope, 1e-300)


class Steepest:
    """p = −∇f: nothing is learnt."""

    natural = False

    def direction(self, point: Point) -> Float[Tensor, "n"]:
        """Return −∇f."""
        return -point.grad

    def learn(self, step: Step) -> None:
        """Take in nothing."""

    def forget(self) -> bool:
        """Say that there is nothing to forget."""
        return False


class Conjugate:
    """p = −∇f + β p₋ with Polak and Ribière's β, held at zero or above."""

    natural = False

    def __init__(self) -> None:
        self._carried: Tensor | None = None

    def direction(self, point: Point) -> Float[Tensor, "n"]:
        """Return p."""
        return -point.grad if self._carried is None else self._carried - point.grad

    def learn(self, step: Step) -> None:
        """Carry β p on."""
        before, after = step.before.grad, step.after.grad
        beta = (torch.dot(after, after - before) / torch.dot(before, before)).item()
        self._carried = step.direction * beta if beta > 0 else None

    def forget(self) -> bool:
        """Drop the carried direction."""
        had, self._carried = self._carried is not None, None
        return had


@canon(
    "optim/steepest-descent",
    kind="minimizer",
    paper="Cauchy 1847, Méthode générale pour la résolution des systèmes d'équations simultanées",
    names=("gd", "steepest-descent"),
)
def steepest_descent(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    line_search: Search = "wolfe",
    callback: Callback = None,
) -> Minimum:
    """Steepest descent: x ← x − t ∇f(x), t from a line search.

    Args:
        fn, x0, grad, gtol, max_iterations, line_search, callback: as in `gradus.optim.minimize`.
    """
    return descend(
        fn, x0, lambda _: Steepest(), grad=grad, gtol=gtol, max_iterations=max_iterations,
        search=search_of(line_search, c2=0.1), callback=callback,
    )  # fmt: skip


@canon(
    "optim/nonlinear-cg",
    kind="minimizer",
    paper="Polak and Ribière 1969, Note sur la convergence de méthodes de directions conjuguées",
    names=("cg", "nonlinear-cg"),
)
def conjugate_gradients(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    line_search: Search = "wolfe",
    callback: Callback = None,
) -> Minimum:
    """Nonlinear conjugate gradients: p = −∇f + β p₋, β = max(0, ∇f·(∇f − ∇f₋) / ‖∇f₋‖²).

    Args:
        fn, x0, grad, gtol, max_iterations, line_search, callback: as in `gradus.optim.minimize`.
    """
    return descend(
        fn, x0, lambda _: Conjugate(), grad=grad, gtol=gtol, max_iterations=max_iterations,
        search=search_of(line_search, c2=0.1), callback=callback,
    )  # fmt: skip
