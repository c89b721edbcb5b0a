"""Which samples make up which batch: the order of epoch e is a pure function of (seed, e).

Without weights an epoch visits every sample once, in the order π_e drawn from the stream (seed, e). With weights w it
draws as many samples as there are, with replacement, P(i) = w_i / Σw. A position in the epoch (the cursor) is all the
state there is, so resuming is exact at any batch, at any batch size.

Batches are global: with `world` processes, process r takes the r-th of `world` equal slices of every batch. A last
batch that does not divide is filled with samples from the start of the same epoch, so that every process has as many.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.data.draws import generator
from gradus.errors import GradusError

__all__ = ["Deal", "EpochSampler"]


class Deal(NamedTuple):
    """One process's share of one global batch.

    Attributes:
        indices: the samples, or their rows where the sampler knows them.
        epoch: counted from 0.
        batch: where in the epoch the global batch begins.
        first: where in the epoch the share begins.
        columns: what the sampler's columns hold for these samples.
    """

    indices: Int64[Tensor, " share"]
    epoch: int
    batch: int
    first: int
    columns: tuple[Tensor, ...] = ()


class EpochSampler:
    """Deals indices, batch after batch, epoch after epoch, without end.

    Args:
        size: number of samples.
        batch_size: samples of a global batch.
        seed: of the orders.
        shuffle: a new order every epoch; else that of the data.
        drop_last: leave out the last batch of an epoch where it is smaller.
        rank: of this process.
        world: number of processes.
        weights: relative frequency of each sample; None for every sample once an epoch.
        device: where indices are wanted.
        rows: where each sample lies in a store that holds more, dealt in place of its number.
        columns: one entry a sample in each, dealt with it. They are gathered once an epoch, so that a batch of them is
            a view; meant for labels and the like, not for images.

    Raises:
        GradusError: if these cannot be met.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        weights: Float[Tensor, " weights"] | None = None,
        device: str | torch.device = "cpu",
        rows: Int64[Tensor, " size"] | None = None,
        columns: Sequence[Tensor] = (),
    ) -> None:
        if size < 1:
            raise GradusError("there is nothing to sample from: the data set is empty")
        if batch_size < 1:
            raise GradusError(f"batch size {batch_size} is not positive: ask for at least one sample a batch")
        if batch_size % world:
            raise GradusError(f"batch size {batch_size} does not divide among {world} processes: use a multiple")
        if drop_last and size < batch_size:
            raise GradusError(f"{size} samples do not fill one batch of {batch_size}: lower the batch size")
        assert 0 <= rank < world, f"rank {rank} of {world}"
        self.size, self.batch_size, self.seed, self.shuffle = size, batch_size, seed, shuffle
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.length = size - size % batch_size if drop_last else size
        self.epoch, self.cursor = 0, 0
        self._cumulative = None if weights is None else _cumulative(weights, size)
        self._rows = None if rows is None else rows.to(self.device)
        self._columns = [column.to(self.device) for column in columns]
        self._epochs: dict[int, tuple[Tensor, list[Tensor]]] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches of an epoch."""
        return -(-self.length // self.batch_size)

    def order(self, epoch: int) -> Int64[Tensor, " size"]:
        """Return the samples of an epoch in their order."""
        stream = generator(self.seed, "order", epoch)
        if self._cumulative is not None:
            uniform = torch.rand(self.size, generator=stream, dtype=torch.float64)
            return torch.searchsorted(self._cumulative, uniform, right=True).clamp_(max=self.size - 1)
        return torch.randperm(self.size, generator=stream) if self.shuffle else torch.arange(self.size)

    def deal(self, epoch: int, cursor: int) -> Deal:
        """Return this process's share of the batch that begins at a position of an epoch."""
        order, columns = self._epochs.get(epoch) or self._begin(epoch)
        end, first = min(cursor + self.batch_size, self.length), cursor
        places: slice | Tensor = slice(cursor, end)
        if self.world > 1:
            share = -(-(end - cursor) // self.world)
            first = cursor + self.rank * share
            places = slice(first, first + share)
            if first + share > end:
                wrapped = torch.arange(first, first + share, device=self.device)
                places = torch.where(wrapped < end, wrapped, (wrapped - end) % self.size)
        return Deal(order[places], epoch, cursor, first, tuple([column[places] for column in columns]))

    def _begin(self, epoch: int) -> tuple[Int64[Tensor, " size"], list[Tensor]]:
        """Return an epoch's order and columns; two are kept, as one who reads ahead is in the next epoch already."""
        order = self.order(epoch).to(self.device)
        columns = [column.index_select(0, order) for column in self._columns]
        self._epochs = {old: held for old, held in self._epochs.items() if abs(old - epoch) <= 1}
        self._epochs[epoch] = order if self._rows is None else self._rows.index_select(0, order), columns
        return self._epochs[epoch]

    def after(self, epoch: int, cursor: int) -> tuple[int, int]:
        """Return the position behind the batch at a position; the end of an epoch is the start of the next."""
        cursor += self.batch_size
        return (epoch + 1, 0) if cursor >= self.length else (epoch, cursor)

    def __iter__(self) -> "EpochSampler":
        return self

    def __next__(self) -> Deal:
        dealt = self.deal(self.epoch, self.cursor)
        self.epoch, self.cursor = self.after(self.epoch, self.cursor)
        return dealt

    def state_dict(self) -> dict[str, Any]:
        """Return the position: completed epochs, samples dealt of the current one, and the number of samples."""
        return {"epoch": self.epoch, "cursor": self.cursor, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            GradusError: if it was saved over another number of samples.
        """
        if state["size"] != self.size:
            raise GradusError(
                f"the data has {self.size} samples but the checkpoint was made with {state['size']}: "
                "restore the data, or start a new run"
            )
        self.epoch, self.cursor = int(state["epoch"]), int(state["cursor"])
        if self.cursor >= self.length:
            self.epoch, self.cursor = self.epoch + 1, 0


def _cumulative(weights: Float[Tensor, " weights"], size: int) -> Float[Tensor, " weights"]:
    if len(weights) != size:
        raise GradusError(f"there are {len(weights)} weights for {size} samples: give one weight a sample")
    exact = weights.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(exact).all()) or float(exact.min()) < 0 or float(exact.sum()) <= 0:
        raise GradusError("sampling weights must be finite, not negative and not all zero")
    return exact.cumsum(0) / exact.sum()
