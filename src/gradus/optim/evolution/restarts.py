"""CMA-ES with restarts: larger and larger populations see past more and more local minima.

IPOP doubles the population whenever a run has converged. BIPOP keeps two budgets alike: the doubling runs from σ₀, and
small runs that search locally from many starts,

    λ_large = 2^k λ,    λ_small = ⌊λ (λ_large / 2λ)^{U²}⌋,   σ_small = σ₀ 10^{−2U'},   U, U' ~ U(0, 1)

with at most half as many evaluations for a small run as the last large one took.

References:
    Auger and Hansen 2005, A restart CMA evolution strategy with increasing population size.
    Hansen 2009, Benchmarking a BI-population CMA-ES on the BBOB-2009 function testbed.
"""

from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.evolution.cma_es import CMAES
from gradus.optim.evolution.journal import Journal, Journalled, State

__all__ = ["RestartedCMAES"]


@canon(
    "optim/restarted-cma-es",
    kind="strategy",
    paper="Hansen 2009, Benchmarking a BI-population CMA-ES on the BBOB-2009 function testbed",
    names=("restarted-cma-es", "bipop-cma-es"),
)
@final
class RestartedCMAES(Journalled):
    """CMA-ES that starts again when it has converged, with other population sizes: IPOP or BIPOP.

    `popsize` changes from run to run; all of them draw on one generator.

    Args:
        x0: m of the first run, (n,); its dtype and device are those of the points.
        sigma0: σ at the start of a run, in the units of `x0`.
        popsize: λ of the first run, by default 4 + ⌊3 ln n⌋.
        generator: source of the noise; by default one of the strategy's own.
        regime: "bipop", or "ipop".
        restarts: how many times the population may double; then `stop` says so.
        box: (low, high), where later runs start uniformly; by default they start at x0 + σ₀ N(0, I).
        active: negative weights for the worse half.
        tolfun: a run ends when its recent best values differ by less.
        tolx: a run ends when every standard deviation is below this times its first.

    Raises:
        GradusError: for a start or a setting out of range.
    """

    def __init__(
        self,
        x0: Float[Tensor, " n"],
        sigma0: float,
        popsize: int | None = None,
        generator: torch.Generator | None = None,
        *,
        regime: Literal["bipop", "ipop"] = "bipop",
        restarts: int = 9,
        box: tuple[float, float] | None = None,
        active: bool = True,
        tolfun: float = 1e-12,
        tolx: float = 1e-12,
    ) -> None:
        self._journal = Journal("RestartedCMAES", x0, sigma0, generator)
        if box is not None and not box[0] < box[1]:
            raise GradusError(f"RestartedCMAES: box={box} is empty; give (low, high) with low < high")
        if restarts < 0:
            raise GradusError(f"RestartedCMAES: restarts={restarts} is negative; give 0 or more")
        self.regime, self.restarts, self.box = regime, restarts, box
        self._x0, self._sigma0 = x0.detach().clone(), float(sigma0)
        self._settings: dict[str, Any] = {"active": active, "tolfun": tolfun, "tolx": tolx}
        self._run = self._start(self._x0, self._sigma0, popsize)
        self._base = self._run.popsize
        self._doublings, self._small, self._limit = 0, False, 0
        self._spent = {"large": 0, "small": 0}
        self.runs: list[dict[str, Any]] = []  # what is over: regime, popsize, evaluations, value, reasons

    def __repr__(self) -> str:
        return f"RestartedCMAES({self._run}, regime={self.regime!r}, restarts={self._doublings} of {self.restarts})"

    def _start(self, mean: Tensor, sigma: float, popsize: int | None) -> CMAES:
        return CMAES(mean, sigma, popsize, self._journal.generator, **self._settings)

    @property
    def popsize(self) -> int:
        """λ of the run at hand."""
        return self._run.popsize

    @property
    def mean(self) -> Float[Tensor, " n"]:
        """m of the run at hand."""
        return self._run.mean

    @property
    def stop(self) -> dict[str, float]:
        """Why to stop: `restarts`, once all are used and the last run has converged."""
        return {"restarts": float(self.restarts)} if self._exhausted and self._ended else {}

    @property
    def _exhausted(self) -> bool:
        return self._doublings >= self.restarts

    @property
    def _ended(self) -> bool:
        return bool(self._run.stop) or (self._small and self._run.evaluations >= self._limit)

    def ask(self) -> Float[Tensor, "popsize n"]:
        """Return the points of the run at hand; asking again draws anew."""
        return self._run.ask()

    def tell(self, values: Float[Tensor, " popsize"]) -> None:
        """Learn from the objective at the points asked for last; begin another run if this one has converged.

        Args:
            values: (popsize,), to be minimised; +∞ ranks last.

        Raises:
            GradusError: for NaN, −∞, nothing but +∞, another shape, or without a population.
        """
        self._run.tell(values)
        self._journal.evaluations += self._run.popsize
        self._journal.generations += 1
        if self._run.best.value < self._journal.best.value:
            self._journal.best = self._run.best
        if self._ended and not self._exhausted:
            self._restart()

    def _restart(self) -> None:
        """Close the run at hand, and begin one of the regime that has had fewer evaluations."""
        run, regime = self._run, "small" if self._small else "large"
        facts = {"popsize": run.popsize, "evaluations": run.evaluations, "value": run.best.value, "reasons": run.stop}
        self.runs.append({"regime": regime, **facts})
        self._spent[regime] += run.evaluations
        if not self._small:
            self._limit = run.evaluations // 2
        self._small = self.regime == "bipop" and self._doublings > 0 and self._spent["small"] < self._spent["large"]
        popsize, sigma = self._base * 2 ** (self._doublings + 1), self._sigma0
        if self._small:
            first, second = self._uniform(2).tolist()
            popsize = int(self._base * (2 ** (self._doublings - 1)) ** (first**2))
            sigma *= 10 ** (-2 * second)
        else:
            self._doublings += 1
        self._run = self._start(self._somewhere(), sigma, popsize)

    def _uniform(self, count: int) -> Tensor:
        generator = self._journal.generator
        return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)

    def _somewhere(self) -> Tensor:
        if self.box is None:
            return self._x0 + self._sigma0 * self._journal.normal(len(self._x0))
        low, high = self.box
        return (low + (high - low) * self._uniform(len(self._x0))).to(self._x0)

    def state_dict(self) -> State:
        """Return a copy of everything that changes, between `ask` and `tell` too."""
        return {
            "journal": self._journal.state_dict(),
            "run": self._run.state_dict(),
            "popsize": self._run.popsize,
            "start": self._run._sigma0,
            "doublings": self._doublings,
            "small": self._small,
            "limit": self._limit,
            "spent": dict(self._spent),
            "runs": [dict(run, reasons=dict(run["reasons"])) for run in self.runs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state; raises GradusError if it belongs to another dimension."""
        self._journal.load_state_dict(state["journal"])
        self._run = self._start(self._x0, state["start"], state["popsize"])
        self._run.load_state_dict(state["run"])
        self._doublings, self._small, self._limit = state["doublings"], state["small"], state["limit"]
        self._spent = dict(state["spent"])
        self.runs = [dict(run, reasons=dict(run["reasons"])) for run in state["runs"]]
