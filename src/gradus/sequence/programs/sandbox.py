"""The sandbox: runs a program that nobody has read, in a process that can compute and print, and nothing else.

A separate process with the standard library and a few packages; an empty folder of its own; no environment, no
descriptors, no files but those of Python, nothing written, no network, no other process, no signal to anyone; bounds on
time, processor, memory and output. `child` builds the walls; here the process is started, watched and ended, and its
folder removed. `strength()` tries the walls for real: what it says was tested on this machine, not looked up.

Deviations: what is confined is content. That a file exists, how long it is and what the machine is called can be seen,
for Landlock does not hide names. Where a program is
trusted on a machine without these walls, a process of its own that leaves the group outlives it.
"""

import contextlib
import functools
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple

from gradus.errors import GradusError

__all__ = ["Limits", "Outcome", "Strength", "run_program", "strength"]

WALLS = {"landlock", "seccomp"}
PACKAGES = ("numpy", "sympy", "mpmath")
CHILD = Path(__file__).with_name("child.py")
OUT_OF_MEMORY = 77
ERROR_BYTES = 8192
CHUNK = 1 << 14
GRACE = 0.2  # seconds between closing its pipes and being killed
Status = Literal["done", "failed", "time", "memory", "output", "killed"]

# Each tries one thing from inside.
PROBES = {
    "files": "open('/etc/passwd').read(1)",
    "writing": "open('a file', 'w').write('x')",
    "network": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "processes": "os.fork() or os._exit(0)",
    "signals": "os.kill(os.getppid(), 0)",
    "memory of others": "open(f'/proc/{os.getppid()}/maps').read(1)",
}
PROBE = """
import os, socket
def succeeds(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True
print({%s})
"""


@dataclass(frozen=True)
class Limits:
    """How much a program may use.

    Attributes:
        seconds: on the clock.
        cpu: seconds on the processor.
        memory: MiB of address space.
        output: bytes on standard output.
        files: open at once.
    """

    seconds: float = 30.0
    cpu: int = 10
    memory: int = 1024
    output: int = 1 << 16
    files: int = 64

    def __post_init__(self) -> None:
        """Refuse limits that leave nothing."""
        if not self.seconds > 0 or min(self.cpu, self.output) < 1 or self.memory < 64 or self.files < 16:
            raise GradusError("a program needs time, 64 MiB of memory, 16 open files and a byte of output at least")


