"""Image files to pixels, by Pillow: upright, opaque, eight bits, one size.

What is done to every file, in this order: the EXIF orientation is applied; 16-bit greys keep their high byte; what is
transparent becomes white; palettes and other colour spaces become grey or RGB; an image of another size is scaled, its
aspect kept, until it covers the size asked for, and its centre is cut out.
"""

import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from gradus.errors import GradusError

__all__ = [
    "BROKEN",
    "EXTENSIONS",
    "Header",
    "common_shape",
    "decode",
    "decode_all",
    "header",
    "headers",
    "image_files",
    "sides",
]

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff")
)
# What Pillow's decoders are seen to raise on damaged files.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"))
ORIENTATION = 0x0112
LARGEST_SIDE = 224
SURVEYED = 2000
THREADS = min(8, os.cpu_count() or 1)

T = TypeVar("T")


class Header(NamedTuple):
    """What a file says of its image before it is decoded; sizes in pixels, as shown upright."""

    height: int
    width: int
    grey: bool


def image_files(folder: Path) -> list[Path]:
    """Return the image files below a folder by their extension, sorted; hidden files and folders are left out."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        found += [Path(place, name) for name in files if _is_image(name)]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def header(path: Path) -> Header:
    """Return size and kind of an image without decoding it.

    Raises:
        GradusError: if the file is not a readable image.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            if file.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            return Header(height, width, file.mode in GREY_MODES)
    except BROKEN as error:
        raise _unreadable(path, error) from error


def headers(paths: Sequence[Path], most: int = SURVEYED) -> list[Header]:
    """Return the headers of at most `most` files, spread evenly over the list."""
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), most)).astype(int)]
    return list(_threaded(header, chosen))


def sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of an image size; one number means a square."""
    return (image_size, image_size) if isinstance(image_size, int) else image_size


def common_shape(
    found: Sequence[Header], channels: int | None, image_size: int | tuple[int, int] | None
) -> tuple[int, int, int]:
    """Return the (channels, height, width) that images of these headers are brought to.

    Channels are those of the majority. Images that share one size of at most 224 pixels a side keep it; others become
    squares of the median shorter side, rounded to a multiple of 8 between 8 and 224.

    Args:
        found: headers of the set, or of a sample of it.
        channels: 1 or 3 to decide it; None for the majority.
        image_size: side, or height and width, in pixels to decide it; None for the rule above.
    """
    if channels is None:
        channels = 1 if 2 * sum(h.grey for h in found) > len(found) else 3
    if image_size is not None:
        return channels, *sides(image_size)
    sizes = {(h.height, h.width) for h in found}
    if len(sizes) == 1 and max(first := next(iter(sizes))) <= LARGEST_SIDE:
        return channels, *first
    median = float(np.median([min(h.height, h.width) for h in found]))
    side = min(max(8 * round(median / 8), 8), LARGEST_SIDE)
    return channels, side, side


def decode(path: Path, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "height width channels"]:
    """Return the pixels of an image file, brought to a shape.

    Args:
        path: the file.
        shape: channels (1 or 3), height and width in pixels.

    Raises:
        GradusError: if the file cannot be decoded, naming it.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as file:
            # A JPEG much larger than asked for is decoded at a fraction of its size; never below what is needed.
            file.draft("L" if channels == 1 else "RGB", (max(height, width),) * 2)
            image = _opaque(_eight_bits(ImageOps.exif_transpose(file)), "L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
            return np.array(image, dtype=np.uint8).reshape(height, width, channels)
    except BROKEN as error:
        raise _unreadable(path, error) from error


def decode_all(
    paths: Collection[Path], shape: tuple[int, int, int], threads: int = THREADS
) -> UInt8[np.ndarray, "count height width channels"]:
    """Return the pixels of many files; raises as `decode` does, for the first bad file in order."""
    channels, height, width = shape
    pixels = np.empty((len(paths), height, width, channels), np.uint8)
    for i, image in enumerate(_threaded(lambda path: decode(path, shape), paths, threads)):
        pixels[i] = image
    return pixels


def _threaded(work: Callable[[Path], T], paths: Collection[Path], threads: int = THREADS) -> Iterator[T]:
    """Map over files in order on a few threads: Pillow releases the interpreter's lock while it decodes."""
    if min(threads, len(paths)) < 2:
        yield from map(work, paths)
        return
    with ThreadPoolExecutor(min(threads, len(paths))) as pool:
        yield from pool.map(work, paths)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        return Image.fromarray((values * (255 if values.max() <= 1 else 1)).clip(0, 255).astype(np.uint8))
    return image


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _unreadable(path: Path, error: BaseException) -> GradusError:
    reason = str(error).split("\n")[0].replace(str(path), path.name) or type(error).__name__
    return GradusError(
        f"{path} is not a readable image ({reason}): repair or remove it; `gradus inspect` lists all such files"
    )
