"""How texts become rows of ids: frames, pairs, cuts, places in the text, and vectors from a file."""

from pathlib import Path

import pytest
import torch

from gradus.data.tokenizer import SPECIALS, train_tokenizer
from gradus.errors import GradusError
from gradus.sequence.classification.reading import Reader
from gradus.sequence.classification.terms import fit_terms
from gradus.sequence.classification.vectors import read_vectors

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
    assert plain.spans(" ") == [(0, 0)]
    terms = Reader(fit_terms(TEXTS))
    assert terms.read([" "]).columns["tokens"].lengths.tolist() == [0]


def test_places_match_ids(tokenizer) -> None:
    text = "six, two"
    for reader in (Reader(tokenizer), Reader(tokenizer, 4, FRAME), Reader(fit_terms(TEXTS))):
        ids, spans = reader.read([text]).columns["tokens"].row(0), reader.spans(text)
        assert len(ids) == len(spans)
        assert "six" in [text[a:b] for a, b in spans]
        assert all(0 <= a <= b <= len(text) for a, b in spans)


def test_a_vocabulary_of_another_run_is_refused(tokenizer, tmp_path: Path) -> None:
    Reader(tokenizer).save(tmp_path)
    again = Reader.load(tmp_path, "word", tokenizer.fingerprint, None, ())
    assert again.read(TEXTS).columns["tokens"].values.equal(Reader(tokenizer).read(TEXTS).columns["tokens"].values)
    train_tokenizer("word", ["other words"]).save(tmp_path)
    with pytest.raises(GradusError, match=r"tokenizer.json does not match the weights"):
        Reader.load(tmp_path, "word", tokenizer.fingerprint, None, ())


def test_vectors_are_read_with_and_without_a_head(tmp_path: Path) -> None:
    glove, word2vec = tmp_path / "glove.txt", tmp_path / "w2v.txt"
    glove.write_text("one 1 2 3\ntwo 4 5 6\nthree 7 8 9\n")
    word2vec.write_text("3 3\none 1 2 3 \ntwo 4 5 6 \nthree 7 8 9 \n")
    for path in (glove, word2vec):
        found = read_vectors(path, ["one", "Two", "six"])
        assert set(found) == {"one", "Two"}
        assert torch.equal(found["Two"], torch.tensor([4.0, 5.0, 6.0]))


@pytest.mark.parametrize("body, said", [
    (b"one 1 2 3\ntwo 4 5\n", "line 2 has 2 fields behind the word, not 3"),
    (b"one 1 2 x\n", "cannot be read"),
    (b"\xff\xfe\x00", "is no text"),
    (b"", "is empty"),
])  # fmt: skip
def test_bad_vectors_are_refused(tmp_path: Path, body: bytes, said: str) -> None:
    (tmp_path / "v.txt").write_bytes(body)
    with pytest.raises(GradusError, match=said):
        read_vectors(tmp_path / "v.txt", ["one", "two"])
    with pytest.raises(GradusError, match="there is no file"):
        read_vectors(tmp_path / "none.txt", ["one"])
