"""Vector environments whose state can be saved: by a walk over their attributes where a replay proves that exact.

The walk reads plain data and random generators off `vars()` of every wrapper, environment and space, and puts them back
in place. Whether that is all there is to an environment cannot be seen, so it is tried: a few steps are made, put back
and made again. Where the two differ, the state is instead the seed of the last reset and every action since, which is
exact for all environments that a seed determines; from time to time they are then reset, so that the list stays short.
"""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from gradus.data.draws import stream_seed
from gradus.engine import State

__all__ = ["Environments", "put_back", "snapshot"]

PLAIN = (bool, int, float, str, type(None), np.ndarray, np.generic)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str | int) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(_is_plain, value))
    return isinstance(value, PLAIN) and getattr(value, "dtype", None) is not np.dtype(object)


def _parts(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield everything reachable that may hold state, once, with its path: environments, wrappers, spaces."""
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        path, part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        for name, value in vars(part).items():
            members = enumerate(value) if isinstance(value, list | tuple) else [("", value)]
            for i, member in members:
                if isinstance(member, gymnasium.Env | gymnasium.vector.VectorEnv | gymnasium.Space):
                    waiting.append((f"{path}.{name}{i}", member))


def snapshot(env: Any) -> State:
    """Return all plain data and all generators' positions that can be reached from an environment."""
    state: State = {}
    for path, part in _parts(env):
        for name, value in vars(part).items():
            if isinstance(value, np.random.Generator):
                state[f"{path}.{name}"] = {"generator": copy.deepcopy(value.bit_generator.state)}
            elif _is_plain(value):
                state[f"{path}.{name}"] = {"data": copy.deepcopy(value)}
    return state


def put_back(env: Any, state: State) -> None:
    """Put a snapshot back, arrays into the arrays that are there, so that whoever shares them sees it."""
    for path, part in _parts(env):
        for name, value in list(vars(part).items()):
            saved = state.get(f"{path}.{name}")
            if saved is None:
                continue
            if "generator" in saved:
                value.bit_generator.state = saved["generator"]
            elif isinstance(value, np.ndarray) and _fits(value, saved["data"]):
                value[...] = saved["data"]
            else:
                setattr(part, name, copy.deepcopy(saved["data"]))


def _fits(live: np.ndarray, saved: Any) -> bool:
    same = isinstance(saved, np.ndarray) and (live.shape, live.dtype) == (saved.shape, saved.dtype)
    return same and live.flags.writeable


class Environments:
    """A vector environment with an exact state.

    Args:
        envs: made by `gymnasium.make_vec`.
        seed: of the resets.
        longest: steps after which `rest` resets an environment that cannot be walked.
    """

    def __init__(self, envs: gymnasium.vector.VectorEnv, seed: int, longest: int = 10_000) -> None:
        self.envs, self.seed, self.longest = envs, seed, longest
        self.resets = 0
        self.actions: list[np.ndarray] = []
        self.observations = self._reset()
        self.walked = self._walks()
        self.resets = 0
        self.observations = self._reset()

    def __repr__(self) -> str:
        how = "walked" if self.walked else "replayed"
        return f"Environments({self.envs.num_envs} × {self.envs.spec.id if self.envs.spec else self.envs}, {how})"

    def _reset(self) -> np.ndarray:
        seed = stream_seed(self.seed, "reset", self.resets) % 2**31
        self.resets += 1
        self.actions = []
        observations, _ = self.envs.reset(seed=seed)
        for _, part in _parts(self.envs):
            if isinstance(part, gymnasium.Space):
                part.seed(seed)  # else a space draws its seed from the system
        return observations.copy()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return observations, rewards, terminated and truncated, as copies of one's own."""
        if not self.walked:
            self.actions.append(actions.copy())
        observations, rewards, terminated, truncated, _ = self.envs.step(actions)
        self.observations = observations.copy()
        return self.observations, rewards.copy(), terminated.copy(), truncated.copy()

    def rest(self) -> bool:
        """Between two rollouts, reset what has been recorded for long; return whether that was so."""
        due = not self.walked and len(self.actions) >= self.longest
        if due:
            self.observations = self._reset()
        return due

    def _walks(self, steps: int = 64) -> bool:
        """Try whether what follows a snapshot follows again after it was put back."""
        self.walked = True
        actions = [self.envs.action_space.sample() for _ in range(2 * steps)]
        for action in actions[:steps]:
            self.step(action)
        state = snapshot(self.envs)
        first = [self.step(action) for action in actions[steps:]]
        put_back(self.envs, state)
        again = [self.step(action) for action in actions[steps:]]
        rows = [pair for one, two in zip(first, again, strict=True) for pair in zip(one, two, strict=True)]
        return all(np.array_equal(a, b) for a, b in rows)

    def state_dict(self) -> State:
        """Return the snapshot, or the way from the last reset to here."""
        state: State = {"seed": self.seed, "resets": self.resets, "observations": self.observations}
        return state | ({"walk": snapshot(self.envs)} if self.walked else {"actions": list(self.actions)})

    def load_state_dict(self, state: State) -> None:
        """Put the environments where they were."""
        self.seed, self.resets = state["seed"], state["resets"]
        if self.walked:
            put_back(self.envs, state["walk"])
        else:
            self.resets -= 1
            self.observations = self._reset()
            for actions in state["actions"]:
                self.step(actions)
        self.observations = state["observations"].copy()
