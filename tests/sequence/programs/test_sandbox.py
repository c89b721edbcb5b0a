"""The sandbox holds: every escape that is tried fails, and programs that compute still do."""

import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gradus.errors import GradusError
from gradus.sequence.programs import sandbox
from gradus.sequence.programs.escapes import BEGIN, ESCAPES, Surroundings, try_escapes
from gradus.sequence.programs.sandbox import Limits, Strength, run_program, strength

confined = pytest.mark.skipif(
    sys.platform != "linux" or not strength().confined, reason="this kernel has no Landlock or no seccomp"
)
STOPPED = {
    "endless loop": "time", "sleep for ever": "time", "memory bomb": "memory", "huge output": "output",
    "huge error": "output", "ignore every signal": "time", "timers against the clock": "time", "daemon": "time",
    "linger at the end": "time", "a hard pattern": "time", "syscalls of 32 bits": "killed",
    "syscalls of the x32 table": "killed",
}  # fmt: skip


@confined
def test_at_least_twenty_escapes_are_tried() -> None:
    assert len(ESCAPES) >= 20


@confined
@pytest.mark.parametrize("name", ESCAPES)
def test_no_escape_succeeds(name: str) -> None:
    outcome, leaks = try_escapes((name,))[name]
    assert not leaks
    if name in STOPPED and (os.uname().machine == "x86_64" or not name.startswith("syscalls")):
        # On a slow machine the clock may be the first to stop a program.
        assert outcome.status in (STOPPED[name], "time")


# Those that do no harm where nothing holds them.
HARMLESS = (
    "read /etc/passwd", "read a file outside", "tcp", "udp", "unix sockets", "signals", "memory of the parent", "exec",
)  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="what is tried is meant for Linux")
@pytest.mark.parametrize("name", HARMLESS)
def test_the_escapes_are_real_they_succeed_without_the_walls(name: str, tmp_path: Path) -> None:
    around = Surroundings(tmp_path)
    try:
        walls = ("landlock", "seccomp", "own network", "no capabilities", "hooks")
        program = BEGIN.format(**around.facts()) + ESCAPES[name].replace("os.kill(-1, 0)", "0")
        program = program.replace("(0, signal.SIGURG)", "(0,)")
        outcome, _ = sandbox._run(program, Limits(seconds=5), True, walls)
        assert list(around.leaks(outcome))
    finally:
        around.close()


@confined
@pytest.mark.parametrize(("without", "loose"), [("landlock", "files"), ("seccomp", "writing")])
def test_a_missing_wall_is_told_and_nothing_is_run(without: str, loose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = strength((without, "hooks"))
    assert not found.confined
    assert without in str(found)
    if without == "landlock":
        assert not found.held[loose]
    monkeypatch.setattr(sandbox, "strength", lambda: found)
    with pytest.raises(GradusError, match="--trust"):
        run_program("1 + 1")
    assert run_program("1 + 1", trust=True).answer == "2"


def test_hooks_alone_are_no_confinement() -> None:
    found = strength(("landlock", "seccomp"))
    assert "hooks" in found.walls
    assert not found.confined


@confined
def test_the_process_itself_refuses_without_its_walls() -> None:
    outcome, report = sandbox._run("print('ran')", Limits(), False, ("seccomp",))
    assert "ran" not in outcome.output
    assert "seccomp" in report["fallen"]


def test_strength_says_what_is_loose() -> None:
    found = Strength({"files": False, "network": True}, ("limits",), {"landlock": "Function not implemented"})
    assert "does not confine files here (missing: landlock, seccomp)" in str(found)


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        ("1 + 1", "2"),
        ("x = 3\ny = x ** 2", "9"),
        ("print('a')\nprint('b')\n\n", "b"),
        (
            "import math, itertools, random, re, statistics, datetime, decimal, json, functools\nmath.factorial(5)",
            "120",
        ),
        ("from fractions import Fraction\nFraction(1, 3) + Fraction(1, 6)", "1/2"),
        ("import numpy as np\nfloat(np.linalg.norm([3, 4]))", "5.0"),
        ("import numpy as np\nfloat(np.fft.fft(np.ones(8))[0].real)", "8.0"),
        ("def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\nf(15)", "610"),
        ("if __name__ == '__main__':\n    print('main')", "main"),
        ("raise SystemExit", ""),
        ("é = 'α'\né", "α"),
        ("hash('a') == hash('a'), len({'a', 'b'})", "(True, 2)"),
    ],
)
def test_programs_that_compute_do(program: str, answer: str) -> None:
    outcome = run_program(program, trust=True)
    assert (outcome.status, outcome.answer) == ("done", answer), outcome.error


def test_sympy_where_it_is() -> None:
    pytest.importorskip("sympy")
    outcome = run_program("import sympy\nx = sympy.symbols('x')\nsympy.integrate(2 * x, x)", trust=True)
    assert outcome.answer == "x**2", outcome


def test_strings_hash_alike_in_every_run() -> None:
    assert len({run_program("hash('gradus')", trust=True).answer for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("x = (", "SyntaxError"),
        ("import scipy", "No module named 'scipy'"),
        ("raise SystemExit(3)", ""),
        ("(" * 5000, "SyntaxError"),
    ],
)
def test_errors_are_told_in_the_programs_own_lines(program: str, said: str) -> None:
    outcome = run_program(program, trust=True)
    assert outcome.status == "failed"
    assert outcome.answer == ""
    assert said in outcome.error
    assert "child.py" not in outcome.error
    assert tempfile.gettempdir() not in outcome.error


def test_what_was_printed_before_the_end_is_kept() -> None:
    outcome = run_program("print('first', flush=True)\nwhile True: pass", Limits(seconds=0.7), trust=True)
    assert (outcome.status, outcome.output, outcome.answer) == ("time", "first\n", "")
    assert outcome.seconds < 5


def test_limits_that_leave_nothing_are_refused() -> None:
    for wrong in ({"seconds": 0}, {"memory": 1}, {"cpu": 0}, {"files": 3}, {"seconds": float("nan")}):
        with pytest.raises(GradusError, match="a program needs"):
            Limits(**wrong)


@confined
def test_a_program_dies_with_its_parent(tmp_path: Path) -> None:
    marker = tmp_path / "home"
    marker.mkdir()
    pid = os.fork()
    if pid == 0:
        tempfile.tempdir = str(marker)
        try:
            run_program("while True: pass", Limits(seconds=60, cpu=50))
        finally:
            os._exit(0)
    mark = os.fsencode(str(marker))

    def alive() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                found += [entry.parent.name] if mark in entry.read_bytes() else []
            except OSError:
                continue
        return found

    deadline = time.monotonic() + 10
    while not alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert alive()
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    while alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive()
