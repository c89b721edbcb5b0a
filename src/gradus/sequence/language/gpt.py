"""GPT: a decoder-only Transformer that gives the next token's logits after every token.

    h₀ = E[t] + P,    h_l = block(h_{l−1}) with causal attention, pre-norm,    logits = norm(h_L) Eᵀ

Matrices start at N(0, 0.02²), the projections back into the residual stream at a further 1/√(2L), so that the sum of
2L branches does not grow with the depth; tokens in and out share one matrix E.

References:
    Radford et al. 2018, Improving language understanding by generative pre-training. Radford et al. 2019, Language
    models are unsupervised multitask learners. Press and Wolf 2017, Using the output embedding to improve language
    models. Su et al. 2021, RoFormer. Katharopoulos et al. 2020, Transformers are RNNs (linear attention).

Deviations:
    Biases of linear layers and normalisations are left out unless asked for, and dropout is 0: small models learn as
    well without.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.attention import Kernel, KeyValueCache, LinearCache
from gradus.nn.attention_kernels import Mask
from gradus.nn.initialisation import small_normal
from gradus.nn.positions import LearnedPositions
from gradus.nn.transformer import TransformerBlock

__all__ = ["GPT", "Past", "gpt"]

STD = 0.02

Tokens = Int[Tensor, "batch time"]
Logits = Float[Tensor, "batch time vocabulary"]
Hidden = Float[Tensor, "batch time width"]


class Past:
    """What a GPT remembers of the tokens so far.

    Args:
        caches: of keys and values, one a block.
        starts: where each row's first token stands, for rows of different lengths padded on the left; None where all
            rows are equally long.
    """

    def __init__(
        self, caches: Sequence[KeyValueCache | LinearCache], starts: Int[Tensor, " batch"] | None = None
    ) -> None:
        self.caches, self.starts, self.length = list(caches), starts, 0

    def __repr__(self) -> str:
        return f"Past({self.length} tokens, {len(self.caches)} blocks)"

    def mask(self, tokens: int, device: torch.device) -> Mask | None:
        """Return which of all tokens up to the next few are there, (batch, 1, 1, all); None where all are."""
        if self.starts is None:
            return None
        return (torch.arange(self.length + tokens, device=device) >= self.starts[:, None])[:, None, None]


class GPT(nn.Module):
    """A decoder-only Transformer.

    Args:
        vocabulary: number of tokens.
        context: the longest sequence it can see.
        layers: number of blocks, L.
        heads: of the attention.
        width: features of a token.
        dropout: probability, behind the embedding, every linear layer and on attention weights.
        bias: whether linear layers and normalisations have biases.
        attention: full, local or linear.
        window: of local attention: how many tokens back it sees.
        rotary: turn queries and keys by their positions in place of learned positions.
        tie: share the matrix of the embedding with the output.
        approximate: GELU by its tanh, as GPT-2's weights want it; exact is faster on CPUs.

    Raises:
        GradusError: for sizes that are not positive or do not fit each other.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        layers: int,
        heads: int,
        width: int,
        *,
        dropout: float = 0.0,
        bias: bool = False,
        attention: Kernel = "full",
        window: int | None = None,
        rotary: bool = False,
        tie: bool = True,
        approximate: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"vocabulary": vocabulary, "context": context, "layers": layers, "heads": heads, "width": width}
        for name, size in sizes.items():
            if size < 1:
                raise GradusError(f"{name} of a GPT must be 1 at least, not {size}")
        if rotary and ((width // heads) % 2 or attention == "linear"):
            raise GradusError(
                "rotary positions turn pairs of features in a product: they need an even width of a head, and "
                "attention full or local"
            )
        if not 0 <= dropout < 1:
            raise GradusError(f"dropout={dropout} is no probability below one; give a number in [0, 1)")
        self.vocabulary, self.context = vocabulary, context
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = None if rotary else LearnedPositions(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                width, heads, activation_settings={"approximate": approximate}, dropout=dropout,
                attention_dropout=dropout, bias=bias, norm_bias=bias, eps=1e-5, kernel=attention, window=window,
                rotary=rotary,
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=1e-5, bias=bias)
        self.output = None if tie else nn.Linear(width, vocabulary, bias=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Fill matrices with N(0, 0.02²), those that end a residual branch with less; biases with zero."""
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                ends = name.endswith(("attention.out.weight", "linear2.weight"))
                small_normal(parameter, std=STD / (2 * len(self.blocks)) ** 0.5 if ends else STD)
            elif name.endswith("bias"):
                parameter.zero_()

    def start(self, batch: int, device: torch.device | str | None = None) -> Past:
        """Return the state of an empty past.

        Args:
            batch: rows; the memory is laid out when the first tokens come.
            device: of the rows.
        """
        return Past([block.attention.cache(self.context) for block in self.blocks])  # type: ignore[union-attr, operator]

    def forward(self, tokens: Tokens, state: Past | None = None) -> tuple[Logits, Past | None]:
        """Return the next token's logits after each token, and the state behind them.

        Args:
            tokens: those that follow the ones in the state; without a state, from the beginning, and none is kept.
            state: of the tokens before; the new ones are added to it.

        Raises:
            GradusError: for more tokens than the context holds.
        """
        return self.logits(self.hidden(tokens, state)), state

    def hidden(self, tokens: Tokens, state: Past | None = None) -> Hidden:
        """Return the last hidden state of each token; arguments and errors as of `forward`."""
        time, before = tokens.shape[1], 0 if state is None else state.length
        if before + time > self.context:
            raise GradusError(
                f"{before + time} tokens are more than the context of {self.context}: keep the last ones, or train "
                "with a longer context"
            )
        x = self.dropout(self._embedded(tokens, before, None if state is None else state.starts))
        mask = None if state is None else state.mask(time, tokens.device)
        caches: Sequence[Any] = [None] * len(self.blocks) if state is None else state.caches
        for block, cache in zip(self.blocks, caches, strict=True):
            x = block(x, causal=True, mask=mask, cache=cache)
        if state is not None:
            state.length += time
        return self.norm(x)

    def _embedded(self, tokens: Tokens, before: int, starts: Int[Tensor, " batch"] | None) -> Hidden:
        x = self.embedding(tokens)
        if self.positions is None:  # rotations depend on distances alone: padding on the left does not move them
            return x
        if starts is None:
            return x + self.positions.weight[before : before + tokens.shape[1]]
        places = torch.arange(before, before + tokens.shape[1], device=tokens.device) - starts[:, None]
        return x + F.embedding(places.clamp_min(0), self.positions.weight)

    def logits(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocabulary"]:
        """Return the logits of hidden states."""
        return F.linear(hidden, self.embedding.weight if self.output is None else self.output.weight)

    def read(self, rows: Sequence[Sequence[int]]) -> tuple[Float[Tensor, "batch vocabulary"], Past]:
        """Return the logits of what follows each row, and the state behind them, in one pass for all lengths.

        Rows are padded on the left, where nothing looks, so that all end at the same place.

        Args:
            rows: tokens, at least one and at most the context a row.

        Raises:
            GradusError: for an empty row or one longer than the context.
        """
        if not all(rows):
            raise GradusError("a row without tokens cannot be gone on with: begin with one token at least")
        lengths = [len(row) for row in rows]
        longest, device = max(lengths), self.embedding.weight.device
        tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=device)
        state = self.start(len(rows), device)
        if min(lengths) < longest:
            state.starts = longest - torch.tensor(lengths, device=device)
        return self.logits(self.hidden(tokens, state)[:, -1]), state

    def reorder(self, state: Past, rows: Int[Tensor, " kept"]) -> Past:
        """Let row i go on as a copy of row `rows[i]`; fewer rows leave the others behind."""
        for cache in state.caches:
            cache.reorder(rows)
        state.starts = None if state.starts is None else state.starts.index_select(0, rows)
        return state

    def extra_repr(self) -> str:
        return f"{self.vocabulary} tokens, context={self.context}" + (", tied" if self.output is None else "")


@canon(
    "sequence/gpt",
    kind="language-model",
    paper="Radford et al. 2019, Language models are unsupervised multitask learners",
    names=("gpt",),
    example=lambda **shape: gpt(**{"layers": 2, "heads": 2, "width": 16, "context": 16, **shape}),
)
def gpt(
    name: str = "gpt",
    *,
    vocabulary: int = 50257,
    context: int = 64,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    dropout: float = 0.0,
    bias: bool = False,
    attention: str = "full",
    window: int = 0,
    rotary: bool = False,
    tie: bool = True,
    approximate: bool = False,
) -> nn.Module:
    """Return a GPT with GPT-2's initialisation.

    Args:
        name: gpt.
        vocabulary: number of tokens.
        context: the longest sequence it can see.
        layers: number of blocks.
        heads: of the attention; a divisor of the width.
        width: features of a token.
        dropout: probability, behind the embedding, every linear layer and on attention weights.
        bias: whether linear layers and normalisations have biases.
        attention: full, local (each token sees those within a window before it) or linear (no softmax).
        window: of local attention; 0 for a quarter of the context.
        rotary: turn queries and keys by their positions in place of learned positions.
        tie: share the matrix of the embedding with the output.
        approximate: GELU by its tanh, as GPT-2's weights want it; exact is faster on CPUs.

    Raises:
        GradusError: for sizes or an attention that cannot be.
    """
    if attention not in ("full", "local", "linear"):
        raise GradusError(f"attention is full, local or linear, not {attention!r}")
    if window < 0 or (window and attention != "local"):
        raise GradusError(f"window={window} belongs to attention=local, and is 0 or a number of tokens")
    back = (window or max(1, context // 4)) if attention == "local" else None
    return GPT(
        vocabulary, context, layers, heads, width, dropout=dropout, bias=bias, attention=cast(Kernel, attention),
        window=back, rotary=rotary, tie=tie, approximate=approximate,
    )  # fmt: skip
