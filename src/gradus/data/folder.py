"""A folder of images as a data set: one folder a class, with or without folders for the splits above them.

    photos/cat/1.jpg            photos/train/cat/1.jpg
    photos/dog/7.png            photos/val/dog/7.png     (valid, validation)
                                photos/test/dog/9.png

Classes are the folders' names, sorted. Below a class folders may nest. Hidden and other kinds of files are ignored.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus.data.decode import image_files
from gradus.data.download import digest
from gradus.errors import GradusError

__all__ = ["Listing", "files_by_class", "fingerprint_files", "group_equal", "list_folder", "split_folders"]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
READ_WHOLE = 256 * 1024**2


@dataclass(frozen=True)
class Listing:
    """The image files of a folder.

    Attributes:
        root: the folder.
        paths: the files, sorted by split, class and name.
        labels: class of each.
        classes: names of the classes.
        parts: rows of each split that the folder defines; only "train" where it defines none.
    """

    root: Path
    paths: list[Path]
    labels: Int64[Tensor, " count"]
    classes: tuple[str, ...]
    parts: dict[str, Int64[Tensor, " part"]]


def list_folder(root: Path) -> Listing:
    """Return what a folder holds.

    Raises:
        GradusError: if it is missing, not a folder of images by class, or lacks classes.
    """
    if not root.exists():
        raise GradusError(f"the folder {root} does not exist: name a folder of images, or a data set")
    if not root.is_dir():
        raise GradusError(f"{root} is not a folder: name a folder with one folder of images for each class")
    if not os.access(root, os.R_OK | os.X_OK):
        raise GradusError(f"the folder {root} may not be read: change its permissions")
    splits = split_folders(root)
    found = {part: files_by_class(folder) for part, folder in splits.items()}
    if not any(paths for by_class in found.values() for paths in by_class.values()):
        raise _no_images(root)
    for by_class, folder in zip(found.values(), splits.values(), strict=True):
        for name, paths in by_class.items():
            if not paths:
                raise GradusError(f"the class folder {folder / name} holds no images: add some or remove it")
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        one = f"only the class {classes[0]!r}" if classes else "no class"
        raise GradusError(f"{splits['train']} has {one}: classification needs at least two class folders with images")
    return _listing(root, found, classes)


def _listing(root: Path, found: dict[str, dict[str, list[Path]]], classes: tuple[str, ...]) -> Listing:
    number = {name: i for i, name in enumerate(classes)}
    paths: list[Path] = []
    labels: list[int] = []
    parts: dict[str, Tensor] = {}
    for part, by_class in found.items():
        begin = len(paths)
        for name, files in by_class.items():
            if name not in number:
                raise GradusError(f"the class {name!r} of {part} has no folder in train: add it there or remove it")
            paths += files
            labels += [number[name]] * len(files)
        parts[part] = torch.arange(begin, len(paths))
    return Listing(root, paths, torch.tensor(labels), classes, parts)


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits; the root itself as "train" where it has none."""
    named = {SPLITS[f.name.lower()]: f for f in _folders(root) if f.name.lower() in SPLITS and _folders(f)}
    if "train" not in named:
        return {"train": root}
    return {part: named[part] for part in ("train", "val", "test") if part in named}


def files_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class folder, which may be none."""
    return {inner.name: image_files(inner) for inner in _folders(folder)}


def _folders(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _no_images(root: Path) -> GradusError:
    if any(image_files(root)):
        return GradusError(
            f"the images in {root} are not sorted by class: put those of each class into a folder named after it"
        )
    if any(root.iterdir()):
        return GradusError(f"{root} is not a folder of images: it should have one folder of images for each class")
    return GradusError(f"the folder {root} is empty: it should have one folder of images for each class")


def group_equal(paths: Sequence[Path]) -> list[Hashable]:
    """Return a key for each file, equal for files with the same bytes; only files of equal size are read."""
    sizes = [path.stat().st_size for path in paths]
    common = {size for size, count in Counter(sizes).items() if count > 1}
    return [digest(path) if size in common else str(path) for path, size in zip(paths, sizes, strict=True)]


def fingerprint_files(root: Path, paths: Sequence[Path]) -> str:
    """Return a hash of names and contents; of names, sizes and times of change where there is much to read.

    Args:
        root: the folder that names are relative to.
        paths: files below it.
    """
    states = [path.stat() for path in paths]
    small = sum(state.st_size for state in states) <= READ_WHOLE
    total = hashlib.sha256()
    for path, state in zip(paths, states, strict=True):
        mark = digest(path) if small else f"{state.st_size}:{state.st_mtime_ns}"
        total.update(os.fsencode(path.relative_to(root).as_posix()) + f"\0{mark}\0".encode())
    return total.hexdigest()
