"""How often words occur near each other, in sparse form.

    X_ab = Σ over the places i ≠ j of one document with |i − j| ≤ window, text_i = a, text_j = b, of 1/|i − j|

X is symmetric; only entries other than zero are kept.

References:
    Pennington, Socher and Manning 2014, GloVe: global vectors for word representation.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from gradus.data.ragged import Ragged

__all__ = ["Cooccurrences", "cooccurrences"]

STRETCH = 4_000_000  # places that are counted at once


class Cooccurrences(NamedTuple):
    """Entries of X.

    Attributes:
        rows: word a.
        columns: word b.
        counts: X_ab.
    """

    rows: Int64[Tensor, " entries"]
    columns: Int64[Tensor, " entries"]
    counts: Float[Tensor, " entries"]

    def to(self, like: Tensor) -> "Cooccurrences":
        """Return the entries where a table lies, counts in its precision."""
        return Cooccurrences(self.rows.to(like.device), self.columns.to(like.device), self.counts.to(like))

    def split(self, entries: int) -> "list[Cooccurrences]":
        """Return so many entries at a time."""
        return [Cooccurrences(*parts) for parts in zip(*(part.split(entries) for part in self), strict=True)]


def cooccurrences(text: Ragged, words: int, window: int) -> Cooccurrences:
    """Return X of a text, its rows in order.

    Args:
        text: numbers of words, a row a document.
        words: how many there are.
        window: the farthest that two occurrences count.
    """
    flat = text.values.numpy().astype(np.int64)
    documents = torch.repeat_interleave(text.lengths).numpy()
    held: tuple[np.ndarray, np.ndarray] = (np.zeros(0, np.int64), np.zeros(0))
    for start in range(0, len(flat), STRETCH):
        keys, weights = [held[0]], [held[1]]
        for apart in range(1, window + 1):
            left = np.arange(start, min(start + STRETCH, len(flat) - apart))
            left = left[documents[left] == documents[left + apart]]
            a, b = flat[left], flat[left + apart]
            found, counts = np.unique(np.concatenate([a * words + b, b * words + a]), return_counts=True)
            keys.append(found)
            weights.append(counts / apart)
        every, places = np.unique(np.concatenate(keys), return_inverse=True)
        held = every, np.bincount(places, np.concatenate(weights), len(every))
    keys_held, counts_held = torch.from_numpy(held[0]), torch.from_numpy(held[1])
    return Cooccurrences(keys_held // words, keys_held % words, counts_held.float())
