"""The Transformer: N blocks read the source, N blocks write the target and look at the source.

    x_t = √d E[y_t] + p_t,     p sinusoidal,     logits = E x_t        E the embeddings of the target

Attention of the source is masked to its tokens, that of the target to what comes before. A step of a search costs one
row: keys and values of what was written are kept, those of the source are computed once a sentence and all hypotheses
of a sentence look at them side by side.

References:
    Vaswani et al. 2017, Attention is all you need. Press and Wolf 2017, Using the output embedding to improve language
    models. Garg et al. 2019, Jointly learning to align and translate with Transformer models (where to look for the
    alignment: in the block before the last).

Deviations:
    Norms stand in front of what they normalise, and one more behind the last block, unless `norm` is post, which is the
    paper's.
"""

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.nn.attention import KeyValueCache
from gradus.nn.positions import sinusoids
from gradus.nn.transformer import TransformerBlock
from gradus.sequence.translation.beam_search import Shared
from gradus.sequence.translation.models import EncoderDecoder, present, shared_value

__all__ = ["TransformerTranslator"]

EPS = 1e-5


class Memory(NamedTuple):
    """What the encoder leaves.

    Attributes:
        values: its outputs.
        mask: where there is a token.
    """

    values: Float[Tensor, "batch source width"]
    mask: Bool[Tensor, "batch 1 1 source"]


class State(NamedTuple):
    """What the decoder carries.

    Attributes:
        caches: keys and values of what was written, by block.
        memory: of the source: its values, mask, and keys and values by block.
    """

    caches: list[KeyValueCache]
    memory: Shared


@canon(
    "sequence/transformer-translator",
    kind="translator",
    paper="Vaswani et al. 2017, Attention is all you need",
    names=("transformer",),
    example=lambda: TransformerTranslator(11, 9, width=8, heads=2, layers=2, dropout=0.0),
)
class TransformerTranslator(EncoderDecoder):
    """Encoder and decoder of Transformer blocks.

    Args:
        source_vocabulary: tokens of the source.
        target_vocabulary: tokens of the target.
        shared: whether both are one vocabulary.
        width: d, features of a token.
        heads: of the attention.
        layers: N, blocks of the encoder and of the decoder.
        hidden: units of a block's perceptron; four widths when left out.
        norm: pre or post.
        activation: of the perceptrons.
        dropout: probability, on embeddings and behind every linear layer.
        attention_dropout: probability of dropping an attention weight.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        shared: bool = False,
        width: int = 256,
        heads: int = 4,
        layers: int = 3,
        hidden: int | None = None,
        norm: Literal["pre", "post"] = "pre",
        activation: str = "relu",
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__(source_vocabulary, target_vocabulary, shared, width, width**-0.5)
        self.width = width

        def blocks(source: int | None) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(
                    width, heads, hidden=hidden, norm=norm, activation=activation, source=source, dropout=dropout,
                    attention_dropout=attention_dropout, eps=EPS,
                )
                for _ in range(layers)
            )  # fmt: skip

        self.encoder, self.decoder = blocks(None), blocks(width)
        self.encoded = nn.LayerNorm(width, eps=EPS) if norm == "pre" else nn.Identity()
        self.decoded = nn.LayerNorm(width, eps=EPS) if norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(target_vocabulary))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, source: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]) -> Memory:
        """Return the encoder's outputs."""
        mask = present(lengths, source.shape[1], source.device)[:, None, None]
        x = self._placed(self.source_embedding, source)
        for block in self.encoder:
            x = block(x, mask=mask)
        return Memory(self.encoded(x), mask)

    def decode(self, memory: Memory, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits behind each token."""
        x = self._placed(self.target, tokens)
        for block in self.decoder:
            x = block(x, causal=True, source=memory.values, source_mask=memory.mask)
        return self._logits(x)

    def start(self, memory: Memory, longest: int) -> State:
        """Return the state before [BOS]."""
        projected = [block.cross.project(memory.values) for block in self.decoder]  # type: ignore[operator,union-attr]
        return State([KeyValueCache(longest) for _ in self.decoder], Shared((*memory, projected)))

    def step(self, state: State, tokens: Int[Tensor, " rows"]) -> tuple[Float[Tensor, "rows vocabulary"], State]:
        """Return the logits of the next token, and the state then; the caches are added to in place."""
        values, mask, projected = shared_value(state.memory)
        x = self._placed(self.target, tokens[:, None], state.caches[0].length)
        for block, cache, keys_values in zip(self.decoder, state.caches, projected, strict=True):
            x = _after_itself(block, x, cache)  # type: ignore[arg-type]
            beside = x.reshape(len(values), -1, self.width)
            x = _after_source(block, beside, values, mask, keys_values).reshape(x.shape)  # type: ignore[arg-type]
        return self._logits(x)[:, 0], state

    def attention(self, memory: Memory, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target source"]:
        """Return the attention on the source in the block before the last, the mean over its heads."""
        chosen = max(0, len(self.decoder) - 2)
        x = self._placed(self.target, tokens)
        for block in self.decoder[:chosen]:
            x = block(x, causal=True, source=memory.values, source_mask=memory.mask)
        block = self.decoder[chosen]
        x = _after_itself(block, x, None)  # type: ignore[arg-type]
        cross = block.cross
        query = cross.query(block.norm_source(x) if block.pre else x)  # type: ignore[operator,union-attr]
        query = query.unflatten(-1, (cross.heads, -1)).transpose(1, 2)  # type: ignore[union-attr]
        key, _ = cross.project(memory.values)  # type: ignore[operator,union-attr]
        scores = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
        return scores.masked_fill(~memory.mask, -torch.inf).softmax(-1).mean(1)

    def _placed(self, table: nn.Embedding, tokens: Int[Tensor, "rows time"], start: int = 0) -> Tensor:
        """Return √d E[y] + p."""
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        return self.dropout(table(tokens) * math.sqrt(self.width) + sinusoids(positions, self.width).to(table.weight))

    def _logits(self, x: Float[Tensor, "rows time width"]) -> Float[Tensor, "rows time vocabulary"]:
        return F.linear(self.decoded(x), self.target.weight, self.bias)


def _after_itself(block: TransformerBlock, x: Tensor, cache: KeyValueCache | None) -> Tensor:
    """Return a decoder block's tokens after they have looked at each other."""
    h = block.norm1(x) if block.pre else x
    x = x + block.dropout(block.attention(h, causal=True, cache=cache))
    return x if block.pre else block.norm1(x)


def _after_source(
    block: TransformerBlock, x: Tensor, values: Tensor, mask: Tensor, projected: tuple[Tensor, Tensor]
) -> Tensor:
    """Return a decoder block's tokens after the look at the source and the perceptron: the rest of the block."""
    assert block.cross is not None
    assert block.norm_source is not None
    h = block.norm_source(x) if block.pre else x
    x = x + block.dropout(block.cross(h, values, mask=mask, projected=projected))
    x = x if block.pre else block.norm_source(x)
    x = x + block.mlp(block.norm2(x) if block.pre else x)
    return x if block.pre else block.norm2(x)
