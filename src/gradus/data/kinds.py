"""What data is: a registered name says it, a folder or a file is looked into.

images    a folder of image files                 texts    a folder of texts by class; rows of text and class
table     rows of values                          pairs    two aligned files; a source and a target in each row
corpus    a text, or a folder of texts            tags     .conll and the like; tokens and tags in each line
series    registered ones only: in a file they look like a table
"""

import json
from collections.abc import Sequence
from pathlib import Path

from gradus import canon
from gradus.data.decode import EXTENSIONS
from gradus.data.documents import decoded
from gradus.data.folder import SPLITS
from gradus.data.labelled_text import LABEL_NAMES, TEXT_NAMES
from gradus.data.named import named, path_of
from gradus.data.tagged import TAGGED
from gradus.data.text_files import RECORDS, TEXTS, json_record, read_records, read_text, suffix_of
from gradus.errors import GradusError

__all__ = ["KINDS", "kind_of"]

# What data may be, and the registry kind of its sets; a name that two kinds know is of the first.
KINDS = {
    "images": "dataset", "table": "table", "corpus": "corpus", "texts": "text-set", "pairs": "pair-set",
    "tags": "tag-set", "series": "series",
}  # fmt: skip
WORDY = 5  # words that a field has on average, from which on it is a text
ROWS = 200  # that are looked at to see what a file holds


def kind_of(data: str, target: str | None = None) -> str:
    """Return what data is: a name is what it is registered as, a folder or a file is looked into.

    Args:
        data: a registered name, or a path; a name wins, `./name` is always a path.
        target: a column, or of pairs the file of the other side.

    Raises:
        GradusError: if there is no such data.
    """
    for kind, registered in KINDS.items():
        if named(data, registered):
            return kind
    path = path_of(data, "data set", [name for registered in KINDS.values() for name in canon.names(registered)])
    return _kind_of_folder(path) if path.is_dir() else _kind_of_file(path, target)


def _kind_of_folder(path: Path) -> str:
    """Return what a folder holds: the more frequent of images and texts, and whether texts lie by class."""
    endings = [suffix_of(file) for file in path.rglob("*") if file.is_file()]
    if any(ending in TAGGED for ending in endings):
        return "tags"
    texts = sum(ending in TEXTS for ending in endings)
    if not texts or sum(ending in EXTENSIONS for ending in endings) > texts:
        return "images"
    folders = [file.name.lower() for file in path.iterdir() if file.is_dir() and not file.name.startswith(".")]
    flat = any(suffix_of(file) in TEXTS for file in path.iterdir() if file.is_file())
    by_class = not flat and (len(folders) > 1 or any(name in SPLITS for name in folders))
    return "texts" if by_class else "corpus"


def _kind_of_file(path: Path, target: str | None) -> str:
    """Return what a file holds, by its ending, and by its fields where it has some."""
    ending = suffix_of(path)
    if ending in TAGGED:
        return "tags"
    if target is not None and Path(target).expanduser().is_file():
        return "pairs"
    if ending not in RECORDS:
        return "corpus" if _is_prose(_head(path)) else "table"
    if ending in (".jsonl", ".ndjson"):
        lines = [(i, line) for i, line in enumerate(_head(path), 1) if line.strip()]
        if lines and _fields(lines[0][1]) >= {"tokens", "tags"}:
            return "tags"
        records = [json_record(path, i, line) for i, line in lines]
    else:
        records = read_records(path)[:ROWS]
    return _kind_of_records(records, target) if records else "table"


def _head(path: Path) -> list[str]:
    """Return the first lines of a text file, of which no more is read; raises as `read_text` does."""
    text = ""
    try:
        for chunk in decoded(path):
            text += chunk
            if text.count("\n") > ROWS:
                break
    except GradusError:
        text = ""
    if not text.strip():
        read_text(path)  # says better what is wrong with it
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[:ROWS]


def _fields(line: str) -> set[str]:
    """Return the names in a line of JSON; none where it is no object, which is told where the file is read."""
    try:
        return set(json.loads(line))
    except (ValueError, TypeError):
        return set()


def _kind_of_records(records: list[dict[str, str]], target: str | None) -> str:
    """Return what some records are: pairs, labelled texts, texts alone, or rows of a table."""
    names = {name.lower() for name in records[0]}
    if {"source", "target"} <= names:
        return "pairs"
    wordy = any(
        sum(len(record.get(name, "").split()) for record in records) >= WORDY * len(records) for name in records[0]
    )
    called = names & set(TEXT_NAMES)
    if not wordy and not (called and len(names) <= 2):
        return "table"
    labelled = target is not None or names & set(LABEL_NAMES)
    if not labelled:
        return "corpus" if called else "table"
    # Many columns beside one of remarks are a table still.
    return "texts" if called or len(names) <= 3 else "table"


def _is_prose(lines: Sequence[str]) -> bool:
    """Return whether lines are text rather than rows of values, which have a mark equally often in each."""
    filled = [line for line in lines if line.strip()]
    marks = {max((line.count(mark), mark) for mark in ",;\t|") for line in filled}
    return len(filled) < 2 or len(marks) > 1 or max(marks)[0] == 0
