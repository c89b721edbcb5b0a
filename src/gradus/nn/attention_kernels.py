"""What attention computes, as functions on queries, keys and values of shape (batch, heads, tokens, width).

    full    softmax(Q Kᵀ / √d) V                                   O(T²) time, fused kernels
    local   the same over |i − j| ≤ w, or over a square on a grid  O(T w)
    linear  φ(Q) (φ(K)ᵀ V) / (φ(Q) Σ_j φ(K_j)),  φ = elu + 1       O(T d²)

A causal token sees itself and those before it; fewer queries than keys are those of the last tokens. A mask is true
where a query may look, and one that may look nowhere gathers zero.

References:
    Vaswani et al. 2017, Attention is all you need. Beltagy et al. 2020, Longformer: the long-document transformer.
    Ramachandran et al. 2019, Stand-alone self-attention in vision models. Katharopoulos et al. 2020, Transformers are
    RNNs.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Heads", "Mask", "full", "linear", "linear_sums", "local", "local_2d"]

Heads = Float[Tensor, "batch heads _ _"]
Mask = Bool[Tensor, "#batch #heads #queries keys"]

CHUNK = 64
SHORT = 512  # keys up to which the matrix of weights is cheap to keep


def full(
    query: Heads, key: Heads, value: Heads, *, mask: Mask | None = None, causal: bool = False, dropout: float = 0.0
) -> Heads:
    """Return softmax(Q Kᵀ / √d) V through torch's fused kernels.

    Args:
        query: Q; (batch, heads, queries, width).
        key: K; (batch, heads, keys, width).
        value: V; (batch, heads, keys, width of values).
        mask: true where a query may look.
        causal: a query sees no later key.
        dropout: probability of dropping a weight.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    if _better_as_products(query, keys) and mask is None and queries == keys:
        return _products(query, key, value, causal, dropout)
    if causal and (mask is not None or queries != keys):
        if queries > 1 or mask is not None:
            seen = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
            mask = seen if mask is None else mask & seen
        causal = False
    return F.scaled_dot_product_attention(query, key, value, mask, dropout, causal)


def _better_as_products(query: Heads, keys: int) -> bool:
    """Return whether plain products are faster: torch's fused backward pass in bfloat16 is slow on CPUs (5 times)."""
    trains = torch.is_grad_enabled() and query.requires_grad
    return trains and query.dtype is torch.bfloat16 and query.device.type == "cpu" and keys <= SHORT


def _products(query: Heads, key: Heads, value: Heads, causal: bool, dropout: float) -> Heads:
    """Return softmax(Q Kᵀ / √d) V as it is written."""
    tokens = query.shape[-2]
    bias = query.new_zeros(tokens, tokens)
    if causal:
        bias = bias.masked_fill(torch.ones_like(bias, dtype=torch.bool).triu(1), -torch.inf)
    scale = 1 / math.sqrt(query.shape[-1])
    scores = torch.baddbmm(bias, query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), alpha=scale)
    weights = scores.softmax(-1)
    weights = F.dropout(weights, dropout) if dropout else weights
    return (weights @ value.flatten(0, 1)).unflatten(0, query.shape[:2])


