"""PPO on CartPole: rollouts are a Source of raw observations, the epochs over one live in `step`.

    L = −E min(ρ Â, clip(ρ, 1 ± ε) Â) + c_v E (V − R)² − c_e E H(π),     ρ = π(a|s) / π_old(a|s)
    Â_t = δ_t + γλ (1 − done_t) Â_{t+1},     δ_t = r_t + γ (1 − terminated_t) V(s_{t+1}) − V(s_t)

The normaliser of observations is a module of the learner, so its statistics are in the product. Vector environments
reset at the step after a `done`: the row there holds the last observation of the episode, from which a truncated one is
bootstrapped, and its action does nothing, so it is masked.

References:
    Schulman et al. 2017, Proximal policy optimization algorithms.
    Schulman et al. 2016, High-dimensional continuous control using generalized advantage estimation.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.engine import History, Run, State, Updater, collect, restore
from gradus.optim.adam import adam

from .driving import drive
from .environments import Environments

__all__ = ["PPO", "Rollout", "Rollouts", "main", "make"]


class Rollout(NamedTuple):
    """Steps of several environments, time first; `observations` has one row more, the state that follows."""

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    done: Tensor
    valid: Tensor
    returns: Tensor


class Rollouts:
    """The source: plays the environments by the learner's `act`; its state is the environments' and nothing else."""

    def __init__(self, environments: Environments, act: Callable[[Tensor], Tensor], length: int) -> None:
        self.environments, self.act, self.length = environments, act, length
        count = environments.envs.num_envs
        self.fresh, self.running = np.ones(count, bool), np.zeros(count)

    def __iter__(self) -> Iterator[Rollout]:
        return self

    def __next__(self) -> Rollout:
        rows: list[tuple[np.ndarray, ...]] = []
        returns = []
        if self.environments.rest():
            self.fresh, self.running = np.ones_like(self.fresh), np.zeros_like(self.running)
        for _ in range(self.length):
            before, valid = self.environments.observations, self.fresh
            actions = self.act(torch.from_numpy(before)).numpy()
            _, rewards, terminated, truncated = self.environments.step(actions)
            done = (terminated | truncated) & valid
            self.running += rewards * valid
            returns.append(self.running[done])
            self.running[done] = 0
            rows.append((before, actions, rewards, terminated & valid, done, valid))
            self.fresh = ~done
        stacked = [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]
        observations = torch.cat([stacked[0], torch.from_numpy(self.environments.observations)[None]])
        return Rollout(observations, *stacked[1:], torch.from_numpy(np.concatenate(returns)))

    def state_dict(self) -> State:
        """Return the environments' state and what their present episodes have earned."""
        return {"environments": self.environments.state_dict(), "fresh": self.fresh, "running": self.running}

    def load_state_dict(self, state: State) -> None:
        """Put them back."""
        self.environments.load_state_dict(state["environments"])
        self.fresh, self.running = state["fresh"].copy(), state["running"].copy()


class Normaliser(nn.Module):
    """Standardises observations by the mean and variance of all that `observe` was shown."""

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (x − μ) / σ."""
        return (x - self.mean) / (self.variance + 1e-8).sqrt()

    def observe(self, x: Tensor) -> None:
        """Merge the moments of rows (n, size) with those so far."""
        total = self.count + len(x)
        shift = x.mean(0) - self.mean
        spread = self.variance * self.count + x.var(0, correction=0) * len(x)
        self.variance.copy_((spread + shift.square() * self.count * len(x) / total) / total)
        self.mean += shift * len(x) / total
        self.count.copy_(total)


class Agent(nn.Module):
    """Policy and value of normalised observations."""

    def __init__(self, size: int, actions: int, width: int = 64) -> None:
        super().__init__()
        self.normaliser = Normaliser(size)
        self.policy = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, actions))
        self.value = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (…, actions) and values (…)."""
        x = self.normaliser(x)
        return F.log_softmax(self.policy(x), -1), self.value(x).squeeze(-1)


