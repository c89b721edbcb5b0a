"""What `gradus train --data X --auto` reaches: nothing but the data given, within its time limit, judged on test rows.

The verb runs in this process as from the command line, with a time limit that holds for everything it does but the
import of Python's own libraries; `seconds` is the wall time of the whole command.
"""

import csv
import os
import tempfile
import time
from pathlib import Path

from gradus.app.choosing import AutoTrain
from gradus.app.using import Evaluate

__all__ = ["measure"]


def measure(data: str = "digits", max_time: float = 60.0, seed: int = 0) -> dict[str, float]:
    """Return test metrics of what is chosen for some data, and how long that took.

    Args:
        data: a registered name; a table is written to a CSV file first, target column last, so that nothing is known.
        max_time: seconds, as `--max-time`.
        seed: of everything.
    """
    with tempfile.TemporaryDirectory() as place:
        given = _as_csv(data, Path(place)) or data
        flags = ["--data", given, "--auto", "--max-time", str(max_time), "--seed", str(seed), "--quiet"]
        words = [*flags, "--name", "measured", "--runs-dir", place]
        started = time.perf_counter()
        told = AutoTrain.parse(words)()
        seconds = time.perf_counter() - started
        assert told.code == 0, told.text
        found = Evaluate(run="measured", runs_dir=place)().data["metrics"]
        candidates = len(told.data["choice"]["scores"])
    return {**found, "seconds": seconds, "time over limit": seconds / max_time, "candidates": float(candidates)}


def _as_csv(data: str, place: Path) -> str | None:
    """Write a registered table to a CSV file; return its path, None where the name is no table's."""
    from gradus import canon

    if data not in canon.names("table"):
        return None
    named = canon.find("table", data)(data_dir=os.environ.get("GRADUS_DATA"))
    names = [*(name for name in named.raw.names if name != named.target), named.target]
    order = [named.raw.names.index(name) for name in names]
    path = place / f"{data}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([row[i] for i in order] for row in named.raw.rows)
    return str(path)
