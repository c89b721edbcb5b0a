"""How attention grows with the length of a sequence: slopes of time and memory on log–log axes.

    slope = Σ (x − x̄)(y − ȳ) / Σ (x − x̄)²,    x = log tokens, y = log of the least time, or of the most bytes held

Full attention takes time O(T²); torch's fused kernel never holds the T × T weights, so that its memory is O(T). Written
out it holds them. Local attention over a window, linear and low-rank attention take O(T) of both.
"""

import math
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gradus.nn import attention_kernels as kernels

__all__ = ["cost"]

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def cost(
    lengths: Sequence[int] = (1024, 2048, 4096, 8192, 16_384),
    window: int = 64,
    rank: int = 64,
    heads: int = 2,
    width: int = 32,
    rounds: int = 3,
    held: int = 4096,
    seed: int = 0,
) -> dict[str, float]:
    """Forward and backward of attention, by kind and length: `<kind>_time` and `<kind>_memory` are slopes.

    All but low-rank attention, which cannot be, are causal.

    Args:
        lengths: tokens of a sequence.
        window: of local attention.
        rank: of low-rank attention.
        heads: of every kind.
        width: features of a head.
        rounds: passes of which the quickest counts; kinds take turns.
        held: the longest sequence for which attention is also written out, whose weights fill memory.
        seed: of queries, keys and values.
    """
    kinds: dict[str, Attend] = {
        "full": lambda q, k, v: kernels.full(q, k, v, causal=True),
        "local": lambda q, k, v: kernels.local(q, k, v, window=window, causal=True),
        "linear": lambda q, k, v: kernels.linear(q, k, v, causal=True),
        "low_rank": lambda q, k, v: kernels.full(q, mixed(k), mixed(v)),
    }
    generator = torch.Generator().manual_seed(seed)
    mixtures = torch.randn(rank, max(lengths), generator=generator) / max(lengths) ** 0.5

    def mixed(x: Tensor) -> Tensor:
        return mixtures[:, : x.shape[-2]] @ x

    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    most: dict[str, list[float]] = {name: [] for name in (*kinds, "written_out")}
    for tokens in lengths:
        qkv = [torch.randn(1, heads, tokens, width, generator=generator).requires_grad_() for _ in range(3)]
        least = dict.fromkeys(kinds, math.inf)
        for _ in range(rounds + 1):  # the first is quicker never, so that it warms up at no loss
            for name, attend in kinds.items():
                started = time.perf_counter()
                _both_ways(attend, qkv)
                least[name] = min(least[name], time.perf_counter() - started)
        for name, attend in kinds.items():
            seconds[name].append(least[name])
            most[name].append(_most_held(attend, qkv))
        if tokens <= held:
            most["written_out"].append(_most_held(_written_out, qkv))
    shown = {f"{name}_ms_at_{lengths[-1]}": 1e3 * times[-1] for name, times in seconds.items()}
    return {
        **{f"{name}_time": _slope(lengths, times) for name, times in seconds.items()},
        **{f"{name}_memory": _slope(lengths, values) for name, values in most.items()},
        **shown,
    }


def _both_ways(attend: Attend, qkv: list[Tensor]) -> None:
    torch.autograd.grad(attend(*qkv).sum(), qkv)


def _written_out(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ value


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return found

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _most_held(attend: Attend, qkv: list[Tensor]) -> float:
    """Return the most bytes that lived at a time beside queries, keys and values."""
    with _Held() as held:
        _both_ways(attend, qkv)
    return float(held.most)


def _slope(lengths: Sequence[int], values: Sequence[float]) -> float:
    """Return the least-squares slope on log–log axes, over as many lengths as there are values."""
    points = [(math.log(n), math.log(v)) for n, v in zip(lengths, values, strict=False)]
    x, y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)
