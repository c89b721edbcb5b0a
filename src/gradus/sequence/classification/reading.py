"""How a classifier reads: texts, or pairs of them, to rows of ids.

    a            a_1 … a_n                              with a frame   [CLS] a_1 … a_n [SEP]
    a, b         a_1 … a_n [SEP] b_1 … b_m                             [CLS] a_1 … a_n [SEP] b_1 … b_m [SEP]

A text longer than the limit is cut behind it; of a pair the longer is cut first. A text in which nothing can be read is
one unknown token. Segments tell the texts of a pair apart: 0 for the first, 1 for the second.
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from gradus.data.ragged import Ragged
from gradus.data.tokenizer import Tokenizer
from gradus.errors import GradusError
from gradus.sequence.classification.terms import Terms

__all__ = ["Read", "Reader"]


class Read(NamedTuple):
    """Texts as a network takes them.

    Attributes:
        columns: `tokens`, and `segments` where texts are pairs.
        cut: how many texts were longer than the limit.
    """

    columns: dict[str, Ragged]
    cut: int


class Reader:
    """Texts to ids.

    Args:
        tokenizer: pieces of text to ids.
        longest: most ids of a text, or of a pair; None for no limit.
        frame: special tokens that begin a text and end it; none for most networks.
    """

    def __init__(self, tokenizer: Tokenizer | Terms, longest: int | None = None, frame: Sequence[str] = ()) -> None:
        self.tokenizer, self.longest = tokenizer, longest
        ids: list[list[int]] = [[tokenizer.id(token)] for token in frame]
        self.first, self.last = ids or [[], []]

    def __len__(self) -> int:
        return len(self.tokenizer)

    @property
    def padding(self) -> int:
        """Id of the padding."""
        return self.tokenizer.id("[PAD]")

    def read(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Read:
        """Return texts as rows of ids.

        Args:
            texts: any number.
            pairs: as many second texts.
        """
        firsts = self.tokenizer.encode_batch(list(texts))
        if pairs is None:
            cut = [self._cut(ids) for ids in firsts]
            rows = [self._framed(ids) for ids in cut]
            return Read({"tokens": Ragged.of(rows)}, sum(len(a) < len(b) for a, b in zip(cut, firsts, strict=True)))
        rows, segments, shortened = [], [], 0
        for a, b in zip(firsts, self.tokenizer.encode_batch(list(pairs)), strict=True):
            both = self._pair(a, b)
            shortened += both.cut
            rows.append(both.tokens)
            segments.append(both.segments)
        return Read({"tokens": Ragged.of(rows), "segments": Ragged.of(segments)}, shortened)

    def places(self, text: str, pair: str | None = None) -> list[tuple[int, int] | None]:
        """Return where each id begins and ends in a text, or in a pair's texts joined by a line break.

        Special tokens are nowhere; neither is anything of an empty text, which is (0, 0).
        """
        spans = self.tokenizer.spans(text)
        if pair is None:
            middle, parts = 0, [self._cut(spans)]
            if not parts[0] and not self.first and not isinstance(self.tokenizer, Terms):
                parts = [[(0, 0)]]
        else:
            begin = len(text) + 1
            behind = [(begin + start, begin + end) for start, end in self.tokenizer.spans(pair)]
            middle, parts = len(self._middle), list(self._shortened(spans, behind))
        left, *right = parts
        nowhere: list[Any] = [None]
        return [*nowhere * len(self.first), *left, *nowhere * middle, *chain(*right), *nowhere * len(self.last)]

    def _cut(self, places: list[Any]) -> list[Any]:
        room = None if self.longest is None else max(1, self.longest - len(self.first) - len(self.last))
        return places[:room]

    def _framed(self, ids: list[int]) -> list[int]:
        if not ids and not self.first and not isinstance(self.tokenizer, Terms):
            return [self.tokenizer.id("[UNK]")]
        return self.first + ids + self.last

    @property
    def _middle(self) -> list[int]:
        """What stands between the texts of a pair."""
        return [] if isinstance(self.tokenizer, Terms) else self.last or [self.tokenizer.id("[SEP]")]

    def _pair(self, a: list[int], b: list[int]) -> "_Pair":
        whole = len(a) + len(b)
        a, b = self._shortened(a, b)
        left, right = self.first + a + self._middle, b + self.last
        return _Pair(left + right, [0] * len(left) + [1] * len(right), len(a) + len(b) < whole)

    def _shortened(self, a: list[Any], b: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return what of a pair there is room for; the longer is cut first."""
        if self.longest is None:
            return a, b
        room = max(2, self.longest - len(self.first) - len(self._middle) - len(self.last))
        half = room // 2
        kept = len(a) if len(a) <= half else max(room - len(b), room - half)
        return a[:kept], b[: room - min(len(a), kept)]

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, kind: str, fingerprint: str, longest: int | None, frame: Sequence[str]) -> "Reader":
        """Return the reader whose tokenizer lies in a folder.

        Args:
            folder: of a product.
            kind: of the tokenizer.
            fingerprint: that it must have.
            longest: most ids of a text.
            frame: special tokens that begin a text and end it.

        Raises:
            GradusError: if the tokenizer is missing, damaged, or not that of the weights.
        """
        tokenizer = Terms.load(folder) if kind == Terms.kind else Tokenizer.load(folder)
        if tokenizer.fingerprint != fingerprint:
            name = "terms.json" if kind == Terms.kind else "tokenizer.json"
            raise GradusError(
                f"{folder / name} does not match the weights beside it: put back the one that they were trained with"
            )
        return cls(tokenizer, longest, frame)


class _Pair(NamedTuple):
    """Two texts as one row."""

    tokens: list[int]
    segments: list[int]
    cut: bool
