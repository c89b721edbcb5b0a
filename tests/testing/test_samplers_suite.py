"""Every registered sampler keeps the contract, and the contract rejects samplers with planted bugs."""

from dataclasses import replace

import pytest
import torch

from gradus import canon
from gradus.prob.adaptation import Tuning
from gradus.prob.gibbs import Gibbs, gaussian_conditionals
from gradus.prob.hamiltonian import HMC
from gradus.prob.kernel import Info, Kernel
from gradus.prob.metropolis import MetropolisHastings, RandomWalk, _drifting
from gradus.testing.samplers import check_sampler

SAMPLERS = sorted(id for id, entry in canon.scan().items() if entry.kind == "sampler")
SETTINGS = {
    "langevin": lambda target: HMC(target.log_prob, steps=1, step_size=0.5),
    "dense mass": lambda target: HMC(target.log_prob, steps=4, mass="dense", jitter=0.5),
    "identity mass": lambda target: HMC(target.log_prob, steps=4, mass="identity"),
    "diagonal walk": lambda target: RandomWalk(target.log_prob, mass="diagonal", target_accept=0.3),
    "blocked Gibbs": lambda target: Gibbs(
        gaussian_conditionals(target.mean, target.covariance, [[0, 1], [2]]), scan="palindrome"
    ),
}


def test_the_registry_knows_samplers():
    assert {"prob/metropolis-hastings", "prob/random-walk", "prob/hmc", "prob/gibbs"} <= set(SAMPLERS)


@pytest.mark.parametrize("id", SAMPLERS)
def test_contract(id):
    canon.load(canon.scan()[id])
    check_sampler(canon.example(id)())


@pytest.mark.parametrize("name", SETTINGS)
def test_contract_of_settings(name):
    check_sampler(SETTINGS[name])


class AcceptsAll(RandomWalk):
    def step(self, state, generator=None):
        position = state["position"]
        noise = torch.randn(position.shape, generator=generator, dtype=position.dtype, device=position.device)
        moved = position + noise
        one = torch.ones(len(position), device=position.device)
        info = Info(one, one < 0)
        return {**state, "position": moved, "log_prob": self.log_prob(moved)}, info


class NeverAccepts(HMC):
    def step(self, state, generator=None):
        torch.rand(1, generator=generator)
        return state, Info(torch.zeros(len(state["position"])), torch.zeros(len(state["position"]), dtype=torch.bool))


class KeepsTheGradient(HMC):
    """The gradient of the last proposal is kept, whether it was accepted or not."""

    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        return {**new, "gradient": new["gradient"] + 1.0}, info


