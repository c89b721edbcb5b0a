"""`minimize`: one door to every registered minimiser, on tensors of any shape, with SciPy's fields in the answer.

    x* = argmin f(x)        subject to  h(x) = 0,  g(x) ≤ 0        where there are constraints

References:
    Nocedal and Wright 2006, Numerical optimization.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from gradus import canon as registry
from gradus.errors import GradusError
from gradus.optim.constrained import complete
from gradus.optim.descent import Search
from gradus.optim.objective import Callback, Function, Gradient, Minimum

__all__ = ["minimize"]

CONSTRAINED, OUTER = "augmented-lagrangian", ("penalty",)


def minimize(
    fn: Function,
    x0: Float[Tensor, "*shape"],
    *,
    method: str = "bfgs",
    grad: Gradient = None,
    gtol: float = 1e-5,
    max_iterations: int | None = None,
    line_search: Search | None = None,
    equality: Callable[[Tensor], Tensor] | None = None,
    inequality: Callable[[Tensor], Tensor] | None = None,
    callback: Callback = None,
    **settings: Any,
) -> Minimum:
    """Minimise a function of a tensor.

    Args:
        fn: f, a tensor of x0's shape and dtype to a scalar tensor.
        x0: the first point, float32 or float64, on any device; it is not changed.
        method: `bfgs`, `lbfgs`, `dfp`, `sr1`, `newton`, `cg`, `gd`; `ista` and `fista` (with `prox=`),
            `projected-gradient` (with `project=`), `augmented-lagrangian`. With constraints, the method that minimises
            the augmented Lagrangian.
        grad: None lets autograd differentiate f; True says that `fn` returns (value, gradient); a function gives ∇f.
        gtol: ends when the largest |∂f/∂xᵢ| is at most this (with constraints, the residual of the KKT conditions).
        max_iterations: bound on the iterations; None for a generous one.
        line_search: `wolfe`, `armijo`, `exact` or a function like them, for the methods that search; theirs when None.
        equality: h, x to a tensor that is to be zero.
        inequality: g, x to a tensor that is to be at most zero.
        callback: called with a `Minimum` after every iteration; raising StopIteration ends the search.
        settings: the method's own: `memory` of lbfgs, `damping` of bfgs, dfp and newton, `hess` of newton, ….

    Returns:
        x, fun, jac, nit, nfev, njev, success, status, message, residual, multipliers.

    Raises:
        GradusError: for an unknown method or setting, an objective that is no scalar or not finite (naming the
            iteration and the place), or an x0 that cannot be optimised.
    """
    entry = registry.lookup("minimizer", method)
    if line_search is not None:
        settings["line_search"] = line_search
    rest = {"gtol": gtol, "max_iterations": max_iterations, "callback": callback}
    given = {"equality": equality, "inequality": inequality}
    constraints = {kind: constraint for kind, constraint in given.items() if constraint is not None}
    if constraints and entry.names[0] != CONSTRAINED:
        outer = {name: settings.pop(name) for name in OUTER if name in settings}
        outer |= {"inner": method, "settings": settings}
        entry, settings = registry.lookup("minimizer", CONSTRAINED), outer
    else:
        complete(entry, settings)
    if grad is not None:
        if "grad" not in entry.parameters:
            raise GradusError(f"minimizer {entry.names[0]!r} takes its gradients from autograd; leave grad= out")
        settings["grad"] = grad
    return registry.load(entry)(fn, x0, **constraints, **rest, **settings)
