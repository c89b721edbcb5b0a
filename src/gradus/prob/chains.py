"""Running a kernel: warm-up, draws, and what came out.

    chains = sample_chain(HMC(log_prob), start, draws=1000, warmup=500, generator=generator)
    print(chains)                          # mean, standard deviation, R̂, effective sample sizes
    chains.through(bijector).samples       # where the chains walked in an unconstrained space

`Sampling` is the same as a state machine: it draws as much as it is asked to, and its `state_dict` (the kernel's state,
the step, the generator's state) continues elsewhere with the same draws, bit for bit.

References:
    Vehtari et al. 2021, Rank-normalization, folding, and localization: an improved R̂ (what is reported).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from gradus.errors import GradusError
from gradus.prob.bijector import Bijector
from gradus.prob.diagnostics import ess, ess_bulk, ess_tail, rhat
from gradus.prob.kernel import Info, Kernel, State

__all__ = ["Chains", "Sampling", "Summary", "sample_chain"]


class Summary(NamedTuple):
    """What draws say about each variable.

    Attributes:
        mean: of all draws.
        sd: their standard deviation.
        mcse: standard error of the mean.
        ess_bulk: effective sample size of the bulk.
        ess_tail: effective sample size of the tails.
        rhat: potential scale reduction; 1 where the chains agree.
    """

    mean: Float[Tensor, " dim"]
    sd: Float[Tensor, " dim"]
    mcse: Float[Tensor, " dim"]
    ess_bulk: Float[Tensor, " dim"]
    ess_tail: Float[Tensor, " dim"]
    rhat: Float[Tensor, " dim"]

    def __str__(self) -> str:
        head = "".join(f"{name:>12}" for name in self._fields)
        rows = ["".join(f"{float(column[i]):>12.4g}" for column in self) for i in range(len(self.mean))]
        return "\n".join([f"{'':>4}{head}", *(f"{i:>4}{row}" for i, row in enumerate(rows))])


@dataclass(frozen=True)
class Chains:
    """The draws of many chains.

    Attributes:
        samples: of each draw, chain and variable.
        accept: acceptance probability of the steps that led to each draw; their mean where draws are thinned.
        divergent: whether one of these steps diverged.
        log_prob: the target at each draw, where the kernel knows it.
    """

    samples: Num[Tensor, "draws chains dim"]
    accept: Float[Tensor, "draws chains"]
    divergent: Bool[Tensor, "draws chains"]
    log_prob: Float[Tensor, "draws chains"] | None = None

    @property
    def pooled(self) -> Num[Tensor, "all dim"]:
        """All draws of all chains."""
        return self.samples.flatten(0, 1)

    @cached_property
    def summary(self) -> Summary:
        """Mean, standard deviation, Monte Carlo error, effective sample sizes and R̂ of each variable."""
        wide = self.samples.double()
        sd = self.pooled.double().std(0)
        return Summary(
            self.pooled.double().mean(0), sd, sd / ess(wide).sqrt(), ess_bulk(wide), ess_tail(wide), rhat(wide)
        )

    def through(self, bijector: Bijector) -> "Chains":
        """Return the chains with every draw x replaced by f(x); where a target was pulled back, this undoes it.

        The target's values are left out, because they were those of x.

        Args:
            bijector: f, with one event dimension or none.
        """
        with torch.no_grad():
            return Chains(bijector(self.samples)[0], self.accept, self.divergent)

    def __add__(self, later: "Chains") -> "Chains":
        """Return these draws followed by later ones of the same chains."""
        log_prob = None
        if self.log_prob is not None and later.log_prob is not None:
            log_prob = torch.cat([self.log_prob, later.log_prob])
        pairs = [(getattr(self, name), getattr(later, name)) for name in ("samples", "accept", "divergent")]
        return Chains(*[torch.cat(pair) for pair in pairs], log_prob=log_prob)

    def __str__(self) -> str:
        draws, chains, _ = self.samples.shape
        return (
            f"{draws} draws of {chains} chains, acceptance {float(self.accept.mean()):.3f}, "
            f"{int(self.divergent.sum())} divergent\n{self.summary}"
        )


class Sampling:
    """A kernel under way, from where it starts; resumable at any step.

    Args:
        kernel: how the chains move.
        start: where they start, one row a chain.
        warmup: steps that tune the kernel before the first draw.
        generator: the dice, on the device of the chains; when left out, seeded from torch's own.

    Raises:
        GradusError: for a start that cannot be, a negative warm-up, or a generator of another device.
    """

    def __init__(
        self,
        kernel: Kernel,
        start: Num[Tensor, "*chains dim"],
        *,
        warmup: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        if warmup < 0:
            raise GradusError(f"warmup={warmup} is negative; give the number of steps that tune the kernel")
        if generator is None:
            generator = torch.Generator(start.device).manual_seed(int(torch.randint(2**62, ())))
        if generator.device.type != start.device.type:
            raise GradusError(
                f"the generator is on {generator.device} and the chains on {start.device}; make it by "
                f"torch.Generator({str(start.device)!r})"
            )
        self.kernel, self.warmup, self.generator = kernel, warmup, generator
        self.state, self.steps = kernel.init(start), 0

    def advance(self) -> Info:
        """Make one step, tuning the kernel during the warm-up."""
        self.state, info = self.kernel.step(self.state, self.generator)
        if self.steps < self.warmup:
            self.state = self.kernel.adapt(self.state, info, self.steps, self.warmup)
        self.steps += 1
        return info

    def draw(self, draws: int, *, thin: int = 1) -> Chains:
        """Finish the warm-up, then return that many draws of every chain.

        Args:
            draws: kept of each chain.
            thin: steps to a draw.

        Raises:
            GradusError: for less than one draw or step.
        """
        if draws < 1 or thin < 1:
            raise GradusError(
                f"draws={draws} and thin={thin} must be at least 1; thin is the number of steps to a draw"
            )
        while self.steps < self.warmup:
            self.advance()
        position: Tensor = self.state["position"]
        chains = len(position)
        samples = position.new_empty((draws, *position.shape))
        known = self.state.get("log_prob")
        log_prob = None if known is None else known.new_empty(draws, chains)
        accept, divergent = [], []
        for i in range(draws):
            infos = [self.advance() for _ in range(thin)]
            samples[i] = self.state["position"]
            if log_prob is not None:
                log_prob[i] = self.state["log_prob"]
            accept.append(torch.stack([info.accept for info in infos]).mean(0) if thin > 1 else infos[0].accept)
            divergent.append(torch.stack([info.divergent for info in infos]).any(0) if thin > 1 else infos[0].divergent)
        return Chains(samples, torch.stack(accept), torch.stack(divergent), log_prob)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides the next draws."""
        return {"kernel": _copied(self.state), "steps": self.steps, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken, of the same kernel, settings and number of chains.

        Raises:
            GradusError: for a state of something else.
        """
        self.state = _restored(self.state, state["kernel"])
        self.steps = state["steps"]
        self.generator.set_state(state["generator"])


def _copied(state: State) -> State:
    return {key: _copied(value) if isinstance(value, dict) else value.clone() for key, value in state.items()}


def _restored(live: State, saved: State) -> State:
    if live.keys() != saved.keys():
        raise GradusError(f"this state holds {sorted(saved)}, the kernel's {sorted(live)}; load one of the same kernel")
    found: State = {}
    for key, value in live.items():
        other = saved[key]
        if isinstance(value, dict):
            found[key] = _restored(value, other)
        elif other.shape != value.shape:
            raise GradusError(
                f"this state has {key} of shape {tuple(other.shape)} where {tuple(value.shape)} belongs; load one of "
                "as many chains, with the same settings"
            )
        else:
            found[key] = other.to(value).clone()
    return found


def sample_chain(
    kernel: Kernel,
    start: Num[Tensor, "*chains dim"],
    *,
    draws: int,
    warmup: int = 0,
    thin: int = 1,
    generator: torch.Generator | None = None,
) -> Chains:
    """Return draws of many chains at once, after a warm-up that tunes the kernel.

    Args:
        kernel: such as `HMC(log_prob)`.
        start: where the chains start, one row a chain; best spread wider than the target, so that R̂ can tell.
        draws: kept of each chain.
        warmup: steps before the first draw.
        thin: steps to a draw.
        generator: the dice, on the device of the chains.

    Raises:
        GradusError: for a start that cannot be, or a number out of range.
    """
    return Sampling(kernel, start, warmup=warmup, generator=generator).draw(draws, thin=thin)
