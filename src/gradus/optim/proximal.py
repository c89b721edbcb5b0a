"""Proximal gradient methods for F = f + g: f smooth with gradient, g simple, known by its proximal map.

    prox_{tg}(z) = argmin_x ½‖x − z‖² + t g(x)
    ISTA    x₊ = prox_{tg}(x − t ∇f(x))
    FISTA   x₊ = prox_{tg}(y − t ∇f(y)),   y₊ = x₊ + (θ − 1)/θ₊ (x₊ − x),   θ₊ = (1 + √(1 + 4θ²))/2

For g = λ‖·‖₁ the map is a soft threshold by tλ; for g = 0 on a set and ∞ off it, the projection. With convex f and
t = 1/L, ISTA's F falls with every step and F(x_k) − F* ≤ L‖x₀ − x*‖² / 2k; FISTA's is ≤ 2L‖x₀ − x*‖² / (k + 1)².

The step t is 1/L where the Lipschitz constant L of ∇f is known; otherwise it starts from the curvature along the first
gradient and is halved until f(x₊) ≤ f(y) + ∇f(y)·(x₊ − y) + ‖x₊ − y‖²/2t. All end when the gradient map
G = (y − x₊)/t, which is ∇f where g = 0, has ‖G‖_∞ ≤ gtol.

References:
    Daubechies, Defrise and De Mol 2004, An iterative thresholding algorithm for linear inverse problems (ISTA).
    Beck and Teboulle 2009, A fast iterative shrinkage-thresholding algorithm for linear inverse problems (FISTA).
    O'Donoghue and Candès 2015, Adaptive restart for accelerated gradient schemes.
    Birgin, Martínez and Raydan 2000, Nonmonotone spectral projected gradient methods on convex sets.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.descent import budget
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

__all__ = ["Prox", "fista", "ista", "projected_gradient", "soft_threshold"]

Prox = Callable[[Tensor, float], Tensor]


def soft_threshold(x: Float[Tensor, "*shape"], threshold: float | Tensor) -> Float[Tensor, "*shape"]:
    """Return sign(x) max(|x| − τ, 0), the proximal map of τ‖·‖₁.

    Args:
        x: numbers.
        threshold: τ ≥ 0, one or as many as broadcast to x.
    """
    return x - torch.clamp(x, -threshold, threshold)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plan:
    """What tells the proximal methods apart.

    Attributes:
        prox: (z, t) → prox_{tg}(z), on tensors of x0's shape.
        nonsmooth: g, to be added to `fun`; None adds nothing.
        step: t where it is known, None to find it.
        momentum: whether y runs ahead of x, as FISTA's does.
        restart: whether momentum is dropped when it points uphill.
        spectral: whether every step first tries t = ‖Δx‖² / Δx·Δ∇f of the last one, rather than the last t.
        feasible: whether the first point is mapped too, since f may be defined nowhere else.
    """

    prox: Prox
    nonsmooth: Callable[[Tensor], Any] | None = None
    step: float | None = None
    momentum: bool = False
    restart: bool = False
    spectral: bool = False
    feasible: bool = False


class Splitting:
    """f and g together: gradient steps on one, proximal steps on the other.

    Args:
        objective: f.
        plan: g, and how to choose t.
        gtol: bound on the gradient map.
    """

    def __init__(self, objective: Objective, plan: Plan, gtol: float) -> None:
        self.objective, self.plan, self.gtol = objective, plan, gtol
        self.length = math.nan if plan.step is None else plan.step

    def keep(self, x: Tensor) -> Tensor:
        """Return the proximal map of a flat point, flat.

        Raises:
            GradusError: if the map gives anything but a tensor of x0's shape.
        """
        shape = self.objective.shape
        moved = self.plan.prox(x.view(shape), self.length)
        if not isinstance(moved, Tensor) or moved.shape != shape:
            found = tuple(moved.shape) if isinstance(moved, Tensor) else type(moved).__name__
            raise GradusError(f"the proximal map or projection must keep x's shape {tuple(shape)}; it gave {found}")
        # A copy, because people's functions may hand out one buffer again and again.
        return moved.detach().reshape(-1).to(x.dtype, copy=True)

    def first(self, base: Point) -> float:
        """Return 1 / (curvature of f along its gradient), which is at least 1/L for a quadratic."""
        size = torch.linalg.vector_norm(base.grad).item()
        if size == 0:
            return 1.0
        reach = 1e-3 * max(1.0, torch.linalg.vector_norm(base.x).item()) / size
        near = self.objective.at(torch.add(base.x, base.grad, alpha=-reach))
        bend = torch.linalg.vector_norm(base.grad - near.grad).item() if math.isfinite(near.value) else math.nan
        return reach * size / bend if bend > 0 and math.isfinite(bend) else 1.0 / max(1.0, size)

    def step(self, base: Point, iteration: int) -> Point | None:
        """Return x₊ as a point, t shortened until f stays below its quadratic bound; None where no t is short enough.

        Raises:
            GradusError: where f is not finite, and shorter steps do not help.
        """
        if math.isnan(self.length):
            self.length = self.first(base)
        broken: Point | None = None
        while True:
            point = self.objective.at(self.keep(torch.add(base.x, base.grad, alpha=-self.length)))
            if self.plan.step is not None:
                if not math.isfinite(point.value):
                    raise GradusError(
                        f"the objective is {point.value} at iteration {iteration + 1} with step={self.plan.step}; "
                        "take 1/L, where L bounds the curvature, or leave step out"
                    )
                return point
            change = point.x - base.x
            square = torch.dot(change, change).item()
            bound = base.value + torch.dot(base.grad, change).item() + square / (2 * self.length)
            enough = point.value <= bound + 8 * self.objective.eps * abs(base.value)
            if enough and not (square == 0 and self._blind(base)):
                return point
            broken = broken if math.isfinite(point.value) else point
            if enough or square == 0 or self.length < 1e-300:
                break
            self.length /= 2
        if broken is not None:
            raise GradusError(
                f"the objective is {broken.value} at iteration {iteration}, x = {shown(broken.x)}, where the way down "
                f"from {shown(base.x)} leads; the proximal map or projection must keep x where it is finite"
            )
        return None

    def _blind(self, base: Point) -> bool:
        """Say whether t is so short that rounding swallows the step: a point that stays would only seem stationary."""
        slope, size = (torch.linalg.vector_norm(part, math.inf).item() for part in (base.grad, base.x))
        return slope > self.gtol and self.length * slope < 4 * self.objective.eps * size

    def retune(self, before: Point, after: Point) -> None:
        """Take the curvature along the last step for that of the next: Barzilai and Borwein's t."""
        change = after.x - before.x
        bend = torch.dot(change, after.grad - before.grad).item()
        square = torch.dot(change, change).item()
        if bend > 1e-12 * square / self.length:
            self.length = square / bend
        elif square:
            self.length *= 2

    def ahead(self, base: Point, before: Point, after: Point, theta: float) -> tuple[Point, float]:
        """Return the next y and θ₊: x₊ moved on by momentum, or x₊ itself where there is none or it is dropped."""
        plan = self.plan
        if not plan.momentum:
            if plan.spectral and plan.step is None:
                self.retune(before, after)
            return after, theta
        if plan.restart and torch.dot(base.x - after.x, after.x - before.x).item() > 0:
            return after, 1.0
        following = (1 + math.sqrt(1 + 4 * theta * theta)) / 2
        share = (theta - 1) / following
        if share == 0:
            return after, following
        point = self.objective.at(after.x + share * (after.x - before.x))
        # Momentum may leave the domain of f, which the proximal map never does.
        return (point, following) if math.isfinite(point.value) else (after, 1.0)

    def fun(self, point: Point) -> float:
        """Return F at a point."""
        if self.plan.nonsmooth is None:
            return point.value
        return point.value + float(self.plan.nonsmooth(point.x.view(self.objective.shape)))