class KeepsTheOldDensity(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        return {**new, "log_prob": state["log_prob"]}, info


class ThrowsGlobalDice(RandomWalk):
    def step(self, state, generator=None):
        return super().step(state, None)


class WritesIntoTheState(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        state["position"].copy_(new["position"])
        return new, info


class HidesItsState(RandomWalk):
    """What it has tuned is in the object, where no checkpoint finds it."""

    def __init__(self, log_prob):
        super().__init__(log_prob)
        self.seen = 0

    def adapt(self, state, info, step, warmup):
        self.seen += 1
        state = super().adapt(state, info, step, warmup)
        factor = 1.0 + self.seen / 100
        tuning = {**state["tuning"], "step_size": state["tuning"]["step_size"] * factor}
        return {**state, "tuning": tuning}


class AdaptsForEver(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        step_size = new["tuning"]["step_size"] * (1 + 0.01 * (info.accept.mean() - 0.3))
        return {**new, "tuning": {**new["tuning"], "step_size": step_size}}, info


class MixesTheChains(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        return {**new, "position": new["position"] + 1e-3 * new["position"].mean(0)}, info


class ThrowsOneDie(RandomWalk):
    def step(self, state, generator=None):
        position = state["position"]
        noise = torch.randn(position[:1].shape, generator=generator, dtype=position.dtype, device=position.device)
        proposed = position + noise
        accept = (self.log_prob(proposed) - state["log_prob"]).exp().clamp_max(1)
        taken = torch.rand(1, generator=generator, device=position.device) < accept
        moved = torch.where(taken.unsqueeze(1), proposed, position)
        return {**state, "position": moved, "log_prob": self.log_prob(moved)}, Info(accept, accept.isnan())


class CallsItselfReversible(Gibbs):
    def __init__(self, conditionals):
        super().__init__(conditionals)
        self.reversible = True


class WorksInDouble(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        return {**new, "position": new["position"].double()}, info


class TakesAnyStart(HMC):
    def init(self, position):
        return super().init(position.nan_to_num())


class ReadsTheDevice(RandomWalk):
    def step(self, state, generator=None):
        new, info = super().step(state, generator)
        return (new, info) if float(info.accept.mean()) >= 0 else (state, info)


class NeverTunes(Kernel):
    """A walk whose step is far too long for the target, and stays so."""

    def __init__(self, target):
        self.walk = RandomWalk(target.log_prob, step_size=60.0)

    def init(self, position):
        return self.walk.init(position)

    def step(self, state, generator=None):
        return self.walk.step(state, generator)


class TunesTheWrongWay(RandomWalk):
    def _tuning(self, dim):
        return replace(Tuning(0.999, "identity"))


def _no_correction(position, generator):
    moved, correction = _drifting(position, generator)
    return moved, torch.zeros_like(correction)


def _wrong_sign(position, generator):
    moved, correction = _drifting(position, generator)
    return moved, -correction


def _wrong_conditionals(target):
    conditionals = gaussian_conditionals(target.mean, target.covariance * 1.05)
    return Gibbs(conditionals)


TWINS = {
    "accepts all": (lambda target: AcceptsAll(target.log_prob), "not invariant"),
    "never accepts": (lambda target: NeverAccepts(target.log_prob), "other dice|have moved"),
    "keeps a stale gradient": (lambda target: KeepsTheGradient(target.log_prob), "not invariant|detailed balance"),
    "keeps the old density": (lambda target: KeepsTheOldDensity(target.log_prob), "not that of the position"),
    "throws global dice": (lambda target: ThrowsGlobalDice(target.log_prob), "global dice"),
    "writes into its state": (lambda target: WritesIntoTheState(target.log_prob), "changed the state"),
    "hides its state": (lambda target: HidesItsState(target.log_prob), "went elsewhere"),
    "adapts for ever": (lambda target: AdaptsForEver(target.log_prob), "still adapts"),
    "mixes the chains": (lambda target: MixesTheChains(target.log_prob), "not that of the position|moves another"),
    "throws one die": (lambda target: ThrowsOneDie(target.log_prob), "same dice"),
    "no correction": (lambda target: MetropolisHastings(target.log_prob, _no_correction), "not invariant"),
    "correction of the wrong sign": (lambda target: MetropolisHastings(target.log_prob, _wrong_sign), "not invariant"),
    "systematic scan said reversible": (
        lambda target: CallsItselfReversible(gaussian_conditionals(target.mean, target.covariance)),
        "detailed balance",
    ),
    "conditionals five per cent too wide": (_wrong_conditionals, "not invariant"),
    "works in double": (lambda target: WorksInDouble(target.log_prob), "became torch.float64"),
    "reads the device": (lambda target: ReadsTheDevice(target.log_prob), "waits for the device"),
    "takes any start": (lambda target: TakesAnyStart(target.log_prob), "not a number was taken"),
    "never tunes": (NeverTunes, "other dice|have moved"),
    "tunes the wrong way": (lambda target: TunesTheWrongWay(target.log_prob), "scattered start|not mixed"),
}


@pytest.mark.parametrize("bug", TWINS)
def test_planted_bugs_are_rejected(bug):
    make, said = TWINS[bug]
    with pytest.raises(AssertionError, match=said):
        check_sampler(make)
