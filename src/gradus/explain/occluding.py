"""Occlusion: cover one window at a time and see how far the target's score falls.

    aᵢ = mean over windows R that cover i of  f(x) − f(x with R replaced by the baseline)

All windows of all rows are evaluated in blocks of `chunk`. A window is a product of intervals, one for each axis, so
masks are outer products, and the mean over windows is one small contraction after another.

References:
    Zeiler and Fergus 2014, Visualizing and understanding convolutional networks.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.explain.baseline import baseline_like
from gradus.explain.perturbation import variant_scores

__all__ = ["occlusion"]


def _tiny() -> Callable[..., Tensor]:
    return partial(occlusion, window=2, stride=2, chunk=7)


@canon(
    "explain/occlusion",
    kind="explainer",
    paper="Zeiler and Fergus 2014, Visualizing and understanding convolutional networks",
    names=("occlusion",),
    example=_tiny,
)
def occlusion(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    *,
    target: int | Int[Tensor, " batch"],
    window: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    baselines: Float[Tensor, "..."] | float | None = None,
    chunk: int = 256,
) -> Float[Tensor, "batch *shape"]:
    """Attribute by the fall of the score when a window is covered.

    aᵢ = |{R ∋ i}|⁻¹ Σ_{R ∋ i} (f(x) − f(x with R covered))

    Args:
        fn: maps a batch to scores `[batch, classes]`; it need not be differentiable.
        inputs: `[B, C, H, W]` or `[B, C, L]` (windows cover all channels), or `[B, features]`.
        target: the class to explain, or one for each row.
        window: places along each axis, or one number for all; by default a seventh of each axis, of a table one.
        stride: places between windows, at most the window; by default half of it.
        baselines: what covers: one value, a tensor that broadcasts to the inputs, or None for zero.
        chunk: most covered inputs in one call of `fn`; it bounds memory and does not change the result.

    Returns:
        Mean fall of the score over the windows on each place, shaped as the inputs, the same in all channels.

    Raises:
        GradusError: if windows do not fit or leave gaps, or a target is not among the classes.

    References:
        Zeiler and Fergus 2014, section 4.2.

    Deviations:
        The paper shows the covered score itself, and its overlapping windows are not averaged over the places.
    """
    if inputs.dim() < 2:
        raise GradusError(f"occlusion needs inputs [batch, …], not of shape {tuple(inputs.shape)}")
    size = tuple(inputs.shape[2:]) or (inputs.shape[1],)
    if window is None:
        window = 1 if inputs.dim() == 2 else tuple(-(-extent // 7) for extent in size)
    if stride is None:
        stride = max(1, window // 2) if isinstance(window, int) else tuple(max(1, extent // 2) for extent in window)
    axes = _intervals(size, window, stride, inputs.device)
    order = torch.cartesian_prod(*(torch.arange(len(axis), device=inputs.device) for axis in axes))
    order = order.view(-1, len(axes))
    start = baseline_like(inputs, baselines)
    channels = (1,) * (inputs.dim() - 1 - len(size))

    def covered(rows: slice, some: slice) -> Tensor:
        mask = _windows(axes, order[some]).view(-1, 1, *channels, *size)
        return torch.where(mask, start[rows], inputs[rows])

    ask = partial(variant_scores, fn, batch=len(inputs), target=target, chunk=chunk)
    fall = ask(lambda rows, some: inputs[rows].unsqueeze(0), variants=1) - ask(covered, variants=len(order))
    fall = fall.view(*map(len, axes), -1)
    covers = torch.ones((), dtype=fall.dtype, device=fall.device)
    for axis in axes:
        fall = torch.tensordot(fall, axis.to(fall.dtype), dims=([0], [0]))
        covers = covers.unsqueeze(-1) * axis.sum(0)
    return (fall / covers).view(-1, *channels, *size).expand_as(inputs).to(inputs.dtype).contiguous()


def _intervals(
    size: tuple[int, ...], window: int | tuple[int, ...], stride: int | tuple[int, ...], device: torch.device
) -> list[Bool[Tensor, "starts extent"]]:
    """Return for each axis which places each interval covers; the last may reach beyond the edge and is cut there."""
    windows, strides = (
        part if isinstance(part, tuple) else tuple(min(part, extent) for extent in size) for part in (window, stride)
    )
    if not len(size) == len(windows) == len(strides):
        raise GradusError(f"window {windows} and stride {strides} need one entry for each axis of {size}")
    if not all(0 < step <= width <= extent for step, width, extent in zip(strides, windows, size, strict=True)):
        raise GradusError(f"occlusion needs 0 < stride ≤ window ≤ size, not stride {strides}, window {windows}, {size}")
    axes = []
    for extent, width, step in zip(size, windows, strides, strict=True):
        starts = torch.arange(-(-(extent - width) // step) + 1, device=device).unsqueeze(1) * step
        places = torch.arange(extent, device=device)
        axes.append((places >= starts) & (places < starts + width))
    return axes


def _windows(axes: list[Bool[Tensor, "_ _"]], chosen: Int[Tensor, "windows axes"]) -> Bool[Tensor, "windows *size"]:
    """Return windows as masks: outer products of one interval for each axis."""
    masks = torch.ones(len(chosen), dtype=torch.bool, device=chosen.device)
    for axis, index in zip(axes, chosen.T, strict=True):
        masks = masks.unsqueeze(-1) & axis[index].view(len(chosen), *[1] * (masks.dim() - 1), -1)
    return masks