def _split(
    fn: Function,
    x0: Tensor,
    plan: Plan,
    *,
    grad: Gradient,
    gtol: float,
    max_iterations: int | None,
    callback: Callback,
) -> Minimum:
    """Run ISTA, FISTA or projected gradient descent, as the plan says."""
    inside("minimize", "gtol", gtol, 0)
    if plan.step is not None and not 0 < plan.step < math.inf:
        raise GradusError(f"step={plan.step} must be positive: 1/L where L bounds the curvature, or None to find it")
    with differentiating():
        objective = Objective(fn, x0, grad)
        splitting, most = Splitting(objective, plan, gtol), budget(max_iterations, objective.start.numel())
        point = base = objective.at(splitting.keep(objective.start) if plan.feasible else objective.start)
        theta, iteration = 1.0, 0

        def made(status: int, message: str | None = None) -> Minimum:
            fun = splitting.fun(point)
            return report(objective, point, nit=iteration, status=status, residual=residual, fun=fun, message=message)

        while True:
            slope = torch.linalg.vector_norm(base.grad, math.inf).item() if math.isfinite(base.value) else math.nan
            objective.check(base, slope, iteration)
            following = splitting.step(base, iteration)
            if following is None:
                residual = math.inf
                return made(STALLED)
            residual = (torch.linalg.vector_norm(base.x - following.x, math.inf) / splitting.length).item()
            if residual <= gtol:
                point = following
                return made(CONVERGED)
            if iteration == most:
                return made(EXHAUSTED)
            iteration += 1
            previous, point = point, following
            if callback is not None:
                try:
                    callback(made(EXHAUSTED, "Under way."))
                except StopIteration:
                    return made(STOPPED)
            base, theta = splitting.ahead(base, previous, point, theta)


