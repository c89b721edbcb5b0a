"""Baselines: the input that stands for "nothing here", against which attributions are measured.

References:
    Sturmfels, Lundberg and Lee 2020, Visualizing the impact of feature attribution baselines.
"""

from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["baseline_like"]


def baseline_like(
    inputs: Float[Tensor, "batch *shape"], baselines: Float[Tensor, "..."] | float | None
) -> Float[Tensor, "batch *shape"]:
    """Return the baseline of every row.

    Args:
        inputs: what is explained; it gives shape, dtype and device.
        baselines: a value for all places, a tensor that broadcasts to the inputs, or None for zero.

    Raises:
        GradusError: if a tensor does not broadcast.
    """
    if not isinstance(baselines, Tensor):
        return inputs.new_full((), 0.0 if baselines is None else baselines).expand_as(inputs)
    try:
        return baselines.detach().to(inputs).expand_as(inputs)
    except RuntimeError:
        raise GradusError(
            f"baselines of shape {tuple(baselines.shape)} do not broadcast to inputs of shape {tuple(inputs.shape)}"
        ) from None
