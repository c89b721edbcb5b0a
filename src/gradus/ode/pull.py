"""Vector–Jacobian products, as an ODE's adjoint asks for them thousands of times.

    pull(y, x, v) = vᵀ ∂y/∂x

`torch.autograd.grad` checks the shape of every given v by means of sympy, whose first import takes seconds and whose
checks take a quarter of the time of a small product. Shapes are known here, so autograd's engine is called directly.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["pull", "pull_rows"]

FEW = 8
"""Up to so many products a loop is quicker than vmap."""
_ENGINE = getattr(getattr(torch.autograd, "Variable", None), "_execution_engine", None)


def pull(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    *,
    retain: bool = False,
    create: bool = False,
) -> tuple[Tensor | None, ...]:
    """Return Σ seedᵀ ∂output/∂input for every input; None where no output depends on it.

    Args:
        outputs: tensors with a graph.
        inputs: what to differentiate by; they require gradients.
        seeds: in the shapes of the outputs.
        retain: keep the graph for another product.
        create: make the product differentiable; keeps the graph too.
    """
    keep = retain or create
    if _ENGINE is None:
        return torch.autograd.grad(outputs, inputs, seeds, retain_graph=keep, create_graph=create, allow_unused=True)
    return _ENGINE.run_backward(
        tuple(outputs), tuple(seeds), keep, create, tuple(inputs), allow_unreachable=True, accumulate_grad=False
    )


def pull_rows(output: Tensor, point: Tensor, seeds: Tensor) -> Tensor | None:
    """Return the products for a batch of seeds at once; None where the output does not depend on the point.

    Args:
        output: with a graph.
        point: what to differentiate by.
        seeds: of shape (rows, *output.shape).
    """
    (first,) = pull((output,), (point,), (seeds[0],), retain=True)
    if first is None:
        return None
    if len(seeds) <= FEW:
        rest = [pull((output,), (point,), (seed,), retain=True)[0] for seed in seeds[1:]]
        return torch.stack([first, *rest])  # type: ignore[list-item]
    return torch.vmap(lambda seed: pull((output,), (point,), (seed,), retain=True)[0])(seeds)
