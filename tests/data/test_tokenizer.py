"""Tokenizers: text comes back, spans point into it, special tokens stay out of it, damage is told."""

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.tokenizer import SPECIALS, Tokenizer, scalar, train_tokenizer
from gradus.errors import GradusError

SAMPLE = "The quick brown fox. Don't panic! \n\tnaïve 3.14 e\u0301 日本 👍🏽 «x» \0 \r\n" * 3
ANY = st.text(st.characters(exclude_categories=()), max_size=40)  # lone surrogates, NUL, unassigned: everything
STUFF = [
    " ", "\n", "\r\n", "\t", "\0", "\u00a0", "\u2028", "'s", "don't", "a", "B", "É", "e\u0301", "½", "\ud800",
    "\udfff", "👍🏽",
    "👨\u200d👩\u200d👧", "🇫🇷", "日本", "ß", "İ", "ΟΔΟΣ", "_", "7", "...", "[MASK]", "Ġ", "##",
    "\x1c", "\ufeff", "\uffff",
]  # fmt: skip
HARD = st.lists(st.sampled_from(STUFF)).map("".join)
TEXTS = st.one_of(ANY, HARD)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train_tokenizer("bpe", [SAMPLE], size=300, specials=SPECIALS)


@given(TEXTS)
def test_characters_give_every_text_back(text: str) -> None:
    made = train_tokenizer("char", [text + "a"])
    assert made.decode(made.encode(text)) == scalar(text)
    assert made.spans(text) == [(i, i + 1) for i in range(len(text))]


@given(text=TEXTS)
def test_bytes_give_every_text_back(bpe: Tokenizer, text: str) -> None:
    ids = bpe.encode(text)
    assert bpe.decode(ids) == scalar(text)
    assert bpe.id("[UNK]") not in ids
    assert not bpe.unknown(text)


@given(text=TEXTS)
def test_byte_spans_tile_the_text(bpe: Tokenizer, text: str) -> None:
    spans = bpe.spans(text)
    assert len(spans) == len(bpe.encode(text))
    assert [0, len(text)] == ([spans[0][0], spans[-1][1]] if spans else [0, 0])
    for (a, b), (c, d) in pairwise(spans):
        assert b == c or (a, b) == (c, d) or c == b - 1, "parts of one character share its place"


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
@pytest.mark.parametrize("lowercase", [False, True])
@settings(max_examples=60)
@given(text=TEXTS)
def test_decoded_words_have_the_same_ids(kind: str, lowercase: bool, text: str) -> None:
    made = train_tokenizer(kind, [text + " a"], lowercase=lowercase)
    ids = made.encode(text)
    if made.id("[UNK]") not in ids:
        assert made.encode(made.decode(ids)) == ids


@given(text=TEXTS)
def test_small_letters_keep_their_place(text: str) -> None:
    made = train_tokenizer("char", [text + "a"], lowercase=True)
    spans = made.spans(text)
    assert len(spans) == len(made.encode(text))
    for (a, b), i in zip(spans, made.encode(text), strict=True):
        assert made.tokens[i] in scalar(text)[a:b].lower().replace("ς", "σ")


def test_a_span_of_bytes_is_that_of_its_character(bpe: Tokenizer) -> None:
    text = "éಠz"
    pieces = [text[a:b] for a, b in bpe.spans(text)]
    assert pieces[-1] == "z"
    assert set(pieces[:-1]) == {"é", "ಠ"}
    assert pieces.count("ಠ") == 3, "none of its three bytes were ever seen together"


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_text_never_turns_into_special_tokens(kind: str) -> None:
    made = train_tokenizer(kind, [SAMPLE + "[MASK]"], specials=SPECIALS)
    ids = made.encode("fox [MASK] fox[PAD]")
    assert not {made.id("[MASK]"), made.id("[PAD]")} & set(ids)
    assert made.decode([made.id("[CLS]"), *made.encode("fox."), made.id("[SEP]")]) == "fox."


def test_unknown_names_the_pieces() -> None:
    assert train_tokenizer("char", ["abc"]).unknown("aXbYX") == ["X", "Y"]
    assert train_tokenizer("char", ["abc"], lowercase=True).unknown("ABX") == ["X"]
    assert train_tokenizer("word", ["to be or not"]).unknown("to see or not to hear") == ["see", "hear"]
    assert train_tokenizer("wordpiece", ["to be or not"]).unknown("bee tor x!") == ["x", "!"]
    assert train_tokenizer("bpe", ["to be or not"]).unknown("日本 x") == []


