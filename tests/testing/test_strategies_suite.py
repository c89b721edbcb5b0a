"""`check_strategy` passes every registered strategy, and rejects each of a family of planted bugs."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus import canon
from gradus.errors import GradusError
from gradus.optim.evolution.cma_es import CMAES
from gradus.optim.evolution.cross_entropy import CrossEntropy
from gradus.optim.evolution.gaussian import GaussianES
from gradus.optim.evolution.journal import Best, State
from gradus.optim.evolution.natural import NES
from gradus.optim.evolution.restarts import RestartedCMAES
from gradus.testing.strategies import MakeStrategy, check_strategy


def _of(kind: Callable[..., Any], **settings: Any) -> MakeStrategy:
    return lambda x0, sigma0, generator: kind(x0, sigma0, generator=generator, **settings)


EXAMPLES: dict[str, MakeStrategy] = {
    **{entry.id: _of(canon.load(entry)) for entry in canon.scan().values() if entry.kind == "strategy"},
    "passive cma": _of(CMAES, active=False),
    "odd cma": _of(CMAES, popsize=7),
    "(1 + λ)": _of(GaussianES, plus=True),
    "noisy cross-entropy": _of(CrossEntropy, noise=0.2, noise_generations=20, smoothing=1.0),
    "snes": _of(NES, covariance="diagonal"),
    "isotropic nes": _of(NES, covariance="isotropic", antithetic=False, popsize=9),
    "ipop, restarting soon": _of(RestartedCMAES, regime="ipop", tolx=1e-2, box=(-1.0, 1.0)),
    "bipop, restarting soon": _of(RestartedCMAES, tolx=1e-2),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_registered_strategy_keeps_the_contract(name: str) -> None:
    check_strategy(EXAMPLES[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", EXAMPLES)
def test_strategies_run_on_a_gpu(name: str) -> None:
    for device in ("cpu", "cuda"):
        start, generator = torch.ones(4, device="cuda"), torch.Generator(device).manual_seed(0)
        strategy = EXAMPLES[name](start, 0.5, generator)
        for _ in range(30):
            points = strategy.ask()
            assert points.device.type == "cuda"
            strategy.tell(points.square().sum(1))
        assert strategy.best.value < 2
        strategy.load_state_dict(strategy.state_dict())
        assert strategy.ask().device.type == strategy.best.x.device.type == "cuda"


class Twin:
    """A strategy with a planted bug: everything else is handed on to an honest one."""

    def __init__(self, x0: Tensor, sigma0: float, generator: torch.Generator) -> None:
        self.inner = GaussianES(x0, sigma0, generator=generator, popsize=12, parents=4)

    @property
    def popsize(self) -> int:
        return self.inner.popsize

    @property
    def best(self) -> Best:
        return self.inner.best

    @property
    def evaluations(self) -> int:
        return self.inner.evaluations

    @property
    def stop(self) -> dict[str, float]:
        return self.inner.stop

    def ask(self) -> Tensor:
        return self.inner.ask()

    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)

    def state_dict(self) -> State:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)


class AsksOneTooMany(Twin):
    def ask(self) -> Tensor:
        points = self.inner.ask()
        return torch.cat([points, points[:1]])


class AlwaysDouble(Twin):
    def ask(self) -> Tensor:
        return self.inner.ask().double()


class WrongPopsize(Twin):
    @property
    def popsize(self) -> int:
        return 10


class GlobalDice(Twin):
    def ask(self) -> Tensor:
        return self.inner.ask() + 0 * torch.rand(())


class FixedDice(Twin):
    def __init__(self, x0: Tensor, sigma0: float, generator: torch.Generator) -> None:
        super().__init__(x0, sigma0, torch.Generator().manual_seed(0))


class SecretDice(Twin):
    thrown = 0  # over all of them, so that no two walks can agree

    def ask(self) -> Tensor:
        points = self.inner.ask()
        SecretDice.thrown += 1
        return points + 1e-9 * torch.randn(points.shape, generator=torch.Generator().manual_seed(SecretDice.thrown))


class WeighsByValue(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)
        self.inner._mean += 1e-3 * values.mean().sign() * values.std()


class ShrinksToOrigin(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)
        self.inner._mean *= 0.99


class InfIsFirst(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values.masked_fill(values.isinf() & (values > 0), -1e9) if values.isfinite().any() else values)


class SharesPoints(Twin):
    """Learns from the tensor it gave out."""

    def ask(self) -> Tensor:
        self.points = self.inner.ask()
        return self.points

    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)
        self.inner._mean = self.points[values.argsort()[:4]].mean(0)


class SharesStart(Twin):
    def __init__(self, x0: Tensor, sigma0: float, generator: torch.Generator) -> None:
        super().__init__(x0, sigma0, generator)
        self.inner._mean = x0


class SortsValues(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)
        values.copy_(values.sort().values)


class RemembersTheFirstAsk(Twin):
    def ask(self) -> Tensor:
        noise = self.inner._noise
        points = self.inner.ask()
        if noise is not None:
            self.inner._noise = noise
        return points


class BestOfTheLast(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner._journal.best = Best(self.inner._journal.best.x, float("inf"))
        self.inner.tell(values)


class BestIsTheMean(Twin):
    @property
    def best(self) -> Best:
        return Best(self.inner.mean, self.inner.best.value)


class MiscountsEvaluations(Twin):
    @property
    def evaluations(self) -> int:
        return self.inner.generations


class GivesOutItsBest(Twin):
    @property
    def best(self) -> Best:
        return self.inner._journal.best


class ForgetsDice(Twin):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        dice = self.inner._journal.generator.get_state()
        super().load_state_dict(state)
        self.inner._journal.generator.set_state(dice)


class ForgetsSigma(Twin):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**state, "sigma": self.inner.sigma})


class ForgetsPopulation(Twin):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({**state, "noise": self.inner._noise})
        if self.inner._noise is None and state["noise"] is not None:
            self.inner._noise = torch.zeros_like(state["noise"])


class ForgetsBest(Twin):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        best = self.inner.best
        super().load_state_dict(state)
        self.inner._journal.best = best


class StateIsLive(Twin):
    def state_dict(self) -> State:
        return {**super().state_dict(), "mean": self.inner._mean}

    def tell(self, values: Tensor) -> None:
        kept = self.inner._mean
        self.inner.tell(values)
        self.inner._mean = kept.copy_(self.inner._mean)


class WritesOnSavedState(Twin):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.inner._mean = state["mean"]

    def tell(self, values: Tensor) -> None:
        kept = self.inner._mean
        self.inner.tell(values)
        self.inner._mean = kept.copy_(self.inner._mean)


class Unwritable(Twin):
    def state_dict(self) -> State:
        return {**super().state_dict(), "seen": {1, 2}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict({key: value for key, value in state.items() if key != "seen"})


class TakesNaN(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values.nan_to_num(nan=1e9) if values.isnan().any() else values)


class TrimsValues(Twin):
    def tell(self, values: Tensor) -> None:
        short = len(values) == self.popsize - 1 and self.inner._noise is not None
        self.inner.tell(torch.cat([values, values[:1]]) if short else values)


class ErrsInPlace(Twin):
    """A refused generation has moved it already."""

    def tell(self, values: Tensor) -> None:
        try:
            self.inner.tell(values)
        except GradusError:
            self.inner.sigma *= 1.01
            raise


class TakesAnySigma(Twin):
    def __init__(self, x0: Tensor, sigma0: float, generator: torch.Generator) -> None:
        super().__init__(x0, sigma0 or 1.0, generator)


class NeverNarrows(Twin):
    def tell(self, values: Tensor) -> None:
        self.inner.tell(values)
        self.inner.sigma = 2.0


TWINS: dict[type[Twin], str] = {
    AsksOneTooMany: "same point twice|popsize",
    AlwaysDouble: "gives points of",
    WrongPopsize: "popsize says",
    GlobalDice: "global dice",
    FixedDice: "another generator gave the same walk",
    SecretDice: "two different walks",
    WeighsByValue: "increasing transformation",
    ShrinksToOrigin: "moving start and objective",
    InfIsFirst: "rank as the largest",
    SharesPoints: "writing on the points",
    SharesStart: "caller's x0",
    SortsValues: "changed the values",
    RemembersTheFirstAsk: "thought of the first",
    BestOfTheLast: "lowest value told",
    BestIsTheMean: "thought of the first|not the point",
    MiscountsEvaluations: "counts",
    GivesOutItsBest: "writing on best.x",
    ForgetsDice: "went elsewhere",
    ForgetsSigma: "went elsewhere",
    ForgetsPopulation: "went elsewhere|best value",
    ForgetsBest: "best value is",
    StateIsLive: "saved state changes",
    WritesOnSavedState: "writes on the state",
    Unwritable: "holds more than",
    TakesNaN: "a NaN was taken",
    TrimsValues: "too few values",
    ErrsInPlace: "refused generation changed",
    TakesAnySigma: "deviation of 0",
    NeverNarrows: "took a sphere",
}


def test_the_twin_without_a_bug_passes() -> None:
    check_strategy(Twin)


@pytest.mark.parametrize("bug", TWINS, ids=lambda bug: bug.__name__)
def test_planted_bugs_are_rejected(bug: type[Twin]) -> None:
    with pytest.raises(AssertionError, match=TWINS[bug]):
        check_strategy(bug)
