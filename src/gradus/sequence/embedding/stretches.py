"""A text as an endless source of stretches, thinned out and laid out in blocks.

A step's batch is a stretch of `batch_size` words. The order of the stretches is a function of (seed, epoch), and what
is drawn within one, of (seed, epoch, stretch): which occurrences of frequent words are kept, how far windows reach,
the noise. So a position is all the state there is. Windows do not reach from one stretch into the next.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from gradus.data.draws import generator
from gradus.data.ragged import Ragged
from gradus.data.sampler import EpochSampler
from gradus.data.sources import SampledSource
from gradus.errors import GradusError
from gradus.sequence.embedding.bands import BLOCK, SHARED, Bands, lay_out
from gradus.sequence.embedding.sampling import Noise, kept, reduced_windows
from gradus.sequence.embedding.threads import one_thread

__all__ = ["Stretches"]


class Stretches(SampledSource):
    """Stretches of a text, without end.

    Args:
        text: numbers of words, a row a document.
        chances: that an occurrence of each word is kept.
        noise: what draws noise words; None for none.
        window: the farthest that a window reaches.
        batch_size: words of a stretch, before any are left out.
        seed: of orders and draws.

    Raises:
        GradusError: if the text is empty.
    """

    def __init__(
        self,
        text: Ragged,
        chances: Float64[Tensor, " words"],
        noise: Noise | None,
        *,
        window: int = 5,
        batch_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        if not len(text.values):
            raise GradusError("there is no word of the vocabulary in the text: bring more text")
        self.text, self.chances, self.noise, self.window, self.batch_size = text, chances, noise, window, batch_size
        self.sampler = EpochSampler(-(-len(text.values) // batch_size), 1, seed=seed)

    def __repr__(self) -> str:
        return f"Stretches({len(self.text.values):,} words, {self.batch_size:,} at a time)"

    def __next__(self) -> Bands:
        deal = next(self.sampler)
        return self.stretch(int(deal.indices[0]), deal.epoch)

    def stretch(self, index: int, epoch: int = 0) -> Bands:
        """Return a stretch as it is drawn in an epoch."""
        with one_thread():
            return self._drawn(index, epoch)

    def _drawn(self, index: int, epoch: int) -> Bands:
        draws = generator(self.sampler.seed, "stretch", epoch, index)
        first = index * self.batch_size
        words = self.text.values[first : first + self.batch_size]
        chosen = kept(words, self.chances, draws).nonzero()[:, 0]
        documents = torch.searchsorted(self.text.offsets, chosen + first, right=True)
        windows = reduced_windows(len(chosen), self.window, draws)
        blocks = -(-len(chosen) // BLOCK)
        noise = None if self.noise is None else self.noise(blocks, SHARED, generator=draws)
        return lay_out(words[chosen], documents, windows, self.window, noise)
