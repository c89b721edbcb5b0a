"""The run folder on disk: made before torch is imported, locked against a second writer, never half-written.

    runs/<name>/  recipe.json  metrics.csv  checkpoints/  product/  report.html  plots/  samples/

Every file appears whole or not at all: it is written beside its place, flushed to the disk and renamed. The lock is
`fcntl.lockf`: a killed process releases it and a forked worker does not inherit it. This module imports no torch.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gradus.errors import GradusError, nearest

__all__ = ["CHOICE", "FORMAT", "RunFolder", "digest", "find_run", "list_runs", "runs_home", "write_atomically"]

FORMAT = 1
CHOICE = "choice.json"  # in a group that stands for one of its members: which
_LOCKED: dict[Path, IO[str]] = {}


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value in its canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a crash leaves either the old contents or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def runs_home(runs_dir: str | Path | None = None) -> Path:
    """Return the folder that runs live in: the argument, `GRADUS_RUNS`, or `./runs`."""
    return Path(runs_dir or os.environ.get("GRADUS_RUNS") or "runs")


def list_runs(runs_dir: str | Path | None = None) -> list[Path]:
    """Return the run folders of a home, oldest first."""
    home = runs_home(runs_dir)
    found = [p.parent for p in home.glob("*/recipe.json")] if home.is_dir() else []
    return sorted(found, key=lambda p: (p.joinpath("recipe.json").stat().st_mtime_ns, p.name))


def find_run(run: str | Path, runs_dir: str | Path | None = None, *, whole: bool = False) -> Path:
    """Return the folder that RUN means: a path, a name in the runs home, or `latest`.

    Args:
        run: what the user typed.
        runs_dir: the runs home.
        whole: of a group that has chosen one of its members, return the group; the chosen member otherwise.

    Raises:
        GradusError: if there is no such run.
    """
    found = _found(run, runs_dir)
    try:
        chosen = None if whole else json.loads((found / CHOICE).read_text(encoding="utf-8"))["best"]
    except (FileNotFoundError, NotADirectoryError):
        chosen = None
    except (OSError, ValueError, KeyError, TypeError):
        raise GradusError(f"{found / CHOICE} is damaged: `gradus resume {found.name}` writes it again") from None
    if not whole and chosen is None and (found / "members").is_dir() and RunFolder(found).read().get("vary") == "auto":
        raise GradusError(f"run {found.name!r} has not chosen yet: let it finish with `gradus resume {found.name}`")
    return found if chosen is None else found / "members" / str(chosen)


def _found(run: str | Path, runs_dir: str | Path | None) -> Path:
    """Return the folder of a name or a path."""
    home, runs = runs_home(runs_dir), list_runs(runs_dir)
    if str(run) == "latest":
        if not runs:
            raise GradusError(f"there is no run in {home} yet: start one with `gradus train vision/classify`")
        return runs[-1]
    for candidate in (home / run, Path(run)):
        if candidate.is_dir():
            return candidate
    if not runs:
        raise GradusError(f"there is no run {str(run)!r}: {home} holds none yet")
    raise GradusError(f"there is no run {str(run)!r} in {home}{nearest(str(run), [p.name for p in runs])}")


def free_name(prefix: str, runs_dir: str | Path | None = None) -> str:
    """Return the first of prefix-1, prefix-2, … that no run has."""
    home, number = runs_home(runs_dir), 1
    while (home / f"{prefix}-{number}").exists():
        number += 1
    return f"{prefix}-{number}"


class RunFolder:
    """One run's folder: its recipe, its lock and the places of its files.

    Args:
        path: an existing run folder; `create` makes one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self.recipe_file = self.path / "recipe.json"
        self.metrics_file = self.path / "metrics.csv"
        self.checkpoints = self.path / "checkpoints"
        self.product = self.path / "product"
        self.members = self.path / "members"
        self.snapshots = self.path / "snapshots"
        self.plots = self.path / "plots"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run's name, a member's with its group's: all that RUN needs in the same runs home."""
        return "/".join(self.path.parts[-3:]) if self.path.parent.name == "members" else self.path.name

    @classmethod
    def create(cls, path: str | Path, recipe: str | None, options: dict[str, Any], **facts: Any) -> "RunFolder":
        """Make a run folder with its `recipe.json` in one atomic step.

        Args:
            path: where; must not exist.
            recipe: id of the recipe, None for a run driven from Python.
            options: the whole recipe, resolved.
            facts: further literals worth keeping (version, group size).

        Raises:
            GradusError: if the name is taken or the place cannot be written.
        """
        path = Path(path)
        if path.exists():
            raise GradusError(
                f"{path} exists already: choose another --name, or go on with `gradus resume {path.name}`"
            )
        body = {"format": FORMAT, "recipe": recipe, "options": options, **facts}
        text = json.dumps({**body, "sha256": digest(body)}, indent=1)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            write_atomically(temporary / "recipe.json", text + "\n")
            os.rename(temporary, path)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise GradusError(f"the run folder {path} cannot be written ({error.strerror}): see --runs-dir") from None
        return cls(path)

    def read(self) -> dict[str, Any]:
        """Return `recipe.json`, checked.

        Raises:
            GradusError: if it is missing, damaged, of another format, or was edited by hand.
        """
        name = self.path.name
        try:
            body = json.loads(self.recipe_file.read_text(encoding="utf-8"))
            claimed = body.pop("sha256")
            _ = body["options"], body["recipe"]
        except FileNotFoundError:
            raise GradusError(f"{self.path} is not a run folder: it has no recipe.json") from None
        except (ValueError, KeyError, AttributeError, TypeError):
            raise GradusError(f"{self.recipe_file} is damaged: restore it, or start a new run") from None
        if body.get("format") != FORMAT:
            raise GradusError(f"run {name!r} has format {body.get('format')}; this version reads format {FORMAT}")
        if claimed != digest(body):
            raise GradusError(
                f"{self.recipe_file} was edited after the run began: restore it, or start a new run "
                f"from it with `gradus train --recipe {self.recipe_file}`"
            )
        return body

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against every other writer, in this process and in others.

        Raises:
            GradusError: if another writer holds it, or the folder cannot be written.
        """
        busy = GradusError(f"run {self.path.name!r} is being written by another process: wait for it, or stop it first")
        if self.path in _LOCKED:
            raise busy
        try:
            handle = open(self.path / ".lock", "w")  # noqa: SIM115 - held until the context ends
        except OSError as error:
            raise GradusError(f"the run folder {self.path} cannot be written ({error.strerror})") from None
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise busy from None
        _LOCKED[self.path] = handle
        try:
            yield
        finally:
            _LOCKED.pop(self.path).close()
