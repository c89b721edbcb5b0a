"""Tuning a kernel during its warm-up: a step size by dual averaging, a scale from the chains' own covariance.

    H̄_t = (1 − w_t) H̄_{t−1} + w_t (δ − α_t),    log ε_{t+1} = μ − √t / γ · H̄_t,    w_t = 1 / (t + t₀)
    log ε̄_t = t^−κ log ε_t + (1 − t^−κ) log ε̄_{t−1}

α_t is the mean acceptance over all chains, δ the one wanted. The covariance Σ = L Lᵀ is pooled over all chains and the
draws of a window; windows double in length, and the averaging begins anew after each. Everything is tensors on the
chains' device, and nothing is read back from it.

References:
    Hoffman and Gelman 2014, The No-U-Turn sampler (dual averaging). Nesterov 2009, Primal-dual subgradient methods.
    Carpenter et al. 2017, Stan: a probabilistic programming language (windows, shrinkage).
    Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance (pooled updates).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.kernel import State

__all__ = ["Mass", "Tuning", "stretched", "windows"]

Mass = Literal["identity", "diagonal", "dense"]
GAMMA, DELAY, KAPPA = 0.05, 10.0, 0.75
FIRST, BASE, LAST = 75, 25, 50


def windows(warmup: int) -> tuple[int, tuple[int, ...]]:
    """Return where the covariance begins to be gathered, and after which steps a window ends.

    Args:
        warmup: steps in all; of less than 20, none is used for the covariance.
    """
    if warmup < 20:
        return warmup, ()
    first, base, last = (
        (FIRST, BASE, LAST) if warmup >= FIRST + BASE + LAST else (int(0.15 * warmup), warmup, int(0.1 * warmup))
    )
    end, ends, length = warmup - last, [], base
    start = first
    while start < end:
        # A window that would leave too little for the next one, twice as long, takes all that is left.
        stop = start + length if start + 3 * length <= end else end
        ends.append(stop - 1)
        start, length = stop, 2 * length
    return first, tuple(ends)


def stretched(
    scale: Tensor, vector: Float[Tensor, "chains dim"], *, transposed: bool = False
) -> Float[Tensor, "chains dim"]:
    """Return L v, or Lᵀ v, for every chain; a diagonal L is held as a vector."""
    if scale.dim() == 1:
        return scale * vector
    return vector @ (scale if transposed else scale.mT)


@dataclass(frozen=True)
class Tuning:
    """How a kernel's step size ε and scale L are adapted.

    Attributes:
        target: δ, the mean acceptance wanted.
        mass: what L becomes: stays the identity, standard deviations, or a Cholesky factor of the covariance.
    """

    target: float
    mass: Mass

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise GradusError(f"target_accept={self.target} is not between 0 and 1; 0.8 suits Hamiltonian Monte Carlo")

    def init(self, position: Float[Tensor, "chains dim"], step_size: float) -> State:
        """Return the state before any tuning.

        Args:
            position: of the chains.
            step_size: ε to start from, and to stay at without a warm-up.

        Raises:
            GradusError: for a step size that is not positive.
        """
        if not 0 < step_size < float("inf"):
            raise GradusError(f"step_size={step_size} moves nothing; give a positive number")
        step = position.new_tensor(step_size)
        one = torch.ones_like(position[0])
        return {
            "step_size": step,
            "scale": torch.diag(one) if self.mass == "dense" else one,
            "dual": _dual(step),
            "spread": self._nothing(position),
        }

    def update(
        self, state: State, position: Float[Tensor, "chains dim"], accept: Float[Tensor, " chains"], step: int,
        warmup: int,
    ) -> State:  # fmt: skip
        """Return the state after a step of the warm-up; with the last one, ε becomes its average.

        Args:
            state: of `init` or `update`.
            position: of the chains after the step.
            accept: acceptance probabilities of the step.
            step: which one, from 0.
            warmup: how many there are.
        """
        dual = _averaged(state["dual"], accept.mean(), self.target)
        new = {**state, "dual": dual, "step_size": dual["log_step"].exp()}
        first, ends = windows(warmup)
        if self.mass != "identity" and ends and first <= step <= ends[-1]:
            new["spread"] = _pooled(state["spread"], position, dense=self.mass == "dense")
            if step in ends:
                new["scale"] = self._scale(new["spread"], new["scale"])
                new["spread"] = self._nothing(position)
                new["dual"] = _dual(new["step_size"])
        if step == warmup - 1:
            new["step_size"] = new["dual"]["log_mean"].exp()
        return new

    def _nothing(self, position: Tensor) -> State:
        zero = torch.zeros_like(position[0])
        moment = torch.diag(zero) if self.mass == "dense" else zero
        return {"count": position.new_zeros(()), "mean": zero, "moment": moment}

    def _scale(self, spread: State, old: Tensor) -> Tensor:
        """Return L from the gathered moments, shrunk a little towards a small multiple of the identity."""
        count = spread["count"]
        covariance = spread["moment"] / (count - 1)
        share = count / (count + 5)
        if self.mass == "diagonal":
            return (share * covariance + 1e-3 * (1 - share)).sqrt()
        small = 1e-3 * (1 - share) * torch.eye(len(covariance), dtype=old.dtype, device=old.device)
        # Without reading the error code back: where the factorisation failed, the old scale stays.
        factor, failed = torch.linalg.cholesky_ex(share * covariance + small)
        return torch.where(failed == 0, factor, old)


def _dual(step: Tensor) -> State:
    log_step = step.log()
    zero = torch.zeros_like(log_step)
    return {"log_step": log_step, "log_mean": log_step, "gap": zero, "count": zero, "anchor": log_step + math.log(10)}


def _averaged(dual: State, accept: Tensor, target: float) -> State:
    count = dual["count"] + 1
    share = 1 / (count + DELAY)
    gap = (1 - share) * dual["gap"] + share * (target - accept)
    log_step = dual["anchor"] - count.sqrt() / GAMMA * gap
    weight = count**-KAPPA
    log_mean = weight * log_step + (1 - weight) * dual["log_mean"]
    return {**dual, "log_step": log_step, "log_mean": log_mean, "gap": gap, "count": count}


def _pooled(spread: State, position: Tensor, *, dense: bool) -> State:
    """Return count, mean and summed squares with one more draw of every chain."""
    chains = len(position)
    count = spread["count"] + chains
    mean = position.mean(0)
    centred, shift = position - mean, mean - spread["mean"]
    weight = spread["count"] * chains / count
    if dense:
        moment = spread["moment"] + centred.mT @ centred + weight * torch.outer(shift, shift)
    else:
        moment = spread["moment"] + (centred**2).sum(0) + weight * shift**2
    return {"count": count, "mean": spread["mean"] + shift * (chains / count), "moment": moment}
