"""The words that get a vector, and a text as the places they stand at.

A word is a token with a letter or a digit in it that occurs at least `min_count` times in the training text; words are
numbered by how often they occur, the most frequent first. What is no word is left out before windows are laid, so that
the words around it become neighbours, as in word2vec. Documents stay apart.

References:
    Mikolov et al. 2013, Efficient estimation of word representations in vector space.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from gradus.data.corpora import Corpus
from gradus.data.ragged import Ragged
from gradus.data.tokenizer import Tokenizer
from gradus.errors import GradusError

__all__ = ["Vocabulary", "is_word", "numbered", "tokens_of"]

TOGETHER = 256  # pieces of text that are encoded at once


class Vocabulary(NamedTuple):
    """Words and how often each occurs in the training text.

    Attributes:
        words: the most frequent first.
        counts: of each.
    """

    words: tuple[str, ...]
    counts: Int64[Tensor, " words"]

    @classmethod
    def of(
        cls, tokens: Sequence[str], ids: Int32[Tensor, " total"], *, min_count: int = 5, size: int | None = None
    ) -> "Vocabulary":
        """Return the words of a text; of equally frequent ones, those of the smaller ids come first.

        Args:
            tokens: by id.
            ids: of the text's tokens.
            min_count: how often a word must occur.
            size: the most words; None for all.

        Raises:
            GradusError: if fewer than two words are left.
        """
        counts = torch.bincount(ids, minlength=len(tokens))
        words = torch.tensor([is_word(token) for token in tokens])
        order = torch.where(words, counts, -1).sort(descending=True, stable=True).indices
        kept = order[: int((words & (counts >= max(1, min_count))).sum())][:size]
        if len(kept) < 2:
            raise GradusError(
                f"only {len(kept)} words occur {min_count} times in the {len(ids):,} tokens of the training text: "
                "bring more text or lower --min-count"
            )
        return cls(tuple(tokens[i] for i in kept.tolist()), counts[kept])

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.words):,} words, {int(self.counts.sum()):,} occurrences)"


def is_word(token: str) -> bool:
    """Return whether a token has a letter or a digit in it and is no special token."""
    special = token.startswith("[") and token.endswith("]") and len(token) > 1
    return not special and any(c.isalnum() for c in token)


def tokens_of(corpus: Corpus, tokenizer: Tokenizer) -> Ragged:
    """Return the ids of a corpus's tokens, a row a document."""
    parts: list[Tensor] = []
    lengths, length = [0], 0
    for group in _groups(corpus.pieces()):
        for ids, (_, ends) in zip(tokenizer.encode_batch([text for text, _ in group]), group, strict=True):
            parts.append(torch.tensor(ids, dtype=torch.int32))
            length += len(ids)
            if ends:
                lengths.append(length)
                length = 0
    flat = torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int32)
    return Ragged(flat, torch.tensor(lengths).cumsum(0))


def _groups(pieces: Iterable[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    whole = iter(pieces)
    while group := list(islice(whole, TOGETHER)):
        yield group


def numbered(text: Ragged, tokens: Sequence[str], vocabulary: Vocabulary) -> Ragged:
    """Return a text as numbers of words, a row a document; what is no word is left out.

    Args:
        text: ids of tokens.
        tokens: by id.
        vocabulary: whose numbers are wanted.
    """
    place = {word: i for i, word in enumerate(vocabulary.words)}
    number = torch.tensor([place.get(token, -1) for token in tokens], dtype=torch.int32)
    found = number[text.values] if len(text.values) else text.values
    kept = found >= 0
    before = torch.cat([torch.zeros(1, dtype=torch.int64), kept.long().cumsum(0)])
    return Ragged(found[kept], before[text.offsets])
