"""Tokenizers: text to ids and back.

A `Tokenizer` is its tokenizer.json, in the format of the `tokenizers` library, which encodes and decodes; characters
are looked up in one vectorised step instead. Text never turns into a special token, whatever it spells: "[MASK]" in a
text is five or so ordinary tokens, and whoever wants the special one asks for its id.

A Python string may hold lone surrogates, which are no characters of Unicode: they are read as U+FFFD.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int32

from gradus import canon
from gradus.data.tokenizer_layouts import UNKNOWN, kind_of
from gradus.errors import GradusError, nearest

__all__ = ["KINDS", "SPECIALS", "Tokenizer", "Wanted", "lowered", "scalar", "train_tokenizer"]

SPECIALS = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]")
KINDS = ("char", "word", "bpe", "wordpiece")
FILE = "tokenizer.json"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer:
    """Text to ids and back; made by `train_tokenizer` or `Tokenizer.load`.

    Attributes:
        kind: "char", "word", "bpe" or "wordpiece".
        tokens: by id, specials first.
        specials: the special tokens it has.
        fingerprint: a hash of vocabulary and settings.

    Args:
        layout: the content of a tokenizer.json.

    Raises:
        GradusError: if the layout is damaged.
    """

    def __init__(self, layout: Mapping[str, Any]) -> None:
        self.kind, self.tokens = _checked(layout)
        self.layout = dict(layout)
        self.specials = tuple(entry["content"] for entry in layout.get("added_tokens") or [] if entry.get("special"))
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        self._unknown = self._ids.get(layout["model"].get("unk_token") or UNKNOWN)
        self.lowercase = _lowers(layout.get("normalizer"))
        try:
            self._library = tokenizers.Tokenizer.from_str(self.json)
        except Exception as error:  # the library raises nothing narrower
            raise GradusError(f"the tokenizer is damaged ({error}): save it anew or train another") from None
        self._library.no_truncation()
        self._library.no_padding()
        self._library.encode_special_tokens = True

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"Tokenizer({self.kind}, {len(self):,} tokens)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and other.fingerprint == self.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def json(self) -> str:
        """The text of tokenizer.json."""
        return json.dumps(self.layout, ensure_ascii=False)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of vocabulary and settings."""
        return hashlib.sha256(json.dumps(self.layout, sort_keys=True).encode()).hexdigest()

    def id(self, token: str) -> int:
        """Return the id of a token.

        Raises:
            GradusError: if there is no such token, naming the nearest.
        """
        if token not in self._ids:
            if token in SPECIALS:
                has = ", ".join(self.specials) or "none"
                raise GradusError(f"the tokenizer has no special token {token} (it has {has}): train one with it")
            raise GradusError(f"the tokenizer has no token {token!r}{nearest(token, self.tokens)}")
        return self._ids[token]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, no special token added.

        Raises:
            GradusError: for a character that a tokenizer of characters without [UNK] never saw.
        """
        return self.encode_array(text).tolist() if self.kind == "char" else self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of some texts; raises as `encode` does."""
        if self.kind == "char":
            return [self.encode_array(text).tolist() for text in texts]
        encoded = self._library.encode_batch_fast([scalar(text) for text in texts], add_special_tokens=False)
        return [found.ids for found in encoded]

    def encode_arrays(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " count"]]:
        """Return the ids of some texts as arrays of int32; raises as `encode` does."""
        if self.kind == "char":
            return [self.encode_array(text) for text in texts]
        return [np.asarray(ids, np.int32) for ids in self.encode_batch(texts)]

    def encode_array(self, text: str) -> Int32[np.ndarray, " count"]:
        """Return the ids of a text as an array of int32; raises as `encode` does."""
        if self.kind != "char":
            return self.encode_arrays([text])[0]
        shown = self._shown(text)
        points = np.frombuffer(shown.encode("utf-32-le"), np.uint32)
        ids = self._table[np.minimum(points, len(self._table) - 1)]
        if self._unknown is None and (missing := np.flatnonzero(ids < 0)).size:
            held = shown[missing[0]]
            raise GradusError(f"the tokenizer never saw the character {held!r} and has no [UNK]: train one with it")
        return ids

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where each token of `encode(text)` begins and ends in the text, in characters.

        Tokens that are parts of one character, as bytes may be, all have its place.
        """
        if self.kind != "char":
            return self._library.encode(scalar(text), add_special_tokens=False).offsets
        if not self.lowercase:
            return [(i, i + 1) for i in range(len(text))]
        return [(i, i + 1) for i, letter in enumerate(text) for _ in self._shown(letter)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, special tokens left out.

        Characters and bytes give back what was encoded; words and word pieces give it with single blanks.

        Raises:
            GradusError: for an id that is no token's.
        """
        plain = [int(i) for i in ids]
        odd = next((i for i in plain if not 0 <= i < len(self)), None)
        if odd is not None:
            raise GradusError(f"there is no token {odd}: the tokenizer has {len(self)}, counted from 0")
        return self._library.decode(plain, skip_special_tokens=True)

    def unknown(self, text: str) -> list[str]:
        """Return the different pieces of a text that can only be called [UNK], in their order."""
        if self.kind == "char":
            return list(dict.fromkeys(c for c in text if any(shown not in self._ids for shown in self._shown(c))))
        found = self._library.encode(scalar(text), add_special_tokens=False)
        odd = (text[a:b] for i, (a, b) in zip(found.ids, found.offsets, strict=True) if i == self._unknown)
        return list(dict.fromkeys(odd))

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json into a folder."""
        Path(folder, FILE).write_text(self.json, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Return the tokenizer of a folder's tokenizer.json, ours or another's.

        Raises:
            GradusError: if it is not there or damaged.
        """
        path = Path(folder, FILE)
        try:
            layout = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise GradusError(f"there is no {path}: name a folder that has a tokenizer") from None
        except (OSError, ValueError) as error:
            raise GradusError(f"{path} is damaged ({error}): get it anew") from None
        if not isinstance(layout, dict):
            raise GradusError(f"{path} is damaged (it holds no object): get it anew")
        try:
            return cls(layout)
        except GradusError as error:
            raise GradusError(f"{path}: {error}") from None

    def _shown(self, text: str) -> str:
        """Return a text as characters are looked up in it."""
        return lowered(scalar(text)) if self.lowercase else scalar(text)

    @cached_property
    def _table(self) -> Int32[np.ndarray, " points"]:
        """Id by code point, the last entry standing for all beyond."""
        points = {ord(token): i for i, token in enumerate(self.tokens) if len(token) == 1}
        table = np.full(max(points, default=0) + 2, -1 if self._unknown is None else self._unknown, np.int32)
        table[list(points)] = list(points.values())
        return table


