"""Yogi: Adam whose second moment moves by at most (1 − β₂) g², so that it never forgets quickly.

    m_t = β₁ m_{t-1} + (1 − β₁) g_t
    v_t = v_{t-1} − (1 − β₂) sign(v_{t-1} − g_t²) g_t²,   v_0 = a
    θ_t = θ_{t-1} − η m_t / (√v_t + ε)

Where v is above g², Adam lets it fall in proportion to v, however rare large gradients are; Yogi in proportion to g².

References:
    Zaheer et al. 2018, Adaptive methods for nonconvex optimization.
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, filled, zeros
from gradus.optim.settings import inside

__all__ = ["yogi"]

FIRST, SECOND = "exp_avg", "exp_avg_sq"


@canon("optim/yogi", kind="optimizer", paper="Zaheer et al. 2018, Adaptive methods for nonconvex optimization")
def yogi(
    lr: float = 1e-2,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-3,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 1e-6,
    bias_correction: bool = False,
) -> Rule:
    """Yogi: θ ← θ − η m / (√v + ε), where v ← v − (1 − β₂) sign(v − g²) g².

    Args:
        lr: η.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε; the paper's is large on purpose.
        weight_decay: λ, an L2 term in the gradient.
        initial_accumulator_value: a, where the second moment starts.
        bias_correction: divide m by 1 − β₁^t and v by 1 − β₂^t as Adam does; the paper does not.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    start = inside("yogi", "initial_accumulator_value", initial_accumulator_value, 0)
    fixed: dict[str, Any] = {
        "beta1": inside("yogi", "betas[0]", betas[0], 0, 1, open=True),
        "beta2": inside("yogi", "betas[1]", betas[1], 0, 1, open=True),
        "eps": inside("yogi", "eps", eps, 0),
        "bias_correction": bias_correction,
    }
    return Rule(
        name="yogi",
        lr=inside("yogi", "lr", lr, 0),
        weight_decay=inside("yogi", "weight_decay", weight_decay, 0),
        slots={FIRST: zeros, SECOND: partial(filled, value=start)},
        step=partial(_step, **fixed),
        settings={
            "betas": betas,
            "eps": eps,
            "initial_accumulator_value": start,
            "bias_correction": bias_correction,
        },
    )


def _step(part: Part, *, beta1: float, beta2: float, eps: float, bias_correction: bool) -> None:
    grads: Tensors = part.grads
    first, second = part.slots[FIRST], part.slots[SECOND]
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    torch._foreach_lerp_(first, grads, 1 - beta1)
    change = torch._foreach_addcmul(second, grads, grads, -1)
    torch._foreach_sign_(change)
    torch._foreach_mul_(change, grads)
    torch._foreach_addcmul_(second, change, grads, beta2 - 1)
    del change  # the next intermediate takes its place in memory
    # (m / b₁) / (√v / b₂ + ε) = (b₂ / b₁) m / (√v + b₂ ε): the corrections cost no pass over memory.
    low, root = (1 - beta1**part.step, (1 - beta2**part.step) ** 0.5) if bias_correction else (1.0, 1.0)
    scale = torch._foreach_sqrt(second)
    torch._foreach_add_(scale, eps * root)
    torch._foreach_addcdiv_(part.params, first, scale, -part.lr * root / low)
