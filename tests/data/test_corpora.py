"""Corpora: divided without leaks or losses, read in pieces that add up, from every form that people bring."""

import gzip
import json
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data import corpora
from gradus.data.corpora import Corpus, load_corpus
from gradus.data.documents import TextFile, in_pieces
from gradus.data.tokenizer import Tokenizer, train_tokenizer
from gradus.errors import GradusError

LINES = "".join(f"line {i} of a text – with some words\n\n  and  more\t{i * i}\n" for i in range(400))


def _all(corpus: Corpus) -> str:
    return "".join(corpus.documents())


def test_python_source_is_there_and_quick() -> None:
    start = time.perf_counter()
    splits = load_corpus("python-source")
    assert time.perf_counter() - start < 5, "a second is what it should take; tests check types as they go"
    assert len(splits.train) > 300
    assert splits.train.characters > 5_000_000
    assert 0.05 < splits.test.characters / splits.train.characters < 0.3
    texts = [set(part.documents()) for part in (splits.train, splits.val, splits.test)]
    assert not any(texts[a] & texts[b] for a, b in ((0, 1), (0, 2), (1, 2)))
    assert any("class Fraction(" in text for part in texts for text in part)
    assert not any("idlelib" in text[:200] for text in texts[0])
    assert load_corpus("python_source", seed=1).test.fingerprint != splits.test.fingerprint
    assert load_corpus("python-source").test.fingerprint == splits.test.fingerprint


def test_tinyshakespeare_is_divided_as_everybody_does(data_dir: Path) -> None:
    splits = load_corpus("tinyshakespeare", data_dir=data_dir, test_fraction=0.3)
    text = (data_dir / "tinyshakespeare" / "input.txt").read_text()
    assert _all(splits.test) == text[int(len(text) * 0.9) :]
    assert _all(splits.train) + _all(splits.val) == text[: int(len(text) * 0.9)]
    assert abs(splits.val.characters - 0.1 * len(text)) <= 1


def test_one_document_is_divided_into_contiguous_parts(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(LINES, encoding="utf-8")
    splits = load_corpus(str(path), val_fraction=0.2, test_fraction=0.1)
    assert _all(splits.train) + _all(splits.val) + _all(splits.test) == LINES
    assert [splits.val.characters, splits.test.characters] == [
        round(0.2 * len(LINES)),
        len(LINES) - int(0.9 * len(LINES)),
    ]
    whole = load_corpus(str(path), val_fraction=0, test_fraction=0)
    assert (_all(whole.train), len(whole.val), len(whole.test)) == (LINES, 0, 0)


def test_many_documents_are_divided_as_wholes(tmp_path: Path) -> None:
    documents = [f"document {i // 2 if i < 10 else i}\nwith text" for i in range(40)]
    for i, text in enumerate(documents):
        (tmp_path / f"{i:02}.txt").write_text(text)
    (tmp_path / "99.txt").touch()
    splits = load_corpus(str(tmp_path), seed=4)
    parts = [list(part.documents()) for part in (splits.train, splits.val, splits.test)]
    assert sorted(text for part in parts for text in part) == sorted(documents)
    assert not set(parts[0]) & set(parts[1]) | set(parts[0]) & set(parts[2]) | set(parts[1]) & set(parts[2])
    assert [len(part) for part in parts] == [32, 4, 4]
    other = load_corpus(str(tmp_path), seed=5)
    assert list(other.test.documents()) != parts[2]


def test_few_documents_are_each_divided(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name} " * 500)
    splits = load_corpus(str(tmp_path))
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [2, 2, 2]
    assert list(splits.test.documents()) == ["a " * 50, "b " * 50]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".jsonl.gz"])
def test_records_are_documents(tmp_path: Path, ending: str) -> None:
    texts = [f"text number {i}, or so" for i in range(30)]
    path = tmp_path / f"set{ending}"
    if "jsonl" in ending:
        body = "\n".join(json.dumps({"id": i, "body": text}) for i, text in enumerate(texts))
    else:
        body = "id,body\n" + "\n".join(f'{i},"{text}"' for i, text in enumerate(texts))
    path.write_bytes(gzip.compress(body.encode()) if ending.endswith(".gz") else body.encode())
    splits = load_corpus(str(path), field="body")
    held = [text for part in (splits.train, splits.val, splits.test) for text in part.documents()]
    assert sorted(held) == sorted(texts)
    with pytest.raises(GradusError, match=r"record 1 has no text in a field 'text'; there is: body, id"):
        load_corpus(str(path))


