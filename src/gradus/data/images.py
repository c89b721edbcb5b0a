"""Sets of labelled images: in memory as bytes, or on disk and decoded when asked for.

An `ImageSet` is a view: rows of a shared store of pixels, their labels and the names of the classes. Splitting or
limiting a set copies no pixel. What a user sees is always NCHW float32 in [0, 1]; what is stored is NHWC uint8, so that
a batch of colour images comes out channels-last without a transposition.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from gradus.data.decode import common_shape, decode_all, headers, image_files
from gradus.errors import GradusError

__all__ = ["MEMORY_BUDGET", "Files", "ImageBatch", "ImageSet", "ImageSplits", "Memory", "Pixels", "as_images"]

MEMORY_BUDGET = 2 * 1024**3
UNLABELLED = -1
BYTE = torch.tensor(255.0, dtype=torch.float32)  # dividing bytes by it converts them in the same pass


class ImageBatch(NamedTuple):
    """Images in [0, 1] with their classes, or with a distribution over the classes after mixup and its kin."""

    images: Float[Tensor, "batch channels height width"]
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"]


@runtime_checkable
@runtime_checkable
class Pixels(Protocol):
    """A store of equally large images, read by row."""

    shape: tuple[int, int, int]

    @property
    def names(self) -> Sequence[str] | None: ...

    def __len__(self) -> int: ...

    def read(self, rows: Int64[Tensor, " batch"]) -> UInt8[Tensor, "batch height width channels"]: ...


class Memory:
    """Pixels held as one byte tensor, shown at another shape if asked (converted when read).

    Args:
        pixels: the images.
        shape: channels, height and width to show; None for those of `pixels`.
        names: what to call each image, for instance the file it came from.
    """

    def __init__(
        self,
        pixels: UInt8[Tensor, "count height width channels"],
        shape: tuple[int, int, int] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        height, width, channels = pixels.shape[1:]
        self.pixels, self.names = pixels, names
        self.shape = shape or (channels, height, width)
        self.plain = self.shape == (channels, height, width)  # whether reading is a bare gather

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: Int64[Tensor, " batch"]) -> UInt8[Tensor, "batch height width channels"]:
        """Return the images of some rows."""
        chosen = self.pixels.index_select(0, rows)
        return chosen if self.plain else reshaped(chosen, self.shape)

    def shown(self, shape: tuple[int, int, int], budget: int = MEMORY_BUDGET) -> "Memory":
        """Return the same images at another shape: converted now if the result fits the budget, else when read."""
        view = Memory(self.pixels, shape, self.names)
        if view.plain or len(self) * shape[0] * shape[1] * shape[2] > budget:
            return view
        pixels = torch.empty((len(self), *shape[1:], shape[0]), dtype=torch.uint8)
        for rows in torch.arange(len(self)).split(1024):
            pixels[rows] = view.read(rows)
        return Memory(pixels, names=self.names)


class Files:
    """Pixels on disk, decoded when read.

    Args:
        paths: one image file a row.
        shape: channels, height and width that every image is brought to.
    """

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.paths, self.shape = paths, shape

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> Sequence[str]:
        """The files' paths."""
        return [str(path) for path in self.paths]

    def read(self, rows: Int64[Tensor, " batch"]) -> UInt8[Tensor, "batch height width channels"]:
        """Return the images of some rows; raises GradusError naming a file that cannot be decoded."""
        chosen = [self.paths[i] for i in rows.tolist()]
        threads = {} if get_worker_info() is None else {"threads": 1}  # worker processes are parallel enough
        return torch.from_numpy(decode_all(chosen, self.shape, **threads))


