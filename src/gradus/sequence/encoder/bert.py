"""BERT: a Transformer's encoder over pieces of words, which sees both sides of every piece.

    h⁰ = dropout(norm(W[token] + P[position] + S[segment]))
    hˡ = norm(a + mlp(a)),   a = norm(hˡ⁻¹ + attention(hˡ⁻¹))        l = 1 … L,  every piece sees every piece
    pooled = tanh(W_p h^L_0 + b_p)                                  what stands for the whole text

Padding is neither seen nor counted: a text has the same features in whatever batch it stands. Heads that make a
classifier, a tagger or a finder of spans of it are in `heads`; what it learns from unlabelled text is in `objectives`.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.positions import LearnedPositions
from gradus.nn.transformer import TransformerBlock

__all__ = ["EPS", "SPREAD", "Bert", "draw", "visible"]

EPS = 1e-12
SPREAD = 0.02


def visible(
    lengths: Int[Tensor, " batch"] | None, time: int, device: torch.device
) -> Bool[Tensor, "batch 1 1 time"] | None:
    """Return the mask of attention that leaves padding out; None where there is none.

    Args:
        lengths: of the sequences, on the CPU; a sequence of none counts as one, lest its softmax be empty.
        time: of the longest.
        device: where the mask is wanted.
    """
    if lengths is None or int(lengths.min()) >= time:
        return None
    seen = torch.arange(time) < lengths.cpu().clamp(min=1)[:, None]
    return seen[:, None, None].to(device)


def draw(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02²), set biases to zero and norms to the identity, as the paper's code does."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=SPREAD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class Bert(nn.Module):
    """The encoder.

    Args:
        vocabulary: number of tokens.
        layers: L.
        heads: of each attention; a divisor of the width.
        width: features of a token.
        hidden: units of the perceptrons; four widths by default.
        context: most tokens of a text.
        dropout: probability, behind the embeddings and every sublayer, and of dropping an attention weight.

    Raises:
        GradusError: for sizes below one, or what the blocks refuse.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int = 12,
        heads: int = 12,
        width: int = 768,
        hidden: int | None = None,
        context: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if min(vocabulary, layers, heads, width, 1 if hidden is None else hidden, context) < 1:
            raise GradusError("a BERT needs at least one token, layer, head, unit and position: raise the size")
        self.vocabulary, self.width, self.context = vocabulary, width, context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = LearnedPositions(context, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width, heads, hidden=hidden, norm="post", activation="gelu", dropout=dropout,
                attention_dropout=dropout, eps=EPS,
            )
            for _ in range(layers)
        )  # fmt: skip
        for block in self.blocks:
            block.mlp.dropout1.p = 0.0  # type: ignore[union-attr]  # the paper drops sublayers' outputs alone
        self.pooler = nn.Linear(width, width)
        draw(self)

    def embed(
        self, tokens: Int[Tensor, "batch time"], segments: Int[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch time width"]:
        """Return what is read at each place: W[token] + P[position] + S[segment].

        Args:
            tokens: ids, padded behind their ends.
            segments: 0 for the first text, 1 for the second; all 0 by default.

        Raises:
            GradusError: if the sequences are longer than the context.
        """
        if tokens.shape[1] > self.context:
            raise GradusError(
                f"a text of {tokens.shape[1]} tokens is longer than the context of {self.context}: cut it, or train "
                "with a longer --context"
            )
        read = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        return read + (self.segments.weight[0] if segments is None else self.segments(segments))

    def encode(
        self, embedded: Float[Tensor, "batch time width"], lengths: Int[Tensor, " batch"] | None = None
    ) -> list[Float[Tensor, "batch time width"]]:
        """Return the hidden states h⁰ … h^L, given what is read at each place.

        Args:
            embedded: of `embed`.
            lengths: of the sequences, on the CPU; all as long as the batch by default.
        """
        mask = visible(lengths, embedded.shape[1], embedded.device)
        states = [self.dropout(self.norm(embedded))]
        for block in self.blocks:
            states.append(block(states[-1], mask=mask))
        return states

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        lengths: Int[Tensor, " batch"] | None = None,
        segments: Int[Tensor, "batch time"] | None = None,
    ) -> list[Float[Tensor, "batch time width"]]:
        """Return the hidden states of every layer, the embeddings' first; padding holds anything.

        Args:
            tokens: ids, padded behind their ends.
            lengths: of the sequences, on the CPU; all as long as the batch by default.
            segments: 0 for the first text, 1 for the second.
        """
        return self.encode(self.embed(tokens, segments), lengths)

    def pooled(self, last: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch width"]:
        """Return what stands for the whole text: the first place of the last layer, through the pooler.

        Args:
            last: h^L.
        """
        return self.pooler(last[:, 0]).tanh()

    def extra_repr(self) -> str:
        return f"{self.vocabulary} tokens, width {self.width}, context {self.context}"
