"""Gradient clipping: by the norm of all gradients together, or by value.

    g ← g · min(1, c / (‖g‖ + 10⁻⁶)),   ‖g‖² = Σ_i ‖g_i‖²        by norm, which keeps the direction
    g ← min(max(g, −c), c)                                        by value, which does not

Nothing waits for the device: the norm comes back as a tensor, and the caller reads it when it logs. A norm that is not
finite is returned as it is; the gradients are then unusable (NaN or zero), and the caller must drop the step.

References:
    Pascanu, Mikolov and Bengio 2013, On the difficulty of training recurrent neural networks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.optim.settings import inside

__all__ = ["clip_norm_", "clip_value_", "global_norm"]

HALVES = (torch.float16, torch.bfloat16)


def global_norm(grads: Sequence[Tensor | None]) -> Float[Tensor, ""]:
    """Return ‖g‖, the 2-norm of all the gradients as one vector, on the first one's device and at least in float32.

    Args:
        grads: any shapes, devices and dtypes; None counts as zero.
    """
    with torch.no_grad():
        norms: list[Tensor] = []
        for group in _groups(grads):
            wide = torch.float32 if group[0].dtype in HALVES else None
            norms += torch._foreach_norm(group, 2, dtype=wide)
        if not norms:
            return torch.zeros(())
        first = norms[0]
        dtype = torch.float64 if any(norm.dtype is torch.float64 for norm in norms) else first.dtype
        total = torch.linalg.vector_norm(torch.stack([norm.to(first.device, dtype) for norm in norms]))
        # A sharded gradient's norm is a sum over ranks that is still owed.
        return total.full_tensor() if hasattr(total, "full_tensor") else total


def clip_norm_(grads: Sequence[Tensor | None], max_norm: float) -> Float[Tensor, ""]:
    """Scale the gradients in place so that their global norm is at most `max_norm`; return the norm before.

    Args:
        grads: gradients; None is skipped.
        max_norm: c > 0.

    Raises:
        GradusError: for a negative or non-finite `max_norm`.
    """
    inside("clip", "max_norm", max_norm, 0)
    norm = global_norm(grads)
    with torch.no_grad():
        scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in _groups(grads):
            torch._foreach_mul_(group, scale.to(group[0].device))
    return norm


def clip_value_(grads: Sequence[Tensor | None], limit: float) -> None:
    """Clamp every element of the gradients in place to [−limit, limit]; NaN stays NaN.

    Raises:
        GradusError: for a negative or non-finite `limit`.
    """
    inside("clip", "limit", limit, 0)
    with torch.no_grad():
        for group in _groups(grads):
            torch._foreach_clamp_min_(group, -limit)
            torch._foreach_clamp_max_(group, limit)


def _groups(grads: Sequence[Tensor | None]) -> list[list[Tensor]]:
    """Return the gradients there are, gathered by device and dtype, as the foreach kernels want them."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for grad in grads:
        if grad is not None:
            groups.setdefault((grad.device, grad.dtype), []).append(grad)
    return list(groups.values())