class PPO:
    """The learner: several epochs of clipped updates on one rollout."""

    def __init__(self, run: Run, size: int, actions: int, *, epochs: int = 6, minibatch: int = 256) -> None:
        with run.stream("init"):
            self.agent = run.prepare(Agent(size, actions))
        self.update = Updater(self.agent, adam(5e-3), clip=0.5)
        self.epochs, self.minibatch = epochs, minibatch
        self.discount, self.trace, self.bound, self.entropy = 0.98, 0.95, 0.2, 0.005
        self.choices, self.orders = run.generator("act"), run.generator("minibatches")

    def __repr__(self) -> str:
        return f"PPO({self.epochs} epochs of minibatches of {self.minibatch}, {self.update})"

    @torch.no_grad()
    def act(self, observations: Tensor) -> Tensor:
        """Return a sampled action for every raw observation."""
        normalised = self.agent.normaliser(observations)
        chances = self.agent.policy(normalised).softmax(-1)
        return torch.multinomial(chances, 1, generator=self.choices).squeeze(1)

    def step(self, batch: Rollout) -> dict[str, Tensor]:
        """Learn from one rollout, then show it to the normaliser, so that it was played and learnt under the same."""
        with torch.no_grad():
            logs, values = self.agent(batch.observations)
        advantages = self._advantages(batch, values)
        keep = batch.valid.flatten().nonzero().squeeze(1)
        taken = logs[:-1].gather(-1, batch.actions[..., None]).squeeze(-1)
        goals = advantages + values[:-1]
        columns = (batch.observations[:-1], batch.actions, taken, advantages, goals)
        flat = [column.flatten(0, 1)[keep] for column in columns]
        losses = []
        for _ in range(self.epochs):
            for rows in torch.randperm(len(keep), generator=self.orders).split(self.minibatch):
                losses.append(self.update(self._loss(*(column[rows] for column in flat))).loss)
        self.agent.normaliser.observe(flat[0])
        earned = {"rollout/return": batch.returns.mean()} if len(batch.returns) else {}
        return {"loss": torch.stack(losses).mean(), **earned}

    def _advantages(self, batch: Rollout, values: Tensor) -> Tensor:
        steps = batch.rewards.float() + self.discount * ~batch.terminated * values[1:] - values[:-1]
        advantages = torch.empty_like(steps)
        following = torch.zeros_like(steps[0])
        for t in range(len(steps) - 1, -1, -1):
            following = steps[t] + self.discount * self.trace * ~batch.done[t] * following
            advantages[t] = following
        return advantages

    def _loss(self, observations: Tensor, actions: Tensor, old: Tensor, advantages: Tensor, goals: Tensor) -> Tensor:
        logs, values = self.agent(observations)
        ratio = (logs.gather(1, actions[:, None]).squeeze(1) - old).exp()
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        clipped = ratio.clamp(1 - self.bound, 1 + self.bound)
        gain = torch.minimum(ratio * scaled, clipped * scaled).mean()
        entropy = -(logs.exp() * logs).sum(1).mean()
        return -gain + 0.5 * (values - goals).square().mean() - self.entropy * entropy

    def state_dict(self) -> State:
        """Return the agent's and the Updater's state; the generators belong to the run."""
        return collect(agent=self.agent, update=self.update)

    def load_state_dict(self, state: State) -> None:
        """Put both back in place."""
        restore(state, agent=self.agent, update=self.update)


def make(run: Run, envs: int = 16, length: int = 64, mode: str = "vector_entry_point") -> tuple[PPO, Rollouts]:
    """Return the learner and its source."""
    vector = gymnasium.make_vec("CartPole-v1", num_envs=envs, vectorization_mode=mode)
    learner = PPO(run, 4, 2)
    return learner, Rollouts(Environments(vector, run.streams.derive("environments")), learner.act, length)


def main(argv: Sequence[str] | None = None) -> History:
    """Train in a run folder."""
    return drive(make, 40, argv=argv)


if __name__ == "__main__":
    main()
