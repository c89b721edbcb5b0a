"""Hamiltonian Monte Carlo: momentum carries the chains far, and the leapfrog nearly keeps the energy.

    H(x, r) = −log π(x) + ½ |r|²,    ẋ = L r,    ṙ = Lᵀ ∇ log π(x)
    leapfrog:  r ← r + ε/2 Lᵀ∇ log π(x);   x ← x + ε L r;   r ← r + ε/2 Lᵀ∇ log π(x)
    α = min(1, exp(H(x, r) − H(x′, r′)))

r is the momentum in units where it is standard normal: with p = L^−T r this is the mass matrix M = (L Lᵀ)^−1, which is
the inverse of the target's covariance once L is tuned. The leapfrog is reversible and keeps volume, so the energy is
all the correction needed. A step evaluates one batched gradient per leapfrog step for all chains, and each chain's ε is
jittered, so that no path length is a period of the target.

References:
    Duane et al. 1987, Hybrid Monte Carlo. Neal 2011, MCMC using Hamiltonian dynamics.
    Hoffman and Gelman 2014, The No-U-Turn sampler (step size). Carpenter et al. 2017, Stan (warm-up).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.adaptation import Mass, Tuning, stretched
from gradus.prob.bijector import LogDensity
from gradus.prob.kernel import Info, Kernel, State, acceptance, checked_start, chosen, density_and_gradient

__all__ = ["HMC", "Phase", "leapfrog"]

ENERGY_LIMIT = 1000.0


class Phase(NamedTuple):
    """A point of phase space, with the target there.

    Attributes:
        position: x.
        momentum: r, in units where it is standard normal.
        log_prob: log π(x).
        gradient: ∇ log π(x).
    """

    position: Float[Tensor, "chains dim"]
    momentum: Float[Tensor, "chains dim"]
    log_prob: Float[Tensor, " chains"]
    gradient: Float[Tensor, "chains dim"]

    def energy(self) -> Float[Tensor, " chains"]:
        """Return H(x, r)."""
        return (self.momentum**2).sum(-1) / 2 - self.log_prob


def leapfrog(log_prob: LogDensity, phase: Phase, step_size: Tensor, scale: Tensor, steps: int) -> Phase:
    """Follow Hamilton's equations by leapfrog steps.

    Args:
        log_prob: log π, (chains, dim) -> (chains,).
        phase: where to start, its density and gradient known.
        step_size: ε, one or one a chain, (chains, 1).
        scale: L, as a diagonal (dim,) or a matrix (dim, dim).
        steps: how many; each evaluates one gradient.
    """
    x, r, value, gradient = phase
    kick = step_size / 2
    for _ in range(steps):
        r = r + kick * stretched(scale, gradient, transposed=True)
        x = x + step_size * stretched(scale, r)
        value, gradient = density_and_gradient(log_prob, x)
        # The second half of a kick and the first half of the next are one; only the ends are halved.
        kick = step_size
    r = r + step_size / 2 * stretched(scale, gradient, transposed=True)
    return Phase(x, r, value, gradient)


@canon(
    "prob/hmc",
    kind="sampler",
    paper="Duane et al. 1987, Hybrid Monte Carlo",
    names=("hmc", "hamiltonian"),
    example=lambda: lambda target: HMC(target.log_prob, steps=5),
)
class HMC(Kernel):
    """Hamiltonian Monte Carlo with a fixed number of leapfrog steps; ε and L are tuned during the warm-up.

    With `steps=1` it is the Metropolis-adjusted Langevin algorithm.

    Args:
        log_prob: log π up to a constant, (chains, dim) -> (chains,), differentiable by torch.
        steps: leapfrog steps, each of one gradient.
        step_size: ε to start from, and to stay at without a warm-up.
        target_accept: mean acceptance that ε is tuned to.
        mass: what L is adapted to: "identity", "diagonal" (standard deviations) or "dense" (the covariance).
        jitter: each chain's ε is drawn from ε (1 ± jitter) at every step; in [0, 1).

    Raises:
        GradusError: for a setting out of range.
    """

    def __init__(
        self,
        log_prob: LogDensity,
        *,
        steps: int = 10,
        step_size: float = 0.1,
        target_accept: float = 0.8,
        mass: Mass = "diagonal",
        jitter: float = 0.2,
    ) -> None:
        if steps < 1:
            raise GradusError(f"steps={steps} goes nowhere; give at least one leapfrog step")
        if not 0 <= jitter < 1:
            raise GradusError(f"jitter={jitter} is out of range; give a number in [0, 1)")
        self.log_prob, self.steps, self.step_size, self.jitter = log_prob, steps, step_size, jitter
        self.tuning = Tuning(target_accept, mass)

    def init(self, position: Num[Tensor, "*chains dim"]) -> State:
        """Return the chains at their start, not tuned yet."""
        position = checked_start(position)
        value, gradient = density_and_gradient(self.log_prob, position, starting=True)
        if not bool(gradient.isfinite().all()):
            chain = int((~gradient.isfinite().all(1)).nonzero()[0])
            raise GradusError(f"chain {chain} starts where the gradient of log_prob is not finite; start elsewhere")
        return {
            "position": position,
            "log_prob": value,
            "gradient": gradient,
            "tuning": self.tuning.init(position, self.step_size),
        }

    def step(self, state: State, generator: torch.Generator | None = None) -> tuple[State, Info]:
        """Return the state after one trajectory of each chain."""
        position, tuning = state["position"], state["tuning"]
        options = {"generator": generator, "dtype": position.dtype, "device": position.device}
        momentum = torch.randn(position.shape, **options)
        dice = torch.rand((2, len(position)), **options)
        step_size = tuning["step_size"] * (1 + self.jitter * (2 * dice[0] - 1)).unsqueeze(1)
        start = Phase(position, momentum, state["log_prob"], state["gradient"])
        end = leapfrog(self.log_prob, start, step_size, tuning["scale"], self.steps)
        gained = start.energy() - end.energy()
        accept = acceptance(gained)
        taken = dice[1] < accept
        moved = {
            name: chosen(taken, getattr(end, name), getattr(start, name))
            for name in ("position", "log_prob", "gradient")
        }
        return {**state, **moved}, Info(accept, ~(gained > -ENERGY_LIMIT))

    def adapt(self, state: State, info: Info, step: int, warmup: int) -> State:
        """Return the state with ε and L tuned."""
        tuned = self.tuning.update(state["tuning"], state["position"], info.accept, step, warmup)
        return {**state, "tuning": tuned}
