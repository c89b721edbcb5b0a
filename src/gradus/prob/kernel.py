"""What Markov chain samplers are: kernels, which are pure functions from a state and dice to the next state.

    x_{t+1} ~ K(x_t, ·),    ∫ π(x) K(x, dy) = π(dy)

All chains are one tensor (chains, dim), and the target is `log_prob: (chains, dim) -> (chains,)`, so a step of a
thousand chains is a handful of tensor operations, none of which waits for the device. A kernel's state is a plain
dictionary of tensors: together with the generator's it is all there is to resume from.

References:
    Tierney 1994, Markov chains for exploring posterior distributions.
    Lao et al. 2020, tfp.mcmc: modern Markov chain Monte Carlo tools built for modern hardware (chains as a batch).
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.bijector import LogDensity

__all__ = ["Info", "Kernel", "State"]

State = dict[str, Any]


class Info(NamedTuple):
    """What a step tells about itself.

    Attributes:
        accept: probability with which each chain's proposal was accepted.
        divergent: whether the proposal was beyond all numbers, so that a part of the target may be missed.
    """

    accept: Float[Tensor, " chains"]
    divergent: Bool[Tensor, " chains"]


class Kernel(ABC):
    """A transition that keeps its target.

    Attributes:
        reversible: whether π(x) K(x, y) = π(y) K(y, x), which most kernels owe their invariance to.
    """

    reversible: bool = True

    @abstractmethod
    def init(self, position: Num[Tensor, "*chains dim"]) -> State:
        """Return the state of chains that start at `position`.

        Raises:
            GradusError: for a start or a target that cannot be.
        """

    @abstractmethod
    def step(self, state: State, generator: torch.Generator | None = None) -> tuple[State, Info]:
        """Return the next state; the one given is not changed.

        Args:
            state: of `init`, `step` or `adapt`.
            generator: on the device of the chains.
        """

    def adapt(self, state: State, info: Info, step: int, warmup: int) -> State:
        """Return the state with its settings tuned; called after each step of the warm-up, and never again.

        Args:
            state: after the step.
            info: of the step.
            step: which one of the warm-up, from 0.
            warmup: how many there are.
        """
        return state


def checked_start(position: Tensor, *, floating: bool = True) -> Tensor:
    """Return the chains' first position, on its own memory.

    Raises:
        GradusError: for a shape that is not (chains, dim), or numbers that no chain can start from.
    """
    if position.dim() != 2 or 0 in position.shape:
        raise GradusError(f"chains start at shape (chains, dim), not {tuple(position.shape)}; one row a chain")
    if floating and not position.is_floating_point():
        raise GradusError(f"chains of {position.dtype} cannot move continuously; give a floating-point start")
    _all_finite(position.isfinite().all(1), "starts at a position that is not finite; give every chain finite numbers")
    return position.detach().clone()


def checked_density(value: Tensor, position: Tensor, *, starting: bool = False) -> Tensor:
    """Return a target's values.

    Raises:
        GradusError: for a shape that is not (chains,); and where chains start, for values that are not finite.
    """
    if value.shape != position.shape[:1]:
        raise GradusError(
            f"log_prob gave shape {tuple(value.shape)} for {len(position)} chains; return one value a chain, of shape "
            f"({len(position)},), by summing over the last dimension only"
        )
    if starting:
        _all_finite(
            value.isfinite(),
            "starts where log_prob is not finite; start inside the support, or sample an unconstrained variable "
            "through gradus.prob.pulled_back",
        )
    return value


def _all_finite(fine: Tensor, what: str) -> None:
    if not bool(fine.all()):
        raise GradusError(f"chain {int((~fine).nonzero()[0])} {what}")


def density(log_prob: LogDensity, position: Tensor, *, starting: bool = False) -> Tensor:
    """Return the target's values, without a graph."""
    with torch.no_grad():
        return checked_density(log_prob(position), position, starting=starting)


def density_and_gradient(
    log_prob: LogDensity, position: Tensor, *, starting: bool = False
) -> tuple[Float[Tensor, " chains"], Float[Tensor, "chains dim"]]:
    """Return the target's values and their gradients, by one evaluation for all chains.

    Raises:
        GradusError: for a target whose values do not hang on the position.
    """
    with torch.enable_grad():
        leaf = position.detach().requires_grad_()
        value = checked_density(log_prob(leaf), leaf, starting=starting)
        if not value.requires_grad:
            raise GradusError("log_prob has no gradient at the position; compute it with torch, without detach")
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def acceptance(log_ratio: Float[Tensor, " chains"]) -> Float[Tensor, " chains"]:
    """Return min(1, e^ratio); where the ratio is not a number, the proposal is outside the target: 0."""
    return log_ratio.clamp_max(0).exp().nan_to_num(nan=0.0)


def chosen(accepted: Bool[Tensor, " chains"], new: Num[Tensor, "chains *"], old: Num[Tensor, "chains *"]) -> Tensor:
    """Return the new rows of chains that accepted, and the old ones of the others."""
    return torch.where(accepted.view(-1, *[1] * (new.dim() - 1)), new, old)
