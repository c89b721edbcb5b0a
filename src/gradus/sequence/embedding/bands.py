"""A text laid out in blocks, so that all its windows are a few matrix products.

A block is `size` places that follow one another, and its context is those places and `window` more on either side. The
pairs (place, context) that are within a window are a band of the block's matrix, and a score is had for every entry:

    S = H C^T,   near_ij = 1  where 0 < |place_i − context_j| ≤ window_i, in one document

That is two to four times as many scores as there are pairs, and products of matrices are ten times as quick as those of
pairs. The noise words of a block are shared by its places, weighted so that the expected loss is that of `negative`
fresh ones for each pair.

References:
    Ji et al. 2016, Parallelizing word2vec in shared and distributed memory (shared noise, matrix products).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor

__all__ = ["BLOCK", "SHARED", "Bands", "lay_out"]

BLOCK = 16
SHARED = 64


class Bands(NamedTuple):
    """Blocks of a text.

    Attributes:
        centres: words at the places of each block; beyond the end of the text 0, with nothing near.
        contexts: words at the places and `window` more on either side.
        near: 1 where a context is within the window of a place.
        noise: words that the places of a block share as noise; none where a method needs none.
    """

    centres: Int64[Tensor, "blocks size"]
    contexts: Int64[Tensor, "blocks reach"]
    near: Float[Tensor, "blocks size reach"]
    noise: Int64[Tensor, "blocks shared"]

    @property
    def pairs(self) -> Float[Tensor, "blocks size"]:
        """Number of contexts near each place."""
        return self.near.sum(2)

    def to(self, like: Tensor) -> "Bands":
        """Return the bands where a table lies, weights in its precision."""
        near = self.near.to(like)
        return Bands(self.centres.to(like.device), self.contexts.to(like.device), near, self.noise.to(like.device))

    def split(self, blocks: int) -> Iterator["Bands"]:
        """Yield so many blocks at a time."""
        for parts in zip(*(part.split(blocks) for part in self), strict=True):
            yield Bands(*parts)


def lay_out(
    words: Int[Tensor, " places"],
    documents: Int64[Tensor, " places"],
    windows: Int64[Tensor, " places"],
    window: int,
    noise: Int64[Tensor, "blocks shared"] | None = None,
    size: int = BLOCK,
) -> Bands:
    """Return a stretch of text in blocks.

    Args:
        words: at the places.
        documents: which document each place is in; windows do not reach from one into another.
        windows: how far each place's window reaches.
        window: the farthest that any does.
        noise: words that blocks share; None for none.
        size: places of a block.
    """
    blocks = -(-len(words) // size)
    reach, beyond = size + 2 * window, blocks * size - len(words)
    around = (window, window + beyond)
    contexts = F.pad(words.long(), around).unfold(0, reach, size)
    inside = F.pad(documents, around, value=-1).unfold(0, reach, size)
    far = F.pad(windows, (0, beyond)).view(blocks, size, 1)
    apart = (torch.arange(size)[:, None] + window - torch.arange(reach)).abs()
    within = (apart <= far) & (apart > 0)
    own = inside[:, window : window + size]
    near = within & (own[:, :, None] == inside[:, None]) & (own >= 0)[:, :, None]
    none = torch.zeros(blocks, 0, dtype=torch.int64)
    centres = contexts[:, window : window + size]
    return Bands(centres, contexts, near.float(), none if noise is None else noise)
