"""The plain gradient, the smallest explainer: how fast the target's score changes with every input value.

    a = ∂ f_target(x) / ∂x

References:
    Simonyan, Vedaldi and Zisserman 2014, Deep inside convolutional networks: visualising image classification
    models and saliency maps.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.nn.probe import input_gradient

__all__ = ["gradient"]


@canon(
    "explain/gradient",
    kind="explainer",
    paper="Simonyan et al. 2014, Deep inside convolutional networks",
    names=("gradient", "saliency"),
)
def gradient(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    *,
    target: int | Int[Tensor, " batch"],
    absolute: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """Attribute by the gradient of the target's score.

    a = ∂ f_target(x) / ∂x, or its absolute value.

    Args:
        fn: maps a batch to scores `[batch, classes]`.
        inputs: what to explain.
        target: the class to explain, or one for each row.
        absolute: drop the sign, as saliency maps do.

    Returns:
        Score per unit of input, shaped as the inputs.

    Raises:
        GradusError: if a target is not among the classes, or `fn` is not differentiable in its input.

    References:
        Simonyan et al. 2014, section 3.

    Deviations:
        The paper takes the largest absolute value over the channels; here channels stay apart.
    """
    attributions = input_gradient(fn, inputs, target)
    return attributions.abs() if absolute else attributions
