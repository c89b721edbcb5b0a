"""Seed streams: independent named random streams derived from one seed.

Stream `name` of seed s starts from the first 63 bits of sha256("s/name"), so adding a consumer never shifts another.
Dropout and `torch.distributions` take no generator: the global states of torch, NumPy and Python are one more stream,
"step", which is checkpointed with the rest. `swapped` lends the global state to another stream for a while.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from gradus.engine.state import State

__all__ = ["Streams", "derive"]


def derive(seed: int, name: str) -> int:
    """Return the 63-bit seed of a named stream."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") >> 1


def _global_state() -> State:
    version, words, gauss = random.getstate()
    algorithm, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - the global state is the point
    state: State = {
        "torch": torch.get_rng_state(),
        "numpy": (algorithm, np.asarray(keys).copy(), position, has_gauss, cached),
        "python": (version, np.array(words, dtype=np.uint32), gauss),  # 625 numbers: an array is quicker to write
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_global_state(state: State) -> None:
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _seed_global(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


class Streams:
    """The random streams of one run.

    Args:
        seed: the run's seed.
        prefix: put before every name, so that an inner run has streams of its own.
        rank: distributed rank; only the global "step" stream differs between ranks (dropout must).
    """

    def __init__(self, seed: int, prefix: str = "", rank: int = 0) -> None:
        self.seed, self.prefix, self.rank = seed, prefix, rank
        self._generators: dict[str, torch.Generator] = {}
        self._parked: dict[str, State] = {}

    def derive(self, name: str) -> int:
        """Return the integer seed of a named stream."""
        return derive(self.seed, self.prefix + name)

    def generator(self, name: str, device: str | torch.device = "cpu") -> torch.Generator:
        """Return the generator of a named stream; the same object at every call."""
        if name not in self._generators:
            self._generators[name] = torch.Generator(device=device).manual_seed(self.derive(name))
        return self._generators[name]

    def seed_global(self) -> None:
        """Start the global "step" stream."""
        _seed_global(self.derive(f"step/{self.rank}" if self.rank else "step"))

    @contextmanager
    def swapped(self, name: str) -> Iterator[None]:
        """Make the global random state the named stream's while the context lasts."""
        outer = _global_state()
        if name in self._parked:
            _set_global_state(self._parked[name])
        else:
            _seed_global(self.derive(name))
        try:
            yield
        finally:
            self._parked[name] = _global_state()
            _set_global_state(outer)

    def state_dict(self) -> State:
        """Return every stream's position, the global one included."""
        return {
            "global": _global_state(),
            "parked": dict(self._parked),
            "generators": {name: generator.get_state() for name, generator in self._generators.items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Put every stream back where `state_dict` found it."""
        _set_global_state(state["global"])
        self._parked = dict(state["parked"])
        for name, position in state["generators"].items():
            self.generator(name).set_state(position)
