"""From text to batches of tokens: encoding a corpus, random windows, parallel streams.

A corpus larger than 64 Mi characters is encoded piece by piece into a file that is mapped into memory, never held as a
whole. A `WindowSource` draws windows at uniformly random places; a `StreamSource` reads on where it stopped, for
truncated backpropagation through time.

References:
    Mikolov et al. 2010, Recurrent neural network based language model (streams).
    Radford et al. 2018, Improving language understanding by generative pre-training (windows).
"""

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, Integer
from torch import Tensor

from gradus.data.corpora import Corpus
from gradus.data.draws import generator
from gradus.data.tokenizer import Tokenizer
from gradus.errors import GradusError

__all__ = ["StreamBatch", "StreamSource", "Tokens", "WindowSource", "encode_corpus"]

IN_MEMORY = 64 << 20  # characters that are encoded in memory
TOGETHER = 16  # pieces encoded in one call

Tokens = Integer[np.ndarray, " count"]
"""Ids of a whole text, as uint16 where they fit and int32 where they do not; in memory or mapped from a file."""


def encode_corpus(corpus: Corpus, tokenizer: Tokenizer, folder: str | Path | None = None) -> Tokens:
    """Return the ids of a corpus; documents end with [EOS] where there are several and the tokenizer has it.

    Args:
        corpus: what is read.
        tokenizer: how.
        folder: where the ids of a corpus beyond 64 Mi characters are kept and found again; None keeps all in memory.
    """
    kind = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
    if folder is None or corpus.characters <= IN_MEMORY:
        return np.concatenate([np.zeros(0, kind), *_encoded(corpus, tokenizer, kind)])
    key = hashlib.sha256(f"{corpus.fingerprint}/{tokenizer.fingerprint}".encode()).hexdigest()[:32]
    path = Path(folder, f"tokens-{key}.{kind.name}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as file:
                for ids in _encoded(corpus, tokenizer, kind):
                    file.write(ids.tobytes())
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return np.memmap(path, kind, "r")


def _encoded(corpus: Corpus, tokenizer: Tokenizer, kind: np.dtype) -> Iterator[Tokens]:
    end = [tokenizer.id("[EOS]")] if len(corpus) > 1 and "[EOS]" in tokenizer.specials else []
    pieces = corpus.pieces()
    while some := list(islice(pieces, TOGETHER)):
        ids = tokenizer.encode_arrays([text for text, _ in some])
        parts = [part for row, (_, last) in zip(ids, some, strict=True) for part in ((row, end) if last else (row,))]
        yield np.concatenate(parts).astype(kind)


class WindowSource:
    """Windows of a text at uniformly random places, each with the same moved on by one token, without end.

    x = t[p : p + context], y = t[p + 1 : p + context + 1], p uniform; the places of a step are a pure function of
    (seed, step), and an epoch is as many steps as read as many tokens as there are.

    Args:
        tokens: the text.
        batch_size: windows of a global batch; each process yields its share.
        context: tokens of a window.
        seed: of the places.
        device: where batches are wanted; a text in memory is put there once.
        rank: of this process.
        world: number of processes.

    Raises:
        GradusError: if the text is shorter than a window or the numbers cannot be met.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        batch_size: int,
        context: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        share = _share(batch_size, world)
        if len(tokens) <= context:
            raise GradusError(
                f"the text has {len(tokens)} tokens, too few for one window of {context} and the token behind it: "
                "lower the context or bring more text"
            )
        self.size, self.batch_size, self.context, self.seed = len(tokens), batch_size, context, seed
        self.device, self.mine = torch.device(device), slice(rank * share, (rank + 1) * share)
        self.step = 0
        self._windows: np.ndarray | Tensor = (
            np.lib.stride_tricks.sliding_window_view(tokens, context + 1)
            if isinstance(tokens, np.memmap)
            else torch.from_numpy(tokens.astype(np.int32)).to(self.device).unfold(0, context + 1, 1)
        )

    @property
    def batches_per_epoch(self) -> int:
        """Number of steps that read as many tokens as there are."""
        return max(1, self.size // (self.batch_size * self.context))

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.step // self.batches_per_epoch

    def __iter__(self) -> "WindowSource":
        return self

    def __next__(self) -> tuple[Int64[Tensor, "batch context"], Int64[Tensor, "batch context"]]:
        numbers = generator(self.seed, "windows", self.step)
        places = torch.randint(self.size - self.context, (self.batch_size,), generator=numbers)[self.mine]
        self.step += 1
        if isinstance(self._windows, Tensor):
            rows = self._windows[places.to(self.device)].long()
        else:
            rows = torch.from_numpy(self._windows[places.numpy()].astype(np.int64)).to(self.device)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def state_dict(self) -> dict[str, Any]:
        """Return the position: steps made, and the number of tokens."""
        return {"step": self.step, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position; raises GradusError if the text has changed in length since."""
        _require_size(self.size, state)
        self.step = int(state["step"])


class StreamBatch(NamedTuple):
    """A stretch of each stream, the same moved on by one token, and whether a stream begins here."""

    x: Int64[Tensor, "batch time"]
    y: Int64[Tensor, "batch time"]
    fresh: Bool[Tensor, " batch"]


class StreamSource:
    """A text as parallel streams that are read forward, a stretch of each a step, without end.

    The text is cut into `batch_size` streams of equal length (fewer than `batch_size` tokens at its end are left out).
    A step goes on where the last one stopped, so that a state may be carried; the last stretch of an epoch may be
    shorter, and then all streams begin anew.

    Args:
        tokens: the text.
        batch_size: streams over all processes; each process yields its share.
        context: tokens of a stretch.
        device: where batches are wanted.
        rank: of this process.
        world: number of processes.

    Raises:
        GradusError: if the text is too short or the numbers cannot be met.
    """

    def __init__(
        self,
        tokens: Tokens,
        *,
        batch_size: int,
        context: int,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        share = _share(batch_size, world)
        self.length = (len(tokens) - 1) // batch_size
        if self.length < 1:
            raise GradusError(
                f"the text has {len(tokens)} tokens, too few for {batch_size} streams: lower the batch size"
            )
        self.size, self.batch_size, self.context = len(tokens), batch_size, context
        self.device, self.tokens = torch.device(device), tokens
        self.starts = np.arange(rank * share, (rank + 1) * share)[:, None] * self.length
        self.step = 0

    @property
    def batches_per_epoch(self) -> int:
        """Number of steps in which every stream is read once."""
        return -(-self.length // self.context)

    @property
    def epoch(self) -> int:
        """Number of completed epochs."""
        return self.step // self.batches_per_epoch

    def __iter__(self) -> "StreamSource":
        return self

    def __next__(self) -> StreamBatch:
        at = self.step % self.batches_per_epoch * self.context
        time = np.arange(at, min(at + self.context, self.length) + 1)
        rows = torch.from_numpy(self.tokens[self.starts + time].astype(np.int64)).to(self.device)
        self.step += 1
        fresh = torch.full((len(rows),), at == 0, device=self.device)
        return StreamBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), fresh)

    def state_dict(self) -> dict[str, Any]:
        """Return the position: steps made, and the number of tokens."""
        return {"step": self.step, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position; raises GradusError if the text has changed in length since."""
        _require_size(self.size, state)
        self.step = int(state["step"])


def _share(batch_size: int, world: int) -> int:
    if batch_size < 1:
        raise GradusError(f"batch size {batch_size} is not positive: ask for at least one sequence a batch")
    if batch_size % world:
        raise GradusError(f"batch size {batch_size} does not divide among {world} processes: use a multiple")
    return batch_size // world


def _require_size(size: int, state: dict[str, Any]) -> None:
    if state["size"] != size:
        raise GradusError(
            f"the text has {size} tokens but the checkpoint was made with {state['size']}: "
            "restore the data, or start a new run"
        )
