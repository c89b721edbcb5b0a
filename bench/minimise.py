"""Our BFGS beside SciPy's on Rosenbrock's function, both given the same torch function and its gradient.

What is the same: the function, its gradient by autograd, float64, the first point (−1.2, 1, −1.2, 1, …), gtol = 1e-5
on ‖∇f‖_∞, H₀ = 1, the constants of the Wolfe conditions. SciPy gets value and gradient in one call (`jac=True`) as a
NumPy array that shares the tensor's memory, so no copy is charged to it.

What differs: ours changes H by one product of rank two, O(n²), where SciPy multiplies full matrices, O(n³); a trial
that its line search turns down costs us no backward pass; values and slopes are the only numbers read off tensors.
`ratio` is our time over SciPy's, the median over the rounds.
"""

from typing import Any

import torch
from torch import Tensor

from bench.turns import Advance, interleave, milliseconds, paired
from gradus.errors import GradusError
from gradus.optim import minimize
from gradus.optim.surfaces import rosenbrock

__all__ = ["bfgs", "bfgs_iterations"]

GTOL = 1e-5


def bfgs(rounds: int = 15, n: int = 100) -> dict[str, float]:
    """Minimise until the gradient is small: a turn is a whole minimisation.

    Args:
        rounds: how many are kept.
        n: unknowns, an even number.
    """
    found, times = _race(n, None, rounds)
    for name, end in found.items():
        assert end["residual"] <= GTOL, f"{name} stopped before its gradient was small"
    far = abs(found["gradus"]["fun"] - found["scipy"]["fun"])
    assert far < 1e-6, f"the two sides ended in different minima, {far} apart"
    return {**paired(times, "gradus", "scipy"), **milliseconds(times), **_flat(found), "n": float(n)}


def bfgs_iterations(rounds: int = 5, n: int = 1000, iterations: int = 20) -> dict[str, float]:
    """Make a fixed number of iterations, where a whole minimisation would take SciPy an hour.

    Args:
        rounds: how many are kept.
        n: unknowns, an even number.
        iterations: of a turn, from the start each time.
    """
    found, times = _race(n, iterations, rounds)
    assert found["gradus"]["nit"] == found["scipy"]["nit"] == iterations, "the sides made different numbers of steps"
    return {**paired(times, "gradus", "scipy"), **milliseconds(times), **_flat(found), "n": float(n)}


Ends = dict[str, dict[str, float]]


def _race(n: int, iterations: int | None, rounds: int) -> tuple[Ends, dict[str, list[float]]]:
    """Return where each side ended with how many evaluations, and the times of every round."""
    x0 = torch.tensor([-1.2, 1.0], dtype=torch.float64).repeat(n // 2)
    found: Ends = {}
    sides = {"gradus": _ours(x0, iterations, found), "scipy": _theirs(x0, iterations, found)}
    times = interleave(sides, chunk=1, rounds=rounds, warmup=1)
    return found, times


def _ours(x0: Tensor, iterations: int | None, found: Ends) -> Advance:
    def advance(steps: int) -> None:
        for _ in range(steps):
            end = minimize(rosenbrock, x0, method="bfgs", gtol=GTOL, max_iterations=iterations)
        found["gradus"] = _end(end, end.residual)

    return advance


def _theirs(x0: Tensor, iterations: int | None, found: Ends) -> Advance:
    try:
        from scipy.optimize import minimize as peer
    except ImportError:
        raise GradusError("this benchmark stands beside scipy, which is missing: run `make bench`") from None

    def value_and_gradient(x: Any) -> tuple[float, Any]:
        leaf = torch.from_numpy(x).requires_grad_()
        value = rosenbrock(leaf)
        (grad,) = torch.autograd.grad(value, leaf)
        return value.item(), grad.numpy()

    options = {"gtol": GTOL, **({} if iterations is None else {"maxiter": iterations})}
    start = x0.numpy()

    def advance(steps: int) -> None:
        for _ in range(steps):
            end = peer(value_and_gradient, start, jac=True, method="BFGS", options=options)
        found["scipy"] = _end(end, float(abs(end.jac).max()))

    return advance


def _end(end: Any, residual: float) -> dict[str, float]:
    counts = {name: float(getattr(end, name)) for name in ("fun", "nit", "nfev", "njev")}
    return {**counts, "residual": residual}


def _flat(found: Ends) -> dict[str, float]:
    return {f"{side}_{name}": value for side, end in found.items() for name, value in end.items()}
