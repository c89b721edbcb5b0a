"""Sentences to ids, and scores of pieces back to tokens.

A token may be several pieces to the tokenizer; its tag stands at the first, and the others have none. A sentence that
is longer than the model can see is read in parts, cut between tokens, so that every token gets its tag.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus.data.ragged import Ragged
from gradus.data.tokenizer import Tokenizer
from gradus.errors import GradusError

__all__ = ["NONE", "Reader", "Reading"]

NONE = -100  # where there is no tag


class Reading(NamedTuple):
    """Sentences as ids.

    Attributes:
        tokens: ids of the pieces, special ones around them.
        firsts: at each of them, the number of the token that begins there, counted through all sentences, or `NONE`.
        parts: how many sentences were read in more than one part.
    """

    tokens: Ragged
    firsts: Ragged
    parts: int

    def tagged(self, tags: Int64[Tensor, " tokens"]) -> Ragged:
        """Return at each piece the tag of the token that begins there, or `NONE`."""
        values = self.firsts.values
        return Ragged(torch.where(values >= 0, tags[values.clamp(min=0)], NONE), self.firsts.offsets)


class Reader:
    """Reads sentences whose tokens are apart already.

    Args:
        tokenizer: token to pieces.
        longest: most pieces of a sequence, special ones included; None for any number.
        frame: names of the special tokens in front of and behind a sentence, where the model wants them.
    """

    def __init__(self, tokenizer: Tokenizer, longest: int | None = None, frame: Sequence[str] = ()) -> None:
        self.tokenizer, self.longest, self.frame = tokenizer, longest, tuple(frame)
        self._around = [[tokenizer.id(name)] for name in frame] or [[], []]
        self._empty = [tokenizer.id("[UNK]")]
        if longest is not None and longest < len(frame) + 1:
            raise GradusError(f"a model that sees {longest} tokens sees no word: give it a longer context")

    @property
    def padding(self) -> int:
        """Id of the padding."""
        return self.tokenizer.id("[PAD]")

    def __len__(self) -> int:
        return len(self.tokenizer)

    def read(self, sentences: Sequence[Sequence[str]]) -> Reading:
        """Return sentences as ids.

        Args:
            sentences: tokens of each.
        """
        words = list(dict.fromkeys(word for sentence in sentences for word in sentence))
        known = {w: ids or self._empty for w, ids in zip(words, self.tokenizer.encode_batch(words), strict=True)}
        room = None if self.longest is None else self.longest - sum(map(len, self._around))
        rows: list[list[int]] = []
        firsts: list[list[int]] = []
        number = divided = 0
        for sentence in sentences:
            ids, places, before = list[int](), list[int](), len(rows)
            for word in sentence:
                pieces = known[word][:room]
                if room is not None and len(ids) + len(pieces) > room:
                    self._close(rows, firsts, ids, places)
                    ids, places = [], []
                ids += pieces
                places += [number, *[NONE] * (len(pieces) - 1)]
                number += 1
            self._close(rows, firsts, ids, places)
            divided += len(rows) - before > 1
        return Reading(Ragged.of(rows), Ragged.of(firsts), divided)

    def _close(self, rows: list[list[int]], firsts: list[list[int]], ids: list[int], places: list[int]) -> None:
        front, back = self._around
        rows.append([*front, *ids, *back])
        firsts.append([NONE] * len(front) + places + [NONE] * len(back))

    def save(self, folder: Path) -> None:
        """Write the tokenizer into a folder."""
        self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: Path, fingerprint: str, longest: int | None, frame: Sequence[str]) -> "Reader":
        """Return the reader of a product folder.

        Raises:
            GradusError: if the tokenizer there is another than the weights were trained with.
        """
        tokenizer = Tokenizer.load(folder)
        if tokenizer.fingerprint != fingerprint:
            raise GradusError(
                f"{folder / 'tokenizer.json'} is not the one that these weights were trained with: restore it"
            )
        return cls(tokenizer, longest, frame)
