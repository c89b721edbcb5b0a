"""Grad-CAM: where in the image a layer's channels argue for the target class.

    wₖ = mean over places of ∂f / ∂Aₖ ,      M = ReLU(Σₖ wₖ Aₖ)

A is the output of any layer: maps `[B, K, h, w]`, or tokens `[B, T, D]` of a vision transformer, whose D features are
the channels and whose last h·w tokens are the places.

References:
    Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks via gradient-based localization.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.probe import capture, target_scores

__all__ = ["grad_cam", "maps_of"]


@canon(
    "explain/grad-cam",
    kind="explainer",
    paper="Selvaraju et al. 2017, Grad-CAM: visual explanations from deep networks",
    names=("grad-cam",),
)
def grad_cam(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch channels height width"],
    *,
    target: int | Int[Tensor, " batch"],
    layer: nn.Module,
    grid: tuple[int, int] | None = None,
    relu: bool = True,
    upsample: bool = True,
) -> Float[Tensor, "batch 1 rows columns"]:
    """Attribute to places by a layer's channels, each weighted by its mean gradient.

    M = ReLU(Σₖ wₖ Aₖ) with wₖ = 1/Z Σᵢⱼ ∂f_target / ∂Aₖᵢⱼ

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        inputs: images.
        target: the class to explain, or one for each row.
        layer: a module that runs while `fn` does. In a transformer that reads a class token, one before the last
            attention: later, patches no longer reach the score.
        grid: height and width in tokens, for a layer of tokens; by default the largest grid of the image's shape.
        relu: keep only what speaks for the class.
        upsample: enlarge bilinearly to the images' size, else give the layer's own resolution.

    Returns:
        One channel of non-negative evidence (signed without `relu`), in score times activation.

    Raises:
        GradusError: if the layer did not run, gives neither maps nor tokens, or the score does not depend on it.

    References:
        Selvaraju et al. 2017, equations 1 and 2.
    """
    with torch.inference_mode(False), torch.enable_grad(), capture(layer, gradients=True) as captured:
        scores = target_scores(fn(inputs.detach().clone()), target)
        slopes = captured.gradient(scores, layer)
    size = (inputs.shape[2], inputs.shape[3])
    maps, slopes = (maps_of(part.detach(), size, grid) for part in (captured[layer], slopes))
    weights = slopes.mean(dim=(2, 3), keepdim=True)
    evidence = (weights * maps).sum(dim=1, keepdim=True)
    if relu:
        evidence = evidence.relu()
    return F.interpolate(evidence, size, mode="bilinear", align_corners=False) if upsample else evidence


def maps_of(
    output: Float[Tensor, "..."], size: tuple[int, int], grid: tuple[int, int] | None = None
) -> Float[Tensor, "batch features rows columns"]:
    """Return a layer's output as maps, tokens laid out on their grid without the leading class or register tokens.

    Args:
        output: maps `[B, K, h, w]` or tokens `[B, T, D]`.
        size: height and width of the images.
        grid: height and width in tokens; by default the largest grid of the image's proportions that T holds.

    Raises:
        GradusError: if the output is of another shape, or T is less than the grid.
    """
    if output.dim() == 4:
        return output
    if output.dim() != 3:
        raise GradusError(
            f"Grad-CAM needs a layer of maps [B, K, h, w] or tokens [B, T, D], not of shape {tuple(output.shape)}"
        )
    tokens = output.shape[1]
    rows, columns = grid or _largest_grid(tokens, *size)
    if rows < 1 or columns < 1 or rows * columns > tokens:
        raise GradusError(f"a layer of {tokens} tokens holds no grid of {rows} × {columns}; set grid=(rows, columns)")
    return output[:, tokens - rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))


def _largest_grid(tokens: int, height: int, width: int) -> tuple[int, int]:
    for rows in range(math.isqrt(tokens * height // width) + 1, 0, -1):
        columns = max(1, round(rows * width / height))
        if rows * columns <= tokens:
            return rows, columns
    return 1, tokens
