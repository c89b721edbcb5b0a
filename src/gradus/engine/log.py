"""The metrics log: `metrics.csv` with one row `step,seconds,name,value` per value, and optional trackers.

Values are written with all their digits, so that two runs can be compared bit by bit. A checkpoint records the byte
offset of the file; resuming truncates to it, so that replayed steps never appear twice. Imports no torch.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from gradus.errors import GradusError

__all__ = ["HEADER", "MetricsLog", "Series", "Tracker", "open_tracker", "read_metrics"]

HEADER = "step,seconds,name,value\n"
Series = dict[str, list[tuple[int, float]]]


class MetricsLog:
    """Appends metrics to a CSV file.

    Args:
        path: the file; made with its header when missing.
        offset: keep this many bytes and drop the rest; None keeps everything.
    """

    def __init__(self, path: Path, offset: int | None = None) -> None:
        if not path.exists() or path.stat().st_size < len(HEADER):  # none, or one killed before its header was written
            path.write_text(HEADER, encoding="utf-8")
            offset = None
        if offset is not None:
            os.truncate(path, max(min(offset, path.stat().st_size), len(HEADER)))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the run

    def write(self, step: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Append the values of one step and hand them to the operating system."""
        self._file.writelines(f"{step},{seconds:.3f},{name},{value!r}\n" for name, value in metrics.items())
        self._file.flush()

    def offset(self) -> int:
        """Return how many bytes are safely on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> Series:
    """Return every metric of a log as (step, value) pairs, in order; a torn last line is left out."""
    series: Series = defaultdict(list)
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if len(row) == 4 and row[0].isdigit():
                    series[row[2]].append((int(row[0]), float(row[3])))
    return dict(series)


@runtime_checkable
class Tracker(Protocol):
    """Where metrics go besides the CSV file."""

    def write(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: Path, options: Mapping[str, object]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, options: Mapping[str, object]) -> None:
        import wandb

        self._run = wandb.init(
            project="gradus", name=folder.name, dir=str(folder), config=dict(options), resume="allow"
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        self._run.finish()


class _MLflow:
    def __init__(self, folder: Path, options: Mapping[str, object]) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params({key: str(value) for key, value in options.items()})

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


Opens = Callable[[Path, Mapping[str, object]], Tracker]
TRACKERS: dict[str, Opens] = {"tensorboard": _TensorBoard, "wandb": _WandB, "mlflow": _MLflow}


def open_tracker(name: str, folder: Path, options: Mapping[str, object]) -> Tracker:
    """Return a tracker by its name in `TRACKERS`.

    Raises:
        GradusError: if its package is not installed.
    """
    try:
        return TRACKERS[name](folder, options)
    except ImportError:
        raise GradusError(f"--track {name} needs its package: pip install 'gradus[track]'") from None
