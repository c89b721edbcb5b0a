"""The data doctor: looks a data set over before anything is trained on it, and does not stop at the first bad file.

It counts images by split and class, decodes every one, and compares them all: equal content (a hash of the bytes), and
nearly equal looks (the same 8×8 average hash, and 8×8 thumbnails that differ by at most a few greys). What it finds
wrong is told in sentences; nothing is printed or changed.

References:
    Krawetz 2011, Looks like it (the average hash).
"""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from PIL import Image, ImageOps

from gradus.data.classics import Original
from gradus.data.decode import BROKEN, EXTENSIONS, GREY_MODES, THREADS
from gradus.data.findings import number, some, unbalanced
from gradus.data.folder import files_by_class, split_folders
from gradus.data.registry import is_registered, open_data

__all__ = ["Inspection", "Twins", "inspect"]

SHOWN = 20
THUMB = 8
NEARLY = 6  # greys of 255 by which thumbnails of the same image, saved anew, differ at most
TINY = 16
ELONGATED = 4


@dataclass(frozen=True)
class Twins:
    """Images that are alike.

    Attributes:
        groups: number of different images that occur more than once.
        images: number of images in these groups.
        examples: names, group by group, of the first few.
    """

    groups: int
    images: int
    examples: list[list[str]]


@dataclass(frozen=True)
class Inspection:
    """What is known of a data set.

    Attributes:
        data: the name or folder that was asked for.
        images: readable images by split.
        classes: readable images by split and class.
        sizes: images by "height×width", the most frequent first.
        channels: images by "grey" and "colour".
        unreadable: files that are no readable images, with the reason.
        ignored: files of other kinds by extension.
        tiny: images much smaller than the others.
        elongated: images at least four times as long as wide, or wide as long.
        across_splits: equal images in more than one split.
        across_classes: equal images under more than one class.
        duplicates: equal images, all of them.
        near_duplicates: images that look alike without being equal.
        problems: what is wrong, in sentences.
    """

    data: str
    images: dict[str, int]
    classes: dict[str, dict[str, int]]
    sizes: dict[str, int]
    channels: dict[str, int]
    unreadable: dict[str, str]
    ignored: dict[str, int]
    tiny: list[str]
    elongated: list[str]
    across_splits: Twins
    across_classes: Twins
    duplicates: Twins
    near_duplicates: Twins
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return everything as a tree that JSON takes."""
        return asdict(self)


class _Seen(NamedTuple):
    """One image, or why it is none."""

    name: str
    split: str
    label: str
    height: int = 0
    width: int = 0
    grey: bool = False
    content: bytes = b""
    thumb: UInt8[np.ndarray, "64"] | None = None
    reason: str = ""


def inspect(data: str, data_dir: str | Path | None = None) -> Inspection:
    """Return what is in a registered data set or a folder of images, and what is wrong with it.

    Args:
        data: a registered name or a folder, as for `load_images`.
        data_dir: where to look first for the files of a registered set.

    Raises:
        GradusError: if there is no such data at all.
    """
    if is_registered(data):
        found = open_data(data, data_dir)
        assert isinstance(found, Original)
        return _judged(data, _look_at_original(found), {part: dict.fromkeys(found.classes, 0) for part in found.parts})
    root = Path(data).expanduser()
    if not root.is_dir():
        open_data(data, data_dir)  # says what is wrong with the name
    folders = split_folders(root)
    by_split = {split: files_by_class(folder) for split, folder in folders.items()}
    wanted = [
        (path, split, label)
        for split, by_class in by_split.items()
        for label, paths in by_class.items()
        for path in paths
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        seen = list(pool.map(lambda job: _look_at_file(root, *job), wanted))
    classes = {split: dict.fromkeys(by_class, 0) for split, by_class in by_split.items()}
    return _judged(data, seen, classes, _ignored(root), _strays(root, folders.values()))


def _look_at_file(root: Path, path: Path, split: str, label: str) -> _Seen:
    name = path.relative_to(root).as_posix()
    try:
        stream = path.read_bytes()
        with Image.open(io.BytesIO(stream)) as file:
            width, height = file.size
            grey = file.mode in GREY_MODES
            file.draft("L", (THUMB, THUMB))
            small = ImageOps.exif_transpose(file).convert("L").resize((THUMB, THUMB), Image.Resampling.BOX)
    except BROKEN as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        return _Seen(name, split, label, reason="cannot identify image" if "BytesIO" in reason else reason)
    content = hashlib.blake2b(stream, digest_size=16).digest()
    return _Seen(name, split, label, height, width, grey, content, np.asarray(small, np.uint8).reshape(-1))


def _look_at_original(found: Original) -> list[_Seen]:
    store, seen = found.pixels, []
    channels, height, width = store.shape
    for split, rows in found.parts.items():
        for part in rows.split(1024):
            pixels = store.read(part)
            small = F.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float(), THUMB).mean(1)
            thumbs = small.round().to(torch.uint8).flatten(1).numpy()
            labels = [found.classes[i] for i in found.labels[part].tolist()]
            for row, label, image, thumb in zip(part.tolist(), labels, pixels.numpy(), thumbs, strict=True):
                content = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
                seen.append(_Seen(f"{split}/{row}", split, label, height, width, channels == 1, content, thumb))
    return seen


def _judged(
    data: str,
    seen: Sequence[_Seen],
    classes: dict[str, dict[str, int]],
    ignored: dict[str, int] | None = None,
    strays: int = 0,
) -> Inspection:
    good = [image for image in seen if image.thumb is not None]
    for image in good:
        classes[image.split][image.label] += 1
    equal = _equal(good)
    distinct = list({image.content: image for image in good}.values())
    sizes = Counter(f"{image.height}×{image.width}" for image in good)
    middle = float(np.median([min(image.height, image.width) for image in good])) if good else 0.0
    inspection = Inspection(
        data=data,
        images={split: sum(counts.values()) for split, counts in classes.items()},
        classes=classes,
        sizes=dict(sizes.most_common()),
        channels=dict(Counter("grey" if image.grey else "colour" for image in good)),
        unreadable={image.name: image.reason for image in seen if image.thumb is None},
        ignored=ignored or {},
        tiny=[image.name for image in good if min(image.height, image.width) < min(TINY, middle / 2)],
        elongated=[i.name for i in good if max(i.height, i.width) >= ELONGATED * min(i.height, i.width)],
        across_splits=_twins(group for group in equal if len({image.split for image in group}) > 1),
        across_classes=_twins(group for group in equal if len({image.label for image in group}) > 1),
        duplicates=_twins(equal),
        near_duplicates=_twins(_look_alikes(distinct)),
    )
    inspection.problems.extend(_problems(inspection, strays))
    return inspection


def _equal(images: Sequence[_Seen]) -> list[list[_Seen]]:
    groups: dict[bytes, list[_Seen]] = defaultdict(list)
    for image in images:
        groups[image.content].append(image)
    return [group for group in groups.values() if len(group) > 1]


def _look_alikes(images: Sequence[_Seen]) -> Iterable[list[_Seen]]:
    """Yield groups with one average hash whose thumbnails are close to that of the first of the group."""
    if not images:
        return
    thumbs = np.stack([image.thumb for image in images if image.thumb is not None]).astype(np.int16)
    hashes = np.packbits(thumbs > thumbs.mean(1, keepdims=True), axis=1).view(np.uint64)[:, 0]
    order = np.argsort(hashes, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        left = group
        while len(left) > 1:
            near = np.abs(thumbs[left] - thumbs[left[0]]).max(1) <= NEARLY
            if near.sum() > 1:
                yield [images[i] for i in left[near]]
            left = left[~near]


def _twins(groups: Iterable[list[_Seen]]) -> Twins:
    found = list(groups)
    examples = [[image.name for image in group[:SHOWN]] for group in found[:SHOWN]]
    return Twins(len(found), sum(map(len, found)), examples)


def _ignored(root: Path) -> dict[str, int]:
    others = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return dict(Counter(p.suffix.lower() or p.name for p in others if p.suffix.lower() not in EXTENSIONS).most_common())


def _strays(root: Path, folders: Iterable[Path]) -> int:
    """Return how many images lie where no class folder holds them."""
    places = {root, *folders}
    return sum(path.suffix.lower() in EXTENSIONS for place in places for path in place.iterdir() if path.is_file())


def _problems(found: Inspection, strays: int) -> Iterable[str]:
    train = found.classes.get("train", {})
    if not sum(found.images.values()):
        yield f"{found.data} holds no readable images in class folders: put each class's into a folder of its own"
    elif len(train) < 2:
        yield "there is only one class: classification needs at least two class folders with images"
    if found.unreadable:
        files = number(len(found.unreadable), "file")
        yield f"{files} cannot be read: repair or remove {some(list(found.unreadable))}"
    if strays:
        yield f"{number(strays, 'image')} lie outside of any class folder and are not used"
    for split, counts in found.classes.items():
        if empty := [label for label, count in counts.items() if not count]:
            yield f"{split} has no readable images of {some(empty)}"
        if missing := [label for label in train if label not in counts]:
            yield f"{split} lacks {'classes' if len(missing) > 1 else 'the class'} {some(missing)}"
        if unknown := [label for label in counts if label not in train]:
            yield f"{split} has {some(unknown)}, unknown to train: add such images there or remove the folder"
    yield from unbalanced(train, "images")
    yield from _likeness(found)
    if found.tiny:
        yield f"{number(len(found.tiny), 'image')} much smaller than the others: {some(found.tiny)}"
    if found.elongated:
        yield f"{number(len(found.elongated), 'image')} of which a square shows little: {some(found.elongated)}"
    if found.ignored:
        kinds = some([f"{count} {kind}" for kind, count in found.ignored.items()])
        yield f"files of other kinds are ignored: {kinds}"


def _likeness(found: Inspection) -> Iterable[str]:
    if found.across_splits.groups:
        first = " = ".join(found.across_splits.examples[0][:2])
        yield f"{number(found.across_splits.groups, 'image')} in more than one split, which flatters results: {first}"
    if found.across_classes.groups:
        first = " = ".join(found.across_classes.examples[0][:2])
        yield f"{number(found.across_classes.groups, 'image')} under more than one class: {first}"
