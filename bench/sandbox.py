"""What the sandbox of programs holds back, and what it costs.

`escapes`: every way out that is known here is tried; `succeed` counts those that got somewhere.
`cost`: a trivial program in the sandbox against the same one in a bare Python process, in turns.
"""

import statistics
import subprocess
import sys
import time

from gradus.sequence.programs.escapes import ESCAPES, try_escapes
from gradus.sequence.programs.sandbox import run_program

__all__ = ["cost", "escapes"]


def escapes(names: tuple[str, ...] | list[str] = tuple(ESCAPES)) -> dict[str, float]:
    """Try ways out of the sandbox.

    Args:
        names: which ones.

    Returns:
        How many were tried, and how many succeeded: said so, had a secret, changed a file, reached a listener, sent a
        signal, or left a process or a folder behind.
    """
    found = try_escapes(tuple(names))
    return {"tried": float(len(found)), "succeed": float(sum(bool(attempt.leaks) for attempt in found.values()))}


def cost(rounds: int = 15) -> dict[str, float]:
    """Compare a run in the sandbox with a bare process; medians in milliseconds, ratio of the pairs.

    Both start the same Python without site packages and print one number; what differs are the walls, the folder and
    the watching.

    Args:
        rounds: pairs.
    """
    pairs = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", "-c", "print(1 + 1)"], capture_output=True, check=True)
        middle = time.perf_counter()
        assert run_program("print(1 + 1)").answer == "2"
        pairs.append((1e3 * (middle - begin), 1e3 * (time.perf_counter() - middle)))
    bare, ours = zip(*pairs[1:], strict=True)
    ratio = statistics.median(b / a for a, b in pairs[1:])
    return {"bare ms": statistics.median(bare), "sandbox ms": statistics.median(ours), "ratio": ratio}
