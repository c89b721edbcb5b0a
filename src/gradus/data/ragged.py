"""Sequences of different lengths: one flat tensor with offsets, padded only when a batch is made.

Row i of a `Ragged` is values[offsets[i] : offsets[i + 1]]. A `SequenceSource` puts sequences of alike length into one
batch, so that little is computed on padding: an epoch is shuffled, cut into pools of 50 batches, each pool is sorted by
length and cut into batches, and the batches are shuffled. What of an epoch does not fill a batch comes last.

References:
    Khomenko et al. 2016, Accelerating recurrent neural network training using sequence bucketing.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from gradus.data.draws import generator
from gradus.data.sampler import EpochSampler
from gradus.data.sources import SampledSource
from gradus.errors import GradusError

__all__ = ["Ragged", "SequenceSource", "in_batches", "padded"]

POOL = 50  # batches that are sorted by length together


class Ragged(NamedTuple):
    """Rows of different lengths, end to end.

    Attributes:
        values: all rows, one after the other.
        offsets: where each row begins, and at last where the last one ends; on the CPU.
    """

    values: Shaped[Tensor, " total"]
    offsets: Int64[Tensor, " bounds"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64[Tensor, " count"]:
        """Length of each row."""
        return self.offsets.diff()

    def row(self, index: int) -> Shaped[Tensor, " length"]:
        """Return a view of one row; negative indices count from the end."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return self.values[int(self.offsets[index]) : int(self.offsets[index + 1])]

    def take(self, rows: Int64[Tensor, " some"]) -> "Ragged":
        """Return some rows, copied, in the order asked for."""
        lengths = self.lengths[rows]
        offsets = _offsets(lengths)
        shift = (self.offsets[:-1][rows] - offsets[:-1]).repeat_interleave(lengths)
        places = torch.arange(len(shift)) + shift
        return Ragged(self.values[places.to(self.values.device)], offsets)

    @staticmethod
    def of(lists: Sequence[Sequence[int]] | Sequence[Sequence[float]]) -> "Ragged":
        """Return some lists as rows: of int64, or of float32 where there is a float among their numbers."""
        offsets = _offsets(torch.tensor([len(row) for row in lists], dtype=torch.int64))
        flat = torch.tensor(list(chain.from_iterable(lists)))
        return Ragged(flat if len(flat) else flat.long(), offsets)


def padded(
    rows: Ragged, indices: Int64[Tensor, " batch"], pad: int = 0, longest: int | None = None
) -> tuple[Shaped[Tensor, "batch time"], Int64[Tensor, " batch"]]:
    """Return some rows side by side, filled up to the longest of them, with their lengths.

    Args:
        rows: where they come from.
        indices: which ones, on the CPU.
        pad: what the ends are filled with.
        longest: rows are cut behind this many values; None keeps them whole.

    Returns:
        The rows, integers as int64, on the device of the values and at least one column wide; their lengths, on the
        CPU.
    """
    starts, lengths = rows.offsets[indices], rows.offsets[indices + 1] - rows.offsets[indices]
    if longest is not None:
        lengths = lengths.clamp(max=longest)
    width = max(1, int(lengths.max())) if len(lengths) else 1
    device, floating = rows.values.device, rows.values.is_floating_point()
    time = torch.arange(width, device=device)
    inside = time < lengths.to(device)[:, None]
    if not len(rows.values):
        empty = torch.full((len(lengths), width), pad, device=device)
        return (empty.to(rows.values.dtype) if floating else empty), lengths
    places = (starts.to(device)[:, None] + time).clamp_(max=len(rows.values) - 1)
    found = rows.values[places]
    return (found if floating else found.long()).masked_fill_(~inside, pad), lengths


