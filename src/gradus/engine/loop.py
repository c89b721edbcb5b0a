"""The one loop: take a batch, make a step, tell the watchers; resume exactly, stop cleanly.

    while step < steps:  metrics = learner.step(next(source));  step += 1;  watchers(clock, metrics)

The engine never calls `backward`. Metrics stay on the device until they are logged. A signal ends the step at hand,
saves, and stops; the last checkpoint holds everything that `kill -9` must not lose.
"""

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gradus.engine.learner import Learner, Source, Stop, Watcher
from gradus.engine.log import Series
from gradus.engine.run import Run
from gradus.errors import GradusError

__all__ = ["History", "fit"]

ALL_DONE = "all steps were done"


@dataclass
class History:
    """What a call of `fit` did.

    Attributes:
        step: steps done in all.
        reason: why it ended.
        seconds: wall time of the run so far.
        signal: the number of the signal that stopped it, None otherwise.
        metrics: what was logged in this session, as (step, value) pairs by name.
    """

    step: int = 0
    reason: str = ""
    seconds: float = 0.0
    signal: int | None = None
    metrics: Series = field(default_factory=dict)

    def last(self, name: str) -> float:
        """Return the last logged value of a metric.

        Raises:
            KeyError: if it was never logged.
        """
        return self.metrics[name][-1][1]


def fit(
    learner: Learner,
    source: Source,
    *,
    run: Run,
    steps: int | None,
    watchers: Sequence[Watcher] = (),
    again: bool = False,
) -> History:
    """Let a learner learn from a source for a number of steps, going on from the run's last checkpoint.

    Args:
        learner: owns what is learned.
        source: yields what is learned from.
        run: the surroundings; its clock, log and checkpoints.
        steps: number of steps in all, those of earlier sessions included; None goes on until a watcher stops it.
        watchers: called in order after every step.
        again: go on although the run was stopped early (it is being extended).

    Returns:
        What was done. At the end the learner holds the best checkpoint where a watcher keeps one.

    Raises:
        GradusError: if the loss is no longer finite, naming the module where that began.
    """
    run.attach(learner, source, watchers)
    status = run.restore()
    clock, history = run.clock, History()
    clock.total, clock.batches_per_epoch = steps, getattr(source, "batches_per_epoch", None)
    if status is not None and status.startswith("finished") and not again:
        extended = status == f"finished: {ALL_DONE}" and (steps is None or steps > clock.step)
        clock.stop = None if extended else status.removeprefix("finished: ")
    started = time.perf_counter() - clock.seconds
    autocast = run.autocast()
    alone = run.ranks.world == 1
    told = [(watcher, getattr(watcher, "metrics_only", False)) for watcher in watchers]
    with _signals(run) as caught:
        while clock.stop is None and (steps is None or clock.step < steps):
            with autocast:
                metrics = learner.step(next(source))
            clock.step += 1
            run.window.add(metrics)
            if steps is not None and clock.step >= steps:
                clock.stop = ALL_DONE
            logged: dict[str, float] = {}
            if clock.step % run.log_every == 0 or clock.stop:
                clock.seconds = time.perf_counter() - started
                logged.update(run.unread())
                run.window.clear()
                _require_finite(run, logged)
            if caught if alone else clock.step % run.log_every == 0:
                _notice_signals(run, caught)
            _tell(told, run, logged)
            if logged:
                clock.seconds = time.perf_counter() - started
                run.log(logged)
                for name, value in logged.items():
                    history.metrics.setdefault(name, []).append((clock.step, value))
            if run.save_requested or (clock.stop and run.folder is not None):
                clock.seconds = time.perf_counter() - started
                _require_finite(run, run.unread())  # a checkpoint is something to go back to
                run.save(_status(clock.stop, caught))
    history.step, history.seconds, history.reason = clock.step, clock.seconds, clock.stop or ALL_DONE
    history.signal = caught[0] if caught else None
    if not caught:
        run.load_best()
    clock.stop = None
    return history


def _status(stop: str | None, caught: list[int]) -> str:
    return "running" if stop is None else "stopped" if caught else f"finished: {stop}"


def _require_finite(run: Run, logged: Mapping[str, float]) -> None:
    for name, value in logged.items():
        if name.endswith("loss") and not math.isfinite(value):
            from gradus.engine.nonfinite import blame

            raise GradusError(f"{name} became {value} by step {run.clock.step}: {blame(run)}")


def _tell(told: Sequence[tuple[Watcher, bool]], run: Run, logged: dict[str, float]) -> None:
    for watcher, metrics_only in told:
        if metrics_only and not logged:
            continue
        try:
            found = watcher(run.clock, logged)
        except Stop as stop:
            run.clock.stop = run.clock.stop or stop.reason
            continue
        if found:
            logged.update(found)


@contextmanager
def _signals(run: Run) -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into an entry of the returned list; a second one acts as usual."""
    caught: list[int] = []
    if run.folder is None or threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _notice_signals(run: Run, caught: list[int]) -> None:
    if run.ranks.any(bool(caught)):
        if not caught:
            caught.append(int(signal.SIGTERM))
        run.clock.stop = run.clock.stop or f"stopped by {signal.Signals(caught[0]).name}"
