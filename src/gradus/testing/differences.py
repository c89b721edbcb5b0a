"""Central differences: what a gradient has to equal.

∂f/∂xᵢ ≈ (f(x + h eᵢ) − f(x − h eᵢ)) / 2h,   with an error of order h² and rounding of order 1/h
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["central_differences"]


def central_differences(
    fn: Callable[[Tensor], Tensor], x: Float[Tensor, "*shape"], step: float = 1e-6
) -> Float[Tensor, "*shape"]:
    """Return the gradient of a scalar function by central differences.

    Args:
        fn: maps a tensor like x to one number.
        x: where, in double precision.
        step: h.
    """
    assert x.dtype == torch.float64, "differences of single-precision numbers are mostly rounding"
    flat = x.detach().flatten()
    found = torch.empty_like(flat)
    for i in range(flat.numel()):
        bump = torch.zeros_like(flat)
        bump[i] = step
        found[i] = (fn((flat + bump).view_as(x)) - fn((flat - bump).view_as(x))) / (2 * step)
    return found.view_as(x)