class SequenceSource(SampledSource):
    """Shuffled batches of sequences, those of alike length together, without end.

    The order of an epoch is a pure function of (seed, epoch), so a position is all the state there is. A ragged column
    c gives c, padded, and c_lengths on the CPU; a plain tensor gives its rows; `rows` says which examples they are.

    Args:
        columns: one row an example in each.
        batch_size: examples of a global batch; each process yields its share.
        seed: of the orders.
        pad: what ragged columns are filled up with, or that by column.
        longest: rows of ragged columns are cut behind this many values; None keeps them whole.
        by: the column whose lengths decide; the first ragged one when left out.
        device: where the columns are put once and batches are made.
        rank: of this process.
        world: number of processes.

    Raises:
        GradusError: if the columns differ in length or the numbers cannot be met.
    """

    def __init__(
        self,
        columns: Mapping[str, Ragged | Tensor],
        *,
        batch_size: int,
        seed: int = 0,
        pad: int | Mapping[str, int] = 0,
        longest: int | None = None,
        by: str | None = None,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        size = _common_length(columns)
        self.columns = {name: _on(column, device) for name, column in columns.items()}
        self.pad, self.longest, self.seed = pad, longest, seed
        ragged = [name for name, column in columns.items() if isinstance(column, Ragged)]
        assert by is None or by in ragged, f"{by!r} is no ragged column"
        key = by or (ragged[0] if ragged else None)
        self.key = torch.zeros(size, dtype=torch.int64) if key is None else columns[key].lengths  # type: ignore[union-attr]
        self.sampler = EpochSampler(size, batch_size, seed=seed, shuffle=False, rank=rank, world=world)
        self._held: tuple[int, Tensor] | None = None

    def order(self, epoch: int) -> Int64[Tensor, " size"]:
        """Return the examples of an epoch in their order."""
        numbers = generator(self.seed, "sequences", epoch)
        size, batch = self.sampler.size, self.sampler.batch_size
        shuffled = torch.randperm(size, generator=numbers)
        full = size - size % batch
        places = torch.arange(full)
        pool = places // (POOL * batch)
        by_length = torch.argsort(self.key[shuffled[:full]], stable=True)
        pooled = by_length[torch.argsort(pool[by_length], stable=True)]
        batches = shuffled[:full][pooled].view(-1, batch)
        dealt = batches[torch.randperm(len(batches), generator=numbers)]
        return torch.cat([dealt.flatten(), shuffled[full:]])

    def __next__(self) -> dict[str, Tensor]:
        deal = next(self.sampler)
        if self._held is None or self._held[0] != deal.epoch:
            self._held = (deal.epoch, self.order(deal.epoch))
        return _batch(self.columns, self._held[1][deal.indices], self.pad, self.longest)


def in_batches(
    columns: Mapping[str, Ragged | Tensor],
    *,
    batch_size: int,
    pad: int | Mapping[str, int] = 0,
    longest: int | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield every example once, in order, in batches like those of `SequenceSource`.

    Args:
        columns: one row an example in each.
        batch_size: examples a batch.
        pad: what ragged columns are filled up with, or that by column.
        longest: rows of ragged columns are cut behind this many values; None keeps them whole.

    Raises:
        GradusError: if the columns differ in length.
    """
    for rows in torch.arange(_common_length(columns)).split(batch_size):
        yield _batch(columns, rows, pad, longest)


def _batch(
    columns: Mapping[str, Ragged | Tensor],
    rows: Int64[Tensor, " batch"],
    pad: int | Mapping[str, int],
    longest: int | None,
) -> dict[str, Tensor]:
    batch: dict[str, Tensor] = {}
    for name, column in columns.items():
        if isinstance(column, Ragged):
            fill = pad if isinstance(pad, int) else pad.get(name, 0)
            batch[name], batch[f"{name}_lengths"] = padded(column, rows, fill, longest)
        else:
            batch[name] = column.index_select(0, rows.to(column.device))
    return {**batch, "rows": rows}


def _common_length(columns: Mapping[str, Any]) -> int:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise GradusError(f"the columns have different lengths ({shown}): give one row an example in each")
    return next(iter(lengths.values()))


def _on(column: Ragged | Tensor, device: str | torch.device) -> Ragged | Tensor:
    return Ragged(column.values.to(device), column.offsets) if isinstance(column, Ragged) else column.to(device)


def _offsets(lengths: Int64[Tensor, " count"]) -> Int64[Tensor, " bounds"]:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
