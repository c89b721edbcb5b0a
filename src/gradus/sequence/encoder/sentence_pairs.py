"""Pairs of passages for next-sentence prediction, and the rows that an encoder is trained on.

    [CLS] A [SEP] B [SEP]      B goes on where A ends, or, half of the time, is taken from another document

A passage is as many successive sentences of a document as fit; it is cut between two of them, at random. Where B is
taken from elsewhere, the sentences that it replaces begin the next passage, so that none is lost.

References:
    Devlin, Chang, Lee, Toutanova 2019, BERT: pre-training of deep bidirectional Transformers for language
    understanding.

Deviations:
    A document's last sentence is left out where it stands alone, because nothing follows it; a pair that is too long
    loses the beginning of A and the end of B, not tokens of the longer one at random, so that the two still meet.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradus.data.draws import stream_seed
from gradus.errors import GradusError

__all__ = ["Document", "Pair", "passages", "sentence_pairs", "sentences_only"]

Sentence = Sequence[int]
Document = Sequence[Sentence]

SHORTER = 0.1  # of the passages are shorter than what fits: what is used later is


class Pair(NamedTuple):
    """Two passages.

    Attributes:
        first: A.
        second: B.
        follows: whether B goes on where A ends.
    """

    first: list[int]
    second: list[int]
    follows: bool


def sentences_only(documents: Sequence[Document]) -> bool:
    """Return whether no two passages of documents could follow each other and be told from those that do not.

    Args:
        documents: lists of sentences.
    """
    return sum(len(document) >= 2 for document in documents) < 2


def passages(document: Document, room: int) -> list[list[int]]:
    """Return a document as passages: as many successive sentences as fit, longer ones in pieces.

    Args:
        document: its sentences.
        room: most tokens of a passage.
    """
    found: list[list[int]] = []
    current: list[int] = []
    for sentence in document:
        for start in range(0, len(sentence), room):
            piece = list(sentence[start : start + room])
            if current and len(current) + len(piece) > room:
                found.append(current)
                current = []
            current = current + piece
    return [*found, current] if current else found


def sentence_pairs(documents: Sequence[Document], room: int, seed: int) -> list[Pair]:
    """Return the pairs of all documents: a pure function of documents and seed.

    Args:
        documents: lists of sentences.
        room: most tokens of both passages together, at least 2.
        seed: of the cuts and of what is taken from elsewhere.

    Raises:
        GradusError: if there are not two documents of two sentences.
    """
    if sentences_only(documents):
        raise GradusError(
            "next-sentence prediction needs two documents of at least two sentences: add --no-next-sentence"
        )
    assert room >= 2, "a pair has two tokens at least"
    draw = np.random.Generator(np.random.Philox(key=stream_seed(seed, "pairs")))
    usable = [_pieces(document, room // 2) for document in documents if len(document) >= 2]
    return [pair for i in range(len(usable)) for pair in _of_document(usable, i, room, draw)]


def _pieces(document: Document, longest: int) -> list[list[int]]:
    """Return sentences, those beyond half of the room in pieces."""
    return [list(s[start : start + longest]) for s in document for start in range(0, len(s), longest)]


def _of_document(documents: list[list[list[int]]], index: int, room: int, draw: np.random.Generator) -> list[Pair]:
    document, found, at = documents[index], list[Pair](), 0
    while at < len(document) - 1:
        target = int(draw.integers(2, room + 1)) if draw.random() < SHORTER else room
        end, total = at, 0
        while end < len(document) and (total < target or end - at < 2):
            total += len(document[end])
            end += 1
        cut = at + int(draw.integers(1, end - at))
        first = _joined(document[at:cut])
        follows = bool(draw.random() < 0.5)
        if follows:
            second, at = _joined(document[cut:end]), end
        else:
            second, at = _elsewhere(documents, index, target - len(first), draw), cut
        second = second[: max(room - len(first), room // 2)]
        found.append(Pair(first[-(room - len(second)) :], second, follows))
    return found


def _elsewhere(documents: list[list[list[int]]], index: int, wanted: int, draw: np.random.Generator) -> list[int]:
    """Return sentences of another document, from a random one on, until there are as many tokens as wanted."""
    other = (index + 1 + int(draw.integers(len(documents) - 1))) % len(documents)
    document = documents[other]
    start = int(draw.integers(len(document)))
    found: list[int] = []
    for sentence in document[start:]:
        found += sentence
        if len(found) >= wanted:
            break
    return found


def _joined(sentences: Sequence[Sentence]) -> list[int]:
    return [token for sentence in sentences for token in sentence]
