"""The Transformer's block: attention across tokens, perhaps attention to a source, a perceptron within each.

    pre    x ← x + f(norm(x))        for f = attention, cross-attention, perceptron in turn
    post   x ← norm(x + f(x))

Pre-norm leaves the identity path free, so that deep stacks train without a warm-up.

References:
    Vaswani et al. 2017, Attention is all you need.
    Xiong et al. 2020, On layer normalization in the Transformer architecture.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.activations import activation as make_activation
from gradus.nn.attention import CrossAttention, Kernel, KeyValueCache, LinearCache, SelfAttention
from gradus.nn.attention_kernels import Heads, Mask
from gradus.nn.chain import chain

__all__ = ["TransformerBlock"]


class TransformerBlock(nn.Module):
    """A block of an encoder, of a decoder, or, with a source, of a decoder that listens to an encoder.

    Args:
        width: features of a token.
        heads: of the attention.
        hidden: units of the perceptron; four widths by default.
        norm: whether layers are normalised before (pre) or after (post) their residual sum.
        activation: of the perceptron.
        activation_settings: of that activation.
        source: features of a source's tokens where there is one to look at.
        dropout: probability, behind every linear layer.
        attention_dropout: probability of dropping an attention weight.
        bias: whether linear layers have one.
        norm_bias: whether layer normalisations have one.
        eps: of the layer normalisations.
        kernel: of the self-attention: full, local or linear.
        window: of a local kernel.
        rotary: turn queries and keys by their positions.

    Raises:
        GradusError: for an unknown place of the norm, or what `SelfAttention` refuses.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        hidden: int | None = None,
        norm: Literal["pre", "post"] = "pre",
        activation: str = "gelu",
        activation_settings: Mapping[str, Any] = MappingProxyType({}),
        source: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        bias: bool = True,
        norm_bias: bool = True,
        eps: float = 1e-6,
        kernel: Kernel = "full",
        window: int | None = None,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        if norm not in ("pre", "post"):
            raise GradusError(f"a block is normalised pre or post, not {norm!r}")
        hidden = 4 * width if hidden is None else hidden
        self.pre = norm == "pre"
        self.norm1 = nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.attention = SelfAttention(
            width, heads, dropout=attention_dropout, bias=bias, kernel=kernel, window=window, rotary=rotary
        )
        self.dropout = _dropout(dropout)
        self.norm_source = None if source is None else nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.cross = (
            None
            if source is None
            else CrossAttention(width, heads, source=source, dropout=attention_dropout, bias=bias)
        )
        self.norm2 = nn.LayerNorm(width, eps=eps, bias=norm_bias)
        self.mlp = chain(
            linear1=nn.Linear(width, hidden, bias=bias),
            **{activation: make_activation(activation, **activation_settings)},
            dropout1=_dropout(dropout),
            linear2=nn.Linear(hidden, width, bias=bias),
            dropout2=_dropout(dropout),
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens width"],
        *,
        mask: Mask | None = None,
        causal: bool = False,
        cache: KeyValueCache | LinearCache | None = None,
        source: Float[Tensor, "batch source features"] | None = None,
        source_mask: Mask | None = None,
        projected: tuple[Heads, Heads] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens after one block.

        Args:
            x: tokens.
            mask: true where a token (row) may look at another (column).
            causal: each token sees itself and those before.
            cache: of the tokens before.
            source: what a block with cross-attention looks at.
            source_mask: true where a token may look at one of the source.
            projected: the source's keys and values in this block, where they are known already.

        Raises:
            GradusError: if the block needs a source and got none.
        """
        h = self.norm1(x) if self.pre else x
        x = x + self.dropout(self.attention(h, mask=mask, causal=causal, cache=cache))
        x = x if self.pre else self.norm1(x)
        if self.cross is not None and self.norm_source is not None:
            if source is None:
                raise GradusError("this block looks at a source: pass one")
            h = self.norm_source(x) if self.pre else x
            x = x + self.dropout(self.cross(h, source, mask=source_mask, projected=projected))
            x = x if self.pre else self.norm_source(x)
        h = self.norm2(x) if self.pre else x
        x = x + self.mlp(h)
        return x if self.pre else self.norm2(x)

    def extra_repr(self) -> str:
        return "pre" if self.pre else "post"


def _dropout(p: float) -> nn.Module:
    """Return dropout, or for p = 0 what costs less than asking it."""
    return nn.Dropout(p) if p else nn.Identity()
