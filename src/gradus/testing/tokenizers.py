"""The contract of tokenizers, as checks that need no test framework: an AssertionError says what broke.

A tokenizer passes when its special tokens come first and no text turns into them; when what it learned from it knows;
when ids, spans and text agree; when decoding gives the text back (characters, bytes) or one that has the same ids
(words, pieces); and when its file says all there is to it, to us and to the `tokenizers` library alike.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import tokenizers

from gradus.data.tokenizer import SPECIALS, Tokenizer, Wanted
from gradus.errors import GradusError

__all__ = ["check_tokenizer"]

Train = Callable[[Iterable[str], Wanted], Tokenizer]
EXACT = ("char", "bpe")
TEXTS = (
    "To be, or not to be: that is the question.\n\tWhether 'tis nobler in the mind to suffer\r\n",
    "Naïve façades cost 3.14 € (or ½)! «Ångström» don't naively café; Straße, ΟΔΟΣ.",
    "def f(x):\n    return x ** 2  # 日本語 👍🏽 e\u0301 👨\u200d👩\u200d👧",
)
ALIEN = "\u0ca0\U0001f9ff"


def check_tokenizer(train: Train) -> None:
    """Run the whole contract on a registered function of kind "tokenizer".

    Args:
        train: from texts and what is wanted to a tokenizer.

    Raises:
        AssertionError: for the first clause that fails.
    """
    _vocabulary(train)
    learned = train(TEXTS, Wanted(specials=SPECIALS))
    _knows_what_it_learned(learned)
    for text in (*TEXTS, "", " ", "to  the  question", "".join(SPECIALS), f"a[MASK]b {ALIEN}"):
        _encodes(learned, text)
    _repeats(train)
    _lowers(train)
    _is_its_file(learned)


def _vocabulary(train: Train) -> None:
    for specials in (("[PAD]", "[UNK]"), SPECIALS):
        made = train(TEXTS, Wanted(specials=specials))
        assert made.tokens[: len(specials)] == specials == made.specials, "special tokens do not have the first ids"
        assert len(made) == len(made.tokens) == len(set(made.tokens)), "a token is there twice"
        assert [made.id(token) for token in made.tokens] == list(range(len(made))), "id and tokens disagree"
    for size in (300, 330):
        held = len(train(TEXTS, Wanted(size=size)))
        assert held <= size, f"a vocabulary of at most {size} was asked for, not one of {held}"
    assert len(train(TEXTS, Wanted(least=2))) <= len(train(TEXTS, Wanted())), (
        "asking for what is more frequent gives more tokens"
    )
    for token in ("[EOS]", "no such token"):
        try:
            train(TEXTS, Wanted()).id(token)
        except GradusError:
            continue
        raise AssertionError(f"it gives an id for {token!r}, which it does not have")


def _knows_what_it_learned(made: Tokenizer) -> None:
    for text in TEXTS:
        assert not made.unknown(text), f"it learned from {made.unknown(text)[0]!r} and does not know it"


def _encodes(made: Tokenizer, text: str) -> None:
    ids = made.encode(text)
    shown = repr(text[:20])
    assert all(0 <= i < len(made) for i in ids), f"{shown} has ids beyond the vocabulary"
    special = {made.id(name) for name in made.specials} - {made.id("[UNK]")}
    assert not special & set(ids), f"the text {shown} turns into a special token"
    unknown = made.id("[UNK]") in ids
    assert unknown == bool(made.unknown(text)), f"encode and unknown disagree about {shown}"
    assert made.encode_batch([text, "be", text]) == [ids, made.encode("be"), ids], f"a batch encodes {shown} otherwise"
    assert [row.tolist() for row in made.encode_arrays([text])] == [ids], f"an array encodes {shown} otherwise"
    _spans(made, text, ids)
    back = made.decode(ids)
    if made.kind in EXACT and not unknown:
        assert back == text, f"{shown} comes back as {back[:20]!r}"
    elif not unknown:
        assert made.encode(back) == ids, f"{shown} comes back as a text with other ids: {back[:20]!r}"
    ends = [made.id("[BOS]"), *ids, made.id("[EOS]")]
    assert made.decode(ends) == back, "special tokens are to be seen in decoded text"


def _spans(made: Tokenizer, text: str, ids: Sequence[int]) -> None:
    spans = made.spans(text)
    assert len(spans) == len(ids), f"{len(spans)} spans for {len(ids)} tokens of {text[:20]!r}"
    assert all(0 <= a < b <= len(text) for a, b in spans), "a span is empty or outside the text"
    assert all(b <= c or (a, b) == (c, d) for (a, b), (c, d) in pairwise(spans)), "spans overlap or run backwards"
    covered = {place for a, b in spans for place in range(a, b)}
    left = "".join(letter for place, letter in enumerate(text) if place not in covered)
    assert not (left if made.kind in EXACT else left.strip()), f"the spans leave {left[:20]!r} out"
    for (a, b), i in zip(spans, ids, strict=True):
        if made.kind in ("char", "word") and i != made.id("[UNK]"):
            assert text[a:b] == made.tokens[i], f"the span of {made.tokens[i]!r} is at {text[a:b]!r}"


def _repeats(train: Train) -> None:
    one, other = train(TEXTS, Wanted()), train(iter(TEXTS), Wanted())
    assert one == other, "learning twice from the same texts gives two tokenizers"
    assert train(TEXTS[:1], Wanted()).fingerprint != one.fingerprint, "different vocabularies have one fingerprint"
    assert train(TEXTS, Wanted(lowercase=True)).fingerprint != one.fingerprint, (
        "different settings have one fingerprint"
    )
    for nothing in ([], [""]):
        try:
            train(nothing, Wanted())
        except GradusError:
            continue
        raise AssertionError("it learns from no text without a word")


def _lowers(train: Train) -> None:
    made = train(TEXTS, Wanted(lowercase=True))
    assert made.encode("TO BE") == made.encode("to be"), "capitals stay though small letters were asked for"
    assert not any(text != text.lower() for text in made.tokens[2:] if made.kind != "bpe"), "it holds capitals"


def _is_its_file(made: Tokenizer) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made.save(folder)
        again, peer = Tokenizer.load(folder), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        assert (again.fingerprint, again.kind, again.tokens) == (made.fingerprint, made.kind, made.tokens), (
            "the file gives another tokenizer"
        )
        for text in TEXTS:
            ids = made.encode(text)
            assert again.encode(text) == ids, "the tokenizer of the file encodes otherwise"
            assert peer.encode(text, add_special_tokens=False).ids == ids, "the library reads the file otherwise"
            assert peer.decode(ids) == made.decode(ids), "the library decodes otherwise"
        whole = (folder / "tokenizer.json").read_text(encoding="utf-8")
        layout = json.loads(whole)
        layout["model"]["vocab"].popitem()
        for damaged in (whole[: len(whole) // 2], "{}", json.dumps({**layout, "model": {"type": "None"}}), ""):
            (folder / "tokenizer.json").write_text(damaged, encoding="utf-8")
            try:
                Tokenizer.load(folder)
            except GradusError:
                continue
            raise AssertionError("a damaged file is read without a word")
