"""Distributed evolution strategy: workers share seeds, and tell each other nothing but values.

    x_i± = θ ± σ ε_i,   ε_i ~ N(0, I) made from (seed, generation, i)
    g = −1/(λσ) Σ_i (u_i+ − u_i−) ε_i,   u = centred ranks in [−½, ½]
    θ ← rule(θ, g)

Any worker can make any ε again from its number, so one generation costs each worker its share of the evaluations, and
the network λ floating-point numbers, however large θ is. Every worker adds up the same terms in the same order: all of
them hold the same θ to the last bit, which is also the θ of one process with the joint population.

References:
    Salimans, Ho, Chen, Sidor and Sutskever 2017, Evolution strategies as a scalable alternative to reinforcement
    learning: algorithm 2, mirrored sampling, rank shaping.
Deviations:
    The paper draws ε from one large table of noise that all workers hold; here a counter-based generator (Philox) makes
    it, which repeats nothing and takes no memory. Equal values share their rank.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.optim.evolution.journal import Array, Journal, Journalled, State, shaped, size
from gradus.optim.rule import Rule, restore

__all__ = ["DistributedES", "Gather"]

Gather = Callable[[Tensor], list[Tensor]]
# Noise is made and added up this many pairs at a time, on every worker alike: sums in another order would differ.
PAIRS = 32


def all_gather(mine: Tensor) -> list[Tensor]:
    """Return what every rank of the default process group hands in, tensors of one shape."""
    from torch import distributed

    where = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    mine = mine.to(where)
    parts = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, mine)
    return [part.cpu() for part in parts]


def place() -> tuple[int, int]:
    """Return (rank, world) of the default process group; (0, 1) where there is none."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@canon(
    "optim/distributed-es",
    kind="strategy",
    paper="Salimans et al. 2017, Evolution strategies as a scalable alternative to reinforcement learning",
    names=("distributed-es", "openai-es"),
)
@final
class DistributedES(Journalled):
    """Evolution strategy with fixed σ whose workers exchange values only; one worker is an ordinary strategy.

    Under `torchrun` every process makes the same strategy, asks for its own share, and tells its own values:

        strategy = DistributedES(theta, 0.1, popsize=256, generator=torch.Generator().manual_seed(0))
        strategy.tell(fn(strategy.ask()))

    Args:
        x0: θ at the start, (n,), the same on every worker; its dtype and device are those of the points.
        sigma0: σ, which stays.
        popsize: λ over all workers, even; by default 4 + ⌊3 ln n⌋, and two for each worker at least.
        generator: the shared seed is drawn from it, once; workers must hand in generators in the same state.
        rule: steps θ along the estimated gradient; Adam with a rate of σ₀/5 by default.
        rank: which worker this is; by default that of the process group, else 0.
        world: how many there are; by default that of the process group, else 1.
        gather: returns what every worker hands in, by rank; by default `torch.distributed.all_gather`.

    Raises:
        GradusError: for a start or a setting out of range, and for workers without a shared generator.
    """

    def __init__(
        self,
        x0: Float[Tensor, " n"],
        sigma0: float,
        popsize: int | None = None,
        generator: torch.Generator | None = None,
        *,
        rule: Rule | None = None,
        rank: int | None = None,
        world: int | None = None,
        gather: Gather | None = None,
    ) -> None:
        owner = "DistributedES"
        self._journal = Journal(owner, x0, sigma0, generator)
        here = place()
        self.rank = here[0] if rank is None else rank
        self.world = here[1] if world is None else world
        if not 0 <= self.rank < self.world:
            raise GradusError(f"{owner}: rank={self.rank} is not one of the {self.world} workers; count from 0")
        if self.world > 1 and generator is None:
            raise GradusError(
                f"{owner}: {self.world} workers must share their seeds; give each a generator seeded alike, such as "
                "torch.Generator().manual_seed(0)"
            )
        default = 4 + int(3 * math.log(len(x0)))
        self.total = size(owner, popsize, max(2 * self.world, default + default % 2), 2 * self.world, even=True)
        self._journal.popsize = self.total
        self.sigma = float(sigma0)
        self.rule = adam(self.sigma / 5) if rule is None else rule
        self._gather = all_gather if gather is None else gather
        self._seed = self._journal.seed()
        self._theta = x0.detach().clone()
        self._state = self.rule.init([self._theta])
        self._asked = False
        pairs = self.total // 2
        self._shares = [range(pairs * r // self.world, pairs * (r + 1) // self.world) for r in range(self.world)]

    def __repr__(self) -> str:
        who = f", rank={self.rank}, world={self.world}" if self.world > 1 else ""
        return f"DistributedES(n={len(self._theta)}, popsize={self.total}, sigma={self.sigma:g}, {self.rule}{who})"

    @property
    def popsize(self) -> int:
        """How many points this worker evaluates: its share of λ."""
        return 2 * len(self._shares[self.rank])

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """θ."""
        return self._theta.clone()

    @property
    def stop(self) -> dict[str, float]:
        """Always empty: σ stays, so there is no measure of convergence."""
        return {}

    def noise(self, pairs: range) -> Float[Tensor, "pairs n"]:
        """Return ε of some pairs of this generation; the same on every worker and device."""
        single = self._theta.dtype != torch.float64
        made = np.empty((len(pairs), len(self._theta)), np.float32 if single else np.float64)
        for row, pair in zip(made, pairs, strict=True):
            stream = np.random.Philox(key=self._seed, counter=[0, 0, pair, self.generations])
            np.random.Generator(stream).standard_normal(dtype=made.dtype.type, out=row)
        return torch.from_numpy(made).to(self._theta)

    def ask(self) -> Float[Tensor, "share n"]:
        """Return this worker's share of the points: θ + σε, then θ − σε; the same until they are told of."""
        self._asked = True
        away = self.sigma * self.noise(self._shares[self.rank])
        return torch.cat((self._theta + away, self._theta - away))

    def tell(self, values: Float[Tensor, " share"]) -> None:
        """Exchange values with the other workers and step θ; every worker must call it.

        Args:
            values: of this worker's points, to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞ on any worker, another shape, or without a population; and where
                the workers' seeds or generations differ.
        """
        if not self._asked or values.shape != (self.popsize,):
            self._journal.judge(values, self.popsize, self._asked)
        if self.world == 1:
            self.tell_all(values)
            return
        # Shares may differ by a pair, and a gather takes equal shapes: what is missing is padded, and cut off again.
        most = 2 * max(map(len, self._shares))
        mine = torch.zeros(most + 2, dtype=torch.float64)
        mine[: self.popsize] = values.detach().to(mine)
        mine[-2], mine[-1] = self._seed, self.generations
        parts = self._gather(mine)
        if any(not torch.equal(part[-2:], mine[-2:]) for part in parts):
            raise GradusError(
                "DistributedES: the workers' seeds or generations differ; give each a generator seeded alike, and "
                "restore all of them from the same generation"
            )
        self.tell_all(torch.cat([part[: 2 * len(share)] for part, share in zip(parts, self._shares, strict=True)]))

    def tell_all(self, values: Float[Tensor, " popsize"]) -> None:
        """Step θ, given the values of all workers: for one process that plays several, or an exchange of one's own.

        Args:
            values: (λ,), the shares of all workers one after the other.

        Raises:
            GradusError: as `tell`.
        """
        found = self._journal.judge(values, self.total, self._asked)
        signs = np.concatenate([np.repeat((1, -1), len(share)) for share in self._shares])
        pairs = np.concatenate([np.tile(np.asarray(share), 2) for share in self._shares])
        order = np.lexsort((-signs, pairs))  # by pair, the mirrored one second: the same for any number of workers
        found, signs, pairs = found[order], signs[order], pairs[order]
        gradient = self._gradient(found)

        def point(index: int) -> Tensor:
            pair = int(pairs[index])
            away = self.sigma * self.noise(range(pair, pair + 1))[0]
            return self._theta + away if signs[index] > 0 else self._theta - away

        self._journal.note(found, point)
        self.rule.update([self._theta], [gradient], self._state, self.rule.lr)
        self._asked = False

    def _gradient(self, values: Array) -> Float[Tensor, " n"]:
        """Return the estimate of ∇E f, in units of ranks, from values ordered by pair."""
        utility = shaped(values, np.linspace(0.5, -0.5, self.total))
        pull = torch.from_numpy(utility[0::2] - utility[1::2]).to(self._theta)
        gradient = torch.zeros_like(self._theta)
        for first in range(0, len(pull), PAIRS):
            some = range(first, min(first + PAIRS, len(pull)))
            gradient -= pull[some.start : some.stop] @ self.noise(some)
        return gradient / (self.total * self.sigma)

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too; the same on every worker."""
        rule = {key: [t.clone() for t in held] if key in self.rule.slots else held for key, held in self._state.items()}
        return {
            "journal": self._journal.state_dict(),
            "theta": self._theta.clone(),
            "rule": rule,
            "seed": self._seed,
            "asked": self._asked,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state, saved by any number of workers; raises GradusError if it is of another size."""
        self._journal.load_state_dict(state["journal"])
        self._theta = self._journal.copied(state["theta"])
        self._state = restore(self.rule.init([self._theta]), state["rule"])
        self._seed, self._asked = int(state["seed"]), bool(state["asked"])
