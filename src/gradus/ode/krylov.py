"""GMRES: solve A x = b when all that is known of A is v ↦ A v.

    x_m = argmin ‖b − A x‖ over x in span{b, A b, …, A^{m−1} b}

Arnoldi's orthonormal basis turns it into a small least-squares problem, triangulated by Givens rotations as it grows.

References:
    Saad and Schultz 1986, GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear systems.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["gmres"]


def gmres(
    product: Callable[[Tensor], Tensor], b: Float[Tensor, "n"], *, tol: float = 1e-10, max_iterations: int = 200
) -> Float[Tensor, "n"]:
    """Return x with ‖b − A x‖ ≤ tol ‖b‖, or the best of `max_iterations` products.

    Args:
        product: v ↦ A v on vectors like `b`.
        b: right-hand side.
        tol: relative size of the residual.
        max_iterations: largest number of products, and of basis vectors kept.
    """
    size = b.norm().item()
    if size == 0 or not math.isfinite(size):
        return torch.zeros_like(b) if size == 0 else b
    basis = [b / size]
    columns: list[list[float]] = []
    rotations: list[tuple[float, float]] = []
    residual = [size]
    for step in range(min(max_iterations, b.shape[0])):
        column, vector = _arnoldi(basis, product(basis[-1]))
        below = column[-1]
        for i, (c, s) in enumerate(rotations):
            column[i], column[i + 1] = c * column[i] + s * column[i + 1], c * column[i + 1] - s * column[i]
        length = math.hypot(column[step], column[step + 1])
        if length == 0 or not math.isfinite(length):
            break
        c, s = column[step] / length, column[step + 1] / length
        rotations.append((c, s))
        columns.append([*column[:step], length])
        residual = [*residual[:step], c * residual[step], -s * residual[step]]
        if abs(residual[-1]) <= tol * size or below == 0:
            break
        basis.append(vector)
    return _combine(basis, columns, residual, b)


def _arnoldi(basis: list[Tensor], vector: Tensor) -> tuple[list[float], Tensor]:
    """Return the coefficients of a vector in the basis, and what is left of it, of length 1."""
    stacked = torch.stack(basis)
    first = stacked @ vector
    vector = torch.addmv(vector, stacked.T, first, alpha=-1)
    # Once is not enough for orthogonality to working precision; twice is.
    second = stacked @ vector
    vector = torch.addmv(vector, stacked.T, second, alpha=-1)
    below = vector.norm().item()
    return [*(first + second).tolist(), below], vector / below if below else vector


def _combine(basis: list[Tensor], columns: list[list[float]], residual: list[float], b: Tensor) -> Tensor:
    """Return the combination of the basis that solves the triangular system."""
    weights = [0.0] * len(columns)
    for i in reversed(range(len(columns))):
        known = math.fsum(columns[j][i] * weights[j] for j in range(i + 1, len(columns)))
        weights[i] = (residual[i] - known) / columns[i][i]
    if not weights:
        return torch.zeros_like(b)
    return torch.stack(basis[: len(weights)]).T @ torch.tensor(weights, dtype=b.dtype, device=b.device)
