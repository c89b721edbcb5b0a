"""Accuracy against ε: what is left of a model's accuracy as the attacker's budget grows.

    A(ε) = mean over x of [no ε′ ≤ ε has an attack that reached its goal on x]

Balls are nested, so what fools within a smaller budget fools within every larger one: rows that fell are not attacked
again, and the curve can only fall.

References:
    Carlini et al. 2019, On evaluating adversarial robustness.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.errors import GradusError
from gradus.robust.ball import check_eps
from gradus.robust.goal import Goal
from gradus.robust.projected_gradient import pgd

__all__ = ["RobustCurve", "robust_curve"]


class RobustCurve(NamedTuple):
    """Accuracy for each budget.

    Attributes:
        eps: budgets, rising.
        accuracy: the share of samples that withstood every budget up to this one.
        samples: how many samples were attacked.
    """

    eps: tuple[float, ...]
    accuracy: tuple[float, ...]
    samples: int


def robust_curve(
    fn: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    eps: Sequence[float],
    attack: Callable[..., Tensor] | None = None,
) -> RobustCurve:
    """Measure accuracy under attack for several budgets, in one pass over the data.

    A(ε) = 1/N Σₙ [argmax f(x′ₙ) = yₙ for every ε′ ≤ ε]

    Args:
        fn: maps a batch in [0, 1] to scores `[batch, classes]`.
        batches: pairs of images in [0, 1] and labels.
        eps: budgets, in units of the inputs; 0 is the accuracy without attack.
        attack: called as `attack(fn, images, labels, eps=ε)`; by default PGD with early exit.

    Returns:
        Budgets in rising order with their accuracies.

    Raises:
        GradusError: if there is no budget or no sample, or as the attack does.

    References:
        Carlini et al. 2019, section 5.
    """
    budgets = tuple(sorted(set(eps)))
    if not budgets:
        raise GradusError("an accuracy curve needs at least one eps")
    for budget in budgets:
        check_eps(budget)
    withstood = [0] * len(budgets)
    samples = 0
    for images, labels in batches:
        samples += len(images)
        standing = _standing(fn, images, labels)
        for place, budget in enumerate(budgets):
            if budget > 0 and len(standing):
                standing = standing[_withstands(fn, images[standing], labels[standing], budget, attack)]
            withstood[place] += len(standing)
    if not samples:
        raise GradusError("an accuracy curve needs at least one sample")
    return RobustCurve(budgets, tuple(count / samples for count in withstood), samples)


def _standing(
    fn: Callable[[Tensor], Tensor], images: Float[Tensor, "batch *shape"], labels: Int[Tensor, " batch"]
) -> Int[Tensor, " standing"]:
    """Return the rows that `fn` gets right."""
    rows = torch.arange(len(images), device=images.device)
    return rows[~Goal(fn, images, labels).judge(images, rows)[1]]


def _withstands(
    fn: Callable[[Tensor], Tensor],
    images: Float[Tensor, "batch *shape"],
    labels: Int[Tensor, " batch"],
    eps: float,
    attack: Callable[..., Tensor] | None,
) -> Int[Tensor, " standing"]:
    if attack is None:
        adversarial = pgd(fn, images, labels, eps=eps, early_exit=True)
    else:
        adversarial = attack(fn, images, labels, eps=eps)
    return _standing(fn, adversarial, labels)
