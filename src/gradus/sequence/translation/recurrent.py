"""Recurrent translators: one vector between encoder and decoder, or a look at the source with every word.

    without attention   the encoder's last state is the decoder's first: all that is known of the source
    with attention      c_t = Σ_j α_tj h_j,     α_t = softmax_j score(q_t, h_j),     h from a bidirectional encoder
        Luong           s_t = f(s_{t−1}, y_{t−1}),          q_t = s_t         the whole target at once when it is known
        + feeding       s_t = f(s_{t−1}, [y_{t−1}; s̃_{t−1}])                   the decoder knows what was looked at
        Bahdanau        s_t = f(s_{t−1}, [y_{t−1}; c_t]),   q_t = s_{t−1}     looks first, then writes
    logits              E s̃_t + b,   s̃_t = tanh(W [c_t; s_t]),   E the embeddings of the target

Without attention the source is read from its end, which brings its beginning near to the target's.

References:
    Sutskever, Vinyals and Le 2014, Sequence to sequence learning with neural networks. Bahdanau, Cho and Bengio 2015,
    Neural machine translation by jointly learning to align and translate. Luong, Pham and Manning 2015, Effective
    approaches to attention-based neural machine translation. Press and Wolf 2017, Using the output embedding to improve
    language models.

Deviations:
    s̃ has as many features as an embedding, so that the embeddings are the weights of the softmax too; Bahdanau's
    maxout layer is this tanh. Every layer of the decoder starts from both ends of that layer of the encoder.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gradus.canon import canon
from gradus.errors import GradusError
from gradus.nn.recurrent import Recurrent
from gradus.nn.scored_attention import Score, ScoredAttention
from gradus.sequence.translation.beam_search import Shared
from gradus.sequence.translation.models import EncoderDecoder, present, shared_value

__all__ = ["AttentionTranslator", "RecurrentTranslator"]

SPREAD = 0.1
Hidden = tuple[Tensor, ...]
"""What a recurrent layer carries, rows first: (h,) or (h, c), each (rows, layers, features)."""


def _rows_first(state: Any) -> Hidden:
    return tuple(part.transpose(0, 1) for part in (state if isinstance(state, tuple) else (state,)))


def _layers_first(hidden: Hidden) -> Any:
    parts = tuple(part.transpose(0, 1) for part in hidden)
    return parts if len(parts) == 2 else parts[0]


class _Words(nn.Module):
    """From features of the decoder to logits: E tanh(W x) + b."""

    def __init__(self, features: int, embedding: int, vocabulary: int) -> None:
        super().__init__()
        self.combine = nn.Linear(features, embedding, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows embedding"]:
        return torch.tanh(self.combine(features))


@canon(
    "sequence/recurrent-translator",
    kind="translator",
    paper="Sutskever, Vinyals and Le 2014, Sequence to sequence learning with neural networks",
    names=("rnn",),
    example=lambda: RecurrentTranslator(11, 9, cell="lstm", embedding=6, hidden=8, layers=2),
)
class RecurrentTranslator(EncoderDecoder):
    """An encoder–decoder without attention: the source is one vector.

    Args:
        source_vocabulary: tokens of the source.
        target_vocabulary: tokens of the target.
        shared: whether both are one vocabulary.
        cell: rnn, gru or lstm.
        embedding: features of a token.
        hidden: units of each layer.
        layers: of the encoder and of the decoder.
        dropout: probability of dropping an embedding's or a layer's feature.
        reverse: read the source from its end.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        shared: bool = False,
        cell: Literal["rnn", "gru", "lstm"] = "gru",
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
        reverse: bool = True,
    ) -> None:
        super().__init__(source_vocabulary, target_vocabulary, shared, embedding, SPREAD)
        self.reverse = reverse
        self.encoder = Recurrent(cell, embedding, hidden, layers=layers, dropout=dropout)
        self.decoder = Recurrent(cell, embedding, hidden, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.words = _Words(hidden, embedding, target_vocabulary)

    def encode(self, source: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]) -> Hidden:
        """Return the encoder's last states."""
        if self.reverse:
            source = _turned(source, lengths)
        _, state = self.encoder(self.dropout(self.source_embedding(source)), lengths=lengths.cpu())
        return _rows_first(state)

    def decode(self, memory: Hidden, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits behind each token."""
        return self._advance(memory, tokens)[0]

    def start(self, memory: Hidden, longest: int) -> Hidden:
        """Return the encoder's last states."""
        return memory

    def step(self, state: Hidden, tokens: Int[Tensor, " rows"]) -> tuple[Float[Tensor, "rows vocabulary"], Hidden]:
        """Return the logits of the next token, and the state then."""
        logits, state = self._advance(state, tokens[:, None])
        return logits[:, 0], state

    def _advance(self, hidden: Hidden, tokens: Tensor) -> tuple[Tensor, Hidden]:
        y, state = self.decoder(self.dropout(self.target(tokens)), _layers_first(hidden))
        return F.linear(self.words(self.dropout(y)), self.target.weight, self.words.bias), _rows_first(state)


def _turned(source: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]) -> Int[Tensor, "batch source"]:
    """Return every source back to front, its padding in place."""
    time = torch.arange(source.shape[1], device=source.device)
    mirrored = lengths.to(source.device)[:, None] - 1 - time
    return source.gather(1, torch.where(mirrored >= 0, mirrored, time))


