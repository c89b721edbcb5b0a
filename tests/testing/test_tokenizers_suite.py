"""`check_tokenizer` passes every registered tokenizer, and rejects each of a family of planted bugs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gradus import canon
from gradus.data.tokenizer import Tokenizer, Wanted, train_tokenizer
from gradus.data.tokenizer_training import bpe, char, word
from gradus.errors import GradusError
from gradus.testing.tokenizers import check_tokenizer

NAMES = sorted(canon.names("tokenizer"))


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_tokenizer_keeps_the_contract(name: str) -> None:
    check_tokenizer(canon.find("tokenizer", name))


def test_all_kinds_are_registered() -> None:
    assert {"char", "word", "bpe", "wordpiece"} <= set(NAMES)


class Wrapped(Tokenizer):
    """A tokenizer of words as it should be, for others to break."""


class _Loses(Wrapped):
    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids)[:-1]


class _ShowsSpecials(Wrapped):
    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokens[i] for i in ids)


class _LetsSpecialsIn(Wrapped):
    def encode(self, text: str) -> list[int]:
        return [*super().encode(text), self.id("[MASK]")] if "[MASK]" in text else super().encode(text)


class _BatchesOtherwise(Wrapped):
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [ids[::-1] for ids in super().encode_batch(texts)]

    def encode(self, text: str) -> list[int]:
        return super().encode_batch([text])[0]


class _CountsBytes(Wrapped):
    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(len(text[:a].encode()), len(text[:b].encode())) for a, b in super().spans(text)]


class _SpansTooFew(Wrapped):
    def spans(self, text: str) -> list[tuple[int, int]]:
        return super().spans(text)[1:]


class _KnowsEverything(Wrapped):
    def unknown(self, text: str) -> list[str]:
        return []


class _OneFingerprint(Wrapped):
    fingerprint = "x"  # type: ignore[assignment]


class _SavesAnother(Wrapped):
    def save(self, folder: Any) -> None:
        train_tokenizer("word", ["other words"]).save(folder)


def _as(kind: type[Wrapped], base: Any = word) -> Any:
    return lambda texts, wanted: kind(base(texts, wanted).layout)


def _specials_last(texts: Any, wanted: Wanted) -> Tokenizer:
    made = char(texts, wanted)
    layout = made.layout
    order = [*made.tokens[len(made.specials) :], *made.specials]
    ids = {token: i for i, token in enumerate(order)}
    added = [{**entry, "id": ids[entry["content"]]} for entry in layout["added_tokens"]]
    return Tokenizer({**layout, "added_tokens": added, "model": {**layout["model"], "vocab": ids}})


def _ignores_size(texts: Any, wanted: Wanted) -> Tokenizer:
    return bpe(texts, replace(wanted, size=400))


def _keeps_capitals(texts: Any, wanted: Wanted) -> Tokenizer:
    made = char(texts, replace(wanted, lowercase=False))
    layout = {**made.layout, "normalizer": {"type": "NFC"}} if wanted.lowercase else made.layout
    return Tokenizer(layout)


def _forgets(texts: Any, wanted: Wanted) -> Tokenizer:
    return word([text[: len(text) // 2] for text in texts], wanted)


def _learns_from_nothing(texts: Any, wanted: Wanted) -> Tokenizer:
    try:
        return word(texts, wanted)
    except GradusError:
        return word(["a"], wanted)


TWINS: dict[str, tuple[Any, str]] = {
    "specials last": (_specials_last, "do not have the first ids"),
    "ignores the size": (_ignores_size, "a vocabulary of at most 300"),
    "forgets": (_forgets, "and does not know it"),
    "keeps capitals": (_keeps_capitals, "capitals stay"),
    "learns from nothing": (_learns_from_nothing, "learns from no text"),
    "loses text": (_as(_Loses), "comes back as"),
    "shows specials": (_as(_ShowsSpecials, char), "comes back as|are to be seen"),
    "lets specials in": (_as(_LetsSpecialsIn), "turns into a special token"),
    "batches otherwise": (_as(_BatchesOtherwise), "a batch encodes"),
    "counts bytes": (_as(_CountsBytes), "outside the text|the span of"),
    "spans too few": (_as(_SpansTooFew), "spans for"),
    "knows everything": (_as(_KnowsEverything), "encode and unknown disagree"),
    "one fingerprint": (_as(_OneFingerprint), "have one fingerprint"),
    "saves another": (_as(_SavesAnother), "gives another tokenizer"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    train, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_tokenizer(train)
