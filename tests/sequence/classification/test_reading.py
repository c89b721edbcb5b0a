"""How texts become rows of ids: frames, pairs, cuts, places in the text, and vectors from a file."""

from pathlib import Path

import pytest

from gradus.data.tokenizer import SPECIALS, train_tokenizer
from gradus.errors import GradusError
from gradus.sequence.classification.reading import Reader
from gradus.sequence.classification.terms import fit_terms

TEXTS = ["one two three four five", "six seven"]
FRAME = ("[CLS]", "[SEP]")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("word", TEXTS, specials=SPECIALS)


def words(reader: Reader, row) -> list[str]:
    return [reader.tokenizer.tokens[i] for i in row.tolist()]


def test_texts_are_read_with_and_without_a_frame(tokenizer) -> None:
    plain, framed = Reader(tokenizer), Reader(tokenizer, frame=FRAME)
    assert words(plain, plain.read(TEXTS).columns["tokens"].row(1)) == ["six", "seven"]
    assert words(framed, framed.read(TEXTS).columns["tokens"].row(1)) == ["[CLS]", "six", "seven", "[SEP]"]
    assert "segments" not in framed.read(TEXTS).columns


def test_long_texts_are_cut_and_counted(tokenizer) -> None:
    for reader in (Reader(tokenizer, 3), Reader(tokenizer, 5, FRAME)):
        read = reader.read(TEXTS)
        assert read.cut == 1
        assert words(reader, read.columns["tokens"].row(0)).count("four") == 0
        assert read.columns["tokens"].lengths.max() <= reader.longest
    assert Reader(tokenizer, 5).read(TEXTS).cut == 0


def test_pairs_are_told_apart_and_the_longer_is_cut_first(tokenizer) -> None:
    framed = Reader(tokenizer, 8, FRAME)
    read = framed.read(TEXTS[:1], TEXTS[1:])
    assert words(framed, read.columns["tokens"].row(0)) == [
        "[CLS]", "one", "two", "three", "[SEP]", "six", "seven", "[SEP]",
    ]  # fmt: skip
    assert read.columns["segments"].row(0).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert read.cut == 1
    plain = Reader(tokenizer, 5)
    read = plain.read([TEXTS[0], TEXTS[1]], [TEXTS[0], TEXTS[0]])
    assert words(plain, read.columns["tokens"].row(0)) == ["one", "two", "[SEP]", "one", "two"]
    assert words(plain, read.columns["tokens"].row(1)) == ["six", "seven", "[SEP]", "one", "two"]


def test_a_text_of_nothing_is_one_unknown(tokenizer) -> None:
    plain = Reader(tokenizer)
    assert words(plain, plain.read([" "]).columns["tokens"].row(0)) == ["[UNK]"]
    assert plain.places(" ") == [(0, 0)]
    terms = Reader(fit_terms(TEXTS))
    assert terms.read([" "]).columns["tokens"].lengths.tolist() == [0]


def test_places_match_ids(tokenizer) -> None:
    text = "six, two"
    for reader in (Reader(tokenizer), Reader(tokenizer, 4, FRAME), Reader(fit_terms(TEXTS))):
        ids, places = reader.read([text]).columns["tokens"].row(0), reader.places(text)
        assert len(ids) == len(places)
        assert "six" in [text[slice(*place)] for place in places if place]
        assert all(0 <= place[0] <= place[1] <= len(text) for place in places if place)


@pytest.mark.parametrize("longest", [None, 9, 6])
def test_places_of_a_pair_are_in_both_texts(tokenizer, longest: int | None) -> None:
    first, second = "one two three four", "six seven six two"
    both = f"{first}\n{second}"
    for reader in (Reader(tokenizer, longest), Reader(tokenizer, longest, FRAME), Reader(fit_terms(TEXTS), longest)):
        read = reader.read([first], [second]).columns
        places = reader.places(first, second)
        assert len(places) == len(read["tokens"].row(0))
        for place, segment in zip(places, read["segments"].row(0).tolist(), strict=True):
            assert place is None or (place[0] > len(first)) == bool(segment)
        if reader.tokenizer is tokenizer:
            told = [both[slice(*place)] if place else None for place in places]
            known = words(reader, read["tokens"].row(0))
            assert [word for word in told if word] == [word for word in known if not word.startswith("[")]


def test_a_vocabulary_of_another_run_is_refused(tokenizer, tmp_path: Path) -> None:
    Reader(tokenizer).save(tmp_path)
    again = Reader.load(tmp_path, "word", tokenizer.fingerprint, None, ())
    assert again.read(TEXTS).columns["tokens"].values.equal(Reader(tokenizer).read(TEXTS).columns["tokens"].values)
    train_tokenizer("word", ["other words"]).save(tmp_path)
    with pytest.raises(GradusError, match=r"tokenizer.json does not match the weights"):
        Reader.load(tmp_path, "word", tokenizer.fingerprint, None, ())