class ImageSet:
    """Labelled images.

    Args:
        pixels: the store.
        labels: class of each image of the set; −1 where there is none.
        classes: names of the classes.
        rows: where in the store each image is; None for all of it in order.

    Raises:
        GradusError: if a label is out of range, or labels and images differ in number.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Int64[Tensor, " labels"],
        classes: Sequence[str],
        rows: Int64[Tensor, " count"] | None = None,
    ) -> None:
        self.pixels = pixels
        self.rows = torch.arange(len(pixels)) if rows is None else rows
        self.labels = labels
        self.classes = tuple(classes)
        if len(labels) != len(self.rows):
            raise GradusError(f"there are {len(labels)} labels for {len(self.rows)} images: give one label an image")
        if len(labels) and not (int(labels.min()) >= UNLABELLED and int(labels.max()) < len(self.classes)):
            wrong = int(labels[(labels < UNLABELLED) | (labels >= len(self.classes))][0])
            raise GradusError(
                f"label {wrong} is out of range for {len(self.classes)} classes: number them 0 to {len(classes) - 1}"
            )

    @staticmethod
    def of_tensor(
        images: UInt8[Tensor, "count channels height width"] | Float[Tensor, "count channels height width"],
        labels: Int[Tensor, " labels"],
        classes: Sequence[str] | None = None,
    ) -> "ImageSet":
        """Return a set of one's own images in memory, given as bytes or as numbers in [0, 1].

        Args:
            images: the images; floats are rounded to 255 steps.
            labels: their classes, counted from 0.
            classes: their names; None names them by number.
        """
        if images.is_floating_point():
            if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
                raise GradusError(
                    "images given as floating-point numbers must lie in [0, 1]: divide them by their range"
                )
            images = (images * 255).round().to(torch.uint8)
        names = classes if classes is not None else [str(i) for i in range(int(labels.max()) + 1)]
        return ImageSet(Memory(images.permute(0, 2, 3, 1).contiguous()), labels.long(), names)

    @staticmethod
    def of_files(
        paths: Sequence[Path],
        labels: Int64[Tensor, " count"] | None = None,
        classes: Sequence[str] = (),
        *,
        channels: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        budget: int = MEMORY_BUDGET,
    ) -> "ImageSet":
        """Return a set of image files: decoded now if all of it fits the budget, else when asked for.

        Args:
            paths: the files.
            labels: their classes; None for unlabelled images.
            classes: names of the classes.
            channels: 1 or 3; None for the majority of the files.
            image_size: side, or height and width, in pixels; None as in `gradus.data.decode.common_shape`.
            budget: bytes that decoded images may take in memory.

        Raises:
            GradusError: if a file that is decoded now is not a readable image.
        """
        if not paths:
            raise GradusError("there are no image files to read: name a folder that holds some")
        decided = channels is not None and image_size is not None
        shape = common_shape([] if decided else headers(paths), channels, image_size)
        store: Pixels = Files(paths, shape)
        if len(paths) * shape[0] * shape[1] * shape[2] <= budget:
            store = Memory(torch.from_numpy(decode_all(paths, shape)), names=[str(path) for path in paths])
        return ImageSet(store, torch.full((len(paths),), UNLABELLED) if labels is None else labels, classes)

    @staticmethod
    def at(path: Path, *, channels: int, image_size: int | tuple[int, int]) -> "ImageSet":
        """Return the unlabelled images of a file, or of all files below a folder, decoded when asked for.

        Raises:
            GradusError: if there is nothing of that name, or no image.
        """
        if not path.exists():
            raise GradusError(f"{path} does not exist: name an image file, or a folder of them")
        files = image_files(path) if path.is_dir() else [path]
        return ImageSet.of_files(files, channels=channels, image_size=image_size, budget=0)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        kind = "files" if isinstance(self.pixels, Files) else "in memory"
        size = "×".join(str(n) for n in self.pixels.shape)
        return f"ImageSet({len(self)} images {size}, {len(self.classes)} classes, {kind})"

    def moments(self, most: int = 10_000) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel, over evenly spread images.

        Args:
            most: images to look at.
        """
        rows = torch.linspace(0, len(self) - 1, min(len(self), most)).long()
        sums, squares, pixels = torch.zeros(()), torch.zeros(()), 0
        for images, _ in self.take(rows).batches(1024):
            sums = sums + images.sum((0, 2, 3), dtype=torch.float64)
            squares = squares + images.square().sum((0, 2, 3), dtype=torch.float64)
            pixels += images.numel() // images.shape[1]
        mean = sums / pixels
        std = (squares / pixels - mean.square()).clamp(min=0).sqrt().clamp(min=1e-3)
        return [round(x, 6) for x in mean.tolist()], [round(x, 6) for x in std.tolist()]

    @property
    def in_memory(self) -> bool:
        """Whether the pixels are held as one tensor."""
        return isinstance(self.pixels, Memory)

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.pixels.shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[1:]

    @property
    def names(self) -> list[str]:
        """What each image is called: its file, or its row in the data set."""
        known = self.pixels.names
        return [str(row) if known is None else known[row] for row in self.rows.tolist()]

    def read(self, indices: Int64[Tensor, " batch"]) -> UInt8[Tensor, "batch height width channels"]:
        """Return the stored bytes of some images of the set."""
        return self.pixels.read(self.rows.index_select(0, indices))

    def take(self, indices: Int64[Tensor, " part"] | Sequence[int]) -> "ImageSet":
        """Return the set of some of the images, in the order given; no pixel is copied."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return ImageSet(self.pixels, self.labels[chosen], self.classes, self.rows[chosen])

    def batches(
        self, batch_size: int = 256, device: str | torch.device = "cpu", *, channels_last: bool = True
    ) -> Iterator[ImageBatch]:
        """Return one pass over the set in order; memory stays that of a batch.

        Args:
            batch_size: images a batch; the last may be smaller.
            device: where the batches go.
            channels_last: the memory format of colour images.
        """
        for indices in torch.arange(len(self)).split(batch_size):
            pixels = self.read(indices).to(device, non_blocking=True)
            yield ImageBatch(as_images(pixels, channels_last), self.labels[indices].to(device, non_blocking=True))

    def preview(self, count: int = 16) -> ImageBatch:
        """Return a few images, the classes in turn, spread over the set."""
        order = torch.argsort(self.labels, stable=True)
        starts = torch.searchsorted(self.labels[order].contiguous(), self.labels[order].contiguous())
        turn = torch.argsort(torch.arange(len(self)) - starts, stable=True)
        return next(iter(self.take(order[turn][:count]).batches(max(count, 1))))


@dataclass(frozen=True)
class ImageSplits:
    """A data set as a run uses it: train to learn, val to choose, test once.

    Attributes:
        train: what is learned from.
        val: what settings and epochs are chosen on.
        test: what the final number is measured on.
        name: the registered name, or the folder.
        classes: names of the classes, the same in all splits.
        fingerprint: a hash of the content, to tell whether two runs saw the same data.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    name: str
    classes: tuple[str, ...]
    fingerprint: str


