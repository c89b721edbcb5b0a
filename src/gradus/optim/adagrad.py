"""AdaGrad: divide by the root of all squared gradients so far, so that rare directions keep a large step.

    s_t = s_{t-1} + g_t²,   s_0 = a
    θ_t = θ_{t-1} − η_t g_t / (√s_t + ε),   η_t = η / (1 + δ (t − 1))

References:
    Duchi, Hazan and Singer 2011, Adaptive subgradient methods for online learning and stochastic optimization.
Deviations:
    The diagonal form; the paper's other form keeps the whole matrix Σ g gᵀ. ε is outside the root, as in torch.
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, filled
from gradus.optim.settings import inside

__all__ = ["adagrad"]

SUM = "sum"


@canon(
    "optim/adagrad",
    kind="optimizer",
    paper="Duchi, Hazan and Singer 2011, Adaptive subgradient methods for online learning and stochastic optimization",
)
def adagrad(
    lr: float = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    fused: bool | None = None,
) -> Rule:
    """AdaGrad: θ ← θ − η g / (√Σ g² + ε).

    Args:
        lr: η.
        lr_decay: δ, a decay of η by 1 / (1 + δ (t − 1)) on top of any schedule.
        weight_decay: λ, an L2 term in the gradient.
        initial_accumulator_value: a, where the sum of squares starts.
        eps: ε.
        fused: torch's fused kernel: True insists, False avoids, None takes it where it can.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    start = inside("adagrad", "initial_accumulator_value", initial_accumulator_value, 0)
    fixed: dict[str, Any] = {
        "lr_decay": inside("adagrad", "lr_decay", lr_decay, 0),
        "eps": inside("adagrad", "eps", eps, 0),
    }
    return Rule(
        name="adagrad",
        lr=inside("adagrad", "lr", lr, 0),
        weight_decay=inside("adagrad", "weight_decay", weight_decay, 0),
        slots={SUM: partial(filled, value=start)},
        step=partial(_step, **fixed),
        fused_step=partial(_fused_step, **fixed),
        fused=fused,
        settings={**fixed, "initial_accumulator_value": start},
    )


def _step(part: Part, *, lr_decay: float, eps: float) -> None:
    grads: Tensors = part.grads
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    torch._foreach_addcmul_(part.slots[SUM], grads, grads)
    scale = torch._foreach_sqrt(part.slots[SUM])
    torch._foreach_add_(scale, eps)
    torch._foreach_addcdiv_(part.params, grads, scale, -part.lr / (1 + lr_decay * (part.step - 1)))


def _fused_step(part: Part, *, lr_decay: float, eps: float) -> None:
    # The kernel only reads the step, so one number filled in on the device serves every parameter and never waits.
    step = torch.full((), float(part.step), dtype=torch.float32, device=part.params[0].device)
    torch._fused_adagrad_(
        part.params,
        part.grads,
        part.slots[SUM],
        [step] * len(part.params),
        lr=part.lr,
        lr_decay=lr_decay,
        weight_decay=part.weight_decay,
        eps=eps,
        maximize=False,
    )
