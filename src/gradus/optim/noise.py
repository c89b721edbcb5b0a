"""Noise injection: Gaussian noise on the gradient, which leaves saddles and flat starts, annealed as steps go by.

    g_t ← g_t + N(0, σ_t²),   σ_t² = ν / (1 + t)^γ        t = 0, 1, … counts the steps a parameter has made before

It is a change of the gradients, so it goes with every rule: `noisy(adamw(), scale=0.01)`. With a constant σ (γ = 0)
and gradient descent, the steps are those of unadjusted Langevin dynamics at the temperature η ν / 2.

The noise is a function of (seed, t, position in the list of parameters, shape), drawn anew at each step, so the state
that resumes a run is the step count alone, every process draws the same, and memory layouts do not matter. Lists of
parameters stepped with one seed share their noise where position and shape agree; give each its own seed.

References:
    Neelakantan et al. 2015, Adding gradient noise improves learning for very deep networks.
    Ge et al. 2015, Escaping from saddle points: online stochastic gradient for tensor decomposition.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradus.canon import canon
from gradus.data.draws import generator
from gradus.optim.rule import Rule
from gradus.optim.settings import inside
from gradus.optim.sgd import sgd

__all__ = ["noisy", "noisy_sgd"]


@canon(
    "optim/noisy_sgd",
    kind="optimizer",
    paper="Neelakantan et al. 2015, Adding gradient noise improves learning for very deep networks",
)
def noisy_sgd(
    lr: float = 0.1,
    scale: float = 0.01,
    decay: float = 0.55,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> Rule:
    """Gradient descent with annealed noise: θ ← θ − η (g + N(0, ν / (1 + t)^γ)).

    Args:
        lr: η.
        scale: ν, the variance of the noise at the first step; the paper tries 0.01, 0.3 and 1.
        decay: γ ≥ 0; 0 keeps the noise as it is.
        momentum: μ in [0, 1), of the heavy ball.
        weight_decay: λ, an L2 term in the gradient.
        seed: of the noise.

    Returns:
        The rule.

    Raises:
        GradusError: for a setting out of range.
    """
    rule = noisy(sgd(lr, momentum, weight_decay=weight_decay), scale=scale, decay=decay, seed=seed)
    return replace(rule, name="noisy_sgd")


def noisy(rule: Rule, *, scale: float, decay: float = 0.55, seed: int = 0) -> Rule:
    """Return a rule that steps as `rule` does, from gradients with noise: g + N(0, ν / (1 + t)^γ).

    Args:
        rule: any that does not change its gradients already.
        scale: ν ≥ 0.
        decay: γ ≥ 0.
        seed: of the noise.

    Raises:
        GradusError: for a setting out of range.
    """
    assert rule.before is None, f"{rule.name} changes its gradients already"
    settings: dict[str, Any] = {
        "scale": inside("noise", "scale", scale, 0),
        "decay": inside("noise", "decay", decay, 0),
        "seed": int(inside("noise", "seed", seed, 0)),
    }
    return replace(
        rule,
        name=f"noisy {rule.name}",
        before=partial(_add_noise, **settings),
        settings={**rule.settings, **settings},
    )


def _add_noise(
    params: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    steps: Sequence[int],
    *,
    scale: float,
    decay: float,
    seed: int,
) -> list[Tensor | None]:
    found: list[Tensor | None] = []
    for i, (param, grad, step) in enumerate(zip(params, grads, steps, strict=True)):
        if grad is None:
            found.append(None)
            continue
        deviation = (scale / (1 + step) ** decay) ** 0.5
        found.append(torch.add(grad, _normal(param, grad.dtype, seed, step, i), alpha=deviation))
    return found


def _normal(param: Any, dtype: torch.dtype, seed: int, step: int, place: int) -> Tensor:
    """Return standard normal noise of the parameter's shape, filled in the order of its indices, not of its memory."""
    device = param.device
    source = generator("noise", seed, step, place, *param.shape, device=device)
    noise = torch.randn(param.shape, generator=source, device=device, dtype=dtype)
    if hasattr(param, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        # Every rank draws the whole noise and keeps its part, so that sharding changes nothing.
        return distribute_tensor(noise, param.device_mesh, param.placements, src_data_rank=None)
    return noise
