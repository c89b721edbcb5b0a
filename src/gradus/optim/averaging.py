"""Momentum as an arithmetic mean: step along the plain average of past gradients, old and new weighing alike.

    v_t = (1/k) Σ_{i = t−k+1}^{t} g_i        the last k gradients (of t, while there are fewer)
    v_t = v_{t-1} + (g_t − v_{t-1}) / t      all gradients since the start
    θ_t = θ_{t-1} − η v_t

The exponential average, v = μ v + (1 − μ) g, is `sgd` with dampening = momentum: a gradient weighs (1 − μ) μ^age there
and never quite leaves, 1/k here until it leaves at once. The mean age of a gradient is (k − 1) / 2 in a window of k, as
it is in the exponential average with μ = (k − 1) / (k + 1).

References:
    Blatt, Hero and Gauchman 2007, A convergent incremental gradient method with a constant step size (the window).
    Nesterov 2009, Primal-dual subgradient methods for convex problems (all gradients, averaged).
Deviations:
    Blatt et al. take one gradient of each of k functions, so that v is the full gradient but for its age; here the k
    gradients are whichever came last.
"""

from functools import partial

import torch

from gradus.canon import canon
from gradus.optim.rule import Part, Rule, Tensors, zeros
from gradus.optim.settings import inside

__all__ = ["arithmetic_momentum"]

MEAN, PAST = "grad_avg", "grad_{}"


@canon(
    "optim/arithmetic_momentum",
    kind="optimizer",
    paper="Blatt, Hero and Gauchman 2007, A convergent incremental gradient method with a constant step size",
)
def arithmetic_momentum(lr: float = 0.1, window: int | None = 10, weight_decay: float = 0.0) -> Rule:
    """Gradient descent along the arithmetic mean of past gradients: θ ← θ − η (1/k) Σ g.

    Args:
        lr: η.
        window: k, how many gradients are kept and averaged; None averages all since the start and keeps only the mean.
        weight_decay: λ, an L2 term in the gradient.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    if window is not None:
        inside("arithmetic_momentum", "window", window, 1)
    past = [MEAN] if window is None else [PAST.format(i) for i in range(window)]
    return Rule(
        name="arithmetic_momentum",
        lr=inside("arithmetic_momentum", "lr", lr, 0),
        weight_decay=inside("arithmetic_momentum", "weight_decay", weight_decay, 0),
        slots=dict.fromkeys(past, zeros),
        step=_mean_of_all if window is None else partial(_mean_of_last, past=past),
        settings={"window": window},
    )


def _mean_of_all(part: Part) -> None:
    mean = part.slots[MEAN]
    torch._foreach_lerp_(mean, _decayed(part), 1 / part.step)
    torch._foreach_add_(part.params, mean, alpha=-part.lr)


def _mean_of_last(part: Part, *, past: list[str]) -> None:
    # The newest takes the place of the oldest. The sum is taken anew: a running one would keep its rounding for ever.
    torch._foreach_copy_(part.slots[past[(part.step - 1) % len(past)]], _decayed(part))
    terms = [part.slots[name] for name in past[: part.step]]
    total: Tensors = terms[0]
    if len(terms) > 1:
        total = torch._foreach_add(terms[0], terms[1])
        for term in terms[2:]:
            torch._foreach_add_(total, term)
    torch._foreach_add_(part.params, total, alpha=-part.lr / len(terms))


def _decayed(part: Part) -> Tensors:
    return torch._foreach_add(part.grads, part.params, alpha=part.weight_decay) if part.weight_decay else part.grads
