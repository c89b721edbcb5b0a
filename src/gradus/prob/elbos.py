"""The evidence lower bound and its gradients: pathwise or by the score function, with control variates.

    ELBO(θ) = E_q[f(x)],    f(x) = log p(x, y) − log q_θ(x)  ≤  log p(y)
    pathwise     ∇ E_ε[f(x_θ(ε))]                                 x_θ(ε) ~ q_θ
    sticking     the same with −E[∇_θ log q_θ(x)], which is zero, left out
    score        E_q[(f(x) − b) ∇ log q_θ(x)]                     b independent of x

Each estimator is unbiased. "sticking" has no variance left where q is the posterior, because f is constant there. For
the score function b is a baseline: the mean of the *other* draws (leave-one-out) or of earlier steps (moving).

References:
    Ranganath, Gerrish and Blei 2014, Black box variational inference. Kingma and Welling 2014, Auto-encoding
    variational Bayes. Roeder, Wu and Duvenaud 2017, Sticking the landing. Mnih and Rezende 2016, Variational inference
    for Monte Carlo objectives; Kool, van Hoof and Welling 2019, Buy 4 REINFORCE samples, get a baseline for free (both
    leave-one-out).
    Mnih and Gregor 2014, Neural variational inference and learning in belief networks (moving baselines).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from gradus.errors import GradusError
from gradus.prob.bijector import LogDensity
from gradus.prob.guides import Guide, PushedNormal

__all__ = ["Baseline", "Estimator", "MovingBaseline", "elbo", "leave_one_out"]

Estimator = Literal["pathwise", "sticking", "score"]
Baseline = Callable[[Tensor], Tensor]


def leave_one_out(signal: Float[Tensor, " draws"]) -> Float[Tensor, " draws"]:
    """Return to each draw the mean of the others, b_i = (Σ_j f_j − f_i) / (n − 1).

    Args:
        signal: f, one value a draw.

    Raises:
        GradusError: for a single draw, which has no others.
    """
    if len(signal) < 2:
        raise GradusError("a leave-one-out baseline needs others to average; take draws=2 or more")
    return (signal.sum() - signal) / (len(signal) - 1)


class MovingBaseline:
    """The running mean of earlier steps' f, corrected for its start; a step is shown what came before it only.

    Args:
        decay: weight of the past in each update, in [0, 1).

    Raises:
        GradusError: for a decay out of range.
    """

    def __init__(self, decay: float = 0.9) -> None:
        if not 0 <= decay < 1:
            raise GradusError(f"decay={decay} is out of range; give a number in [0, 1)")
        self.decay = decay
        self.mean: Tensor | None = None
        self.steps = 0

    def __call__(self, signal: Float[Tensor, " draws"]) -> Float[Tensor, ""]:
        """Return the baseline of this step, then learn from it.

        Args:
            signal: f, one value a draw.
        """
        held = torch.zeros_like(signal[0]) if self.mean is None else self.mean
        known = held / (1 - self.decay**self.steps) if self.steps else held
        self.mean = self.decay * held + (1 - self.decay) * signal.detach().mean()
        self.steps += 1
        return known

    def state_dict(self) -> dict[str, Any]:
        """Return what the next baselines depend on."""
        return {"mean": self.mean, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken."""
        self.mean, self.steps = state["mean"], state["steps"]


def elbo(
    log_joint: LogDensity,
    guide: Guide,
    draws: int = 1,
    generator: torch.Generator | None = None,
    *,
    estimator: Estimator = "pathwise",
    baseline: Baseline | None = None,
) -> Float[Tensor, ""]:
    """Return an estimate of the evidence lower bound whose gradient is an estimate of the bound's.

    Where log_joint has parameters of its own, they get their gradient too.

    Args:
        log_joint: log p(x, y) of the latent vectors, (draws, dim) -> (draws,).
        guide: q.
        draws: of q, over which the estimate is a mean.
        generator: the dice.
        estimator: of the gradient by the guide's parameters.
        baseline: of the score function: from the draws' f to b, such as `leave_one_out` or a `MovingBaseline()`.

    Returns:
        The estimate, to be maximised.

    Raises:
        GradusError: for no draws; a pathwise gradient of a guide without one; a baseline that nothing would use; a
            log_joint of another shape, or not finite.
    """
    if draws < 1:
        raise GradusError(f"draws={draws} estimates nothing; take at least one")
    if baseline is not None and estimator != "score":
        raise GradusError(f"the {estimator} estimator uses no baseline; leave it out, or take estimator='score'")
    if estimator == "score":
        return _score(log_joint, guide, guide.sample(draws, generator), baseline)
    if not isinstance(guide, PushedNormal):
        raise GradusError(f"{type(guide).__name__} has no pathwise gradient; take estimator='score'")
    x, log_q = guide.push(guide.noise(draws, generator))
    if estimator == "sticking":
        frozen = {name: value.detach() for name, value in guide.named_parameters()}
        log_q = functional_call(guide, frozen, (x,))
    return (_evaluated(log_joint, x) - log_q).mean()


def _score(log_joint: LogDensity, guide: Guide, x: Tensor, baseline: Baseline | None) -> Tensor:
    log_p, log_q = _evaluated(log_joint, x), guide.log_prob(x)
    signal = (log_p - log_q).detach()
    centred = signal if baseline is None else signal - baseline(signal)
    score = centred * log_q
    # The value stays that of f; only the gradient is the score's.
    return (log_p - log_q.detach() + score - score.detach()).mean()


def _evaluated(log_joint: LogDensity, x: Tensor) -> Tensor:
    log_p = log_joint(x)
    if log_p.shape != x.shape[:1]:
        raise GradusError(
            f"log_joint gave shape {tuple(log_p.shape)} for {len(x)} draws; return one value a draw, summed over the "
            "last dimension only"
        )
    fine = log_p.detach().isfinite()
    if not bool(fine.all()):
        bad = int((~fine).nonzero()[0])
        raise GradusError(
            f"log_joint is {float(log_p.detach()[bad])} at a draw of the guide; send the guide onto the support of the "
            "model by `guide.onto(to_support(…))`, or start it narrower"
        )
    return log_p
