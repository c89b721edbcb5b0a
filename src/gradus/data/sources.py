"""Endless sources of shuffled batches that resume exactly in the middle of an epoch.

`ImageSource` draws from an `ImageSet`, `TensorSource` from any tensors of equal length. Both deal by an `EpochSampler`,
so their whole state is a position. Sets in memory are gathered by index on the device where they are wanted; sets on
disk are decoded ahead by worker processes, and what was only prefetched does not count as consumed.
"""

import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gradus.data.augment import Augment
from gradus.data.draws import Draws
from gradus.data.images import ImageBatch, ImageSet, Memory, as_images
from gradus.data.sampler import Deal, EpochSampler
from gradus.errors import GradusError

__all__ = ["ImageSource", "SampledSource", "TensorSource"]


class SampledSource(ABC):
    """A source whose position is that of its sampler."""

    sampler: EpochSampler

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        return self.sampler.batches_per_epoch

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.sampler.epoch

    def __iter__(self) -> "SampledSource":
        return self

    @abstractmethod
    def __next__(self) -> Any: ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the data."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position; raises GradusError if the data has changed in number since."""
        self.sampler.load_state_dict(state)


class ImageSource(SampledSource):
    """Shuffled, augmented batches of an image set, without end.

    Args:
        image_set: where the images come from.
        batch_size: images of a global batch; each process yields its share.
        seed: of orders and augmentation, which are functions of (seed, epoch, position in the epoch).
        augment: an `Augment`, its string form, or None.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch of an epoch where it is smaller.
        device: where batches are made; a set in memory is put there once.
        rank: of this process.
        world: number of processes.
        workers: processes that decode a set on disk ahead of use; 0 decodes when asked. Sets in memory need none.
        weights: relative frequency of each image; None for every image once an epoch.
        channels_last: the memory format of colour images.
        start_method: how workers start ("fork", "spawn", "forkserver"); None for the platform's default.

    Raises:
        GradusError: if these cannot be met, or an image file cannot be decoded.
    """

    def __init__(
        self,
        image_set: ImageSet,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augment | str | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        weights: Float[Tensor, " count"] | None = None,
        channels_last: bool = True,
        start_method: str | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.augment = Augment(augment) if isinstance(augment, str) else augment
        self.classes = len(image_set.classes)
        self.channels_last = channels_last
        self._feed = (
            _MemoryFeed(image_set, self.device)
            if image_set.in_memory
            else _FileFeed(image_set, self.device, workers, start_method)
        )
        self.sampler = EpochSampler(
            len(image_set),
            batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world=world,
            weights=weights,
            device=self.device if image_set.in_memory else "cpu",
            rows=self._feed.rows,
            columns=(image_set.labels,),
        )

    def __next__(self) -> ImageBatch:
        pixels, labels, deal = self._feed.next(self.sampler)
        batch = ImageBatch(as_images(pixels, self.channels_last), labels)
        if self.augment is not None:
            draws = Draws(self.sampler.seed, deal.epoch, deal.batch, deal.first, self.device)
            batch = self.augment(batch, draws, self.classes)
        return batch

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position; raises GradusError if the data has changed in number since."""
        super().load_state_dict(state)
        self._feed.close()

    def close(self) -> None:
        """End the worker processes, if any; the next batch starts them again."""
        self._feed.close()


class _MemoryFeed:
    """Gathers from pixels that lie on the device; a view of a shared store is gathered through its rows."""

    def __init__(self, image_set: ImageSet, device: torch.device) -> None:
        store = image_set.pixels
        assert isinstance(store, Memory)
        shared = device.type == "cpu"
        self.store = store if shared else Memory(store.pixels[image_set.rows].to(device), store.shape)
        self.rows = image_set.rows if shared else None

    def next(self, sampler: EpochSampler) -> tuple[UInt8[Tensor, "b h w c"], Int64[Tensor, " b"], Deal]:
        deal = next(sampler)
        return self.store.read(deal.indices), deal.columns[0], deal

    def close(self) -> None:
        """Nothing to end."""


class _FileFeed:
    """Reads from disk, by worker processes ahead of use where asked to."""

    def __init__(self, image_set: ImageSet, device: torch.device, workers: int, start_method: str | None) -> None:
        self.image_set, self.device, self.workers, self.start_method = image_set, device, workers, start_method
        self.rows = None
        self._ahead: Iterator[Any] | None = None

    def next(self, sampler: EpochSampler) -> tuple[UInt8[Tensor, "b h w c"], Int64[Tensor, " b"], Deal]:
        if self.workers and self._ahead is None:
            self._ahead = iter(self._loader(sampler))
        deal = sampler.deal(sampler.epoch, sampler.cursor)
        pixels = self.image_set.read(deal.indices) if self._ahead is None else next(self._ahead)
        if isinstance(pixels, str):
            self.close()
            raise GradusError(pixels)
        # Only now is the batch consumed: a failure, or a checkpoint before this line, leaves it to be dealt again.
        sampler.epoch, sampler.cursor = sampler.after(sampler.epoch, sampler.cursor)
        labels = deal.columns[0].to(self.device, non_blocking=True)
        return pixels.to(self.device, non_blocking=True), labels, deal

    def _loader(self, sampler: EpochSampler) -> DataLoader:
        return DataLoader(
            _Reader(self.image_set),
            batch_sampler=_Ahead(sampler),
            num_workers=self.workers,
            collate_fn=_whole,
            worker_init_fn=_ignore_interrupts,
            pin_memory=self.device.type == "cuda",
            multiprocessing_context=self.start_method,
            generator=torch.Generator(),  # else the loader draws its seed from the global generator
        )

    def close(self) -> None:
        """End the workers: the loader's iterator does so when the last reference to it goes."""
        self._ahead = None


class _Ahead:
    """The indices of all batches from the sampler's present position on, leaving the sampler where it is."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[int]]:
        sampler, position = self.sampler, (self.sampler.epoch, self.sampler.cursor)
        while True:
            yield sampler.deal(*position).indices.tolist()
            position = sampler.after(*position)


class _Reader(Dataset):
    """What a worker holds: it reads a whole batch at once, and sends a user's mistake back as a sentence."""

    def __init__(self, image_set: ImageSet) -> None:
        self.image_set = image_set

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> UInt8[Tensor, "1 h w c"] | str:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> UInt8[Tensor, "b h w c"] | str:
        try:
            return self.image_set.read(torch.tensor(indices))
        except GradusError as error:
            return str(error)


def _whole(batch: Any) -> Any:
    return batch


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which every process of the terminal gets, to the process that has a checkpoint to save."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TensorSource(SampledSource):
    """Shuffled batches of any tensors with the same first size, without end.

    Args:
        tensors: a dict or a tuple of tensors (batches have the same form), or one tensor.
        batch_size: rows of a global batch; each process yields its share.
        seed: of the orders.
        shuffle: a new order every epoch.
        drop_last: leave out the last batch of an epoch where it is smaller.
        device: where the tensors are put once and batches are made.
        rank: of this process.
        world: number of processes.
        weights: relative frequency of each row; None for every row once an epoch.

    Raises:
        GradusError: if the tensors differ in length or the numbers cannot be met.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor] | tuple[Tensor, ...] | Tensor,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        weights: Float[Tensor, " count"] | None = None,
    ) -> None:
        columns = _columns(tensors)
        lengths = {len(column) for column in columns}
        if len(lengths) != 1:
            raise GradusError(f"the tensors have different lengths {sorted(lengths)}: give one row a sample in each")
        self._form = tensors
        self._columns = [column.to(device) for column in columns]
        self.sampler = EpochSampler(
            lengths.pop(),
            batch_size,
            seed=seed,
            shuffle=shuffle,
            drop_last=drop_last,
            rank=rank,
            world=world,
            weights=weights,
            device=device,
        )

    def __next__(self) -> Any:
        indices = next(self.sampler).indices
        rows = [column.index_select(0, indices) for column in self._columns]
        if isinstance(self._form, dict):
            return dict(zip(self._form, rows, strict=True))
        return tuple(rows) if isinstance(self._form, tuple) else rows[0]


def _columns(tensors: dict[str, Tensor] | tuple[Tensor, ...] | Tensor) -> list[Tensor]:
    if isinstance(tensors, Tensor):
        return [tensors]
    return list(tensors.values()) if isinstance(tensors, dict) else list(tensors)
