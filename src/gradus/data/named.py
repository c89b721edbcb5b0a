"""What users name with `--data`: a set of the registry, or a place of their own.

A registered name wins, hyphens and underscores alike. What begins with a dot or a tilde, or has folders in it, is
always a path.
"""

import os
from collections.abc import Collection
from pathlib import Path

from gradus import canon
from gradus.errors import GradusError, nearest

__all__ = ["named", "path_of"]


def named(data: str, kind: str) -> canon.Entry | None:
    """Return the registered set that a user means; None where it is a path.

    Args:
        data: a name or a path.
        kind: of the registry.
    """
    return None if _is_written_as_a_path(data) else canon.known(kind, data)


def path_of(data: str, noun: str, known: Collection[str]) -> Path:
    """Return the file or folder that a user means.

    Args:
        data: a path; no registered name.
        noun: what a registered set is called.
        known: the names that are registered.

    Raises:
        GradusError: if nothing is there, with the nearest name where a name may have been meant.
    """
    path = Path(data).expanduser()
    if path.exists():
        return path
    if _is_written_as_a_path(data):
        raise GradusError(f"{path} does not exist: name a file, a folder or a registered {noun} (`gradus list`)")
    raise GradusError(f"there is no {noun}, file or folder {data!r}{nearest(data, known)}")


def _is_written_as_a_path(data: str) -> bool:
    return data.startswith((".", "~")) or os.sep in data
