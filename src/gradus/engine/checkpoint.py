"""Checkpoints: `step-000500/{state.safetensors,state.json}`, atomic, hashed, and detected when damaged.

A checkpoint is written beside its place, flushed, and renamed, so that `kill -9` or a full disk leaves the previous
one intact. `state.json` holds the sha256 of `state.safetensors` and of itself; a mismatch makes the reader warn and
fall back to the checkpoint before.
"""

import errno
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gradus.engine.folder import digest, write_atomically
from gradus.engine.state import join, split
from gradus.errors import GradusError

__all__ = ["Damaged", "heads", "newest", "prune", "read", "step_folder", "write"]

FORMAT = 1


class Damaged(Exception):
    """A checkpoint whose files are truncated, altered or unreadable."""


def step_folder(home: Path, step: int) -> Path:
    """Return the place of the checkpoint of a step."""
    return home / f"step-{step:06d}"


def steps(home: Path) -> list[int]:
    """Return the steps that have a checkpoint, ascending."""
    if not home.is_dir():
        return []
    return sorted(int(p.name[5:]) for p in home.iterdir() if p.name.startswith("step-") and p.name[5:].isdigit())


def write(home: Path, step: int, state: Any, head: dict[str, Any]) -> Path:
    """Write one checkpoint.

    Args:
        home: the `checkpoints` folder.
        step: which step's state it is.
        state: nested containers of tensors, arrays and JSON scalars.
        head: small JSON facts readable without the tensors (status, metrics offset, …).

    Raises:
        GradusError: if the disk is full or cannot be written; the previous checkpoint stays intact.
    """
    tensors: dict[str, Tensor] = {}
    tree = split(state, tensors)
    target = step_folder(home, step)
    temporary = home / f".{target.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        blob = save(tensors)
        body = {"format": FORMAT, "step": step, **head, "tensors": hashlib.sha256(blob).hexdigest(), "tree": tree}
        write_atomically(temporary / "state.safetensors", blob)
        write_atomically(temporary / "state.json", json.dumps({**body, "sha256": digest(body)}))
        if target.exists():
            shutil.rmtree(target)
        os.rename(temporary, target)
        _sync(home)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise GradusError(
            f"the checkpoint of step {step} could not be written to {home} ({reason}): make room and "
            "`gradus resume`; the checkpoint before it is intact"
        ) from None
    return target


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_head(home: Path, step: int) -> dict[str, Any]:
    """Return `state.json` of a step, checked against its own hash.

    Raises:
        Damaged: if it is missing, truncated or altered.
    """
    path = step_folder(home, step) / "state.json"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        claimed = body.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise Damaged(f"{path} cannot be read ({type(error).__name__})") from None
    if claimed != digest(body):
        raise Damaged(f"{path} was altered: its hash is wrong")
    return body


def read(home: Path, step: int) -> tuple[Any, dict[str, Any]]:
    """Return the state and the head of one checkpoint.

    Raises:
        Damaged: if a file is missing, truncated or altered.
    """
    head = read_head(home, step)
    path = step_folder(home, step) / "state.safetensors"
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None
    if hashlib.sha256(blob).hexdigest() != head["tensors"]:
        raise Damaged(f"{path} was altered or truncated: its hash is wrong")
    try:
        return join(head.pop("tree"), load(blob)), head
    except (SafetensorError, KeyError, ValueError) as error:
        raise Damaged(f"{path} cannot be decoded ({error})") from None


def newest(home: Path) -> tuple[Any, dict[str, Any]] | None:
    """Return the newest undamaged checkpoint, warning about each damaged one passed over; None if there is none yet.

    Raises:
        GradusError: if there are checkpoints and every one is damaged.
    """
    found = steps(home)
    for step in reversed(found):
        try:
            return read(home, step)
        except Damaged as damage:
            warnings.warn(f"{damage}; going back to the checkpoint before it", stacklevel=2)
    if found:
        raise GradusError(f"every checkpoint in {home} is damaged: delete that folder to start again from step 0")
    return None


def heads(home: Path) -> dict[str, Any] | None:
    """Return the head of the newest checkpoint whose `state.json` is sound, without its tensors."""
    for step in reversed(steps(home)):
        try:
            return read_head(home, step)
        except Damaged:
            continue
    return None


def prune(home: Path, keep: Iterable[int]) -> None:
    """Delete every checkpoint but those of the steps in `keep`, and what crashes left behind."""
    kept = set(keep)
    for step in steps(home):
        if step not in kept:
            shutil.rmtree(step_folder(home, step), ignore_errors=True)
    for rest in home.glob(".step-*.tmp"):
        shutil.rmtree(rest, ignore_errors=True)
