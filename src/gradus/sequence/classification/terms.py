"""Terms: what a bag of words counts.

    text → words of two letters or more → small letters → without stop words → stems → runs of n words

A vocabulary gives each term an id; terms outside it are not counted. Id 0 is padding and no term.

References:
    Salton, McGill 1983, Introduction to modern information retrieval.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gradus.engine.folder import write_atomically
from gradus.errors import GradusError
from gradus.sequence.classification.stemming import stem
from gradus.sequence.classification.stop_words import ENGLISH

__all__ = ["PADDING", "Terms", "fit_terms"]

PADDING = "[PAD]"
FILE = "terms.json"
WORD = re.compile(r"\b\w\w+\b")
SETTINGS = ("lowercase", "ngrams", "stop_words", "stem")


class Terms:
    """Texts to ids of terms; made by `fit_terms` or `Terms.load`.

    Args:
        tokens: terms by id, padding first.
        lowercase: whether words are brought to small letters.
        ngrams: how many words a term has, each of these numbers.
        stop_words: whether English function words are left out.
        stem: whether words are brought to their stems.
    """

    kind = "terms"

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        lowercase: bool = True,
        ngrams: Sequence[int] = (1,),
        stop_words: bool = False,
        stem: bool = False,
    ) -> None:
        if not ngrams or min(ngrams) < 1:
            raise GradusError(f"--ngrams counts words from 1, as 1 or 1,2, not {','.join(map(str, ngrams)) or 'none'}")
        if not tokens or tokens[0] != PADDING:
            raise GradusError(f"the terms are damaged (the first is not {PADDING}): train again")
        self.tokens = tuple(tokens)
        self.lowercase, self.stop_words, self.stem = lowercase, stop_words, stem
        self.ngrams = tuple(sorted(set(ngrams)))
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Terms({len(self) - 1:,} of {' and '.join(map(str, self.ngrams))} words)"

    def _body(self) -> dict[str, Any]:
        return {"terms": list(self.tokens), **{name: getattr(self, name) for name in SETTINGS}}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of terms and settings."""
        return hashlib.sha256(json.dumps(self._body()).encode()).hexdigest()

    def found(self, text: str) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield every term of a text, known or not, with where it begins and ends; shorter runs of words first."""
        words: list[tuple[str, int, int]] = []
        for match in WORD.finditer(text):
            word = match[0].lower() if self.lowercase else match[0]
            if not (self.stop_words and word.lower() in ENGLISH):
                words.append((stem(word) if self.stem else word, match.start(), match.end()))
        for n in self.ngrams:
            for i in range(len(words) - n + 1):
                run = words[i : i + n]
                yield " ".join(word for word, _, _ in run), (run[0][1], run[-1][2])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's terms."""
        return [self._ids[term] for term, _ in self.found(text) if term in self._ids]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of some texts' terms."""
        return [self.encode(text) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each term of `encode(text)` begins and ends in the text, in characters."""
        return [span for term, span in self.found(text) if term in self._ids]

    def id(self, token: str) -> int:
        """Return the id of a term; raises a GradusError if it is not known."""
        if token not in self._ids:
            raise GradusError(f"the vocabulary has no term {token!r}")
        return self._ids[token]

    def save(self, folder: Path) -> None:
        """Write `terms.json` into a folder."""
        write_atomically(folder / FILE, json.dumps(self._body(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> "Terms":
        """Return the terms of a folder's `terms.json`.

        Raises:
            GradusError: if it is not there or damaged.
        """
        path = folder / FILE
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return cls(body["terms"], **{name: body[name] for name in SETTINGS})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GradusError(f"{path} is missing or damaged ({error}): train again, or resume the run") from None


def fit_terms(
    texts: Iterable[str],
    *,
    size: int | None = None,
    least: int = 1,
    lowercase: bool = True,
    ngrams: Sequence[int] = (1,),
    stop_words: bool = False,
    stem: bool = False,
) -> Terms:
    """Return the terms of some texts, in the order of the alphabet.

    Args:
        texts: what is counted.
        size: the most terms; of more, those that occur most often stay, and of equals the first of the alphabet.
        least: how many texts must have a term.
        lowercase: whether words are brought to small letters.
        ngrams: how many words a term has, each of these numbers.
        stop_words: whether English function words are left out.
        stem: whether words are brought to their stems.

    Raises:
        GradusError: if no term is left.
    """
    settings: dict[str, Any] = {"lowercase": lowercase, "ngrams": ngrams, "stop_words": stop_words, "stem": stem}
    empty = Terms([PADDING], **settings)
    often: Counter[str] = Counter()
    texts_with: Counter[str] = Counter()
    for text in texts:
        own = Counter(term for term, _ in empty.found(text))
        often.update(own)
        texts_with.update(own.keys())
    kept = [term for term in often if texts_with[term] >= least]
    if size is not None:
        kept = sorted(kept, key=lambda term: (-often[term], term))[:size]
    if not kept:
        raise GradusError(f"no word of two letters or more is in {least} of the texts: lower --least, or take a lstm")
    return Terms([PADDING, *sorted(kept)], **settings)
