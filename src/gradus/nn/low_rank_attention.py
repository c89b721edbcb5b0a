"""Low-rank self-attention: keys and values are summed up in a fixed number of places, whatever the length.

    A = softmax(Q (E K)ᵀ / √d),    out = A (F V),    E, F ∈ ℝ^{k × T}        O(T k) time and memory

What a token gathers from a long text is nearly of low rank, so k learned mixtures of all keys stand for them. E and F
have a column for each of `tokens` positions; a shorter sequence uses the first ones. Mixtures reach over the whole
sequence, so this attention cannot be causal.

References:
    Wang et al. 2020, Linformer: self-attention with linear complexity.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn import attention_kernels as kernels

__all__ = ["LowRankAttention"]


class LowRankAttention(nn.Module):
    """Multi-headed attention of tokens to k mixtures of all of them.

    Args:
        width: features of a token.
        heads: number of subspaces; a divisor of the width.
        tokens: the longest sequence, T.
        rank: mixtures, k.
        shared: whether keys and values are mixed alike, E = F, as the paper's smallest form.
        dropout: probability of dropping an attention weight.
        bias: whether the projections have one.

    Raises:
        GradusError: if the heads do not divide the width, or the rank is not 1 to the number of tokens.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        tokens: int,
        rank: int,
        shared: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise GradusError(f"{heads} heads do not divide a width of {width}; choose a divisor")
        if not 1 <= rank <= tokens:
            raise GradusError(f"{tokens} tokens are mixed into 1 to {tokens} places, not {rank}")
        if not 0 <= dropout < 1:
            raise GradusError(f"dropout={dropout} is no probability below one; give a number in [0, 1)")
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        # A sum of T terms of variance 1/T leaves keys as large as they were.
        self.mix_keys = nn.Parameter(torch.randn(rank, tokens) / tokens**0.5)
        self.mix_values = self.mix_keys if shared else nn.Parameter(torch.randn(rank, tokens) / tokens**0.5)

    def forward(
        self, x: Float[Tensor, "batch tokens width"], *, mask: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what each token gathers from the mixtures.

        Args:
            x: tokens.
            mask: true where there is a token, and no padding.

        Raises:
            GradusError: if there are more tokens than mixtures were learned for.
        """
        tokens, most = x.shape[1], self.mix_keys.shape[1]
        if tokens > most:
            raise GradusError(f"{tokens} tokens are more than the {most} that this attention has mixtures of")
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            there = mask[:, None, :, None]
            key, value = key * there, value * there
        key, value = self.mix_keys[:, :tokens] @ key, self.mix_values[:, :tokens] @ value
        gathered = kernels.full(query, key, value, dropout=self.dropout if self.training else 0.0)
        return self.out(gathered.transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        rank, tokens = self.mix_keys.shape
        shared = ", shared" if self.mix_values is self.mix_keys else ""
        return f"heads={self.heads}, tokens={tokens}, rank={rank}{shared}"
