"""Files of published data sets: found on this machine or downloaded, and in both cases checked against their sums.

Looked for, in this order: `--data-dir`, the folder in the environment variable GRADUS_DATA (both hold the files
directly or in a folder named after the data set), the cache `$XDG_CACHE_HOME/gradus/<name>` (or below `~/.cache`).
What is nowhere is downloaded into the cache, unless GRADUS_OFFLINE=1. A file appears there whole and verified, or not
at all.
"""

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradus.errors import GradusError

__all__ = ["Progress", "PublishedFile", "cache_folder", "digest", "obtain"]

Progress = Callable[[str, int, int], None]
CHUNK = 1 << 20
PATIENCE = 30.0


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors published it.

    Attributes:
        name: of the file.
        sum: `<algorithm>:<hex digest>` of its bytes.
        addresses: where it is served, tried in turn; none for a file that cannot be downloaded.
    """

    name: str
    sum: str
    addresses: tuple[str, ...] = ()


def cache_folder(name: str) -> Path:
    """Return where a data set's downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "gradus", name)


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def obtain(
    names: Sequence[str],
    files: Sequence[PublishedFile],
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Return verified local copies of a data set's files, in their order, downloading what is missing.

    Args:
        names: of the data set; the first is its own, others are folders where it may also lie.
        files: what is wanted.
        data_dir: a folder to look in first.
        progress: called with (file, bytes so far, bytes in all or 0) during a download.

    Raises:
        GradusError: if a file is not what was published, is nowhere and may not be downloaded, or does not arrive.
    """
    return [_find(names, file, data_dir) or _fetch(names[0], file, progress) for file in files]


def _find(names: Sequence[str], file: PublishedFile, data_dir: str | Path | None) -> Path | None:
    bases = [Path(base).expanduser() for base in (data_dir, os.environ.get("GRADUS_DATA")) if base]
    folders = [folder for base in bases for folder in (*(base / name for name in names), base)]
    for folder in (*folders, cache_folder(names[0])):
        path = folder / file.name
        if path.is_file():
            _verify(path, file, names[0])
            return path
    return None


def _verify(path: Path, file: PublishedFile, name: str) -> None:
    algorithm, expected = file.sum.split(":")
    if digest(path, algorithm) != expected:
        raise GradusError(f"{path} is not the published file of {name} (its {algorithm} sum differs): remove it")


def _fetch(name: str, file: PublishedFile, progress: Progress | None) -> Path:
    folder = cache_folder(name)
    place = f"put {file.name} into {folder}, or name the folder that has it with --data-dir or GRADUS_DATA"
    if not file.addresses:
        raise GradusError(f"the data set {name} is not on this machine and has no download: {place}")
    if os.environ.get("GRADUS_OFFLINE") == "1":
        raise GradusError(
            f"the data set {name} is not on this machine and GRADUS_OFFLINE=1 forbids a download: {place}"
        )
    target, partial = folder / file.name, folder / f".{file.name}.{os.getpid()}.part"
    reasons = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for address in file.addresses:
            try:
                _download(address, partial, file.name, progress)
                _verify(partial, file, name)
            except (urllib.error.URLError, OSError, GradusError) as error:
                reasons.append(str(error))
            else:
                os.replace(partial, target)
                return target
    except OSError as error:
        reasons.append(str(error))
    finally:
        partial.unlink(missing_ok=True)
    raise GradusError(f"{file.name} of {name} could not be downloaded ({'; '.join(reasons)}): {place}")


def _download(address: str, target: Path, label: str, progress: Progress | None) -> None:
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer, target.open("wb") as file:
        total, done = int(answer.headers.get("Content-Length") or 0), 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(label, done, total)
        file.flush()
        os.fsync(file.fileno())
