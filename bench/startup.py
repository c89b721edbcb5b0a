"""How long people wait before anything happens: help, errors, listings, and the first step of a training.

Every measurement is a new process, started as a user starts it and timed from outside; they take turns, and medians
are compared within one session. The first step is seen by its row in `metrics.csv` (`--log-every 1`), so the time
includes making the run folder, importing, loading the data, building the model, the step itself and logging it.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path

__all__ = ["startup"]

POLL = 0.002


def startup(rounds: int = 7, warmup: int = 1, only: Collection[str] = ()) -> dict[str, float]:
    """Seconds from typing a command to its answer, and of `gradus train vision/classify` to its first finished step.

    `first_step_after_import` is the first step's median less that of `python -c "import torch"`.

    Args:
        rounds: how often each command is timed.
        warmup: rounds before those, which fill the disk's and Python's caches.
        only: names of what to measure: `help`, `wrong_flag`, `list`, `import_torch`, `first_step`; all when empty.
    """
    gradus = [sys.executable, "-m", "gradus"]
    script = Path(sys.executable).with_name("gradus")
    if script.exists():
        gradus = [str(script)]
    commands = {
        "help": ([*gradus, "--help"], 0),
        "wrong_flag": ([*gradus, "train", "vision/classify", "--batch-sise", "3"], 2),
        "list": ([*gradus, "list"], 0),
        "import_torch": ([sys.executable, "-c", "import torch"], 0),
        "first_step": ([*gradus, "train", "vision/classify", "--log-every", "1"], None),
    }
    chosen = {name: command for name, command in commands.items() if not only or name in only}
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for turn in range(warmup + rounds):
        for name, (words, code) in chosen.items():
            seconds = _first_step(words) if code is None else _answer(words, code)
            if turn >= warmup:
                times[name].append(seconds)
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    if {"first_step", "import_torch"} <= found.keys():
        found["first_step_after_import"] = found["first_step"] - found["import_torch"]
    return found


def _environment(place: str) -> Mapping[str, str]:
    return {**os.environ, "GRADUS_RUNS": place, "GRADUS_OFFLINE": "1"}


def _answer(words: list[str], code: int) -> float:
    """Return the seconds that a command takes, which must end with the exit code given."""
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        done = subprocess.run(words, cwd=place, env=_environment(place), capture_output=True, check=False)
        seconds = time.perf_counter() - started
    assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}: {done.stderr.decode()[-500:]}"
    return seconds


def _first_step(words: list[str], patience: float = 120.0) -> float:
    """Return the seconds until a training has logged its first step; it is ended then."""
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "one" / "metrics.csv"
        started = time.perf_counter()
        child = subprocess.Popen(
            [*words, "--name", "one"], cwd=place, env=_environment(place),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not _stepped(log):
                if child.poll() is not None and not _stepped(log):
                    raise RuntimeError(f"{' '.join(words)} ended with {child.returncode} before its first step")
                assert time.perf_counter() - started < patience, "no step within two minutes"
                time.sleep(POLL)
            return time.perf_counter() - started
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()


def _stepped(log: Path) -> bool:
    """Say whether the log holds a whole row of the first step."""
    try:
        return "\n1," in log.read_text(encoding="utf-8").rpartition("\n")[0]
    except FileNotFoundError:
        return False
