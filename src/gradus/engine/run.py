"""A run: the folder, device, precision, seed streams, clock, log and checkpoints of one training.

`Run.create` makes one, `Run.open` goes on with one, `Run.ephemeral` has no folder (tests, inner loops), and
`Run.load` gives the product that a finished run left.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradus.engine import checkpoint
from gradus.engine.device import Machine
from gradus.engine.folder import RunFolder, find_run
from gradus.engine.learner import Clock, Learner, Source, Watcher
from gradus.engine.log import MetricsLog, Tracker
from gradus.engine.state import State, Stateful, join, placed, split
from gradus.engine.streams import Streams
from gradus.engine.window import Window
from gradus.errors import GradusError

__all__ = ["Run"]


class Run:
    """One training's surroundings.

    Args:
        folder: where it is kept; None keeps nothing.
        seed: from which every stream is derived.
        device: `auto`, `cpu`, `cuda`, `mps`.
        precision: `float32`, `bf16` or `fp16`.
        compile: compile prepared modules.
        shard: shard prepared modules over the ranks.
        prefix: put before the streams' names (inner runs).
        log_every: steps between two log entries.
    """

    def __init__(
        self,
        folder: RunFolder | None = None,
        *,
        seed: int = 0,
        device: str = "auto",
        precision: str = "float32",
        compile: bool = False,
        shard: bool = False,
        prefix: str = "",
        log_every: int = 50,
    ) -> None:
        self.folder, self.seed, self.log_every = folder, seed, log_every
        self.machine = Machine(device, precision, compile, shard)
        self.device, self.ranks = self.machine.device, self.machine.ranks
        self.streams = Streams(seed, prefix, self.ranks.rank)
        self.clock = Clock()
        self.window = Window()
        self.best: State | None = None
        self.trackers: list[Tracker] = []
        self.save_requested = False
        self._prefix = prefix
        self._parts: tuple[Learner, Source, Sequence[Watcher]] | None = None
        self._log: MetricsLog | None = None
        self._memory: dict[int, tuple[Any, dict[str, torch.Tensor]]] = {}
        self._held = ExitStack()
        self._inner: dict[str, Run] = {}
        self.exact = True
        if not prefix:
            self.streams.seed_global()

    # -- making and opening ---------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, path: str | Path, *, recipe: str | None = None, options: State | None = None, **settings: Any
    ) -> "Run":
        """Make a run folder and hold its lock; `settings` are those of the class.

        Raises:
            GradusError: if the name is taken.
        """
        folder = RunFolder.create(path, recipe, options if options is not None else dict(settings))
        return cls(folder, **settings).hold()

    @classmethod
    def open(cls, path: str | Path, **settings: Any) -> "Run":
        """Open an existing run folder to go on with it; settings default to those it was created with.

        Raises:
            GradusError: if it is no sound run folder, or another process writes it.
        """
        folder = RunFolder(find_run(path))
        body = folder.read()
        kept = body["options"] if body["recipe"] is None else {}
        return cls(folder, **{**kept, **settings}).hold()

    @classmethod
    def ephemeral(cls, seed: int = 0, device: str = "cpu", **settings: Any) -> "Run":
        """Return a run with no folder, lock or signals."""
        return cls(None, seed=seed, device=device, **settings)

    def inner(self, name: str) -> "Run":
        """Return a run for a nested `fit`: the same device and precision, prefixed streams, nothing on disk."""
        if name not in self._inner:
            m = self.machine
            self._inner[name] = Run(
                None, seed=self.seed, device=str(self.device), precision=m.precision, prefix=f"{self._prefix}{name}/"
            )
        return self._inner[name]

    def hold(self) -> "Run":
        """Take the folder's lock until `close`; ranks other than the first only read."""
        if self.folder is not None and self.ranks.rank == 0:
            self._held.enter_context(self.folder.locked())
        return self

    def close(self) -> None:
        """Close the log and release the lock."""
        if self._log is not None:
            self._log.close()
            self._log = None
        for tracker in self.trackers:
            tracker.close()
        self.trackers = []
        self._held.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        name = self.folder.path.name if self.folder else "ephemeral"
        return f"Run({name}, seed {self.seed}, {self.device}, {self.machine.precision}, step {self.clock.step})"

    # -- what learners and recipes use ----------------------------------------------------------------------------

    def generator(self, name: str) -> torch.Generator:
        """Return the generator of a named seed stream."""
        return self.streams.generator(name)

    def stream(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which the global random state is the named stream's."""
        return self.streams.swapped(name)

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context that computes in the run's precision."""
        return self.machine.autocast()

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, broadcast, shard and compile it as the run says."""
        return self.machine.prepare(module)

    def unread(self) -> dict[str, float]:
        """Return the metrics since the last log entry as numbers; the device, and the other ranks, are waited for."""
        return self.window.read(self.ranks, self.device)

    def log(self, metrics: Mapping[str, float]) -> None:
        """Write values of the present step to `metrics.csv` and the trackers."""
        if self.folder is None or self.ranks.rank != 0 or not metrics:
            return
        if self._log is None:
            self._log = MetricsLog(self.folder.metrics_file)
        self._log.write(self.clock.step, self.clock.seconds, metrics)
        for tracker in self.trackers:
            tracker.write(self.clock.step, metrics)

    # -- state ----------------------------------------------------------------------------------------------------

    def attach(self, learner: Learner, source: Source, watchers: Sequence[Watcher]) -> None:
        """Name the parts whose state the checkpoints hold."""
        self._parts = (learner, source, watchers)

    def state_dict(self) -> State:
        """Return the state of everything: learner, source, watchers, streams, clock, unread metrics."""
        learner, source, watchers = self.parts
        return {
            "learner": learner.state_dict(),
            "source": source.state_dict(),
            "watchers": [w.state_dict() for w in _remembering(watchers)],
            "clock": {"step": self.clock.step, "seconds": self.clock.seconds},
            "ranks": self.ranks.gather(self._own_state()),
        }

    def _own_state(self) -> State:
        """Return what differs between ranks: random streams and metrics not yet read."""
        return {
            "streams": self.streams.state_dict(),
            "inner": {name: run.streams.state_dict() for name, run in self._inner.items()},
            "window": self.window.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Put every part back."""
        learner, source, watchers = self.parts
        learner.load_state_dict(self._placed(state["learner"]))
        source.load_state_dict(state["source"])
        remembering = _remembering(watchers)
        if len(remembering) != len(state["watchers"]):
            raise GradusError("this run was started with other watchers: give `fit` the same ones to go on with it")
        for watcher, saved in zip(remembering, state["watchers"], strict=True):
            watcher.load_state_dict(saved)
        own = state["ranks"][self.ranks.rank if self.ranks.rank < len(state["ranks"]) else 0]
        for name, streams in own["inner"].items():
            self.inner(name).streams.load_state_dict(streams)
        self.clock.step, self.clock.seconds = state["clock"]["step"], state["clock"]["seconds"]
        self.window.load_state_dict(own["window"])
        self.streams.load_state_dict(own["streams"])

    def _placed(self, state: State) -> State:
        """Return a learner's saved state sharded as the learner is."""
        return placed(self.parts[0].state_dict(), state) if self.machine.shard else state

    def save(self, status: str = "running") -> None:
        """Write a checkpoint of this step, keep the best one too, and delete older ones.

        Raises:
            GradusError: if the disk is full; the previous checkpoint stays intact.
        """
        self.save_requested = False
        state = self.state_dict()
        if self.folder is None:
            tensors: dict[str, torch.Tensor] = {}
            self._memory[self.clock.step] = (split(state, tensors), tensors)
            self._memory = {step: kept for step, kept in self._memory.items() if step in self._kept()}
        elif self.ranks.rank == 0:
            if self._log is None:
                self._log = MetricsLog(self.folder.metrics_file)
            head = {
                "status": status,
                "metrics_offset": self._log.offset(),
                "best": self.best,
                "facts": self.machine.facts(),
            }
            checkpoint.write(self.folder.checkpoints, self.clock.step, state, head)
            checkpoint.prune(self.folder.checkpoints, self._kept())
        elif self.machine.shard:
            split(state, {})  # gathering sharded tensors is collective

    def _kept(self) -> set[int]:
        """Return the steps whose checkpoints stay: the last, the best, and always one to fall back on."""
        kept = {self.clock.step} | ({self.best["step"]} if self.best else set())
        if len(kept) == 1 and self.folder is not None:
            kept |= set([s for s in checkpoint.steps(self.folder.checkpoints) if s < self.clock.step][-1:])
        return kept

    def restore(self, truncate: bool = True) -> str | None:
        """Put the newest sound checkpoint back into the attached parts; return its status, None if there is none.

        Args:
            truncate: drop what the log holds from after that checkpoint, because those steps will be made again.
        """
        if self.folder is None:
            return None
        found = checkpoint.newest(self.folder.checkpoints)
        offset = 0
        if found is not None:
            state, head = found
            self._tell_differences(head["facts"])
            self.load_state_dict(state)
            self.best, offset = head["best"], head["metrics_offset"]
        if truncate and self.ranks.rank == 0:
            self._log = MetricsLog(self.folder.metrics_file, offset)
        return found[1]["status"] if found is not None else None

    def _tell_differences(self, then: State) -> None:
        threads = then.get("threads")
        if threads and threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        now = self.machine.facts()
        other = [f"{key} was {then[key]}, is {now[key]}" for key in now if key in then and then[key] != now[key]]
        self.exact = not other
        if other:
            warnings.warn(f"this resume is not bit-exact: {'; '.join(other)}", stacklevel=3)

    def load_best(self) -> bool:
        """Put the best checkpoint's learner back; return whether there was a better one than the present."""
        if self.best is None or self.best["step"] == self.clock.step:
            return False
        if self.folder is None:
            tree, tensors = self._memory[self.best["step"]]
            state = join(tree, tensors)
        else:
            try:
                state, _ = checkpoint.read(self.folder.checkpoints, self.best["step"])
            except checkpoint.Damaged as damage:
                warnings.warn(f"{damage}; keeping the last weights instead of the best", stacklevel=2)
                return False
        self.parts[0].load_state_dict(self._placed(state["learner"]))
        return True

    @property
    def parts(self) -> tuple[Learner, Source, Sequence[Watcher]]:
        """The learner, the source and the watchers that `attach` named."""
        assert self._parts is not None, "attach the parts first"
        return self._parts

    @staticmethod
    def load(path: str | Path, device: str = "auto", runs_dir: str | Path | None = None) -> Any:
        """Return the product of a run; needs no training data, no recipe and no user code.

        Args:
            path: a path, a name in the runs home, or `latest`.
            device: where the product computes.
            runs_dir: the runs home.

        Raises:
            GradusError: if the run has no product yet.
        """
        from gradus.engine.product import load_product

        return load_product(find_run(path, runs_dir), device)


def _remembering(watchers: Sequence[Watcher]) -> list[Stateful]:
    """Return the watchers that have a state; the others (progress, say) may differ from session to session."""
    return [watcher for watcher in watchers if isinstance(watcher, Stateful)]
