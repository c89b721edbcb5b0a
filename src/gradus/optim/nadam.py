"""NAdam: Adam whose first moment looks one step ahead, as Nesterov's momentum does.

    μ_t = β₁ (1 − ½ 0.96^{ψ t}),              Π_t = μ_1 μ_2 … μ_t
    m_t = β₁ m_{t-1} + (1 − β₁) g_t,          v_t = β₂ v_{t-1} + (1 − β₂) g_t²
    m̂ = μ_{t+1} m_t / (1 − Π_{t+1}) + (1 − μ_t) g_t / (1 − Π_t)
    θ_t = θ_{t-1} − η m̂ / (√(v_t / (1 − β₂^t)) + ε)

References:
    Dozat 2016, Incorporating Nesterov momentum into Adam.
    Loshchilov and Hutter 2019, Decoupled weight decay regularization.
Deviations:
    The running mean m weighs by β₁ and only the look-ahead by μ_t, as every implementation in use does.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["nadam"]

FIRST, SECOND, PRODUCT = "exp_avg", "exp_avg_sq", "mu_product"
WARMING = 0.96  # of the momentum: μ rises from β₁ / 2 to β₁


@canon("optim/nadam", kind="optimizer", paper="Dozat 2016, Incorporating Nesterov momentum into Adam")
def nadam(
    lr: float = 2e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
) -> Rule:
    """NAdam: θ ← θ − η m̂ / (√v̂ + ε), where m̂ is already the momentum of the next step.

    Args:
        lr: η.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε.
        weight_decay: λ.
        momentum_decay: ψ ≥ 0, how quickly μ rises from β₁ / 2 to β₁.
        decoupled_weight_decay: shrink the weights by 1 − ηλ instead of adding λθ to the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    fixed: dict[str, Any] = {
        "beta1": inside("nadam", "betas[0]", betas[0], 0, 1, open=True),
        "beta2": inside("nadam", "betas[1]", betas[1], 0, 1, open=True),
        "eps": inside("nadam", "eps", eps, 0),
        "psi": inside("nadam", "momentum_decay", momentum_decay, 0),
        "decoupled": decoupled_weight_decay,
    }
    return Rule(
        name="nadam",
        lr=inside("nadam", "lr", lr, 0),
        weight_decay=inside("nadam", "weight_decay", weight_decay, 0),
        slots={FIRST: zeros, SECOND: zeros, PRODUCT: _one},
        step=partial(_step, **fixed),
        settings={
            "betas": betas,
            "eps": eps,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        },
    )


def _one(param: Tensor) -> Tensor:
    """Return Π_0, on the CPU wherever the parameter is: it is read at every step, which must not wait for a device."""
    return torch.ones((), dtype=torch.float64)


def _step(part: Part, *, beta1: float, beta2: float, eps: float, psi: float, decoupled: bool) -> None:
    grads: Tensors = part.grads
    slots = part.slots
    if part.weight_decay and decoupled:
        torch._foreach_mul_(part.params, 1 - part.lr * part.weight_decay)
    elif part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    now, ahead = (beta1 * (1 - 0.5 * WARMING ** (psi * t)) for t in (part.step, part.step + 1))
    torch._foreach_mul_(slots[PRODUCT], now)
    product = slots[PRODUCT][0].item()  # the same for all that have made as many steps
    torch._foreach_lerp_(slots[FIRST], grads, 1 - beta1)
    torch._foreach_mul_(slots[SECOND], beta2)
    torch._foreach_addcmul_(slots[SECOND], grads, grads, 1 - beta2)
    # √v̂ + ε = (√v + ε c) / c: one pass over memory less.
    correction = (1 - beta2**part.step) ** 0.5
    scale = torch._foreach_sqrt(slots[SECOND])
    torch._foreach_add_(scale, eps * correction)
    rate = -part.lr * correction
    torch._foreach_addcdiv_(part.params, grads, scale, rate * (1 - now) / (1 - product))
    torch._foreach_addcdiv_(part.params, slots[FIRST], scale, rate * ahead / (1 - product * ahead))