class Outcome(NamedTuple):
    """How a program ended.

    Attributes:
        status: done; failed (an error of its own); or stopped for time, memory or output, or killed by the kernel.
        output: what it printed.
        error: the last lines of its error.
        seconds: on the clock.
    """

    status: Status
    output: str
    error: str
    seconds: float

    @property
    def answer(self) -> str:
        """The last line printed that is not empty."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if self.status == "done" and lines else ""


class Strength(NamedTuple):
    """What the sandbox holds back on this machine, each tried from inside.

    Hooks in the interpreter hold back the honest ways, and are no wall: only Landlock and seccomp together confine.

    Attributes:
        held: by what was tried, whether it was refused.
        walls: what stands.
        fallen: what could not be built, and why.
    """

    held: dict[str, bool]
    walls: tuple[str, ...]
    fallen: dict[str, str]

    @property
    def confined(self) -> bool:
        """Whether everything that was tried was refused, by walls of the kernel."""
        return all(self.held.values()) and set(self.walls) >= WALLS

    def __str__(self) -> str:
        if self.confined:
            return f"the sandbox holds ({', '.join(self.walls)})"
        loose = [name for name, held in self.held.items() if not held] or ["a program that is determined"]
        missing = ", ".join(sorted(WALLS - set(self.walls))) or "; ".join(self.fallen.values())
        return f"the sandbox does not confine {', '.join(loose)} here (missing: {missing})"


def run_program(program: str, limits: Limits | None = None, *, trust: bool = False) -> Outcome:
    """Run a program in the sandbox.

    Args:
        program: Python; the value of a last line that is an expression is printed.
        limits: how much it may use.
        trust: run it although this machine cannot confine it.

    Raises:
        GradusError: if this machine cannot confine files and network, unless trusted.
    """
    if not trust and not strength().confined:
        raise GradusError(f"{strength()}: use Linux 5.13 or later, or read what the model writes and add --trust")
    return _run(program, limits or Limits(), trust)[0]


@functools.cache
def strength(without: tuple[str, ...] = ()) -> Strength:
    """Return what the sandbox holds back here, having tried; `without` leaves walls out, to see what each is worth.

    Args:
        without: names of walls not to build.
    """
    tried = ", ".join(f"{name!r}: not succeeds(lambda: {attempt})" for name, attempt in PROBES.items())
    outcome, report = _run(PROBE % tried, Limits(), True, without)
    found = json.loads(outcome.output.replace("'", '"').replace("True", "true").replace("False", "false") or "{}")
    held = {name: bool(found.get(name)) for name in PROBES}
    return Strength(held, tuple(report.get("standing", ())), report.get("fallen", {"start": outcome.error}))


def _packages() -> dict[str, str]:
    """Return where the permitted packages lie, without importing them."""
    specs = {name: importlib.util.find_spec(name) for name in PACKAGES}
    return {name: str(Path(spec.origin).parent) for name, spec in specs.items() if spec is not None and spec.origin}


def _run(program: str, limits: Limits, trust: bool, without: Sequence[str] = ()) -> tuple[Outcome, dict]:
    """Start the process in a new folder, watch it, end it, remove the folder."""
    packages = _packages()
    libraries = [f"{folder}.libs" for folder in packages.values()]
    with tempfile.TemporaryDirectory(prefix="gradus-program-", ignore_cleanup_errors=True) as folder:
        Path(folder, "program.py").write_text(program, encoding="utf-8", errors="replace")
        asked = {
            "limits": {"cpu": limits.cpu, "memory": limits.memory, "files": limits.files}, "trust": trust,
            "packages": packages, "readable": [folder, *packages.values(), *libraries], "parent": os.getpid(),
            "without": list(without),
        }  # fmt: skip
        return _watched(asked, folder, limits)


def _watched(asked: dict, folder: str, limits: Limits) -> tuple[Outcome, dict]:
    # Isolated as by -I, but for the environment, which is made here: hashes of strings stay the same, so that a program
    # gives the same answer twice.
    environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "HOME": folder, "TMPDIR": folder,
                   "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # fmt: skip
    told, report = os.pipe()
    begin = time.monotonic()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-B", str(CHILD), str(report)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment, start_new_session=True,
            pass_fds=(report,),
        )  # fmt: skip
    except OSError as error:
        os.close(told)
        raise GradusError(f"no process could be started for the program ({error.strerror})") from None
    finally:
        os.close(report)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdin, process.stdout, process.stderr, os.fdopen(told, "rb") as walls:
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(asked).encode())
                process.stdin.close()
            room = {process.stdout: limits.output, process.stderr: ERROR_BYTES, walls: ERROR_BYTES}
            texts, stopped = _gathered(room, begin + limits.seconds)
        finally:
            _end(process)
    out, error, told_walls = (texts[file] for file in room)
    status = stopped or _status(process.returncode)
    outcome = Outcome(status, out.decode("utf-8", "replace"), error.decode("utf-8", "replace").strip(),
                      time.monotonic() - begin)  # fmt: skip
    try:
        return outcome, json.loads(told_walls)
    except ValueError:
        return outcome, {}


def _gathered(room: dict[IO[bytes], int], deadline: float) -> tuple[dict[IO[bytes], bytes], Status | None]:
    """Read pipes until all are closed, one overflows or the time is up; return what came, and why it was stopped."""
    texts = dict.fromkeys(room, b"")
    with selectors.DefaultSelector() as waiting:
        for file in room:
            waiting.register(file, selectors.EVENT_READ, file)
        while waiting.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return texts, "time"
            for key, _ in waiting.select(left):
                ready, part = key.data, os.read(key.fd, CHUNK)
                texts[ready] = (texts[ready] + part)[: room[ready]]
                if not part:
                    waiting.unregister(ready)
                elif len(texts[ready]) == room[ready]:
                    return texts, "output"
    return texts, None


def _end(process: subprocess.Popen) -> None:
    """Kill the process and its whole group, and wait for it.

    The group is killed before its leader is waited for: until then nobody else can have its number.
    """
    deadline = time.monotonic() + GRACE
    while process.returncode is None:
        # Its pipes are closed, so it is ending by itself; how it ended is worth a moment.
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is not None or time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            time.sleep(0.001)


def _status(code: int) -> Status:
    """Return what an exit code or the number of a signal means."""
    if code == OUT_OF_MEMORY:
        return "memory"
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "time"
    return "done" if code == 0 else "failed" if code > 0 else "killed"