def local(
    query: Heads, key: Heads, value: Heads, *, window: int, causal: bool = False, mask: Mask | None = None,
    dropout: float = 0.0,
) -> Heads:  # fmt: skip
    """Return attention over the keys within a window, in blocks of its size.

    Args:
        query: Q; as many as there are keys, or fewer where it is causal.
        key: K.
        value: V.
        window: w; a query sees the keys |i − j| ≤ w, a causal one i − w ≤ j ≤ i.
        causal: a query sees no later key.
        mask: true for the keys that may be looked at at all, (batch, 1, 1, keys).
        dropout: probability of dropping a weight.

    Raises:
        GradusError: for a window below one, another number of queries than of keys, or a mask that differs between
            queries.
    """
    tokens = query.shape[-2]
    if window < 1 or (key.shape[-2] != tokens and not causal):
        raise GradusError(f"local attention needs a window of at least 1 and as many queries as keys, not {window}")
    if mask is not None and mask.shape[-2] != 1:
        raise GradusError("local attention takes a mask over keys only, of shape (batch, 1, 1, keys)")
    if key.shape[-2] != tokens:
        return _last_of_many(query, key, value, window, mask, dropout)
    blocks = -(-tokens // window)
    pad = blocks * window - tokens
    after = 0 if causal else window
    there = torch.ones(1, 1, 1, tokens, dtype=torch.bool, device=query.device) if mask is None else mask
    spans = [F.pad(x, (0, 0, window, pad + after)).unfold(-2, 2 * window + after, window) for x in (key, value)]
    near_keys, near_values = (x.transpose(-1, -2) for x in spans)
    seen = F.pad(there.squeeze(-2), (window, pad + after)).unfold(-1, 2 * window + after, window)
    i = torch.arange(window, device=query.device)[:, None]
    j = torch.arange(2 * window + after, device=query.device)[None] - window
    near = (j >= i - window) & (j <= (i if causal else i + window))
    allowed = near & seen[..., None, :]
    # A padded query sees nothing; let it see something, lest its softmax be NaN. It is cut off below.
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    blocked = F.pad(query, (0, 0, 0, pad)).unflatten(-2, (blocks, window))
    found = F.scaled_dot_product_attention(blocked, near_keys, near_values, allowed, dropout)
    return found.flatten(-3, -2)[..., :tokens, :]


def _last_of_many(
    query: Heads, key: Heads, value: Heads, window: int, mask: Mask | None, dropout: float
) -> Heads:  # fmt: skip
    """Return causal local attention of the last tokens: over the keys near them alone, all at once."""
    queries = query.shape[-2]
    near = min(key.shape[-2], window + queries)
    key, value = key[..., -near:, :], value[..., -near:, :]
    mask = None if mask is None else mask[..., -near:]
    if queries > 1:
        i = torch.arange(near - queries, near, device=query.device)[:, None]
        j = torch.arange(near, device=query.device)
        band = (j <= i) & (j >= i - window)
        mask = band if mask is None else mask & band
    return F.scaled_dot_product_attention(query, key, value, mask, dropout)


def local_2d(
    query: Heads, key: Heads, value: Heads, *, grid: tuple[int, int], radius: int, dropout: float = 0.0
) -> Heads:
    """Return attention over a square neighbourhood of tokens that stand on a grid, row by row.

    Args:
        query: Q, (batch, heads, height · width, d).
        key: K.
        value: V.
        grid: height and width.
        radius: r; a query sees the (2r + 1)² tokens around it that exist.
        dropout: probability of dropping a weight.

    Raises:
        GradusError: if the grid has another number of tokens.
    """
    height, width = grid
    if query.shape[-2] != height * width:
        raise GradusError(f"a grid of {height} × {width} has {height * width} tokens, not {query.shape[-2]}")
    near_keys, near_values = (_around(x, grid, radius) for x in (key, value))
    there = _around(query.new_ones(1, 1, height * width, 1), grid, radius)[..., 0].bool()
    found = F.scaled_dot_product_attention(query[..., None, :], near_keys, near_values, there[..., None, :], dropout)
    return found.squeeze(-2)


def _around(x: Tensor, grid: tuple[int, int], radius: int) -> Float[Tensor, "batch heads tokens near width"]:
    """Return the features of every token's neighbourhood, zero beyond the edges."""
    side = 2 * radius + 1
    image = F.pad(x.unflatten(-2, grid), (0, 0, radius, radius, radius, radius))
    return image.unfold(-3, side, 1).unfold(-3, side, 1).flatten(-2).transpose(-1, -2).flatten(2, 3)


def linear(
    query: Heads,
    key: Heads,
    value: Heads,
    *,
    causal: bool = False,
    mask: Mask | None = None,
    past: Heads | None = None,
) -> Heads:
    """Return attention with the kernel φ(q) · φ(k) in place of exp(q · k / √d): linear in the number of tokens.

    The causal form sums over chunks of 64 tokens, quadratic within and a running state between them.

    Args:
        query: Q; as many as there are keys where it is causal.
        key: K.
        value: V.
        causal: a query sees no later key.
        mask: true for the keys that may be looked at, (batch, 1, 1, keys).
        past: `linear_sums` of the tokens before these, which every query sees.

    Raises:
        GradusError: for a mask that differs between queries.
    """
    q = F.elu(query) + 1
    k, v = _featured(key, value, mask)
    if causal:
        tokens = q.shape[-2]
        size = min(CHUNK, tokens)
        q, k, v = (F.pad(x, (0, 0, 0, -tokens % size)).unflatten(-2, (-1, size)) for x in (q, k, v))
        added = k.transpose(-1, -2) @ v
        before = added.cumsum(2) - added
        before = before if past is None else before + past[:, :, None]
        within = (q @ k.transpose(-1, -2)).tril() @ v
        found = (q @ before + within).flatten(2, 3)[..., :tokens, :]
    else:
        sums = k.transpose(-1, -2) @ v
        found = q @ (sums if past is None else sums + past)
    return found[..., :-1] / found[..., -1:].clamp_min(torch.finfo(found.dtype).tiny)


def linear_sums(key: Heads, value: Heads, mask: Mask | None = None) -> Heads:
    """Return Σ_j φ(k_j) (v_j, 1)ᵀ, all that linear attention needs to know of tokens: (batch, heads, d, d + 1).

    Args:
        key: K.
        value: V.
        mask: true for the keys that count, (batch, 1, 1, keys).
    """
    k, v = _featured(key, value, mask)
    return k.transpose(-1, -2) @ v


def _featured(key: Heads, value: Heads, mask: Mask | None) -> tuple[Heads, Heads]:
    """Return φ(K), zero where it is masked, and V with a column of ones: the normaliser is one more feature."""
    k = F.elu(key) + 1
    if mask is not None:
        if mask.shape[-2] != 1:
            raise GradusError("linear attention takes a mask over keys only, of shape (batch, 1, 1, keys)")
        k = k * mask.transpose(-1, -2).to(k.dtype)
    return k, torch.cat([value, value.new_ones(*value.shape[:-1], 1)], -1)
