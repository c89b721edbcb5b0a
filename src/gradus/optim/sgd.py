"""Stochastic gradient descent, with classical or Nesterov momentum.

    g_t ← g_t + λ θ_{t-1}
    v_t = μ v_{t-1} + (1 − d) g_t         (v_1 = g_1)
    θ_t = θ_{t-1} − η v_t                 classical; d = μ makes v an exponential average of gradients
    θ_t = θ_{t-1} − η (g_t + μ v_t)       Nesterov, in the form that evaluates gradients at the shifted point

References:
    Robbins and Monro 1951, A stochastic approximation method.
    Polyak 1964, Some methods of speeding up the convergence of iteration methods.
    Nesterov 1983, A method for solving the convex programming problem with convergence rate O(1/k²).
    Sutskever et al. 2013, On the importance of initialization and momentum in deep learning.
Deviations:
    Weight decay λ is the classical L2 term, added to the gradient.
"""

from functools import partial
from typing import Any

import torch

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["momentum", "nesterov", "sgd"]

VELOCITY = "momentum_buffer"


@canon("optim/sgd", kind="optimizer", paper="Robbins and Monro 1951, A stochastic approximation method")
def sgd(
    lr: float = 0.1,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    fused: bool | None = None,
) -> Rule:
    """Stochastic gradient descent: θ ← θ − η v, where v = μ v + (1 − d) g.

    Args:
        lr: η.
        momentum: μ in [0, 1); 0 keeps no state.
        dampening: d in [0, 1].
        nesterov: look ahead along the velocity; needs momentum and no dampening.
        weight_decay: λ, an L2 term in the gradient.
        fused: torch's fused kernel: True insists, False avoids, None takes it where it can.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    if nesterov and (momentum == 0 or dampening != 0):
        raise GradusError("sgd: nesterov needs momentum above 0 and dampening 0; set momentum=0.9")
    settings: dict[str, Any] = {
        "momentum": inside("sgd", "momentum", momentum, 0, 1, open=True),
        "dampening": inside("sgd", "dampening", dampening, 0, 1),
        "nesterov": nesterov,
    }
    return Rule(
        name="sgd",
        lr=inside("sgd", "lr", lr, 0),
        weight_decay=inside("sgd", "weight_decay", weight_decay, 0),
        slots={VELOCITY: zeros} if momentum else {},
        step=partial(_step, **settings),
        fused_step=partial(_fused_step, **settings),
        fused=fused,
        settings=settings,
    )


@canon(
    "optim/momentum",
    kind="optimizer",
    paper="Polyak 1964, Some methods of speeding up the convergence of iteration methods",
)
def momentum(lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0, fused: bool | None = None) -> Rule:
    """Gradient descent with the heavy ball: v = μ v + g, θ ← θ − η v; `sgd` with μ set."""
    return sgd(lr, momentum, weight_decay=weight_decay, fused=fused)


@canon(
    "optim/nesterov",
    kind="optimizer",
    paper="Nesterov 1983, A method for solving the convex programming problem with convergence rate O(1/k²)",
)
def nesterov(lr: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0, fused: bool | None = None) -> Rule:
    """Nesterov's accelerated gradient: v = μ v + g, θ ← θ − η (g + μ v); `sgd` with μ set and looking ahead."""
    return sgd(lr, momentum, nesterov=True, weight_decay=weight_decay, fused=fused)


def _step(part: Part, *, momentum: float, dampening: float, nesterov: bool) -> None:
    grads: Tensors = part.grads
    if part.weight_decay:
        grads = torch._foreach_add(grads, part.params, alpha=part.weight_decay)
    if momentum:
        velocity = part.slots[VELOCITY]
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, grads, alpha=_weight(part, dampening))
        grads = torch._foreach_add(grads, velocity, alpha=momentum) if nesterov else velocity
    torch._foreach_add_(part.params, grads, alpha=-part.lr)


def _fused_step(part: Part, *, momentum: float, dampening: float, nesterov: bool) -> None:
    torch._fused_sgd_(
        part.params,
        part.grads,
        part.slots[VELOCITY] if momentum else [],
        weight_decay=part.weight_decay,
        momentum=momentum,
        lr=part.lr,
        dampening=1.0 - _weight(part, dampening),
        nesterov=nesterov,
        maximize=False,
        is_first_step=False,  # the velocity starts at zero, so the general step is the first one too
    )


def _weight(part: Part, dampening: float) -> float:
    """Return the weight of the gradient in the velocity: the first gradient enters whole, as v_1 = g_1 says."""
    return 1.0 if part.step == 1 else 1.0 - dampening
