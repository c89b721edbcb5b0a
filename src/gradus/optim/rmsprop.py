"""RMSProp: divide the gradient by a running root mean square; optionally centred, optionally with momentum.

    s_t = α s_{t-1} + (1 − α) g_t²
    a_t = α a_{t-1} + (1 − α) g_t                      (centred: s_t − a_t² in place of s_t)
    b_t = μ b_{t-1} + g_t / (√s_t + ε),   θ_t = θ_{t-1} − η b_t

References:
    Tieleman and Hinton 2012, Lecture 6.5: RMSProp (Coursera, Neural networks for machine learning).
    Graves 2013, Generating sequences with recurrent neural networks (the centred form).
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["rmsprop"]

SQUARE, MEAN, VELOCITY = "square_avg", "grad_avg", "momentum_buffer"


@canon("optim/rmsprop", kind="optimizer", paper="Tieleman and Hinton 2012, Lecture 6.5: RMSProp")
def rmsprop(
    lr: float = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> Rule:
    """RMSProp: θ ← θ − η g / (√s + ε), where s averages g².

    Args:
        lr: η.
        alpha: α in [0, 1).
        eps: ε.
        momentum: μ in [0, 1).
        centered: divide by the standard deviation instead of the root mean square.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    settings: dict[str, Any] = {
        "alpha": inside("rmsprop", "alpha", alpha, 0, 1, open=True),
        "eps": inside("rmsprop", "eps", eps, 0),
        "momentum": inside("rmsprop", "momentum", momentum, 0, 1, open=True),
        "centered": centered,
    }
    slots = (SQUARE, *([MEAN] if centered else []), *([VELOCITY] if momentum else []))
    return Rule(
        name="rmsprop",
        lr=inside("rmsprop", "lr", lr, 0),
        weight_decay=inside("rmsprop", "weight_decay", weight_decay, 0),
        slots=dict.fromkeys(slots, zeros),
        step=partial(_step, **settings),
        settings=settings,
    )


def _step(part: Part, *, alpha: float, eps: float, momentum: float, centered: bool) -> None:
    grads: Tensors = part.grads
    slots = part.slots
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    torch._foreach_mul_(slots[SQUARE], alpha)
    torch._foreach_addcmul_(slots[SQUARE], grads, grads, 1 - alpha)
    if centered:
        torch._foreach_lerp_(slots[MEAN], grads, 1 - alpha)
        scale = torch._foreach_addcmul(slots[SQUARE], slots[MEAN], slots[MEAN], -1)
        torch._foreach_clamp_min_(scale, 0.0)  # rounding can leave a variance just below zero
        torch._foreach_sqrt_(scale)
    else:
        scale = torch._foreach_sqrt(slots[SQUARE])
    torch._foreach_add_(scale, eps)
    if momentum:
        torch._foreach_mul_(slots[VELOCITY], momentum)
        torch._foreach_addcdiv_(slots[VELOCITY], grads, scale)
        torch._foreach_add_(part.params, slots[VELOCITY], alpha=-part.lr)
    else:
        torch._foreach_addcdiv_(part.params, grads, scale, -part.lr)