@dataclass(frozen=True)
class Wanted:
    """What a vocabulary is to be like.

    Attributes:
        size: the most tokens, specials included; None for all characters or words, for 8,192 pieces.
        specials: special tokens, which get the first ids in this order.
        lowercase: whether text is brought to small letters first.
        least: how often a character, word or pair must be seen to become a token.
    """

    size: int | None = None
    specials: tuple[str, ...] = ("[PAD]", "[UNK]")
    lowercase: bool = False
    least: int = 1


def train_tokenizer(
    kind: str,
    texts: Iterable[str],
    *,
    size: int | None = None,
    specials: Sequence[str] = ("[PAD]", "[UNK]"),
    lowercase: bool = False,
    least: int = 1,
) -> Tokenizer:
    """Return a tokenizer learned from some texts.

    Args:
        kind: "char" (every character), "word" (words and punctuation marks), "bpe" (byte-level byte pairs) or
            "wordpiece" (likelihood merges, ## pieces).
        texts: read once.
        size: the most tokens, specials included; None for all characters or words, for 8,192 pieces.
        specials: special tokens, which get the first ids in the order of `SPECIALS`.
        lowercase: whether text is brought to small letters first.
        least: how often a character, word or pair must be seen to become a token.

    Raises:
        GradusError: if a special token is none of `SPECIALS`, the size is too small, or there is no text.
    """
    for name in specials:
        if name not in SPECIALS:
            raise GradusError(f"{name!r} is no special token{nearest(name, SPECIALS)}")
    ordered = tuple(name for name in SPECIALS if name in specials)
    if size is not None and size <= len(ordered):
        raise GradusError(f"a vocabulary of {size} leaves no room beside {len(ordered)} special tokens: raise its size")
    return canon.find("tokenizer", kind)(texts, Wanted(size, ordered, lowercase, least))


def scalar(text: str) -> str:
    """Return a text without lone surrogates, as long as it was."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def lowered(text: str) -> str:
    """Return a text in small letters, each letter on its own: a final Σ becomes σ, as the library has it."""
    return text.replace("Σ", "σ").lower()


def _lowers(normalizer: Mapping[str, Any] | None) -> bool:
    if normalizer is None:
        return False
    return normalizer.get("type") == "Lowercase" or bool(normalizer.get("lowercase"))


def _checked(layout: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return kind and tokens by id of a layout that makes sense."""
    remedy = "get the tokenizer.json anew, or train another tokenizer"
    try:
        kind, model = kind_of(dict(layout)), layout["model"]
        if kind is None:
            raise GradusError(f"tokenizers of type {model['type']} are not known here: bring one of {', '.join(KINDS)}")
        ids = {str(token): int(i) for token, i in model["vocab"].items()}
        for entry in layout.get("added_tokens") or []:
            if ids.setdefault(entry["content"], entry["id"]) != entry["id"]:
                raise GradusError(f"the tokenizer is damaged ({entry['content']} has two ids): {remedy}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GradusError(f"the tokenizer is damaged (no vocabulary can be read: {error}): {remedy}") from None
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise GradusError(f"the tokenizer is damaged (its ids are not 0 to {len(tokens) - 1}): {remedy}")
    return kind, tokens