class Memory(NamedTuple):
    """What the encoder with attention leaves.

    Attributes:
        keys: the states at every source token.
        prepared: what of them the score needs, computed once.
        mask: where there is a token.
        hidden: where the decoder starts.
    """

    keys: Float[Tensor, "batch source hidden"]
    prepared: Float[Tensor, "batch source features"]
    mask: Bool[Tensor, "batch source"]
    hidden: Hidden


class State(NamedTuple):
    """What the decoder with attention carries.

    Attributes:
        hidden: of its layers.
        feed: s̃ of the step before, where it is fed back; else empty.
        memory: of the source.
    """

    hidden: Hidden
    feed: Float[Tensor, "rows features"]
    memory: Shared


@canon(
    "sequence/attention-translator",
    kind="translator",
    paper="Bahdanau, Cho and Bengio 2015, Neural machine translation by jointly learning to align and translate",
    names=("rnn-attention",),
    example=lambda: AttentionTranslator(11, 9, cell="lstm", embedding=6, hidden=8, layers=2, feeding=True),
)
class AttentionTranslator(EncoderDecoder):
    """An encoder–decoder whose decoder looks at the source with every token.

    Args:
        source_vocabulary: tokens of the source.
        target_vocabulary: tokens of the target.
        shared: whether both are one vocabulary.
        cell: rnn, gru or lstm.
        attention: the score: dot, multiplicative, additive or scaled.
        decoder: luong looks after its step, bahdanau before.
        feeding: whether a luong decoder is told what it last found; then no step can be made before the one before.
        embedding: features of a token.
        hidden: units of each layer, those of the encoder divided between its two directions.
        layers: of the encoder and of the decoder.
        dropout: probability of dropping an embedding's or a layer's feature.

    Raises:
        GradusError: for an unknown decoder, feeding in one that has it already, or an odd number of hidden units.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        shared: bool = False,
        cell: Literal["rnn", "gru", "lstm"] = "gru",
        attention: Score = "multiplicative",
        decoder: Literal["luong", "bahdanau"] = "luong",
        feeding: bool = False,
        embedding: int = 128,
        hidden: int = 256,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(source_vocabulary, target_vocabulary, shared, embedding, SPREAD)
        if decoder not in ("luong", "bahdanau"):
            raise GradusError(f"the decoder is luong or bahdanau, not {decoder!r}")
        if feeding and decoder == "bahdanau":
            raise GradusError("a bahdanau decoder knows what it looked at: leave feeding out, or choose luong")
        if hidden % 2:
            raise GradusError(f"{hidden} hidden units cannot be divided between two directions: give an even number")
        self.looks_first, self.feeding, self.embedding = decoder == "bahdanau", feeding, embedding
        more = hidden if self.looks_first else embedding if feeding else 0
        self.encoder = Recurrent(cell, embedding, hidden // 2, layers=layers, dropout=dropout, bidirectional=True)
        self.decoder = Recurrent(cell, embedding + more, hidden, layers=layers, dropout=dropout)
        self.bridge = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers * self.decoder.carries))
        self.score = ScoredAttention(attention, hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.words = _Words(2 * hidden, embedding, target_vocabulary)

    def encode(self, source: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]) -> Memory:
        """Return the states at every token, and where the decoder starts: tanh(W [→h; ←h]) for each layer."""
        y, state = self.encoder(self.dropout(self.source_embedding(source)), lengths=lengths.cpu())
        ends = [part.unflatten(1, (-1, 2)).flatten(2) for part in _rows_first(state)]
        bridges = iter(self.bridge)
        hidden = tuple(torch.stack([torch.tanh(next(bridges)(layer)) for layer in end.unbind(1)], 1) for end in ends)
        keys = self.dropout(y)
        return Memory(keys, self.score.prepare(keys), present(lengths, y.shape[1], y.device), hidden)

    def decode(self, memory: Memory, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target vocabulary"]:
        """Return the logits behind each token."""
        return self._logits(self._unrolled(memory, tokens)[0])

    def attention(self, memory: Memory, tokens: Int[Tensor, "batch target"]) -> Float[Tensor, "batch target source"]:
        """Return α of every step."""
        return self._unrolled(memory, tokens)[1]

    def start(self, memory: Memory, longest: int = 0) -> State:
        """Return the state before [BOS]."""
        features = self.embedding if self.feeding else 0
        feed = memory.keys.new_zeros(len(memory.keys), features)
        return State(memory.hidden, feed, Shared(memory._replace(hidden=())))

    def step(self, state: State, tokens: Int[Tensor, " rows"]) -> tuple[Float[Tensor, "rows vocabulary"], State]:
        """Return the logits of the next token, and the state then."""
        found, _, state = self._advance(state, self.dropout(self.target(tokens)))
        return self._logits(found), state

    def _logits(self, found: Float[Tensor, "*rows embedding"]) -> Float[Tensor, "*rows vocabulary"]:
        return F.linear(self.dropout(found), self.target.weight, self.words.bias)

    def _look(self, query: Float[Tensor, "rows steps hidden"], memory: Memory) -> tuple[Tensor, Tensor]:
        """Return contexts and weights; all rows and steps of a sentence ask side by side."""
        asked = query.reshape(len(memory.keys), -1, query.shape[-1])
        context, weights = self.score(asked, memory.keys, mask=memory.mask, prepared=memory.prepared)
        return context.view_as(query), weights.view(*query.shape[:2], -1)

    def _advance(self, state: State, embedded: Float[Tensor, "rows embedding"]) -> tuple[Tensor, Tensor, State]:
        """Return s̃, α and the state after one step."""
        memory = shared_value(state.memory)
        if self.looks_first:
            context, weights = self._look(state.hidden[0][:, -1:], memory)
            x = torch.cat([embedded[:, None], context], -1)
        else:
            x = torch.cat([embedded, state.feed], -1)[:, None]
        y, last = self.decoder(x, _layers_first(state.hidden))
        if not self.looks_first:
            context, weights = self._look(y, memory)
        found = self.words(torch.cat([context, y], -1))[:, 0]
        return found, weights[:, 0], State(_rows_first(last), found if self.feeding else state.feed, state.memory)

    def _unrolled(self, memory: Memory, tokens: Int[Tensor, "batch target"]) -> tuple[Tensor, Tensor]:
        """Return s̃ and α of all steps: at once where no step needs what the one before it found."""
        embedded, state = self.dropout(self.target(tokens)), self.start(memory)
        if not (self.looks_first or self.feeding):
            y, _ = self.decoder(embedded, _layers_first(state.hidden))
            context, weights = self._look(y, memory)
            return self.words(torch.cat([context, y], -1)), weights
        found, looks = [], []
        for x in embedded.unbind(1):
            one, look, state = self._advance(state, x)
            found.append(one)
            looks.append(look)
        return torch.stack(found, 1), torch.stack(looks, 1)
