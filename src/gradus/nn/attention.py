"""Multi-headed attention of tokens to each other and to a source, with a cache for generation.

    attention(Q, K, V) = softmax(Q Kᵀ / √d) V,   in `heads` subspaces of d = width / heads dimensions each

The kernels (`full`, `local`, `linear`) are in `attention_kernels`, the blocks around them in `transformer`. A cache
holds the keys and values of the tokens so far in memory laid out once: a new token costs one row of the product. Linear
attention needs only their sums, whose size does not grow.

References:
    Vaswani et al. 2017, Attention is all you need. Katharopoulos et al. 2020, Transformers are RNNs.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn import attention_kernels as kernels
from gradus.nn.attention_kernels import Heads, Mask
from gradus.nn.positions import rotate

__all__ = ["CrossAttention", "Kernel", "KeyValueCache", "LinearCache", "SelfAttention"]

Kernel = Literal["full", "local", "linear"]


class KeyValueCache:
    """Keys and values of the tokens so far.

    Args:
        capacity: the most tokens it can hold.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self._memory: Tensor | None = None

    def __repr__(self) -> str:
        return f"KeyValueCache({self.length} of {self.capacity})"

    def append(self, keys: Heads, values: Heads) -> tuple[Heads, Heads]:
        """Add tokens and return all so far, views of the memory; raises as `extend` does."""
        return self.extend(torch.stack([keys, values]))

    def extend(self, pair: Float[Tensor, "2 batch heads tokens width"]) -> tuple[Heads, Heads]:
        """Add the keys and values of tokens, both in one tensor; return those of all so far, views of the memory.

        Raises:
            GradusError: if there is no room for them.
        """
        two, batch, heads, tokens, width = pair.shape
        if self._memory is None:
            self._memory = pair.new_empty(two, batch, heads, self.capacity, width)
        end = self.length + tokens
        if end > self.capacity:
            raise GradusError(f"{end} tokens do not fit into a cache of {self.capacity}: make it larger")
        self._memory.narrow(3, self.length, tokens).copy_(pair)
        self.length = end
        keys, values = self._memory.narrow(3, 0, end).unbind(0)
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on as a copy of row `rows[i]`: what a beam search does to its hypotheses."""
        if self._memory is not None:
            self._memory = self._memory.index_select(1, rows)


class LinearCache:
    """What linear attention keeps of the tokens so far: Σ φ(k) vᵀ and Σ φ(k)."""

    def __init__(self) -> None:
        self.length = 0
        self.sums: Tensor | None = None

    def __repr__(self) -> str:
        return f"LinearCache({self.length})"

    def add(self, keys: Heads, values: Heads, mask: Mask | None = None) -> None:
        """Add tokens; those that the mask leaves out do not count."""
        sums = kernels.linear_sums(keys, values, mask)
        self.sums = sums if self.sums is None else self.sums + sums
        self.length += keys.shape[-2]

    def reorder(self, rows: Tensor) -> None:
        """Let row i go on as a copy of row `rows[i]`."""
        if self.sums is not None:
            self.sums = self.sums.index_select(0, rows)


def _check(width: int, heads: int, dropout: float) -> None:
    if width % heads:
        raise GradusError(f"{heads} heads do not divide a width of {width}; choose a divisor")
    if not 0 <= dropout < 1:
        raise GradusError(f"dropout={dropout} is no probability below one; give a number in [0, 1)")


class SelfAttention(nn.Module):
    """Multi-headed attention of tokens to each other.

    Args:
        width: features of a token.
        heads: number of subspaces; a divisor of the width.
        dropout: probability of dropping an attention weight; linear attention has no weights to drop.
        bias: whether the projections have one.
        kernel: full, local or linear.
        window: of the local kernel.
        rotary: turn queries and keys by their positions.

    Raises:
        GradusError: if the heads do not divide the width, or a local kernel lacks its window.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        kernel: Kernel = "full",
        window: int | None = None,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        _check(width, heads, dropout)
        if kernel not in ("full", "local", "linear"):
            raise GradusError(f"attention is full, local or linear, not {kernel!r}")
        if (kernel == "local") != (window is not None):
            raise GradusError("a window belongs to local attention, and local attention needs one")
        self.heads, self.dropout, self.rotary = heads, dropout, rotary
        self.kernel: Kernel = kernel
        self.window = window
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def cache(self, capacity: int) -> "KeyValueCache | LinearCache":
        """Return an empty cache of the kind that this attention keeps.

        Args:
            capacity: the most tokens it shall hold.
        """
        return LinearCache() if self.kernel == "linear" else KeyValueCache(capacity)

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        *,
        mask: Mask | None = None,
        causal: bool = False,
        cache: KeyValueCache | LinearCache | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what each token gathers from all.

        Args:
            x: tokens; with a cache, those that follow the ones in it.
            mask: true where a token (row) may look at another (column), those in the cache included.
            causal: each token sees itself and those before.
            cache: of the tokens before; the new ones are added to it.

        Raises:
            GradusError: for a cache where attention is not causal, or of another kind than `cache` gives.
        """
        if cache is None:  # chunks, whose backward pass is one concatenation
            parts = self.qkv(x).chunk(3, -1)
            query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
            pair = None
        else:
            together = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            query, key, value = together
            pair = together[1:]
        if self.rotary:
            start = cache.length if cache is not None else 0
            positions = torch.arange(start, start + x.shape[1], device=x.device)
            query, key = rotate(query, positions), rotate(key, positions)
            pair = None if pair is None else torch.stack([key, value])
        past: Tensor | None = None
        if cache is not None:
            if not causal or isinstance(cache, LinearCache) != (self.kernel == "linear"):
                raise GradusError("a cache goes with causal attention and with the kind of attention that made it")
            if isinstance(cache, LinearCache):
                past, tokens = cache.sums, x.shape[1]
                mask = None if mask is None else mask[..., -tokens:]
                cache.add(key, value, mask)
            else:
                assert pair is not None
                key, value = cache.extend(pair)
        return self.out(self._gather(query, key, value, mask, causal, past).transpose(1, 2).flatten(2))

    def _gather(
        self, query: Heads, key: Heads, value: Heads, mask: Mask | None, causal: bool, past: Heads | None
    ) -> Heads:  # fmt: skip
        dropout = self.dropout if self.training else 0.0
        if self.kernel == "linear":
            return kernels.linear(query, key, value, causal=causal, mask=mask, past=past)
        if self.kernel == "local":
            assert self.window is not None
            return kernels.local(query, key, value, window=self.window, causal=causal, mask=mask, dropout=dropout)
        return kernels.full(query, key, value, mask=mask, causal=causal, dropout=dropout)

    def extra_repr(self) -> str:
        shown = f"heads={self.heads}, dropout={self.dropout}"
        shown += f", {self.kernel}" if self.kernel != "full" else ""
        shown += f", window={self.window}" if self.window is not None else ""
        return shown + (", rotary" if self.rotary else "")


class CrossAttention(nn.Module):
    """Multi-headed attention of tokens to those of a source.

    Args:
        width: features of a token.
        heads: number of subspaces; a divisor of the width.
        source: features of a source token; the same width by default.
        dropout: probability of dropping an attention weight.
        bias: whether the projections have one.

    Raises:
        GradusError: if the heads do not divide the width.
    """

    def __init__(
        self, width: int, heads: int, *, source: int | None = None, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        _check(width, heads, dropout)
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.key_value = nn.Linear(width if source is None else source, 2 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def project(self, source: Float[Tensor, "batch source features"]) -> tuple[Heads, Heads]:
        """Return keys and values of a source, to be passed as `projected` when many calls share them."""
        key, value = self.key_value(source).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        source: Float[Tensor, "batch source features"],
        *,
        mask: Mask | None = None,
        projected: tuple[Heads, Heads] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what each token gathers from the source.

        Args:
            x: tokens.
            source: what they look at.
            mask: true where a token (row) may look at one of the source (column).
            projected: keys and values of the source, where they are known already.
        """
        query = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.project(source) if projected is None else projected
        dropout = self.dropout if self.training else 0.0
        return self.out(kernels.full(query, key, value, mask=mask, dropout=dropout).transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        return f"heads={self.heads}, dropout={self.dropout}"
