"""What `gradus train --data X --auto` reaches: nothing but the data given, within its time limit, judged on test rows.

The verb runs in this process as from the command line; `seconds` is the wall time of the whole command, the import of
torch included the first time.
"""

import csv
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from gradus.app.choosing import AutoTrain
from gradus.app.using import Evaluate

__all__ = ["measure"]


def measure(data: str = "digits", max_time: float = 60.0, seeds: Sequence[int] = (0, 1, 2)) -> dict[str, float]:
    """Return test metrics of what is chosen for some data, means over seeds, and how long the slowest took.

    Args:
        data: a registered name; a table is written to a CSV file first, target column last, so that nothing is known.
        max_time: seconds, as `--max-time`.
        seeds: of the division of the data and of everything else, one command each.
    """
    found = [_once(data, max_time, seed) for seed in seeds]
    means = {name: fmean(one[name] for one in found) for name in found[0]}
    slowest = max(one["seconds"] for one in found)
    least = {f"least {name}": min(one[name] for one in found) for name in means if name == "test/accuracy"}
    return {**means, **least, "slowest": slowest, "slowest over limit": slowest / max_time}


def _once(data: str, max_time: float, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        given = _as_csv(data, Path(place)) or data
        flags = ["--data", given, "--auto", "--max-time", str(max_time), "--seed", str(seed), "--quiet"]
        started = time.perf_counter()
        told = AutoTrain.parse([*flags, "--name", "measured", "--runs-dir", place])()
        seconds = time.perf_counter() - started
        assert told.code == 0, told.text
        metrics = Evaluate(run="measured", runs_dir=place)().data["metrics"]
        return {**metrics, "seconds": seconds, "candidates": float(len(told.data["choice"]["scores"]))}


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