def as_images(
    pixels: UInt8[Tensor, "batch height width channels"], channels_last: bool = True
) -> Float[Tensor, "batch channels height width"]:
    """Return stored bytes as images in [0, 1]: x / 255, in float32; colour is channels-last unless refused."""
    images = pixels.div(BYTE)
    if images.shape[3] == 1:
        return images.view(images.shape[0], 1, images.shape[1], images.shape[2])
    images = images.permute(0, 3, 1, 2)
    return images if channels_last else images.contiguous()


def reshaped(
    pixels: UInt8[Tensor, "batch height width channels"], shape: tuple[int, int, int]
) -> UInt8[Tensor, "batch rows columns planes"]:
    """Return images at another number of channels and size: luma or copies; scaled to cover, centre cut out."""
    channels, height, width = shape
    if pixels.shape[3] == 3 and channels == 1:
        # Pillow's fixed-point luma of ITU-R 601, so that files and tensors give the same greys.
        luma = torch.tensor([19595, 38470, 7471], dtype=torch.int32)
        pixels = (((pixels * luma).sum(3, keepdim=True) + 0x8000) >> 16).to(torch.uint8)
    if (*pixels.shape[1:3],) != (height, width):
        cover = max(height / pixels.shape[1], width / pixels.shape[2])
        size = [max(round(cover * pixels.shape[1]), height), max(round(cover * pixels.shape[2]), width)]
        images = F.interpolate(pixels.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        images = images[:, :, top : top + height, left : left + width]
        pixels = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    if pixels.shape[3] == 1 and channels == 3:
        pixels = pixels.expand(-1, -1, -1, 3)
    return pixels.contiguous()
