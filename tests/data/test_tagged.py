"""Tagged sentences: read, refused with their line, and divided without leaks."""

from collections import Counter
from pathlib import Path

import pytest

from gradus.data.tagged import load_tagged, read_tagged, read_tokens
from gradus.data.tagged_sets import python_roles, roles_of
from gradus.errors import GradusError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n"


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", CONLL)
    assert read_tagged(path) == [(["EU", "rejects"], ["B-ORG", "O"]), (["Peter"], ["B-PER"])]
    path = write(tmp_path / "b.conll", "# sent_id = 1\r\nNew York\tB-LOC\r\n#\tO\r\n\r\n# text = a b c\r\na\tO\r\n")
    assert read_tagged(path) == [(["New York", "#"], ["B-LOC", "O"]), (["a"], ["O"])]
    path = write(tmp_path / "c.txt", "# O\nx O\n")
    assert read_tagged(path) == [(["#", "x"], ["O", "O"])]


def test_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"tokens": ["a", "b"], "tags": ["X", "Y"]}\n\n{"tokens": [], "tags": []}\n')
    assert read_tagged(path) == [(["a", "b"], ["X", "Y"])]


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.conll", "a X\nb\n", r"line 2: 'b' is not a token and its tag"),
        ("a.conll", "a N X\nb Y\n", r"line 2: 'b Y' is not 3 columns"),
        ("a.conll", "a\n", r"line 1: 'a' is not a token and its tag"),
        ("a.conll", "a\t\n", r"line 1"),
        ("a.conll", "-DOCSTART- O\n", "has no sentences"),
        ("a.conll", "\n", "is empty"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X", "Y"]}', "line 1 has 1 tokens and 2 tags"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["X"]}\n{"tokens": "a"}', "line 2 is not"),
        ("a.jsonl", "[1]", "line 1 is not"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, text: str, match: str) -> None:
    with pytest.raises(GradusError, match=match):
        read_tagged(write(tmp_path / name, text))


def test_tokens_to_be_tagged(tmp_path: Path) -> None:
    assert read_tokens(write(tmp_path / "a.txt", "Don't go.\n\nWell\n")) == [["Don", "'", "t", "go", "."], ["Well"]]
    assert read_tokens(write(tmp_path / "a.conll", "a\nb\n\nc\n")) == [["a", "b"], ["c"]]
    assert read_tokens(write(tmp_path / "a.jsonl", '{"tokens": ["a b"]}\n')) == [["a b"]]


def test_equal_sentences_stay_on_one_side(tmp_path: Path) -> None:
    sentences = [f"w{i % 30} X\nv Y\n" for i in range(90)]
    path = write(tmp_path / "a.conll", "\n".join(sentences))
    splits = load_tagged(str(path), val_fraction=0.2, test_fraction=0.2, seed=3)
    parts = [set(map(tuple, part.tokens)) for part in (splits.train, splits.val, splits.test)]
    assert [len(splits.train), len(splits.val), len(splits.test)] == [54, 18, 18]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert load_tagged(str(path), seed=3).fingerprint != load_tagged(str(path), seed=4).fingerprint
    assert len(load_tagged(str(path), limit=5).train) == 5
    folds = [load_tagged(str(path), folds=3, fold=i).test.tokens for i in range(3)]
    assert sum(map(len, folds)) == 90


def test_a_folder_is_divided_already(tmp_path: Path) -> None:
    write(tmp_path / "train.conll", "a B-X\nb O\n\nc O\n\nd B-X\n")
    write(tmp_path / "dev.conll", "c O\n")
    write(tmp_path / "test.conll", "e B-X\n")
    splits = load_tagged(str(tmp_path))
    assert (len(splits.train), splits.val.tokens, splits.test.tokens) == (3, [["c"]], [["e"]])
    assert splits.spans
    write(tmp_path / "test.conll", "e B-Y\n")
    with pytest.raises(GradusError, match="'B-Y' of test is not in train; did you mean 'B-X'"):
        load_tagged(str(tmp_path))


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(GradusError, match="did you mean 'python-roles'"):
        load_tagged("python-role")
    with pytest.raises(GradusError, match="one tag only"):
        load_tagged(str(write(tmp_path / "a.conll", "\n".join(f"w{i} X\n" for i in range(20)))))
    with pytest.raises(GradusError, match=r"too few sentences \(1 different\) to divide into 3 parts"):
        load_tagged(str(write(tmp_path / "b.conll", "a X\nb Y\n")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(GradusError, match="no file called train"):
        load_tagged(str(tmp_path / "empty"))


def test_roles_are_what_the_syntax_tree_says() -> None:
    source = (
        'import os\nclass Box: pass\n\ndef f(a, *, b=1):\n    """Say."""\n    x = os.path.join(a, key=b)\n'
        "    é = Box(x).lid + g('two words', int)\n    return é\n"
    )
    ((tokens, tags),) = roles_of(source)
    found = [f"{word}:{tag}" for word, tag in zip(tokens, tags, strict=True) if tag not in ("operator", "keyword")]
    assert found == [
        "f:function", "a:parameter", "b:parameter", "1:number", "x:variable", "os:module", "path:attribute",
        "join:method", "a:parameter", "key:argument", "b:parameter", "é:variable", "Box:class", "x:variable",
        "lid:attribute", "g:function", '"…":string', "int:class", "é:variable",
    ]  # fmt: skip


def test_the_embedded_set_needs_context() -> None:
    found = python_roles()
    assert len(found.sentences) > 500
    roles: dict[str, Counter[str]] = {}
    for tokens, tags in found.sentences:
        for word, tag in zip(tokens, tags, strict=True):
            roles.setdefault(word, Counter())[tag] += 1
    several = [word for word, counts in roles.items() if len(counts) > 1]
    assert len(several) > 200