def test_limit_is_of_each_split(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(LINES, encoding="utf-8")
    full, cut = load_corpus(str(path)), load_corpus(str(path), limit=100)
    for part in ("train", "val", "test"):
        assert _all(getattr(cut, part)) == _all(getattr(full, part))[:100]
        assert getattr(cut, part).fingerprint != getattr(full, part).fingerprint
    some = load_corpus("python-source", limit=5000)
    assert some.train.characters == len(_all(some.train)) == 5000


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match="no corpus, file or folder 'tinyshakespear'; did you mean 'tinyshakespeare'"):
        load_corpus("tinyshakespear")
    (tmp_path / "few.txt").write_text("ab")
    with pytest.raises(GradusError, match="must sum to less than 1"):
        load_corpus(str(tmp_path / "few.txt"), val_fraction=0.6, test_fraction=0.4)
    with pytest.raises(GradusError, match="too short to be divided"):
        load_corpus(str(tmp_path / "few.txt"), val_fraction=0.49, test_fraction=0.5)
    with pytest.raises(GradusError, match="a limit of 0"):
        load_corpus("python-source", limit=0)
    (tmp_path / "few.txt").write_bytes(b"a\0b")
    with pytest.raises(GradusError, match="binary file"):
        load_corpus(str(tmp_path))
    (tmp_path / "few.txt").write_bytes(b"")
    with pytest.raises(GradusError, match=r"is empty|are empty"):
        load_corpus(str(tmp_path))
    (tmp_path / "set.jsonl").write_text('{"text": " "}\n')
    with pytest.raises(GradusError, match="has no text in its field 'text'"):
        load_corpus(str(tmp_path / "set.jsonl"))


@pytest.mark.parametrize("form", ["txt", "gz", "folder", "jsonl"])
def test_what_stays_on_disk_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    path = tmp_path / "data"
    if form == "folder":
        path.mkdir()
        for i in range(30):
            (path / f"{i:02}.txt").write_text(f"{i}\n{LINES}", encoding="utf-8")
    elif form == "jsonl":
        path = tmp_path / "data.jsonl"
        path.write_text("\n".join(json.dumps({"text": f"{i} – {LINES}" if i else 3.5}) for i in range(30)))
    else:
        body = ("\ufeff" + LINES).encode()
        path.write_bytes(gzip.compress(body) if form == "gz" else body)
    read = load_corpus(str(path))
    monkeypatch.setattr(corpora, "IN_MEMORY", 100)
    left = load_corpus(str(path))
    for part in ("train", "val", "test"):
        one, other = getattr(read, part), getattr(left, part)
        assert "Text(" not in repr(type(other.spans[0].document))
        assert (list(other.documents()), other.characters) == (list(one.documents()), one.characters)
        assert list(other.pieces(500)) == list(one.pieces(500))
    assert left.fingerprint == read.fingerprint
    assert left.train.fingerprint == read.train.fingerprint


@pytest.mark.parametrize(
    "data, said",
    [
        (b"text " * 9 + b"\0", "zero byte at byte 45"),
        (b"text \xff", "not UTF-8"),
        (b"caf\xc3", "not UTF-8"),
        (b" ", "empty"),
    ],
)
def test_what_is_no_text_is_refused_on_disk_too(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(GradusError, match=said):
        TextFile.of(tmp_path / "file")


@given(
    st.text(st.sampled_from("ab \n\t\r'é1!"), max_size=400),
    st.integers(1, 50),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_pieces_add_up_however_a_text_is_chunked(text: str, size: int, cuts: list[int]) -> None:
    pieces = list(in_pieces([text], size))
    assert "".join(pieces) == text
    assert all(len(piece) >= size for piece in pieces[:-1])
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert list(in_pieces((text[a:b] for a, b in pairwise(bounds)), size)) == pieces


HARD = [
    "a", "B", " ", "  ", "\n", "\n\n", "\t", "\r\n", "é", "'s", "12", "!", "...", "日本", "👍", "\u00a0", "\u2028",
    "\x1c", "_",
]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> list[Tokenizer]:
    return [train_tokenizer(kind, ["".join(HARD) * 3], size=290) for kind in ("char", "word", "bpe", "wordpiece")]


@settings(max_examples=200)
@given(parts=st.lists(st.sampled_from(HARD), max_size=60), size=st.integers(1, 20))
def test_no_token_reaches_across_two_pieces(made: list[Tokenizer], parts: list[str], size: int) -> None:
    text = "".join(parts)
    for tokenizer in made:
        ids = [i for row in tokenizer.encode_batch(list(in_pieces([text], size))) for i in row]
        assert ids == tokenizer.encode(text), tokenizer.kind
