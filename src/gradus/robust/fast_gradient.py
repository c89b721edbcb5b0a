"""FGSM: one step of full length along the sign of the gradient.

    x′ = x + ε sign ∇ₓ CE(f(x), y)

On a linear model it is the worst case: the margin falls by ε ‖w‖₁, and nothing in the ball does more.

References:
    Goodfellow, Shlens and Szegedy 2015, Explaining and harnessing adversarial examples.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.canon import canon
from gradus.robust.ball import BALLS, check_eps, move
from gradus.robust.goal import Goal

__all__ = ["fgsm"]


@canon(
    "robust/fgsm",
    kind="attack",
    paper="Goodfellow et al. 2015, Explaining and harnessing adversarial examples",
    names=("fgsm",),
)
def fgsm(
    fn: Callable[[Tensor], Tensor],
    inputs: Float[Tensor, "batch *shape"],
    labels: Int[Tensor, " batch"],
    *,
    eps: float = 8 / 255,
    targeted: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """Attack by one signed gradient step.

    x′ = x + ε sign ∇ₓ CE(f(x), y), or x − ε sign ∇ₓ CE(f(x), t) towards a target t.

    Args:
        fn: maps a batch in [0, 1] to scores `[batch, classes]`.
        inputs: the batch, in [0, 1].
        labels: the true classes, or, when targeted, the wanted ones.
        eps: largest change of any value.
        targeted: whether `labels` is what the model shall say.

    Returns:
        Adversarial inputs, in [0, 1] and within `eps` exactly.

    Raises:
        GradusError: if inputs lie outside [0, 1], a label is not among the classes, `eps` is negative, or `fn` is not
            differentiable.

    References:
        Goodfellow et al. 2015, section 4.
    """
    check_eps(eps)
    inputs = inputs.detach()
    rows = torch.arange(len(inputs), device=inputs.device)
    _, _, gradients = Goal(fn, inputs, labels, targeted).climb(inputs, rows)
    ball = BALLS["linf"]
    return move(inputs, ball.shrink(eps * ball.steepest(gradients), eps))
