"""Learning-rate finder: train a few steps at rates that grow exponentially, watch the loss, and put everything back.

    η_i = η_min (η_max / η_min)^{i / (n − 1)},   ℓ̄(i) = centred mean of ℓ over a tenth of the sweep
    suggestion: the η at which ℓ̄ falls most steeply in log η, before its minimum

The sweep ends early when a running mean of the loss is several times its smallest value, or not finite. Afterwards the
parameters, the buffers and training flags of the modules, and the random states are bit for bit what they were; the
optimiser's state is copied and `grad` never touched. What the loss reads batches from is its own: let it draw from an
iterator made for the purpose.

References:
    Smith 2017, Cyclical learning rates for training neural networks (the range test).
"""

import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.optim.rule import Rule, State, make
from gradus.optim.settings import inside

__all__ = ["Finding", "find_learning_rate"]

MEMORY = 0.8  # of the running mean that notices divergence


class Finding(NamedTuple):
    """What a sweep found.

    Attributes:
        lrs: the rates that were tried.
        losses: the loss before the step at each of them.
        smoothed: the losses, averaged over their neighbours.
        suggestion: a rate to train with.
        diverged: whether the sweep ended before the highest rate.
    """

    lrs: Float[Tensor, "tried"]
    losses: Float[Tensor, "tried"]
    smoothed: Float[Tensor, "tried"]
    suggestion: float
    diverged: bool


def find_learning_rate(
    loss: Callable[[], Tensor],
    params: nn.Module | Iterable[Tensor],
    rule: Rule | str = "adamw",
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    divergence: float = 4.0,
    state: State | None = None,
    modules: Sequence[nn.Module] = (),
    generators: Sequence[torch.Generator] = (),
) -> Finding:
    """Try learning rates from `lowest` to `highest` and leave no trace.

    Args:
        loss: computes a scalar loss, of the next batch if it likes.
        params: what to train; of a module, its parameters, and its buffers and flags are put back too.
        rule: an update rule or its name.
        lowest: η_min > 0.
        highest: η_max > η_min.
        steps: n, 10 at least.
        divergence: end when the running mean of the loss is this many times its smallest value, counted from 0.
        state: the rule's state to start from (it is copied); fresh when left out.
        modules: more modules whose buffers and training flags are to be put back.
        generators: the generators that the loss draws from, to be put back.

    Returns:
        The rates, the losses and a suggestion.

    Raises:
        GradusError: for a range or loss that cannot be used, or a loss that never falls.
    """
    if not 0 < lowest < highest or not math.isfinite(highest):
        raise GradusError(f"learning rates from {lowest} to {highest} are no range; give 0 < lowest < highest")
    inside("find_learning_rate", "steps", steps, 10)
    inside("find_learning_rate", "divergence", divergence, 1)
    chosen = make(rule) if isinstance(rule, str) else rule
    held = [params, *modules] if isinstance(params, nn.Module) else list(modules)
    every = params.parameters() if isinstance(params, nn.Module) else params
    live = [param for param in every if param.requires_grad]
    if not live:
        raise GradusError("there is no trainable parameter: unfreeze some, or pass the model's parameters")
    lrs = [lowest * (highest / lowest) ** (i / (steps - 1)) for i in range(steps)]
    with _no_trace(live, held, generators):
        own = chosen.init(live) if state is None else copy.deepcopy(state)
        losses = _sweep(loss, live, chosen, own, lrs, divergence)
    return _read(lrs[: len(losses)], losses, len(losses) < steps)


def _sweep(
    loss: Callable[[], Tensor], params: list[Tensor], rule: Rule, state: State, lrs: list[float], divergence: float
) -> list[float]:
    """Return the loss before the step at each rate, up to where it diverged."""
    losses: list[float] = []
    mean, smallest = 0.0, math.inf
    for i, lr in enumerate(lrs):
        with torch.enable_grad():
            value = loss()
        if value.numel() != 1:
            raise GradusError(f"the loss has shape {tuple(value.shape)}; return its mean, one number")
        if not value.requires_grad:
            raise GradusError("the loss does not depend on the parameters; compute it without no_grad, from this model")
        number = value.item()
        if not math.isfinite(number):
            if i == 0:
                raise GradusError(f"the loss is {number} before any step; look at the data and the initial weights")
            break
        losses.append(number)
        mean = MEMORY * mean + (1 - MEMORY) * number
        running = mean / (1 - MEMORY ** (i + 1))
        smallest = min(smallest, running)
        if running > smallest + (divergence - 1) * abs(smallest):
            break
        # Not `backward`: a gradient that is there already stays as it is.
        rule.update(params, torch.autograd.grad(value, params, allow_unused=True), state, lr)
    return losses


def _read(lrs: list[float], losses: list[float], diverged: bool) -> Finding:
    rates, values = torch.tensor(lrs, dtype=torch.float64), torch.tensor(losses, dtype=torch.float64)
    reach = max(1, len(losses) // 20)
    sums = torch.cat([values.new_zeros(1), values.cumsum(0)])
    place = torch.arange(len(losses))
    low, high = (place - reach).clamp(min=0), (place + reach + 1).clamp(max=len(losses))
    smoothed = (sums[high] - sums[low]) / (high - low)
    falling = smoothed[: int(smoothed.argmin()) + 1].diff()
    if len(falling) == 0 or falling.min() >= 0:
        raise GradusError(
            f"the loss never fell at learning rates from {lrs[0]:g} to {lrs[-1]:g}; start lower, or look at the loss"
        )
    return Finding(rates, values, smoothed, lrs[int(falling.argmin())], diverged)


@contextmanager
def _no_trace(
    params: list[Tensor], modules: Sequence[nn.Module], generators: Sequence[torch.Generator]
) -> Iterator[None]:
    """Put parameters, buffers, training flags and random states back when the block ends, however it ends."""
    owners = [module for root in modules for module in root.modules()]
    buffers = [(owner, name, buffer) for owner in owners for name, buffer in owner._buffers.items()]
    kept = [param.detach().clone(memory_format=torch.preserve_format) for param in params]
    copies = [None if buffer is None else buffer.clone(memory_format=torch.preserve_format) for _, _, buffer in buffers]
    flags = [owner.training for owner in owners]
    drawn = [generator.get_state() for generator in generators]
    cpu, python = torch.get_rng_state(), random.getstate()
    numpy = np.random.get_state()  # noqa: NPY002 - the global state is the point
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        with torch.no_grad():
            for param, old in zip(params, kept, strict=True):
                param.copy_(old)
            for (owner, name, buffer), content in zip(buffers, copies, strict=True):
                owner._buffers[name] = buffer  # a loss may have put another in its place
                if buffer is not None and content is not None:
                    buffer.copy_(content)
        for owner, flag in zip(owners, flags, strict=True):
            owner.training = flag
        for generator, drew in zip(generators, drawn, strict=True):
            generator.set_state(drew)
        torch.set_rng_state(cpu)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
