"""Hypergradient descent: the learning rate is itself learned, by the gradient of the loss with respect to it.

    θ_t = θ_{t-1} − s_t α_t d_t             d_t: the direction of the rule (g_t for plain descent), s_t: the schedule
    ∂f(θ_{t-1}) / ∂α = −g_t · p_{t-1}        p_t = s_t d_t, what the last step moved per unit of α
    α_t = α_{t-1} + β g_t · p_{t-1}                                     additive
    α_t = α_{t-1} (1 + β g_t · p_{t-1} / (‖g_t‖ ‖p_{t-1}‖))             multiplicative

Steps that go on pointing the same way lengthen, steps that turn back shorten. The multiplicative form moves α by at
most a factor of 1 ± β a step and does not depend on the scale of the loss; the additive one is the paper's algorithm,
and its β has units: about 10⁻³ for gradient descent and 10⁻⁸ for Adam.

What is learned and what is scheduled: α starts at the rule's `lr` and is kept in the state, in units of a learning
rate. A step is asked for at some rate, which is `lr` times the schedule and the scale of the group; that rate over `lr`
is s_t. So a constant schedule gives the paper's algorithm, any other one modulates what is learned, and s_t = 0 is no
step.

References:
    Baydin et al. 2018, Online learning rate adaptation with hypergradient descent.
    Almeida et al. 1998, Parameter adaptation in stochastic optimization (rates that are multiplied).
Deviations:
    The multiplicative form is the default, because its β needs no tuning; `additive=True` is the paper's. α never falls
    below 0. One α is shared by the parameters of one list that have made equally many steps: parameters in groups of
    their own, or that had no gradient for a while, learn apart.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["adam_hd", "nesterov_hd", "sgd_hd"]

RATE, MOVED = "rate", "moved"
VELOCITY, FIRST, SECOND = "momentum_buffer", "exp_avg", "exp_avg_sq"
Direction = Callable[[Part, Tensors], Tensors]


@canon(
    "optim/sgd_hd",
    kind="optimizer",
    paper="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
)
def sgd_hd(
    lr: float = 0.01, beta: float = 0.2, additive: bool = False, shared: bool = True, weight_decay: float = 0.0
) -> Rule:
    """Gradient descent that learns its rate: θ ← θ − α g, where α grows while successive gradients agree.

    Args:
        lr: where α starts, above 0.
        beta: β, the rate at which α is learned: relative, or in the paper's units where `additive`.
        additive: α + β h, the paper's algorithm, instead of α (1 + β cos).
        shared: one α for all tensors that step together, as in the paper, instead of one each.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    return _learning("sgd_hd", lr, beta, additive, shared, weight_decay, (), _steepest, {})


@canon(
    "optim/nesterov_hd",
    kind="optimizer",
    paper="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
)
def nesterov_hd(
    lr: float = 0.01,
    momentum: float = 0.9,
    beta: float = 0.2,
    additive: bool = False,
    shared: bool = True,
    weight_decay: float = 0.0,
) -> Rule:
    """Nesterov's accelerated gradient that learns its rate: v ← μ v + g, θ ← θ − α (g + μ v).

    Args:
        lr: where α starts, above 0.
        momentum: μ in [0, 1).
        beta: β, the rate at which α is learned: relative, or in the paper's units where `additive`.
        additive: α + β h, the paper's algorithm, instead of α (1 + β cos).
        shared: one α for all tensors that step together, as in the paper, instead of one each.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    settings: dict[str, Any] = {"momentum": inside("nesterov_hd", "momentum", momentum, 0, 1, open=True)}
    direction = partial(_nesterov, **settings)
    return _learning("nesterov_hd", lr, beta, additive, shared, weight_decay, (VELOCITY,), direction, settings)


@canon(
    "optim/adam_hd",
    kind="optimizer",
    paper="Baydin et al. 2018, Online learning rate adaptation with hypergradient descent",
)
def adam_hd(
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    beta: float = 0.2,
    additive: bool = False,
    shared: bool = True,
    weight_decay: float = 0.0,
) -> Rule:
    """Adam that learns its rate: θ ← θ − α m̂ / (√v̂ + ε).

    Args:
        lr: where α starts, above 0.
        betas: (β₁, β₂) of the moments, each in [0, 1).
        eps: ε.
        beta: β, the rate at which α is learned: relative, or in the paper's units where `additive`.
        additive: α + β h, the paper's algorithm, instead of α (1 + β cos).
        shared: one α for all tensors that step together, as in the paper, instead of one each.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    direction = partial(
        _adam,
        beta1=inside("adam_hd", "betas[0]", betas[0], 0, 1, open=True),
        beta2=inside("adam_hd", "betas[1]", betas[1], 0, 1, open=True),
        eps=inside("adam_hd", "eps", eps, 0),
    )
    settings = {"betas": betas, "eps": eps}
    return _learning("adam_hd", lr, beta, additive, shared, weight_decay, (FIRST, SECOND), direction, settings)


