"""Fixed points of a batch of maps: z* = f(z*), found for every sample on its own.

    iterate:  z ← f(z)    converges where f contracts, at the rate of its Lipschitz constant
    anderson, broyden:  use what earlier values of the residual f(z) − z say about its inverse Jacobian

A sample is done when ‖f(z) − z‖ ≤ tol · (1 + ‖z‖) in root mean square; it then stands still while the others go on,
so that its answer does not hang on its company.

References:
    Banach 1922, Sur les opérations dans les ensembles abstraits.
    Bai, Kolter and Koltun 2019, Deep equilibrium models.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError, nearest

__all__ = ["FixedPoint", "Search", "fixed_point", "iterate"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FixedPoint:
    """What a search has found; without gradients.

    Attributes:
        z: for every sample the point with the least residual.
        residual: ‖f(z) − z‖ / (1 + ‖z‖) there.
        iterations: evaluations of f that a sample took part in before it was done.
        converged: whether the residual is within the tolerance.
        nfev: evaluations of f on the whole batch.
    """

    z: Float[Tensor, "batch *shape"]
    residual: Float[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]
    nfev: int


def fixed_point(
    f: Map,
    z0: Float[Tensor, "batch *shape"],
    *,
    method: str = "anderson",
    tol: float = 1e-5,
    max_iterations: int = 100,
    **settings: Any,
) -> FixedPoint:
    """Find z* = f(z*) for every sample of a batch.

    Args:
        f: keeps the shape; no sample looks at another.
        z0: where to start.
        method: "anderson", "broyden" or "iterate".
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖).
        max_iterations: evaluations of f at most.
        settings: the method's own.

    Returns:
        The points and how good they are; one that has not converged is said to have not, and is not an error.

    Raises:
        GradusError: for an unknown method or setting, or where f is not finite or changes the shape.
    """
    search, known = _method(method)
    for name in settings:
        if name not in known:
            raise GradusError(f"fixed-point method {method!r} has no setting {name!r}{nearest(name, known)}")
    return search(f, z0, tol=tol, max_iterations=max_iterations, **settings)


@cache
def _method(name: str) -> tuple[Callable[..., FixedPoint], tuple[str, ...]]:
    """Return a search by its name, and the names of its own settings."""
    entry = registry.lookup("fixed_point", name, "fixed-point method")
    return registry.load(entry), tuple(set(entry.parameters) - {"f", "z0", "tol", "max_iterations"})


class Search:
    """The part that every method shares: evaluates, measures, keeps the best, and stops.

    Args:
        f: the map.
        z0: where to start.
        tol: when a sample is done.
        max_iterations: evaluations at most.

    Raises:
        GradusError: for settings out of range or a start that is not finite.
    """

    def __init__(self, f: Map, z0: Tensor, tol: float, max_iterations: int) -> None:
        if z0.dim() == 0 or not z0.is_floating_point() or z0.numel() == 0:
            raise GradusError(f"z0 of shape {tuple(z0.shape)} is no batch of floating-point states; add a first axis")
        if not 0 < tol < math.inf or max_iterations < 1:
            raise GradusError(f"fixed_point: tol={tol} and max_iterations={max_iterations} must be positive")
        self.f, self.tol, self.limit = f, tol, max_iterations
        self.shape, self.n = z0.shape, z0.shape[0]
        self.best = z0.detach().reshape(self.n, -1).clone()
        self.residual = z0.new_full((self.n,), math.inf)
        self.iterations = torch.zeros(self.n, dtype=torch.int64, device=z0.device)
        self.open = torch.ones(self.n, dtype=torch.bool, device=z0.device)
        self.nfev, self.running = 0, True

    def value(self, z: Tensor) -> Tensor:
        """Return f(z) for rows z, after noting how far it is from z; `running` says whether to go on.

        Samples that are done are not looked at again, whatever becomes of their rows.
        """
        image = self.f(z.view(self.shape))
        if image.shape != self.shape:
            raise GradusError(f"the map turned {tuple(self.shape)} into {tuple(image.shape)}; it has to keep the shape")
        self.nfev += 1
        image = image.detach().reshape(self.n, -1)
        width = image.shape[1] ** 0.5
        size = (image - z).norm(dim=1) / width / (1 + z.norm(dim=1) / width)
        self.iterations += self.open
        better = self.open & (size < self.residual)
        self.best = torch.where(better[:, None], z, self.best)
        self.residual = torch.where(better, size, self.residual)
        self.open = self.open & ~(size <= self.tol)
        lost, left = torch.stack([(~size.isfinite() & self.open).any(), self.open.any()]).tolist()
        if lost and self.nfev == 1:
            raise GradusError("the map is not finite at z0: start elsewhere, or look for a division by zero in it")
        self.running = left and self.nfev < self.limit
        return image

    def result(self) -> FixedPoint:
        """Return what was found."""
        return FixedPoint(self.best.view(self.shape), self.residual, self.iterations, ~self.open, self.nfev)


@canon("ode/iterate", kind="fixed_point", paper="Banach 1922, Sur les opérations dans les ensembles abstraits")
@torch.no_grad()
def iterate(
    f: Map, z0: Float[Tensor, "batch *shape"], tol: float = 1e-5, max_iterations: int = 100, damping: float = 0.0
) -> FixedPoint:
    """Apply the map again and again: z ← (1 − d) f(z) + d z.

    Args:
        f: keeps the shape.
        z0: where to start.
        tol: bound of ‖f(z) − z‖ / (1 + ‖z‖).
        max_iterations: evaluations of f at most.
        damping: d in [0, 1).

    Raises:
        GradusError: where f is not finite at z0 or changes the shape.
    """
    if not 0 <= damping < 1:
        raise GradusError(f"fixed_point: damping={damping} is out of range; give a number in [0, 1)")
    search, z = Search(f, z0, tol, max_iterations), z0.reshape(len(z0), -1)
    while search.running:
        image = search.value(z)
        z = torch.where(search.open[:, None], torch.lerp(image, z, damping), z)
    return search.result()
