"""What stands on an encoder: a word for each masked place, whether a text follows another, a class, a span, tags.

    masked word     s = E · norm(gelu(W h_t + b)) + c          E the encoder's own embeddings of the vocabulary
    next sentence   s = W pooled + b                            0 follows, 1 does not
    class           s = W dropout(pooled) + b                   of a text, or of a pair of texts told apart by segments;
                    or of the mean of h_t over the text's tokens
    tags            s_t = W dropout(h_t) + b                    for every token
    span            (s_t, e_t) = W h_t + b                      where an answer begins, and where it ends

Every model that is fine-tuned holds the encoder as `trunk`: the weights of a pretrained one go there by the same names.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding.
"""

from abc import ABC
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gradus.errors import GradusError, nearest
from gradus.nn.places import inside, pooled
from gradus.sequence.encoder.bert import EPS, Bert, draw

__all__ = ["BertPretraining", "MaskedWord", "OnBert", "PairScores", "SentenceClassifier", "SpanScores", "Tagger"]

POOLS = ("first", "mean")
Tokens = Int[Tensor, "batch time"]
Lengths = Int[Tensor, " batch"]
Hidden = Float[Tensor, "batch time width"]


class OnBert(nn.Module, ABC):
    """What every model on a BERT has: the encoder as `trunk`, its features by layer, and the frame of its texts.

    Args:
        trunk: the encoder.
        pooled: whether the pooler is used; one that is not is not trained.
    """

    frame = ("[CLS]", "[SEP]")

    def __init__(self, trunk: Bert, *, pooled: bool) -> None:
        super().__init__()
        self.trunk = trunk
        trunk.pooler.requires_grad_(pooled)

    @property
    def width(self) -> int:
        """Features of a token in every layer."""
        return self.trunk.width

    @property
    def context(self) -> int:
        """Most tokens of a text."""
        return self.trunk.context

    def features(self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None) -> list[Hidden]:
        """Return the hidden states of every layer, the embeddings' first."""
        return self.trunk(tokens, lengths, segments)


class MaskedWord(nn.Module):
    """Scores of every token of the vocabulary at a place, by the encoder's own embeddings.

    Args:
        vocabulary: number of tokens.
        width: features of a place.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.bias = nn.Parameter(self.transform.weight.new_zeros(vocabulary))
        draw(self)

    def forward(
        self, hidden: Float[Tensor, "*places width"], embeddings: Float[Tensor, "vocabulary width"]
    ) -> Float[Tensor, "*places vocabulary"]:
        """Return the scores.

        Args:
            hidden: of the places asked about.
            embeddings: of the vocabulary, shared with the encoder.
        """
        return F.linear(self.norm(F.gelu(self.transform(hidden))), embeddings, self.bias)


class PairScores(NamedTuple):
    """What BERT says in pretraining.

    Attributes:
        words: scores of the vocabulary at the places asked about.
        follows: scores of "follows" and "does not"; None where that is not learned.
    """

    words: Float[Tensor, "*places vocabulary"]
    follows: Float[Tensor, "batch 2"] | None


class BertPretraining(OnBert):
    """BERT with the heads of its two pretraining tasks.

    Args:
        trunk: the encoder.
        follows: whether the second task, next-sentence prediction, is there; without it the pooler is not trained.
    """

    def __init__(self, trunk: Bert, *, follows: bool = True) -> None:
        super().__init__(trunk, pooled=follows)
        self.words = MaskedWord(trunk.vocabulary, trunk.width)
        self.follows = nn.Linear(trunk.width, 2) if follows else None
        if self.follows is not None:
            draw(self.follows)

    def forward(
        self,
        tokens: Tokens,
        lengths: Lengths | None = None,
        segments: Tokens | None = None,
        places: Int[Tensor, " places"] | None = None,
    ) -> PairScores:
        """Return the scores of both tasks.

        Args:
            tokens: ids, some of them masked.
            lengths: of the sequences, on the CPU.
            segments: 0 for the first text, 1 for the second.
            places: which places to score words at, counted through the batch row by row; all by default.
        """
        last = self.trunk(tokens, lengths, segments)[-1]
        asked = last if places is None else last.flatten(0, 1).index_select(0, places)
        follows = None if self.follows is None else self.follows(self.trunk.pooled(last))
        return PairScores(self.words(asked, self.trunk.tokens.weight), follows)


class SentenceClassifier(OnBert):
    """A class for a text, or for a pair of texts.

    Args:
        trunk: the encoder.
        classes: number of classes.
        dropout: probability, in front of the scores.
        pool: what stands for a text: `first`, the pooler's view of its first token, as in the paper; or `mean` of the
            last layer over all its tokens, which pretraining teaches even where it learns masked words alone.

    Raises:
        GradusError: for another way of pooling.
    """

    def __init__(self, trunk: Bert, classes: int, dropout: float = 0.1, pool: str = "first") -> None:
        if pool not in POOLS:
            raise GradusError(f"BERT has no pooling {pool!r}{nearest(pool, POOLS)}")
        super().__init__(trunk, pooled=pool == "first")
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.width, classes)
        draw(self.head)

    def embed(self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None) -> Hidden:
        """Return what is read at each place; word, position and segment together."""
        return self.trunk.embed(tokens, segments)

    def from_embedded(self, embedded: Hidden, lengths: Lengths | None = None) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes, given what is read at each place."""
        last = self.trunk.encode(embedded, lengths)[-1]
        text = self.trunk.pooled(last) if self.pool == "first" else pooled(last, inside(last, lengths), "mean")
        return self.head(self.dropout(text))

    def forward(
        self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None
    ) -> Float[Tensor, "batch classes"]:
        """Return the scores of the classes.

        Args:
            tokens: ids, `[CLS]` first.
            lengths: of the sequences, on the CPU.
            segments: 0 for the first text, 1 for the second.
        """
        return self.from_embedded(self.embed(tokens, lengths, segments), lengths)


class Tagger(OnBert):
    """A class for every token.

    Args:
        trunk: the encoder; its pooler is not used.
        classes: number of classes.
        dropout: probability, in front of the scores.
    """

    def __init__(self, trunk: Bert, classes: int, dropout: float = 0.1) -> None:
        super().__init__(trunk, pooled=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.width, classes)
        draw(self.head)

    def forward(
        self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None
    ) -> Float[Tensor, "batch time classes"]:
        """Return the scores of the classes at every token."""
        return self.head(self.dropout(self.trunk(tokens, lengths, segments)[-1]))


class SpanScores(OnBert):
    """Where the answer to a question begins and ends.

    Args:
        trunk: the encoder; its pooler is not used.
    """

    def __init__(self, trunk: Bert) -> None:
        super().__init__(trunk, pooled=False)
        self.head = nn.Linear(trunk.width, 2)
        draw(self.head)

    def forward(
        self, tokens: Tokens, lengths: Lengths | None = None, segments: Tokens | None = None
    ) -> tuple[Float[Tensor, "batch time"], Float[Tensor, "batch time"]]:
        """Return the scores of every place as the first and as the last of the answer.

        Args:
            tokens: question and context in one sequence.
            lengths: of the sequences, on the CPU.
            segments: 0 for the question, 1 for the context.
        """
        begin, end = self.head(self.trunk(tokens, lengths, segments)[-1]).unbind(-1)
        return begin, end
