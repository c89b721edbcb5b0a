"""Reading what people bring: it comes as it is, or one sentence says where it is wrong."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus.data.text_files import read_lines, read_records, read_text, text_files
from gradus.errors import GradusError

POEM = "Überall\r\nist «Text»\n\n日本 👍\n"


@pytest.mark.parametrize("coded", [POEM.encode(), POEM.encode("utf-8-sig"), gzip.compress(POEM.encode("utf-8-sig"))])
def test_text_comes_as_it_is(tmp_path: Path, coded: bytes) -> None:
    path = tmp_path / "poem.txt"
    path.write_bytes(coded)
    assert read_text(path) == POEM
    assert read_lines(path) == ["Überall", "ist «Text»", "", "日本 👍"]


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "is empty: name a file with text"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"some\ntext\n\0\n", r"binary file \(a zero byte at byte 10, line 3\)"),
        (b"caf\xe9\n", r"not UTF-8 text \(byte 3, line 1 is 0xe9\): save it as UTF-8"),
        (b"ok\n\xff\xfea", r"not UTF-8 text \(byte 3, line 2 is 0xff\)"),
        (gzip.compress(b"text" * 99)[:-9], "cannot be read .*: get it anew"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(data)
    with pytest.raises(GradusError, match=said):
        read_text(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match="there is no file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(GradusError, match="is a folder: name a file in it"):
        read_lines(tmp_path)


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1).map(str.strip)


@given(st.lists(st.fixed_dictionaries({"text": FIELD.filter(bool), "label": st.sampled_from("ab")}), min_size=1))
def test_json_lines_come_as_they_are(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, str]]) -> None:
    path = tmp_path_factory.mktemp("records") / "set.jsonl"
    path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8")
    assert read_records(path) == records


def test_json_values_become_text(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "a", "label": 1, "sure": true, "who": null, "also": [1]}\n\n{"text": "b", "label": 0.5}')
    assert read_records(path) == [{"text": "a", "label": "1", "sure": "true"}, {"text": "b", "label": "0.5"}]


@pytest.mark.parametrize(
    "line, said", [("{", "set.jsonl, line 2 is not JSON"), ("[1]", "set.jsonl, line 2 is no JSON object")]
)
def test_a_bad_line_of_json_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(GradusError, match=said):
        read_records(path)


def test_tables_of_text(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    long = "word " * 40_000
    path.write_text(f'text,label\n"Hello, world; one\nand two",a\n{long},b\n"say ""hi""",a\n')
    expected = ["Hello, world; one\nand two", long.strip(), 'say "hi"']
    assert [record["text"] for record in read_records(path)] == expected
    path.write_text("text\nhow are you\nfine and you and you\nfine\n")
    assert [record["text"] for record in read_records(path)] == ["how are you", "fine and you and you", "fine"]
    tsv = tmp_path / "set.tsv.gz"
    tsv.write_bytes(gzip.compress(b"text\tlabel\na, b, c\tx\n"))
    assert read_records(tsv) == [{"text": "a, b, c", "label": "x"}]


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    path.write_text("text,label\na,x\nb,y,z\n")
    with pytest.raises(GradusError, match=r"set.csv, row 2 \(line 3\) has 3 fields, but the header has 2"):
        read_records(path)


def test_text_files_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/c.PY", ".git/x.txt", "picture.png", "a/.hidden.txt", "d.txt.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    assert [str(path.relative_to(tmp_path)) for path in text_files(tmp_path)] == [
        "a/c.PY",
        "a/z.md",
        "b.txt",
        "d.txt.gz",
    ]
    with pytest.raises(GradusError, match="has no text files"):
        text_files(_empty(tmp_path))
    with pytest.raises(GradusError, match="there is no folder"):
        text_files(tmp_path / "none")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"