def _learning(
    name: str,
    lr: float,
    beta: float,
    additive: bool,
    shared: bool,
    weight_decay: float,
    slots: tuple[str, ...],
    direction: Direction,
    settings: dict[str, Any],
) -> Rule:
    """Return the rule that steps along a direction at a rate it learns."""
    if not inside(name, "lr", lr, 0):
        raise GradusError(f"{name}: a rate that starts at lr=0 has no scale to learn from; give a small one")
    inside(name, "beta", beta, 0, math.inf if additive else 1, open=not additive)
    return Rule(
        name=name,
        lr=lr,
        weight_decay=inside(name, "weight_decay", weight_decay, 0),
        slots={RATE: partial(_first_rate, lr=lr), MOVED: zeros, **dict.fromkeys(slots, zeros)},
        step=partial(_step, direction=direction, start=lr, beta=beta, additive=additive, shared=shared),
        settings={**settings, "beta": beta, "additive": additive, "shared": shared},
        joint=shared,
    )


def _first_rate(param: Tensor, lr: float) -> Tensor:
    """Return α_0 as one number on the parameter's device, in float32 at least."""
    if hasattr(param, "device_mesh"):
        raise GradusError(
            "hypergradient descent learns a rate from whole gradients, and these are sharded; train without --shard"
        )
    return torch.full((), lr, device=param.device, dtype=torch.promote_types(param.dtype, torch.float32))


def _step(part: Part, *, direction: Direction, start: float, beta: float, additive: bool, shared: bool) -> None:
    grads: Tensors = part.grads
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    rates, moved = part.slots[RATE], part.slots[MOVED]
    known = torch.stack(rates)
    agreement = _dots(grads, moved, known.dtype, shared)
    if additive:
        learned = known + beta * agreement
    else:
        lengths = _dots(grads, grads, known.dtype, shared).sqrt() * _dots(moved, moved, known.dtype, shared).sqrt()
        # Without a gradient, or before the first step, there is nothing to learn from: 0 rather than 0 / 0.
        learned = known * (1 + beta * torch.where(lengths > 0, agreement / lengths, 0))
    torch._foreach_copy_(rates, learned.clamp(min=0).unbind())
    torch._foreach_copy_(moved, direction(part, grads))
    torch._foreach_mul_(moved, part.lr / start)
    for param, step, rate in zip(part.params, moved, rates, strict=True):
        param.addcmul_(step, rate.to(param.dtype), value=-1)


def _dots(left: Tensors, right: Tensors, dtype: torch.dtype, shared: bool) -> Tensor:
    """Return the inner product of each pair of tensors, or of all of them as one vector, repeated."""
    each = torch.stack([product.sum(dtype=dtype) for product in torch._foreach_mul(left, right)])
    return each.sum().expand_as(each) if shared else each


def _steepest(part: Part, grads: Tensors) -> Tensors:
    return grads


def _nesterov(part: Part, grads: Tensors, *, momentum: float) -> Tensors:
    velocity = part.slots[VELOCITY]
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, grads)
    return torch._foreach_add(grads, velocity, alpha=momentum)


def _adam(part: Part, grads: Tensors, *, beta1: float, beta2: float, eps: float) -> Tensors:
    first, second = part.slots[FIRST], part.slots[SECOND]
    torch._foreach_lerp_(first, grads, 1 - beta1)
    torch._foreach_mul_(second, beta2)
    torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
    root = (1 - beta2**part.step) ** 0.5
    scale = torch._foreach_sqrt(second)
    torch._foreach_add_(scale, eps * root)
    steps = torch._foreach_div(first, scale)
    torch._foreach_mul_(steps, root / (1 - beta1**part.step))
    return steps
