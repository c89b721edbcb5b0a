"""Random numbers as functions of where they are used: no state, no order of calls, the same for every device.

A uniform number is Philox4x64's output for the key (seed, epoch, stream) at the counter of its position in the epoch.
So sample 17 of epoch 3 is augmented alike whoever asks, in whichever process, batch size or order; resuming needs
nothing but the numbers of the epoch and the position.

References:
    Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox, counter-based generators).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Draws", "generator", "stream_seed"]

Images = Float[Tensor, "batch channels height width"]
WORDS = 4  # that Philox gives for one value of its counter


def stream_seed(*key: int | str) -> int:
    """Return a 63-bit seed for the stream that a key names; different keys give independent streams."""
    digest = hashlib.blake2b("/".join(str(part) for part in key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh torch generator for the stream that a key names."""
    return torch.Generator(device).manual_seed(stream_seed(*key))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch.

    Attributes:
        seed: of the source.
        epoch: counted from 0.
        batch: position in the epoch of the first sample of the global batch; what a batch shares hangs on it.
        first: position of the first sample of this process's slice of the batch.
        device: where tensors of numbers go.
    """

    seed: int
    epoch: int = 0
    batch: int = 0
    first: int = 0
    device: str | torch.device = "cpu"

    def uniform(self, stream: str, count: int, columns: int = 1) -> Float[Tensor, "count columns"]:
        """Return numbers uniform on [0, 1), 24 bits each: row i is a function of seed, epoch, stream and position i.

        Args:
            stream: who asks; different names get independent numbers.
            count: samples.
            columns: numbers a sample.
        """
        blocks = -(-columns // WORDS)
        philox = np.random.Philox(key=stream_seed(self.seed, self.epoch, stream), counter=self.first * blocks)
        words = philox.random_raw(count * blocks * WORDS).reshape(count, -1)[:, :columns]
        uniform = (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return torch.from_numpy(uniform).to(self.device, non_blocking=True)

    def shared(self, stream: str) -> np.random.Generator:
        """Return a generator whose numbers are the same for the whole global batch, on every process."""
        return np.random.Generator(np.random.Philox(key=stream_seed(self.seed, self.epoch, self.batch, stream)))

    def normal(self, stream: str, like: Images) -> Images:
        """Return standard normal numbers with the shape and layout of some images, for this slice of the batch."""
        source = generator(self.seed, self.epoch, self.first, stream, device=like.device)
        batch, channels, height, width = like.shape
        if like.stride(1) == 1:  # drawn in the order of memory, which is many times faster
            shape = (batch, height, width, channels)
            return torch.randn(shape, generator=source, device=like.device).permute(0, 3, 1, 2)
        return torch.randn(like.shape, generator=source, device=like.device)
