"""Exact resume, tried by force: kill a training with `kill -9` again and again, and compare with one left in peace.

    python -m tests.resume.killing --kills 20 --case classify --json
    python -m tests.resume.killing --kills 5 --case gan --case maml --case ppo --case cfr --json

One process trains to the end. Another run of the same command is killed at random moments (while it starts, at a random
step, while it writes a checkpoint), each time going on from what it finds on the disk, and ends by itself at last. Then
every tensor and number of the last checkpoint, the product and all values of metrics.csv must be the same, bit for bit;
only wall time may differ. Processes are started anew by default (`python -m …`, as a user would); with `--forked` they
are forked off a server that has imported torch already, which is many times quicker.
"""

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CASES", "Case", "evidence", "kill_and_resume", "main"]

TESTS = Path(__file__).resolve().parents[1]
SETTINGS = {"GRADUS_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Case:
    """A training that can be killed.

    Attributes:
        module: run as `python -m`.
        first: its words for a run folder that is not there yet.
        again: its words to go on.
        steps: how many it makes, by which moments are chosen.
    """

    module: str
    first: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]]
    steps: int


def _stranger(name: str, steps: int, every: int) -> Case:
    def words(run: Path) -> list[str]:
        return ["--run", str(run), "--steps", str(steps), "--log-every", "3", "--checkpoint-every", str(every)]

    return Case(f"strangers.{name}", words, words, steps)


def _classify(run: Path) -> list[str]:
    """Train in channels-last memory with a fused optimiser, an average, augmentation and early stopping."""
    return [
        "train", "vision/classify", "--name", run.name, "--runs-dir", str(run.parent), "--data", "digits",
        "--channels", "3", "--model", "lenet", "--set", "dropout=0.2", "--optimizer", "adamw", "--ema", "0.98",
        "--augment", "rotate=10,crop=1,noise=0.05,mixup=0.2", "--clip", "1.0", "--label-smoothing", "0.05",
        "--patience", "4", "--monitor", "val/loss", "--evaluate-every", "15", "--checkpoint-every", "7",
        "--log-every", "5", "--batch-size", "64", "--max-steps", "120", "--warmup", "0.1", "--device", "cpu", "--quiet",
    ]  # fmt: skip


def _resume(run: Path) -> list[str]:
    return ["resume", str(run), "--quiet"]


CASES = {
    "classify": Case("gradus", _classify, _resume, 120),
    "gan": _stranger("gan", 240, 20),
    "maml": _stranger("maml", 150, 11),
    "ppo": _stranger("ppo", 24, 2),
    "cfr": _stranger("cfr", 500, 25),
}


# -- processes ---------------------------------------------------------------------------------------------------------


def _run_module(module: str, words: list[str]) -> None:
    """Do in a forked process what `python -m module words` does; its exit code follows."""
    os.environ.update(SETTINGS)
    sys.path.insert(0, str(TESTS))
    sys.argv = [module, *words]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    import torch

    torch.set_num_threads(1)
    runpy.run_module(module, run_name="__main__")


@functools.cache
def _server() -> Any:
    """Return the context whose processes are forked off a server that has imported what takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gradus.vision.classify", "gradus.engine.training", "gymnasium"])
    return context


class _Training:
    """One process of a case, started anew or forked."""

    def __init__(self, case: Case, run: Path, forked: bool) -> None:
        words = case.again(run) if (run / "recipe.json").exists() else case.first(run)
        self._fork: Any = None
        self.fresh = not forked
        if forked:
            self._fork = _server().Process(target=_run_module, args=(case.module, words))
            self._fork.start()
            self.pid = self._fork.pid
        else:
            env = {**os.environ, **SETTINGS, "PYTHONPATH": str(TESTS)}
            command = [sys.executable, "-m", case.module, *words]
            self._child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self.pid = self._child.pid

    def ended(self) -> bool:
        """Return whether the process is over."""
        return (self._fork.exitcode if self._fork else self._child.poll()) is not None

    def kill(self) -> bool:
        """Send SIGKILL to this very process; return whether it came before the end."""
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        if self._fork:
            self._fork.join()
            return self._fork.exitcode
        if not self._child.stderr.closed:
            self.told = self._child.communicate()[1].decode(errors="replace")
        return self._child.returncode

    def finish(self) -> None:
        """Wait for a good end."""
        code = self.wait()
        assert code == 0, f"the training ended with {code}: {getattr(self, 'told', '')}"


# -- moments -----------------------------------------------------------------------------------------------------------


def _step(run: Path) -> int:
    """Return the last step in the log; 0 where there is none."""
    try:
        with open(run / "metrics.csv", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 200))
            words = file.read().decode(errors="replace").splitlines()[-1].split(",")
    except (OSError, IndexError):
        return 0
    return int(words[0]) if words[0].isdigit() else 0


def _writing(run: Path) -> bool:
    """Return whether a checkpoint is being written."""
    try:
        return any(name.endswith(".tmp") for name in os.listdir(run / "checkpoints"))
    except OSError:
        return False


def _moments(case: Case, kills: int, dice: random.Random) -> Iterator[tuple[str, int]]:
    """Yield for every kill what is waited for, and the step that comes first: spread over the run, of every kind."""
    kinds = ["checkpoint", "step"] + ["start"] * (kills > 3)
    for kill in range(kills):
        low, high = (0.95 * case.steps * (kill + side) / kills for side in (0, 1))
        yield kinds[kill % len(kinds)], int(dice.uniform(low, high))


def _await(training: _Training, run: Path, kind: str, step: int, dice: random.Random) -> None:
    """Return when the moment has come, or the process has ended."""
    if kind == "start":
        deadline = time.monotonic() + dice.uniform(0.0, 2.5 if training.fresh else 0.15)
        while time.monotonic() < deadline and not training.ended():
            time.sleep(0.002)
        return
    while _step(run) < step and not training.ended():
        time.sleep(0.0005)
    if kind == "checkpoint":
        while not _writing(run) and not training.ended():
            pass
        time.sleep(dice.uniform(0.0, 0.004))
    else:
        time.sleep(dice.uniform(0.0, 0.02))


# -- the comparison ----------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What is left of a run, in a form that can be compared.

    Attributes:
        tensors: sha256 of every array of the last checkpoint and of the product, by file and place.
        numbers: everything else in the last checkpoint but wall time.
        metrics: the rows of metrics.csv without the seconds.
    """

    tensors: dict[str, str] = field(default_factory=dict)
    numbers: Any = None
    metrics: list[list[str]] = field(default_factory=list)


