"""Metropolis–Hastings: propose, and accept so that detailed balance holds.

    α(x, y) = min(1, π(y) q(y, x) / (π(x) q(x, y)))

The target's normaliser cancels. `MetropolisHastings` takes any proposal with its correction log q(y, x) − log q(x, y),
on discrete states too; `RandomWalk` proposes x + ε L ξ, ξ ~ N(0, 1), and tunes ε and L during its warm-up.

References:
    Metropolis et al. 1953, Equation of state calculations by fast computing machines.
    Hastings 1970, Monte Carlo sampling methods using Markov chains and their applications.
    Roberts, Gelman and Gilks 1997, Weak convergence and optimal scaling of random walk Metropolis algorithms.
    Haario, Saksman and Tamminen 2001, An adaptive Metropolis algorithm.
Deviations:
    The scale is adapted during the warm-up only, from all chains together; Haario et al. never stop adapting one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Num
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.prob.adaptation import Mass, Tuning, stretched
from gradus.prob.bijector import LogDensity
from gradus.prob.kernel import Info, Kernel, State, acceptance, checked_start, chosen, density

__all__ = ["MetropolisHastings", "Proposal", "RandomWalk", "symmetric"]

Proposal = Callable[[Tensor, torch.Generator | None], tuple[Tensor, Tensor]]


def _drifting(
    position: Float[Tensor, "chains dim"], generator: torch.Generator | None
) -> tuple[Float[Tensor, "chains dim"], Float[Tensor, " chains"]]:
    """An asymmetric proposal for examples: x shrinks by a fifth, with noise of standard deviation 0.9."""
    noise = torch.randn(position.shape, generator=generator, dtype=position.dtype, device=position.device)
    moved = 0.8 * position + 0.9 * noise
    back = (position - 0.8 * moved) / 0.9
    return moved, (noise**2 - back**2).sum(-1) / 2


@canon(
    "prob/metropolis-hastings",
    kind="sampler",
    paper="Hastings 1970, Monte Carlo sampling methods using Markov chains and their applications",
    example=lambda: lambda target: MetropolisHastings(target.log_prob, _drifting),
)
class MetropolisHastings(Kernel):
    """Propose y ~ q(x, ·), accept with probability min(1, π(y) q(y, x) / (π(x) q(x, y))).

    Args:
        log_prob: log π up to a constant, (chains, dim) -> (chains,).
        proposal: (position, generator) -> (proposed, log q(y, x) − log q(x, y)), of shapes (chains, dim), (chains,).
    """

    def __init__(self, log_prob: LogDensity, proposal: Proposal) -> None:
        self.log_prob, self.proposal = log_prob, proposal

    def init(self, position: Num[Tensor, "*chains dim"]) -> State:
        """Return the chains at their start, which may be of integers."""
        position = checked_start(position, floating=False)
        return {"position": position, "log_prob": density(self.log_prob, position, starting=True)}

    def step(self, state: State, generator: torch.Generator | None = None) -> tuple[State, Info]:
        """Return the state after one proposal to each chain."""
        with torch.no_grad():
            proposed, correction = self.proposal(state["position"], generator)
        return metropolis(self.log_prob, state, proposed, correction, generator)


def metropolis(
    log_prob: LogDensity, state: State, proposed: Tensor, correction: Tensor | float, generator: torch.Generator | None
) -> tuple[State, Info]:
    """Return the state with each proposal accepted or not.

    Raises:
        GradusError: for proposals or corrections of another shape than the chains'.
    """
    position, old = state["position"], state["log_prob"]
    if proposed.shape != position.shape:
        raise GradusError(
            f"the proposal has shape {tuple(proposed.shape)} for chains of {tuple(position.shape)}; propose one row a "
            "chain"
        )
    if isinstance(correction, Tensor) and correction.shape != old.shape:
        raise GradusError(
            f"the proposal's correction has shape {tuple(correction.shape)} for {len(old)} chains; give "
            "log q(y, x) − log q(x, y), one value a chain"
        )
    new = density(log_prob, proposed)
    accept = acceptance(new - old + correction)
    dice = torch.rand(old.shape, generator=generator, dtype=old.dtype, device=old.device)
    taken = dice < accept
    moved = {**state, "position": chosen(taken, proposed, position), "log_prob": chosen(taken, new, old)}
    return moved, Info(accept, new.isnan())


def symmetric(draw: Callable[[Tensor, torch.Generator | None], Tensor]) -> Proposal:
    """Return a proposal that needs no correction, because q(x, y) = q(y, x).

    Args:
        draw: (position, generator) -> proposed.
    """

    def propose(position: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        return draw(position, generator), torch.zeros(len(position), device=position.device)

    return propose


@canon(
    "prob/random-walk",
    kind="sampler",
    paper="Metropolis et al. 1953, Equation of state calculations by fast computing machines",
    names=("random-walk", "metropolis"),
    example=lambda: lambda target: RandomWalk(target.log_prob),
)
class RandomWalk(Kernel):
    """Propose x + ε L ξ with ξ ~ N(0, 1); ε and L are tuned during the warm-up.

    Args:
        log_prob: log π up to a constant, (chains, dim) -> (chains,).
        step_size: ε to start from; 2.38 / √dim when left out, which is best for a normal target of covariance L Lᵀ.
        target_accept: mean acceptance that ε is tuned to; when left out 0.44 in one dimension, else 0.234.
        mass: what L is adapted to: "identity", "diagonal" (standard deviations) or "dense" (the covariance).
    """

    def __init__(
        self,
        log_prob: LogDensity,
        *,
        step_size: float | None = None,
        target_accept: float | None = None,
        mass: Mass = "dense",
    ) -> None:
        self.log_prob, self.step_size, self.target_accept, self.mass = log_prob, step_size, target_accept, mass

    def _tuning(self, dim: int) -> Tuning:
        usual = 0.44 if dim == 1 else 0.234
        return Tuning(usual if self.target_accept is None else self.target_accept, self.mass)

    def init(self, position: Num[Tensor, "*chains dim"]) -> State:
        """Return the chains at their start, not tuned yet."""
        position = checked_start(position)
        dim = position.shape[1]
        step_size = 2.38 / dim**0.5 if self.step_size is None else self.step_size
        return {
            "position": position,
            "log_prob": density(self.log_prob, position, starting=True),
            "tuning": self._tuning(dim).init(position, step_size),
        }

    def step(self, state: State, generator: torch.Generator | None = None) -> tuple[State, Info]:
        """Return the state after one proposal to each chain."""
        position, tuning = state["position"], state["tuning"]
        noise = torch.randn(position.shape, generator=generator, dtype=position.dtype, device=position.device)
        proposed = position + tuning["step_size"] * stretched(tuning["scale"], noise)
        return metropolis(self.log_prob, state, proposed, 0.0, generator)

    def adapt(self, state: State, info: Info, step: int, warmup: int) -> State:
        """Return the state with ε and L tuned."""
        position = state["position"]
        tuned = self._tuning(position.shape[1]).update(state["tuning"], position, info.accept, step, warmup)
        return {**state, "tuning": tuned}
