"""Adadelta: steps in the parameters' own units, from a running root mean square of the steps themselves.

    s_t = ρ s_{t-1} + (1 − ρ) g_t²
    δ_t = √(d_{t-1} + ε) / √(s_t + ε) · g_t
    d_t = ρ d_{t-1} + (1 − ρ) δ_t²,   θ_t = θ_{t-1} − η δ_t

References:
    Zeiler 2012, ADADELTA: an adaptive learning rate method.
Deviations:
    A learning rate η, which the paper does without (η = 1), so that schedules have something to act on.
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["adadelta"]

SQUARE, STEPS = "square_avg", "acc_delta"


@canon("optim/adadelta", kind="optimizer", paper="Zeiler 2012, ADADELTA: an adaptive learning rate method")
def adadelta(lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0) -> Rule:
    """Adadelta: θ ← θ − η g √(d + ε) / √(s + ε), where s averages g² and d the squares of the steps.

    Args:
        lr: η.
        rho: ρ in [0, 1).
        eps: ε, which also sets the size of the very first steps, √ε.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    settings: dict[str, Any] = {
        "rho": inside("adadelta", "rho", rho, 0, 1, open=True),
        "eps": inside("adadelta", "eps", eps, 0),
    }
    return Rule(
        name="adadelta",
        lr=inside("adadelta", "lr", lr, 0),
        weight_decay=inside("adadelta", "weight_decay", weight_decay, 0),
        slots=dict.fromkeys((SQUARE, STEPS), zeros),
        step=partial(_step, **settings),
        settings=settings,
    )


def _step(part: Part, *, rho: float, eps: float) -> None:
    grads: Tensors = part.grads
    square, steps = part.slots[SQUARE], part.slots[STEPS]
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    torch._foreach_mul_(square, rho)
    torch._foreach_addcmul_(square, grads, grads, 1 - rho)
    scale = torch._foreach_add(square, eps)
    torch._foreach_sqrt_(scale)
    delta = torch._foreach_add(steps, eps)
    torch._foreach_sqrt_(delta)
    torch._foreach_div_(delta, scale)
    torch._foreach_mul_(delta, grads)
    torch._foreach_mul_(steps, rho)
    torch._foreach_addcmul_(steps, delta, delta, 1 - rho)
    torch._foreach_add_(part.params, delta, alpha=-part.lr)