def test_characters_without_an_unknown_are_refused() -> None:
    made = train_tokenizer("char", ["abc"], specials=())
    assert made.encode("cab") == [2, 0, 1]
    with pytest.raises(GradusError, match=r"never saw the character 'é' and has no \[UNK\]"):
        made.encode("cabé")


def test_special_tokens_come_first_in_their_order() -> None:
    made = train_tokenizer("char", ["ba"], specials=("[EOS]", "[UNK]", "[PAD]"))
    assert made.tokens == ("[PAD]", "[UNK]", "[EOS]", "a", "b")
    assert made.specials == ("[PAD]", "[UNK]", "[EOS]")


def test_mistakes_are_told() -> None:
    made = train_tokenizer("word", ["to be or not to be"])
    with pytest.raises(GradusError, match=r"no special token \[MASK\] \(it has \[PAD\], \[UNK\]\)"):
        made.id("[MASK]")
    with pytest.raises(GradusError, match=r"no token 'nott'; did you mean 'not'\?"):
        made.id("nott")
    with pytest.raises(GradusError, match="there is no token 99"):
        made.decode([1, 99])
    with pytest.raises(GradusError, match=r"'\[MSK\]' is no special token; did you mean .\[MASK\]"):
        train_tokenizer("word", ["a"], specials=("[MSK]",))
    with pytest.raises(GradusError, match="no room for the 256 bytes"):
        train_tokenizer("bpe", ["a"], size=200)
    with pytest.raises(GradusError, match="no room beside 2 special tokens"):
        train_tokenizer("char", ["a"], size=2)
    with pytest.raises(GradusError, match=r"give it the special token \[UNK\]"):
        train_tokenizer("wordpiece", ["a"], specials=("[PAD]",))
    with pytest.raises(GradusError, match="nothing to learn"):
        train_tokenizer("word", ["   "])
    with pytest.raises(GradusError, match="there is no tokenizer 'bite'"):
        train_tokenizer("bite", ["a"])


def test_size_and_least_keep_the_most_frequent() -> None:
    text = "a a a b b c"
    assert train_tokenizer("word", [text], size=4).tokens[2:] == ("a", "b")
    assert train_tokenizer("word", [text], least=2).tokens[2:] == ("a", "b")
    assert train_tokenizer("char", ["aaabbc"], least=2).tokens[2:] == ("a", "b")


def _layout(kind: str) -> dict:
    return json.loads(train_tokenizer(kind, [SAMPLE], size=300).json)


def _gap(layout: dict) -> None:
    token, last = max(layout["model"]["vocab"].items(), key=lambda item: item[1])
    layout["model"]["vocab"][token] = last + 1


def _twice(layout: dict) -> None:
    layout["added_tokens"][0]["id"] = 5


def _no_number(layout: dict) -> None:
    layout["model"]["vocab"]["a"] = "x"


def _list(layout: dict) -> None:
    layout["model"]["vocab"] = [["a", 0.5]]


def _odd_merge(layout: dict) -> None:
    layout["model"]["merges"].insert(0, ["nothing", "such"])


def _unigram(layout: dict) -> None:
    layout["model"]["type"] = "Unigram"


@pytest.mark.parametrize(
    "damage, said",
    [
        (_gap, "its ids are not 0 to 299"),
        (_twice, r"\[PAD\] has two ids"),
        (_no_number, "damaged"),
        (_list, "no vocabulary can be read"),
        (_odd_merge, "damaged"),
        (_unigram, "of type Unigram are not known here"),
    ],
)
def test_damage_is_told(tmp_path: Path, damage: object, said: str) -> None:
    layout = _layout("bpe")
    damage(layout)  # type: ignore[operator]
    (tmp_path / "tokenizer.json").write_text(json.dumps(layout))
    with pytest.raises(GradusError, match=said):
        Tokenizer.load(tmp_path)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match="there is no"):
        Tokenizer.load(tmp_path)
    for text in ("", "[]", "{", "null", '"x"', "\ufeff{}"):
        (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
        with pytest.raises(GradusError, match="damaged"):
            Tokenizer.load(tmp_path)


def test_the_fingerprint_hangs_on_vocabulary_and_settings() -> None:
    made = train_tokenizer("char", ["abc"])
    assert made == train_tokenizer("char", ["cba"])
    others = [
        train_tokenizer("char", ["abcd"]),
        train_tokenizer("char", ["abc"], lowercase=True),
        train_tokenizer("char", ["abc"], specials=("[UNK]",)),
        train_tokenizer("word", ["a b c"]),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_a_megabyte_of_characters_is_quick() -> None:
    text = SAMPLE * (1_000_000 // len(SAMPLE))
    made = train_tokenizer("char", [SAMPLE])
    took = []
    for _ in range(5):
        start = time.perf_counter()
        made.encode_array(text)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1
