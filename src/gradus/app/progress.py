"""Progress on standard error: a live line on a terminal, one plain line per evaluation or so elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence

from gradus.engine.learner import Clock, Watcher
from gradus.engine.recipe import Build
from gradus.engine.run import Run

__all__ = ["progress"]


def progress(run: Run, build: Build) -> Sequence[Watcher]:
    """Return the watcher that shows how a run goes, after saying what is about to be trained."""
    name = run.folder.path.name if run.folder else "run"
    words = {key: f"{value:,}" if isinstance(value, int) else value for key, value in build.notes.items()}
    facts = ", ".join(f"{key} {word}" for key, word in words.items())
    print(f"{name}: {facts}, on {run.device}", file=sys.stderr)
    return [Live(name) if sys.stderr.isatty() else Plain(name)]


def rate(seconds: float, steps: int) -> str:
    """Return steps per second, or seconds per step when that reads better."""
    if seconds <= 0 or steps <= 0:
        return ""
    return f"{steps / seconds:.0f} it/s" if steps > seconds else f"{seconds / steps:.1f} s/it"


def duration(seconds: float) -> str:
    """Return a length of time as m:ss or h:mm:ss."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


class _Pace:
    """Measures the speed of the present session."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.started = time.monotonic()

    def words(self, clock: Clock) -> str:
        """Return epoch, step, speed and time left."""
        if self.first is None:
            self.first, self.started = clock.step - 1, time.monotonic()
        done, taken = clock.step - self.first, time.monotonic() - self.started
        total = f"/{clock.total}" if clock.total else ""
        epoch = f"epoch {clock.epoch:.1f}  " if clock.epoch is not None else ""
        left = ""
        if clock.total and done > 1:
            left = f"  {duration(taken / done * (clock.total - clock.step))} left"
        return f"{epoch}step {clock.step}{total}  {rate(taken, done)}{left}"


def _values(metrics: Mapping[str, float]) -> str:
    shown = {key: value for key, value in metrics.items() if key not in ("train/lr", "train/grad_norm")}
    return "  ".join(f"{key} {value:.4g}" for key, value in shown.items())


class Plain:
    """Prints a line when something was evaluated, and otherwise at most every ten seconds."""

    def __init__(self, name: str, every: float = 10.0) -> None:
        self.name, self.every = name, every
        self._pace, self._last = _Pace(), time.monotonic()
        self._seen: dict[str, float] = {}

    def __call__(self, clock: Clock, metrics: Mapping[str, float]) -> None:
        if self._pace.first is None:
            self._pace.words(clock)
        if not metrics:
            return
        self._seen.update(metrics)
        evaluated = any(not key.startswith("train/") for key in metrics)
        now = time.monotonic()
        if (evaluated and now - self._last > 1) or now - self._last > self.every or clock.stop:
            self._last = now
            print(f"{self.name}: {self._pace.words(clock)}  {_values(self._seen)}", file=sys.stderr, flush=True)


class Live:
    """Keeps one line up to date on a terminal, and leaves a line behind for an evaluation every two seconds or so."""

    def __init__(self, name: str, every: float = 2.0) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.name, self.every = name, every
        self._console = Console(stderr=True)
        self._live = RichLive(console=self._console, refresh_per_second=5, transient=True)
        self._pace, self._next, self._last, self._on = _Pace(), 0.0, 0.0, False
        self._seen: dict[str, float] = {}

    def __call__(self, clock: Clock, metrics: Mapping[str, float]) -> None:
        now = time.monotonic()
        self._seen.update(metrics)
        line = f"{self._pace.words(clock)}  {_values(self._seen)}" if metrics or now >= self._next else ""
        if any(not key.startswith("train/") for key in metrics) and (now - self._last > self.every or clock.stop):
            self._last = now
            self._console.print(f"{self.name}: {line}", highlight=True)
        if clock.stop:
            self.close()
        elif now >= self._next:
            self._next = now + 0.2
            if not self._on:
                self._live.start()
                self._on = True
            self._live.update(line)

    def close(self) -> None:
        """Give the terminal back its line and its cursor."""
        if self._on:
            self._live.stop()
            self._on = False
