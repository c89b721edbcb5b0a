"""Documents as the rows that encoders are trained on.

lines     [CLS] line [SEP]                       each line of a document is a sentence that stands for itself
passages  [CLS] as many lines as fit [SEP]       lines of a document go on from each other
pairs     [CLS] passage [SEP] passage [SEP]      where it is also learned whether the second follows the first
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from gradus.data.ragged import Ragged
from gradus.data.tokenizer import Tokenizer
from gradus.sequence.encoder.sentence_pairs import Pair, passages, sentence_pairs, sentences_only

__all__ = ["Columns", "framed", "rows_of", "sentences_of"]

Columns = dict[str, Ragged | Tensor]


def sentences_of(documents: Iterable[str], tokenizer: Tokenizer) -> list[list[list[int]]]:
    """Return the token ids of every line of every document; empty lines and documents are left out.

    Args:
        documents: texts.
        tokenizer: of the lines.
    """
    found = []
    for document in documents:
        lines = [line for line in document.splitlines() if line.strip()]
        encoded = [ids for ids in tokenizer.encode_batch(lines) if ids]
        if encoded:
            found.append(encoded)
    return found


def framed(first: Sequence[int], second: Sequence[int] | None, begin: int, end: int) -> tuple[list[int], list[int]]:
    """Return one or two texts with the special tokens around them, and the segment of each token.

    Args:
        first: A.
        second: B, where there is one.
        begin: id of [CLS], say.
        end: id of [SEP], say; it stands behind both.
    """
    tokens = [begin, *first, end]
    segments = [0] * len(tokens)
    if second is None:
        return tokens, segments
    return [*tokens, *second, end], segments + [1] * (len(second) + 1)


def rows_of(
    documents: Sequence[Sequence[Sequence[int]]],
    tokenizer: Tokenizer,
    frame: tuple[str, str],
    *,
    context: int,
    examples: Literal["lines", "passages"],
    pairs: bool,
    seed: int,
) -> Columns:
    """Return the columns of a source.

    Args:
        documents: ids of sentences.
        tokenizer: which has the special tokens.
        frame: names of those around a text.
        context: most tokens of a row.
        examples: whether a row is a line or a passage.
        pairs: make pairs of passages, where there are documents for it.
        seed: of the pairs.
    """
    begin, end = (tokenizer.id(name) for name in frame)
    if pairs and examples == "passages" and not sentences_only(documents):
        return _pairs(sentence_pairs(documents, context - 3, seed), begin, end)
    units = [[line] for document in documents for line in document] if examples == "lines" else documents
    texts = [text for unit in units for text in passages(unit, context - 2)]
    return {"tokens": Ragged.of([framed(text, None, begin, end)[0] for text in texts])}


def _pairs(pairs: Sequence[Pair], begin: int, end: int) -> Columns:
    both = [framed(pair.first, pair.second, begin, end) for pair in pairs]
    return {
        "tokens": Ragged.of([tokens for tokens, _ in both]),
        "segments": Ragged.of([segments for _, segments in both]),
        "follows": torch.tensor([int(not pair.follows) for pair in pairs]),
    }
