"""Adam and AdamW: steps in units of the running second moment; AMSGrad keeps the largest one seen.

    m_t = β₁ m_{t-1} + (1 − β₁) g_t,          m̂ = m_t / (1 − β₁^t)
    v_t = β₂ v_{t-1} + (1 − β₂) g_t²,         v̂ = v_t / (1 − β₂^t)      (AMSGrad: max over steps of v, then the same)
    θ_t = θ_{t-1} − η m̂ / (√v̂ + ε)

Adam adds λθ to g (L2); AdamW shrinks the weights instead, θ ← (1 − ηλ) θ, before the step.

References:
    Kingma and Ba 2015, Adam: a method for stochastic optimization.
    Reddi, Kale and Kumar 2018, On the convergence of Adam and beyond.
    Loshchilov and Hutter 2019, Decoupled weight decay regularization.
Deviations:
    The decay of AdamW is multiplied by the learning rate, as every implementation in use does; the paper's is not.
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["adam", "adamw", "amsgrad"]

FIRST, SECOND, LARGEST = "exp_avg", "exp_avg_sq", "max_exp_avg_sq"


@canon("optim/adam", kind="optimizer", paper="Kingma and Ba 2015, Adam: a method for stochastic optimization")
def adam(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    fused: bool | None = None,
) -> Rule:
    """Adam: θ ← θ − η m̂ / (√v̂ + ε), with weight decay as an L2 term in the gradient.

    Args:
        lr: η.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε.
        weight_decay: λ.
        amsgrad: divide by the largest second moment so far.
        fused: torch's fused kernel: True insists, False avoids, None takes it where it can.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    return _rule("adam", lr, betas, eps, weight_decay, amsgrad, fused)


@canon("optim/adamw", kind="optimizer", paper="Loshchilov and Hutter 2019, Decoupled weight decay regularization")
def adamw(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    amsgrad: bool = False,
    fused: bool | None = None,
) -> Rule:
    """AdamW: θ ← (1 − ηλ) θ − η m̂ / (√v̂ + ε), weight decay apart from the gradient.

    Args:
        lr: η.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε.
        weight_decay: λ.
        amsgrad: divide by the largest second moment so far.
        fused: torch's fused kernel: True insists, False avoids, None takes it where it can.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    return _rule("adamw", lr, betas, eps, weight_decay, amsgrad, fused)


@canon("optim/amsgrad", kind="optimizer", paper="Reddi, Kale and Kumar 2018, On the convergence of Adam and beyond")
def amsgrad(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    fused: bool | None = None,
) -> Rule:
    """AMSGrad: Adam that divides by the largest second moment so far; `adam` with amsgrad set.

    Args:
        lr: η.
        betas: (β₁, β₂), each in [0, 1).
        eps: ε.
        weight_decay: λ, an L2 term in the gradient.
        fused: torch's fused kernel: True insists, False avoids, None takes it where it can.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    return adam(lr, betas, eps, weight_decay, amsgrad=True, fused=fused)


def _rule(
    name: str,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    amsgrad: bool,
    fused: bool | None,
) -> Rule:
    fixed: dict[str, Any] = {
        "beta1": inside(name, "betas[0]", betas[0], 0, 1, open=True),
        "beta2": inside(name, "betas[1]", betas[1], 0, 1, open=True),
        "eps": inside(name, "eps", eps, 0),
        "amsgrad": amsgrad,
        "decoupled": name == "adamw",
    }
    return Rule(
        name=name,
        lr=inside(name, "lr", lr, 0),
        weight_decay=inside(name, "weight_decay", weight_decay, 0),
        slots=dict.fromkeys((FIRST, SECOND, LARGEST) if amsgrad else (FIRST, SECOND), zeros),
        step=partial(_step, **fixed),
        fused_step=partial(_fused_step, **fixed),
        fused=fused,
        settings={"betas": betas, "eps": eps, "amsgrad": amsgrad},
    )


def _step(part: Part, *, beta1: float, beta2: float, eps: float, amsgrad: bool, decoupled: bool) -> None:
    grads: Tensors = part.grads
    slots = part.slots
    if part.weight_decay and decoupled:
        torch._foreach_mul_(part.params, 1 - part.lr * part.weight_decay)
    elif part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    torch._foreach_lerp_(slots[FIRST], grads, 1 - beta1)
    torch._foreach_mul_(slots[SECOND], beta2)
    torch._foreach_addcmul_(slots[SECOND], grads, grads, 1 - beta2)
    second = slots[SECOND]
    if amsgrad:
        second = slots[LARGEST]
        torch._foreach_maximum_(second, slots[SECOND])
    scale = torch._foreach_sqrt(second)
    torch._foreach_div_(scale, (1 - beta2**part.step) ** 0.5)
    torch._foreach_add_(scale, eps)
    torch._foreach_addcdiv_(part.params, slots[FIRST], scale, -part.lr / (1 - beta1**part.step))


def _fused_step(part: Part, *, beta1: float, beta2: float, eps: float, amsgrad: bool, decoupled: bool) -> None:
    kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_
    # The kernels only read the step, so one number filled in on the device serves every parameter and never waits.
    step = torch.full((), float(part.step), dtype=torch.float32, device=part.params[0].device)
    kernel(
        part.params,
        part.grads,
        part.slots[FIRST],
        part.slots[SECOND],
        part.slots[LARGEST] if amsgrad else [],
        [step] * len(part.params),
        lr=part.lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=part.weight_decay,
        eps=eps,
        amsgrad=amsgrad,
        maximize=False,
    )
