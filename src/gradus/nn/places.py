"""Which places of padded sequences hold something, and what a sequence is when its places are pooled.

mean   1/n Σ_{t < n} h_t            max   max_{t < n} h_t
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

__all__ = ["inside", "pooled"]


def inside(
    rows: Shaped[Tensor, "batch time *features"], lengths: Int[Tensor, " batch"] | None
) -> Bool[Tensor, "batch time"]:
    """Return which places are in front of their row's end.

    Args:
        rows: padded behind their ends.
        lengths: of the rows; all as long as the batch where None.
    """
    if lengths is None:
        return torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    return torch.arange(rows.shape[1], device=rows.device) < lengths.to(rows.device)[:, None]


def pooled(
    rows: Float[Tensor, "batch time features"], there: Bool[Tensor, "batch time"], pooling: Literal["mean", "max"]
) -> Float[Tensor, "batch features"]:
    """Return one vector for each row, zero where nothing is there.

    Args:
        rows: features of each place.
        there: which places count.
        pooling: mean or max.
    """
    if pooling == "mean":
        return (rows * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1)
    highest = rows.masked_fill(~there[..., None], -torch.inf).amax(1)
    return torch.where(there.any(1, keepdim=True), highest, 0)
