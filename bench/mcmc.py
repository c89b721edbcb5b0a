"""Hamiltonian Monte Carlo of a thousand chains as one tensor, beside a loop over chains.

    ratio = (t_batched / chains) / (t_loop / looped)

The target is the posterior of a Bayesian logistic regression. Both sides make transitions of the same kernel, with the
same number of leapfrog steps, the same fixed step size and no adaptation. A loop over a thousand chains would only take
long, so it runs over some of them, and the time of *one transition of one chain* is compared. It is written twice: with
our own kernel on one chain at a time, and by hand on a vector, with nothing but what the algorithm needs.

Before anything is timed, trajectories of the looped chains are followed in one batch and one by one: `difference` is
the largest distance between their ends.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.turns import Advance, interleave, milliseconds, paired
from gradus.prob.hamiltonian import HMC, Phase, leapfrog
from gradus.prob.kernel import density_and_gradient

__all__ = ["hmc"]

TOLERANCE = 1e-8
STEP_SIZE = 0.05
LogDensity = Callable[[Tensor], Tensor]


def hmc(
    rounds: int = 30,
    chunk: int = 2,
    chains: int = 1000,
    looped: int = 20,
    dim: int = 10,
    data: int = 100,
    leapfrogs: int = 10,
    seed: int = 0,
) -> dict[str, float]:
    """Time of a transition of one chain, batched over looped; below 1 the batch is quicker.

    Args:
        rounds: how many are kept.
        chunk: transitions of a turn.
        chains: in the batch.
        looped: in the loop, one after the other.
        dim: of the posterior.
        data: rows of the regression.
        leapfrogs: gradients of a transition.
        seed: of the data and the dice.
    """
    generator = torch.Generator().manual_seed(seed)
    log_prob = _posterior(dim, data, generator)
    start = torch.randn(chains, dim, generator=generator, dtype=torch.float64)
    difference = _agreement(log_prob, start[:looped], leapfrogs)
    assert difference < TOLERANCE, f"the sides do different work: their trajectories end {difference} apart"
    kernel = HMC(log_prob, steps=leapfrogs, step_size=STEP_SIZE, jitter=0.0)
    sides = {
        "batched": _batched(kernel, start, generator),
        "loop": _loop(kernel, start[:looped], generator),
        "by_hand": _by_hand(log_prob, start[:looped], leapfrogs, generator),
    }
    times = interleave(sides, chunk=chunk, rounds=rounds)
    per_chain = {
        name: [second / (chains if name == "batched" else looped) for second in seconds]
        for name, seconds in times.items()
    }
    return {
        **paired(per_chain, "batched", "loop"),
        **paired(per_chain, "batched", "by_hand", "ratio_by_hand"),
        **milliseconds(per_chain),
        "difference": difference, "chains": float(chains), "looped": float(looped),
    }  # fmt: skip


def _posterior(dim: int, data: int, generator: torch.Generator) -> LogDensity:
    """Return the log-density of a logistic regression's weights, of one vector or of a batch."""
    features = torch.randn(data, dim, generator=generator, dtype=torch.float64)
    truth = torch.randn(dim, generator=generator, dtype=torch.float64)
    signs = 2 * torch.bernoulli((features @ truth).sigmoid(), generator=generator) - 1
    signed = (features * signs.unsqueeze(1)).mT.contiguous()

    def log_prob(weights: Tensor) -> Tensor:
        return F.logsigmoid(weights @ signed).sum(-1) - (weights**2).sum(-1) / 2

    return log_prob


def _batched(kernel: HMC, start: Tensor, generator: torch.Generator) -> Advance:
    state = kernel.init(start)

    def advance(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = kernel.step(state, generator)

    return advance


def _loop(kernel: HMC, start: Tensor, generator: torch.Generator) -> Advance:
    alone = [_batched(kernel, row.unsqueeze(0), generator) for row in start]

    def advance(steps: int) -> None:
        for chain in alone:
            chain(steps)

    return advance


def _by_hand(log_prob: LogDensity, start: Tensor, leapfrogs: int, generator: torch.Generator) -> Advance:
    """Return a loop over chains as one writes it for a single vector."""
    chains = [_value_and_slope(log_prob, row) for row in start]

    def advance(steps: int) -> None:
        for i in range(len(chains)):
            for _ in range(steps):
                chains[i] = _transition(log_prob, *chains[i], leapfrogs, generator)

    return advance


def _value_and_slope(log_prob: LogDensity, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    value = log_prob(leaf)
    (slope,) = torch.autograd.grad(value, leaf)
    return x, value.detach(), slope


def _transition(
    log_prob: LogDensity, x: Tensor, value: Tensor, slope: Tensor, leapfrogs: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    momentum = torch.randn(len(x), generator=generator, dtype=x.dtype)
    old = value - (momentum @ momentum) / 2
    y, new, rise = x, value, slope
    momentum = momentum + STEP_SIZE / 2 * rise
    for step in range(leapfrogs):
        y, new, rise = _value_and_slope(log_prob, y + STEP_SIZE * momentum)
        momentum = momentum + (STEP_SIZE if step < leapfrogs - 1 else STEP_SIZE / 2) * rise
    gained = new - (momentum @ momentum) / 2 - old
    if torch.rand((), generator=generator, dtype=x.dtype).log() < gained:
        return y, new, rise
    return x, value, slope


def _agreement(log_prob: LogDensity, start: Tensor, leapfrogs: int) -> float:
    """Return how far apart trajectories end that are followed in one batch and one by one."""
    step, scale = start.new_tensor(STEP_SIZE), torch.ones_like(start[0])

    def end(rows: Tensor) -> Tensor:
        phase = Phase(rows, torch.ones_like(rows), *density_and_gradient(log_prob, rows))
        return leapfrog(log_prob, phase, step, scale, leapfrogs).position

    alone = torch.cat([end(row.unsqueeze(0)) for row in start])
    return float((end(start) - alone).abs().max())