def _findings(run: Path) -> Findings:
    from safetensors.torch import load

    from gradus.engine import checkpoint

    found = Findings()
    last = checkpoint.steps(run / "checkpoints")[-1]
    files = [checkpoint.step_folder(run / "checkpoints", last) / "state.safetensors"]
    for file in [*files, *sorted((run / "product").glob("*.safetensors"))]:
        for name, tensor in load(file.read_bytes()).items():
            # The layout is the tensor's own business in a file: what counts are type, shape and bits.
            bits = tensor.contiguous().view(-1).numpy().tobytes()
            told = f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(bits).hexdigest()}"
            found.tensors[f"{file.name}{name}"] = told
    state, head = checkpoint.read(run / "checkpoints", last)
    state["clock"].pop("seconds")
    kept = {key: head[key] for key in ("status", "best", "step")}
    found.numbers = json.loads(json.dumps([kept, _without_arrays(state)]))
    rows = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()
    found.metrics = [[step, name, value] for step, _, name, value in (row.split(",") for row in rows)]
    return found


def _without_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return [[str(key), _without_arrays(part)] for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [_without_arrays(part) for part in value]
    return None if hasattr(value, "dtype") else repr(value)


def _kill(plan: Case, run: Path, moment: tuple[str, int], dice: random.Random, forked: bool) -> dict[str, Any]:
    """Go on with a run until a moment, and kill it there."""
    training = _Training(plan, run, forked)
    try:
        _await(training, run, *moment, dice)
    finally:
        killed = training.kill()
    return {"waited_for": moment[0], "logged": _step(run), "torn": _writing(run), "killed": killed}


def kill_and_resume(
    case: str, kills: int, seed: int, home: Path | None = None, *, forked: bool = False
) -> dict[str, Any]:
    """Train one case twice, once in peace and once killed, and compare what is left.

    Args:
        case: a key of `CASES`.
        kills: how often the second training is killed.
        seed: of the moments.
        home: an empty folder for both runs; a temporary one when left out.
        forked: fork the processes off a server instead of starting each anew.

    Returns:
        `identical`, and `tensors`, `numbers` and `metrics` one by one; `kills` done, the moment of each, and how many
        of them left a half-written checkpoint behind.
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return kill_and_resume(case, kills, seed, Path(folder), forked=forked)
    home.mkdir(parents=True, exist_ok=True)
    plan, dice = CASES[case], random.Random(f"{case}/{seed}")
    peace, victim = home / "peace" / "run", home / "victim" / "run"
    peace.parent.mkdir()
    victim.parent.mkdir()
    undisturbed = _Training(plan, peace, forked)
    try:
        moments = [_kill(plan, victim, moment, dice, forked) for moment in _moments(plan, kills, dice)]
        _Training(plan, victim, forked).finish()
        undisturbed.finish()
    finally:
        undisturbed.kill()
    one, two = _findings(peace), _findings(victim)
    same = {part: getattr(one, part) == getattr(two, part) for part in ("tensors", "numbers", "metrics")}
    done = sum(moment["killed"] for moment in moments)
    return {
        "case": case, "identical": all(same.values()), **same, "compared_tensors": len(one.tensors),
        "compared_rows": len(one.metrics), "kills": done, "torn_checkpoints": sum(m["torn"] for m in moments),
        "seed": seed, "moments": moments,
        "different": sorted(k for k in one.tensors if one.tensors[k] != two.tensors.get(k))[:5],
    }  # fmt: skip


def evidence(cases: list[str], kills: int, seed: int = 0, forked: bool = False) -> dict[str, Any]:
    """Return how many kills were survived bit-identically, as `gradus prove` writes it down.

    Args:
        cases: keys of `CASES`.
        kills: how often each is killed.
        seed: of the moments.
        forked: fork the processes off a server instead of starting each anew.
    """
    found = [kill_and_resume(case, kills, seed, forked=forked) for case in cases]
    values = {
        "fewest kills of a case": float(min(one["kills"] for one in found)),
        "cases that differ": float(sum(not one["identical"] for one in found)),
        "half-written checkpoints left": float(sum(one["torn_checkpoints"] for one in found)),
    }
    return {"values": values, "cases": [{k: v for k, v in one.items() if k != "different"} for one in found]}


def main() -> int:
    """Run the cases of the command line; the exit code is 1 where a resume was not exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=sorted(CASES), action="append", help="which; all when left out")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="fork the processes instead of starting them anew")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = []
    for case in options.case or CASES:
        found.append(kill_and_resume(case, options.kills, options.seed, forked=options.forked))
        if not options.json:
            told = {key: value for key, value in found[-1].items() if key not in ("moments", "case")}
            print(f"{case}: {told}", flush=True)
    if options.json:
        print(json.dumps({"identical": all(one["identical"] for one in found), "cases": found}))
    return 0 if all(one["identical"] for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
