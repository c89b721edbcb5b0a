"""Variational inference: the member of a family that is closest to the posterior, by stochastic ascent of the ELBO.

    θ* = argmax_θ E_{q_θ}[log p(x, y) − log q_θ(x)] = argmin_θ KL(q_θ ‖ p(· | y))

The bound is the log-evidence less that divergence, so it touches log p(y) exactly where the family holds the posterior.

References:
    Jordan et al. 1999, An introduction to variational methods for graphical models.
    Hoffman et al. 2013, Stochastic variational inference. Kucukelbir et al. 2017, Automatic differentiation VI.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.optim.rule import Bound, Rule
from gradus.prob.bijector import LogDensity
from gradus.prob.elbos import Baseline, Estimator, elbo
from gradus.prob.guides import Guide

__all__ = ["fit_guide"]


def fit_guide(
    log_joint: LogDensity,
    guide: Guide,
    steps: int,
    *,
    rule: Rule | None = None,
    schedule: Callable[[int], float] | None = None,
    draws: int = 16,
    estimator: Estimator = "pathwise",
    baseline: Baseline | None = None,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " steps"]:
    """Fit a guide in place.

    Args:
        log_joint: log p(x, y) of the latent vectors, (draws, dim) -> (draws,).
        guide: q, whose parameters are learned.
        steps: of the rule.
        rule: from `gradus.optim`; Adam with a learning rate of 0.05 when left out.
        schedule: from the step to a multiplier of the learning rate, as in `gradus.optim.schedules`; without one it
            falls linearly to zero, which takes the gradient's noise out of the answer.
        draws: of the guide at each step.
        estimator: of the gradient; see `elbo`.
        baseline: of the score function.
        generator: the dice.

    Returns:
        The estimates of the ELBO on the way.

    Raises:
        GradusError: for no steps, a guide with nothing to learn, or a log_joint that is not finite.
    """
    if steps < 1:
        raise GradusError(f"steps={steps} fits nothing; take at least one")
    params = [param for param in guide.parameters() if param.requires_grad]
    if not params:
        raise GradusError("this guide has no parameters to learn; make its bijector of torch.nn.Parameter")
    rule = adam(0.05) if rule is None else rule
    bound = Bound(rule, params, rule.init(params))
    history = []
    for step in range(steps):
        value = elbo(log_joint, guide, draws, generator, estimator=estimator, baseline=baseline)
        grads = torch.autograd.grad(-value, params, allow_unused=True)
        share = 1 - step / steps if schedule is None else schedule(step)
        bound.step(grads, rule.lr * share)
        history.append(value.detach())
    return torch.stack(history)