@canon(
    "optim/ista",
    kind="minimizer",
    paper="Daubechies, Defrise and De Mol 2004, An iterative thresholding algorithm for linear inverse problems",
    names=("ista",),
    example=lambda: partial(ista, prox=lambda z, t: z),
)
def ista(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    prox: Prox,
    nonsmooth: Callable[[Tensor], Any] | None = None,
    step: float | None = None,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    callback: Callback = None,
) -> Minimum:
    """ISTA: x₊ = prox_{tg}(x − t ∇f(x)); f + g falls with every step.

    Args:
        fn, x0, grad, max_iterations, callback: as in `gradus.optim.minimize`; `fn` is f, the smooth part.
        prox: (z, t) → prox_{tg}(z); for λ‖·‖₁ it is `lambda z, t: soft_threshold(z, t * lam)`.
        nonsmooth: g, which `fun` then includes.
        step: t = 1/L; found as it goes when None.
        gtol: bound on the gradient map, ‖x − x₊‖_∞ / t.
    """
    plan = Plan(prox, nonsmooth, step)
    return _split(fn, x0, plan, grad=grad, gtol=gtol, max_iterations=max_iterations, callback=callback)


@canon(
    "optim/fista",
    kind="minimizer",
    paper="Beck and Teboulle 2009, A fast iterative shrinkage-thresholding algorithm for linear inverse problems",
    names=("fista",),
    example=lambda: partial(fista, prox=lambda z, t: z),
)
def fista(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    prox: Prox,
    nonsmooth: Callable[[Tensor], Any] | None = None,
    step: float | None = None,
    restart: bool = True,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    callback: Callback = None,
) -> Minimum:
    """FISTA: x₊ = prox_{tg}(y − t ∇f(y)), y₊ = x₊ + (θ − 1)/θ₊ (x₊ − x).

    Args:
        fn, x0, grad, max_iterations, callback: as in `gradus.optim.minimize`; `fn` is f, the smooth part.
        prox: (z, t) → prox_{tg}(z); for λ‖·‖₁ it is `lambda z, t: soft_threshold(z, t * lam)`.
        nonsmooth: g, which `fun` then includes.
        step: t = 1/L; found as it goes when None.
        restart: drop the momentum wherever it points uphill, (y − x₊)·(x₊ − x) > 0; False is the paper's method.
        gtol: bound on the gradient map, ‖y − x₊‖_∞ / t.
    """
    plan = Plan(prox, nonsmooth, step, momentum=True, restart=restart)
    return _split(fn, x0, plan, grad=grad, gtol=gtol, max_iterations=max_iterations, callback=callback)


@canon(
    "optim/projected-gradient",
    kind="minimizer",
    paper="Goldstein 1964, Convex programming in Hilbert space",
    names=("projected-gradient",),
    example=lambda: partial(projected_gradient, project=lambda x: x),
)
def projected_gradient(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    project: Callable[[Tensor], Tensor],
    step: float | None = None,
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    callback: Callback = None,
) -> Minimum:
    """Projected gradient descent: x₊ = P(x − t ∇f(x)).

    Args:
        fn, x0, grad, max_iterations, callback: as in `gradus.optim.minimize`; x0 is projected.
        project: x to the nearest point of the set, such as `project_simplex`.
        step: t = 1/L; when None, the spectral step of Barzilai and Borwein, shortened until f falls enough.
        gtol: bound on ‖x − P(x − t ∇f)‖_∞ / t.

    Deviations:
        Birgin, Martínez and Raydan allow f to rise now and then; here it falls with every step.
    """
    plan = Plan(lambda z, t: project(z), step=step, spectral=True, feasible=True)
    return _split(fn, x0, plan, grad=grad, gtol=gtol, max_iterations=max_iterations, callback=callback)
