"""`load_labelled`: a name, a file or a folder in; train, val and test texts with their classes out, without leaks.

    reviews.csv, reviews.tsv, reviews.jsonl      a column of texts and a column of classes
    reviews/positive/1.txt, …/negative/7.txt     a folder for each class, a text in each file
    reviews/positive.txt, reviews/negative.txt   a file for each class, a text in each line
    reviews/train/…, reviews/val/…, reviews/test/…    either of these, divided already

Equal texts stay on one side of a division, whatever blanks they have; every class is divided in proportion.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus import canon
from gradus.data.download import digest
from gradus.data.folder import SPLITS, fingerprint_files
from gradus.data.labelled_text_sets import NamedTexts
from gradus.data.named import named, path_of
from gradus.data.splits import partition
from gradus.data.text_files import read_lines, read_records, read_text, text_files
from gradus.errors import GradusError, nearest

__all__ = ["TextSet", "TextSplits", "load_labelled", "texts_of"]

Rows = Int64[Tensor, "_"]
TEXT_NAMES = ("text", "sentence", "review", "question", "content", "document", "comment", "message", "body")
LABEL_NAMES = ("label", "class", "target", "category", "sentiment", "topic")
MANY = 50  # classes; more, and most of them of one text, are no classes


@dataclass(frozen=True)
class TextSet:
    """Texts with their classes.

    Attributes:
        texts: what is classified.
        labels: class of each.
        pairs: the second text of each row, where rows are pairs.
    """

    texts: Sequence[str]
    labels: Int64[Tensor, " count"]
    pairs: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Rows) -> "TextSet":
        """Return some of the texts, in the order asked for."""
        at = rows.tolist()
        pairs = None if self.pairs is None else [self.pairs[i] for i in at]
        return TextSet([self.texts[i] for i in at], self.labels[rows], pairs)

    @property
    def inputs(self) -> Sequence[str] | Sequence[tuple[str, str]]:
        """What a product takes: texts, or pairs of them."""
        return self.texts if self.pairs is None else list(zip(self.texts, self.pairs, strict=True))


@dataclass(frozen=True)
class TextSplits:
    """Labelled texts, divided.

    Attributes:
        train: to learn from.
        val: to choose by.
        test: to measure with.
        classes: names, in the order of the labels.
        name: of the data.
        fingerprint: of its contents and what of it is used.
        notes: what was left out, each one phrase.
        columns: names of the columns of texts, and of second texts, where the data has columns.
    """

    train: TextSet
    val: TextSet
    test: TextSet
    classes: tuple[str, ...]
    name: str
    fingerprint: str
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    """Labelled texts as they were found, before they are divided."""

    named: NamedTexts
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


def load_labelled(
    data: str,
    *,
    text: str | None = None,
    target: str | None = None,
    data_dir: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
    pair: str | None = None,
) -> TextSplits:
    """Return the splits of a registered set, a file with columns, or a folder of texts by class.

    Splits that the data fixes stay as they are; those it lacks are taken out of train by seed.

    Args:
        data: a registered name, or a path; a name wins, `./name` is always a path.
        text: the column of texts; `text`, `sentence` and the like when left out, or else that of the longest values.
        target: the column of classes; `label`, `class` and the like when left out.
        data_dir: where to look first for the files of a registered set.
        val_fraction: share of the texts for val, where the data does not fix it.
        test_fraction: the same for test.
        seed: of the division.
        folds: for cross-validation: of all texts outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most texts of each split; None for all.
        pair: the column of second texts, for classes of pairs.

    Raises:
        GradusError: if there is no such data or column, or it cannot be used, naming what is wrong and what to do.
    """
    found = _opened(data, text, target, pair, data_dir)
    named = found.named
    labels = torch.tensor(named.labels, dtype=torch.int64)
    contents = _contents(named)
    fixed = {part: torch.tensor(rows, dtype=torch.int64) for part, rows in named.parts.items()}
    parts = partition(
        labels, lambda rows: [contents[i] for i in rows.tolist()], fixed, {"val": val_fraction, "test": test_fraction},
        seed=seed, folds=folds, fold=fold, limit=limit, classes=named.classes, noun="texts",
    )  # fmt: skip
    whole = TextSet(named.texts, labels, named.pairs)
    train, val, test = (whole.take(parts[part]) for part in ("train", "val", "test"))
    return TextSplits(train, val, test, named.classes, data, named.fingerprint, found.notes, found.columns)


def texts_of(path: Path, columns: Sequence[str] = ()) -> tuple[list[str], list[str], list[str] | None]:
    """Return names, texts and second texts of what a user wants classified.

    Args:
        path: a file with a text in each line; a file with columns; or a folder, each file of which is one text.
        columns: of texts, and of second texts; found as `load_labelled` does when left out.

    Raises:
        GradusError: if it cannot be read, or lacks a column.
    """
    if path.is_dir():
        files = text_files(path)
        return [str(file.relative_to(path)) for file in files], [read_text(file).strip() for file in files], None
    if not _has_columns(path):
        lines = [(i, line.strip()) for i, line in enumerate(read_lines(path), 1) if line.strip()]
        return [f"line {i}" for i, _ in lines], [line for _, line in lines], None
    records = _records(path)
    names = [*columns] or [_text_column(records, None, path.name)]
    for name in names:
        _require_column(records, name, "--text-column", path.name)
    texts, *pairs = [[record.get(name, "") for record in records] for name in names]
    return [f"row {i + 1}" for i in range(len(records))], texts, pairs[0] if pairs else None


def _opened(data: str, text: str | None, target: str | None, pair: str | None, data_dir: str | Path | None) -> _Found:
    """Return a registered set, or the texts at a path."""
    found = named(data, "text-set")
    if found is not None:
        for flag, value in (("--text-column", text), ("--target", target), ("--pair-column", pair)):
            if value is not None:
                raise GradusError(f"{flag}: the data {data!r} has no columns; leave it out")
        return _Found(canon.load(found)(data_dir=data_dir))
    path = path_of(data, "text set", canon.names("text-set"))
    if path.is_dir():
        return _folder(path)
    if not _has_columns(path):
        read_text(path)  # says better what is wrong with a file that is no text
        raise GradusError(
            f"{path} has no columns: give a CSV, TSV or JSONL file with texts and classes, or a folder with a text "
            "file for each class"
        )
    return _table(path, text, target, pair)


def _has_columns(path: Path) -> bool:
    return Path(path.name.lower().removesuffix(".gz")).suffix in (".csv", ".tsv", ".jsonl", ".ndjson")


def _records(path: Path) -> list[dict[str, str]]:
    records = read_records(path)
    if not records:
        raise GradusError(f"{path} has no rows: add some")
    return records


def _table(path: Path, text: str | None, target: str | None, pair: str | None) -> _Found:
    """Return the labelled texts of a file with columns."""
    records = _records(path)
    known = _columns(records)
    if target is None:
        target = next((name for like in LABEL_NAMES for name in known if name.lower() == like), None)
        if target is None:
            raise GradusError(f"name the column of classes with --target; {path.name} has {', '.join(known[:20])}")
    _require_column(records, target, "--target", path.name)
    text = text if text is not None else _text_column(records, target, path.name)
    used = [text] if pair is None else [text, pair]
    for flag, name in zip(("--text-column", "--pair-column"), used, strict=False):
        _require_column(records, name, flag, path.name)
    if len({*used, target}) <= len(used):
        raise GradusError(f"{path.name}: the texts, the pairs and the classes must be different columns")
    rows = [tuple(record.get(name, "").strip() for name in (*used, target)) for record in records]
    for place, name in enumerate((*used, target)):
        if not any(row[place] for row in rows):
            raise GradusError(f"column {name!r} of {path.name} is empty: name another")
    whole = [row for row in rows if all(row)]
    if not whole:
        raise GradusError(f"{path.name} has no row with both a text and a class: fill them in")
    classes = _classes([row[-1] for row in whole], target, path.name)
    mark = hashlib.sha256(f"{digest(path)}/{used}/{target}".encode()).hexdigest()
    named = NamedTexts(
        [row[0] for row in whole], [classes.index(row[-1]) for row in whole], classes, {"train": range(len(whole))},
        mark, None if pair is None else [row[1] for row in whole],
    )  # fmt: skip
    gone = len(rows) - len(whole)
    notes = (f"{gone:,} rows without a text or a class left out",) if gone else ()
    return _Found(named, notes, tuple(used))


def _columns(records: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _require_column(records: Sequence[Mapping[str, str]], name: str, flag: str, file: str) -> None:
    known = _columns(records)
    if name not in known:
        raise GradusError(f"{flag}: {file} has no column {name!r}{nearest(name, known)}")


def _text_column(records: Sequence[Mapping[str, str]], target: str | None, file: str) -> str:
    """Return the column that is called like one of texts, or else the one with the longest values."""
    known = [name for name in _columns(records) if name != target]
    if not known:
        raise GradusError(f"{file} has no column of texts beside {target!r}: add one")
    called = [name for like in TEXT_NAMES for name in known if name.lower() == like]
    return called[0] if called else max(known, key=lambda name: sum(len(record.get(name, "")) for record in records))


def _classes(labels: Sequence[str], target: str, file: str) -> tuple[str, ...]:
    """Return the different labels, numbers by their size and words by the alphabet."""
    counts = Counter(labels)
    if len(counts) < 2:
        raise GradusError(
            f"column {target!r} of {file} has one class only ({labels[0]!r}): a classifier needs at least two"
        )
    if len(counts) > MANY and 2 * len(counts) > len(labels):
        raise GradusError(
            f"column {target!r} of {file} has {len(counts):,} different values in {len(labels):,} rows, which are no "
            "classes: name another with --target"
        )
    numbers = all(label.lstrip("+-").isdecimal() for label in counts)
    return tuple(sorted(counts, key=lambda label: (int(label), label) if numbers else (0, label)))


def _folder(root: Path) -> _Found:
    """Return the texts of a folder by class, and the splits that it fixes."""
    inner = {SPLITS[f.name.lower()]: f for f in _folders(root) if f.name.lower() in SPLITS}
    places = {part: inner[part] for part in ("train", "val", "test") if part in inner} if "train" in inner else {}
    places = places or {"train": root}
    found = {part: _by_class(place) for part, place in places.items()}
    classes = tuple(sorted(found["train"]))
    if len(classes) < 2:
        one = f"one class only ({classes[0]!r})" if classes else "no classes"
        raise GradusError(
            f"{places['train']} has {one}: a classifier needs at least two, each a folder of text files or a text file "
            "with a text in each line"
        )
    texts: list[str] = []
    labels: list[int] = []
    parts: dict[str, range] = {}
    for part, by_class in found.items():
        begin = len(texts)
        for name, own in by_class.items():
            if name not in classes:
                raise GradusError(f"the class {name!r} of {part} is not in train: add it there or remove it")
            texts += own
            labels += [classes.index(name)] * len(own)
        parts[part] = range(begin, len(texts))
    files = sorted(path for place in places.values() for path in place.rglob("*") if path.is_file())
    return _Found(NamedTexts(texts, labels, classes, parts, fingerprint_files(root, files)))


def _by_class(place: Path) -> dict[str, list[str]]:
    """Return the texts of each class: files in folders, or lines of files."""
    folders = _folders(place)
    if folders:
        return {folder.name: [read_text(file).strip() for file in text_files(folder)] for folder in folders}
    files = sorted(f for f in place.iterdir() if f.is_file() and f.suffix == ".txt" and not f.name.startswith("."))
    return {file.stem: [line.strip() for line in read_lines(file) if line.strip()] for file in files}


def _folders(root: Path) -> list[Path]:
    return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith((".", "__")))


def _contents(named: NamedTexts) -> list[str]:
    """Return what decides whether rows are the same text: their words, whatever stands between them."""
    pairs = named.pairs or [""] * len(named.texts)
    return ["\0".join((" ".join(a.split()), " ".join(b.split()))) for a, b in zip(named.texts, pairs, strict=True)]
