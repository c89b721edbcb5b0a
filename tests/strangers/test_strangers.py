"""Four strangers to the engine keep the contract of learners, resume exactly, and learn, by the unchanged `fit`."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gradus.engine import Evaluate, Run, fit
from gradus.testing import check_learner
from strangers import cfr, gan, maml, ppo
from strangers.environments import Environments, put_back, snapshot

SMALL: dict[str, Any] = {
    "gan": gan.make,
    "maml": maml.make,
    "ppo": partial(ppo.make, envs=3, length=24),
    "ppo of single environments": partial(ppo.make, envs=3, length=24, mode="sync"),
    "cfr": cfr.make,
}


def evaluate_gan(run: Run, learner: gan.GAN) -> list[Any]:
    return [Evaluate(run, lambda: {"val/near": gan.coverage(learner.sample(64))[1]}, every_steps=2)]


def evaluate_cfr(run: Run, learner: cfr.CFR) -> list[Any]:
    return [Evaluate(run, lambda: {"val/gap": learner.nash_conv()}, every_steps=2)]


WATCHES: dict[str, Any] = {"gan": evaluate_gan, "cfr": evaluate_cfr}


@pytest.mark.parametrize("name", SMALL)
def test_strangers_keep_the_contract_of_learners(name: str) -> None:
    torch.set_num_threads(1)
    check_learner(SMALL[name], watch=WATCHES.get(name))


# -- they learn --------------------------------------------------------------------------------------------------------


def test_the_gan_covers_the_modes() -> None:
    run = Run.ephemeral(seed=0)
    learner, source = gan.make(run)
    before, _ = gan.coverage(learner.sample(4000))
    fit(learner, source, run=run, steps=700)
    with run.stream("eval"):
        modes, near = gan.coverage(learner.sample(4000))
    assert before < gan.MODES
    # Real points lie within three deviations with probability 1 − exp(−9/2) = 0.989; uniform ones on the square, 0.5.
    assert modes == gan.MODES
    assert near > 0.72


def test_real_points_cover_the_modes_and_others_do_not() -> None:
    generator = torch.Generator().manual_seed(1)
    modes, near = gan.coverage(gan.ring(4000, generator))
    assert modes == gan.MODES
    assert near == pytest.approx(1 - np.exp(-4.5), abs=0.01)
    one = torch.tensor([gan.RADIUS, 0.0]) + gan.SPREAD * torch.randn(4000, 2, generator=generator)
    assert gan.coverage(one)[0] == 1


def test_maml_adapts() -> None:
    run = Run.ephemeral(seed=0, log_every=100)
    learner, source = maml.make(run)
    history = fit(learner, source, run=run, steps=500)
    assert history.last("train/loss") < 0.75
    assert history.last("train/loss_before") > 4 * history.last("train/loss")


def test_maml_differentiates_through_the_inner_step() -> None:
    """The outer gradient is that of the exact two-level loss, by finite differences; first order is not."""
    torch.manual_seed(0)
    learner, source = maml.make(Run.ephemeral(seed=0))
    learner.network.double()
    tasks = maml.Tasks(*[tuple(part.double() for part in half) for half in next(source)])
    weight = learner.network[2].weight

    def outer(create: bool = False) -> torch.Tensor:
        count = len(tasks.query[0])
        start = {name: p.expand(count, *p.shape) for name, p in learner.network.named_parameters()}
        return learner.losses(learner.adapt(start, *tasks.support), *tasks.query).mean()

    (slope,) = torch.autograd.grad(outer(), weight)
    direction = torch.randn_like(weight)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight.add_(step * direction)
        values.append(float(outer()))
        with torch.no_grad():
            weight.sub_(step * direction)
    assert float((slope * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_ppo_balances_the_pole() -> None:
    torch.set_num_threads(1)
    run = Run.ephemeral(seed=0, log_every=1)
    learner, source = ppo.make(run)
    history = fit(learner, source, run=run, steps=40)
    returns = [value for _, value in history.metrics["rollout/return"]]
    assert np.mean(returns[:3]) < 60
    assert np.mean(returns[-8:]) > 150


def test_generalised_advantages_are_their_definition() -> None:
    """Against the plain double sum over one environment's steps, with an end, a cut and a masked row."""
    learner, _ = ppo.make(Run.ephemeral(seed=0), envs=1, length=4)
    steps = 7
    generator = torch.Generator().manual_seed(3)
    values, rewards = torch.randn(steps + 1, generator=generator), torch.randn(steps, generator=generator)
    terminated = torch.tensor([0, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    done = torch.tensor([0, 0, 1, 0, 0, 1, 0], dtype=torch.bool)
    empty = torch.empty(0)
    column = [rewards, terminated, done]
    batch = ppo.Rollout(empty, empty, *(x[:, None] for x in column), empty, empty)
    found = learner._advantages(batch, values[:, None])[:, 0]
    errors = rewards + learner.discount * ~terminated * values[1:] - values[:-1]
    for t in range(steps):
        expected, weight = 0.0, 1.0
        for k in range(t, steps):
            expected += weight * float(errors[k])
            weight *= learner.discount * learner.trace
            if done[k]:
                break
        assert float(found[t]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_cfr_reaches_the_published_exploitability_and_value() -> None:
    run = Run.ephemeral(seed=0)
    learner, source = cfr.make(run)
    found = {}

    def measure() -> dict[str, float]:
        found[run.clock.step] = learner.nash_conv()
        return {"game/nash_conv": found[run.clock.step]}

    fit(learner, source, run=run, steps=1000, watchers=[Evaluate(run, measure, every_steps=10)])
    assert found[10] == pytest.approx(0.13740, abs=5e-6)
    assert found[100] == pytest.approx(0.016452, abs=5e-7)
    assert found[1000] == pytest.approx(0.0018752, abs=5e-8)
    assert learner.value() == pytest.approx(-1 / 18, abs=2e-4)


def test_nash_conv_is_zero_at_a_known_equilibrium() -> None:
    """Kuhn's family of equilibria, its free parameter at 1/3."""
    learner = cfr.CFR()
    first, third = 1 / 3, 1.0
    bets = {"": [first, 0, third], "p": [1 / 3, 0, 1], "b": [0, 1 / 3, 1], "pb": [0, first + 1 / 3, 1]}
    for history, row in cfr.DECISIONS.items():
        learner.strategies[row] = np.array([[1 - bet, bet] for bet in bets[history]])
    assert learner.nash_conv() == pytest.approx(0, abs=1e-12)
    assert learner.value() == pytest.approx(-1 / 18, abs=1e-12)


# -- environments ------------------------------------------------------------------------------------------------------


class Hidden(gymnasium.Env):
    """A walk whose position is where no walker looks: in a closure."""

    observation_space = gymnasium.spaces.Box(-100, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        place = float(self.np_random.uniform())

        def move(by: float) -> float:
            nonlocal place
            place += by
            return place

        self.move = move
        return np.array([place], np.float32), {}

    def step(self, action: int) -> Any:
        place = self.move(2.0 * action - 1)
        return np.array([place], np.float32), place, abs(place) > 3, False, {}


def hidden(seed: int, longest: int = 1000) -> Environments:
    return Environments(gymnasium.vector.SyncVectorEnv([Hidden, Hidden]), seed, longest)


def named(id: str, mode: str, seed: int) -> Environments:
    return Environments(gymnasium.make_vec(id, num_envs=3, vectorization_mode=mode), seed)


CASES = {
    "CartPole, vectorised": partial(named, "CartPole-v1", "vector_entry_point"),
    "CartPole": partial(named, "CartPole-v1", "sync"),
    "Acrobot": partial(named, "Acrobot-v1", "sync"),
    "FrozenLake": partial(named, "FrozenLake-v1", "sync"),
    "hidden": hidden,
}


@pytest.mark.parametrize("name", CASES)
def test_environments_go_on_exactly(name: str) -> None:
    """From any step, in a new object of another seed, through automatic resets; and looking changes nothing."""
    one, other, unseen = CASES[name](seed=1), CASES[name](seed=2), CASES[name](seed=1)
    assert one.walked == (name != "hidden")
    dice = np.random.default_rng(0)
    actions = [dice.integers(0, 2, one.envs.num_envs) for _ in range(90)]
    for action in actions[:40]:
        one.step(action)
        unseen.step(action)
    state = one.state_dict()
    expected = [one.step(action) for action in actions[40:]]
    other.load_state_dict(state)
    for environments in (other, unseen):
        for action, step in zip(actions[40:], expected, strict=True):
            for a, b in zip(environments.step(action), step, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_recording_is_cut_by_resets_and_stays_exact() -> None:
    one, other = hidden(seed=1, longest=10), hidden(seed=5, longest=10)
    for _ in range(12):
        one.step(np.array([0, 1]))
    assert one.rest()
    assert not one.rest()
    one.step(np.array([1, 1]))
    other.load_state_dict(one.state_dict())
    assert len(one.state_dict()["actions"]) == 1
    np.testing.assert_array_equal(other.observations, one.observations)
    np.testing.assert_array_equal(other.step(np.array([1, 0]))[0], one.step(np.array([1, 0]))[0])


def test_a_snapshot_is_a_copy() -> None:
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")
    envs.reset(seed=0)
    state = snapshot(envs)
    first = envs.step(np.array([1, 1]))[0].copy()
    put_back(envs, state)
    np.testing.assert_array_equal(envs.step(np.array([1, 1]))[0], first)
