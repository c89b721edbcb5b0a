"""Attention, as the Vision Transformer needs it.

    attention(Q, K, V) = softmax(Q Kᵀ / √d) V,   in `heads` subspaces of d = width / heads dimensions each

A pre-norm Transformer block is x ← x + attention(norm(x)); x ← x + mlp(norm(x)).

References:
    Vaswani et al. 2017, Attention is all you need.
    Xiong et al. 2020, On layer normalization in the Transformer architecture.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.chain import chain

__all__ = ["SelfAttention", "TransformerBlock"]


class SelfAttention(nn.Module):
    """Multi-head self-attention through torch's fused kernels.

    Args:
        width: features of a token.
        heads: number of subspaces; a divisor of the width.
        dropout: probability of dropping an attention weight.

    Raises:
        GradusError: if the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise GradusError(f"{heads} heads do not divide a width of {width}; choose a divisor")
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        *,
        mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return what each token gathers from all.

        Args:
            x: tokens.
            mask: true where a token (row) may look at another (column).
            causal: each token sees itself and those before.
        """
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        gathered = F.scaled_dot_product_attention(query, key, value, mask, dropout, causal)
        return self.out(gathered.transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        return f"heads={self.heads}, dropout={self.dropout}"


class TransformerBlock(nn.Module):
    """A pre-norm block: attention across tokens, then a two-layer perceptron within each, both residual.

    Args:
        width: features of a token.
        heads: of the attention.
        hidden: units of the perceptron; four widths by default.
        dropout: probability, behind every linear layer.
        attention_dropout: probability of dropping an attention weight.
        eps: of the layer normalisations.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        hidden = 4 * width if hidden is None else hidden
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, heads, dropout=attention_dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = chain(
            linear1=nn.Linear(width, hidden),
            gelu=nn.GELU(),
            dropout1=nn.Dropout(dropout),
            linear2=nn.Linear(hidden, width),
            dropout2=nn.Dropout(dropout),
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        *,
        mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens after one block.

        Args:
            x: tokens.
            mask: true where a token (row) may look at another (column).
            causal: each token sees itself and those before.
        """
        x = x + self.dropout(self.attention(self.norm1(x), mask=mask, causal=causal))
        return x + self.mlp(self.norm2(x))
