"""`load_images`: a name or a folder in; train, val and test out, without leaks."""

import hashlib
from collections.abc import Hashable
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus import canon
from gradus.data.classics import Original
from gradus.data.decode import sides
from gradus.data.download import Progress
from gradus.data.folder import Listing, fingerprint_files, group_equal, list_folder
from gradus.data.images import ImageSet, ImageSplits
from gradus.data.named import named, path_of
from gradus.data.splits import partition
from gradus.errors import GradusError

__all__ = ["is_registered", "load_images", "open_data"]

SPLITS = ("train", "val", "test")
Parts = dict[str, Int64[Tensor, "_"]]


def load_images(
    data: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> ImageSplits:
    """Return the splits of a registered data set or of a folder of images.

    Splits that the data fixes stay as they are; those it lacks are taken out of train, by seed, in every class alike,
    and equal images stay together. Fractions are of what there was before.

    Args:
        data: a registered name (`digits`, `mnist`, …), or a folder with one folder a class, or with such folders
            below `train`, `val` and `test`. A name wins over a folder; `./name` is always a folder.
        data_dir: where to look first for the files of a registered set.
        image_size: side, or height and width, in pixels that images are brought to; None for their own.
        channels: 1 or 3; None for that of most images.
        val_fraction: share of the images for val where the data does not fix it.
        test_fraction: the same for test.
        seed: of the splits.
        folds: for cross-validation: of all images outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most images of each split; None for all.
        progress: called with (file, bytes so far, bytes in all) during a download.

    Returns:
        The three splits, views of one store.

    Raises:
        GradusError: if there is no such data, or it cannot be used, naming what is wrong and what to do.
    """
    _check(image_size, channels)
    found = open_data(data, data_dir, progress)
    parts = partition(
        found.labels, lambda rows: _contents(found, rows), found.parts, {"val": val_fraction, "test": test_fraction},
        seed=seed, folds=folds, fold=fold, limit=limit, classes=found.classes, noun="images",
    )  # fmt: skip
    sets = _sets(found, parts, image_size, channels)
    mark = found.fingerprint if isinstance(found, Original) else fingerprint_files(found.root, found.paths)
    return ImageSplits(sets["train"], sets["val"], sets["test"], data, found.classes, mark)


def open_data(data: str, data_dir: str | Path | None = None, progress: Progress | None = None) -> Original | Listing:
    """Return a registered data set, or the listing of a folder, before splitting; raises as `load_images` does."""
    found = named(data, "dataset")
    if found is not None:
        return canon.load(found)(data_dir=data_dir, progress=progress)
    return list_folder(path_of(data, "data set", canon.names("dataset")))


def is_registered(data: str) -> bool:
    """Return whether a user means a registered data set rather than a folder."""
    return named(data, "dataset") is not None


def _check(image_size: int | tuple[int, int] | None, channels: int | None) -> None:
    if channels not in (None, 1, 3):
        raise GradusError(f"images with {channels} channels are not supported: ask for 1 (grey) or 3 (colour)")
    if image_size is not None and min(sides(image_size)) < 1:
        raise GradusError(f"image size {image_size} is not positive: give the side in pixels")


def _contents(found: Original | Listing, rows: Int64[Tensor, " part"]) -> list[Hashable]:
    if isinstance(found, Listing):
        return group_equal([found.paths[i] for i in rows.tolist()])
    images = found.pixels.pixels.flatten(1).numpy()
    return [hashlib.blake2b(images[i].data, digest_size=16).digest() for i in rows.tolist()]


def _sets(
    found: Original | Listing,
    parts: Parts,
    image_size: int | tuple[int, int] | None,
    channels: int | None,
) -> dict[str, ImageSet]:
    if isinstance(found, Original):
        whole = found.pixels
        size = whole.shape[1:] if image_size is None else sides(image_size)
        store = whole.shown((channels or whole.shape[0], *size))
        return {part: ImageSet(store, found.labels[rows], found.classes, rows) for part, rows in parts.items()}
    used = torch.cat([parts[part] for part in SPLITS])
    paths = [found.paths[i] for i in used.tolist()]
    everything = ImageSet.of_files(paths, found.labels[used], found.classes, channels=channels, image_size=image_size)
    bounds = torch.arange(len(used)).split([len(parts[part]) for part in SPLITS])
    return {part: everything.take(rows) for part, rows in zip(SPLITS, bounds, strict=True)}
