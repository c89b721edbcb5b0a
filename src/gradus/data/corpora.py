"""Corpora: text to learn a language from, as documents in train, val and test.

`load_corpus` takes a registered name, a text file, a file of records with a text field, or a folder of text files. One
document is divided into contiguous parts, its end being test; many are divided by whole documents, by seed, equal ones
staying together. What is larger than memory stays on disk and is read in pieces.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import torch

from gradus import canon
from gradus.data.documents import CHUNK, PIECE, Document, Record, Text, TextFile, in_pieces
from gradus.data.named import named, path_of
from gradus.data.splits import divide
from gradus.data.text_files import RECORDS, json_record, read_records, read_text, suffix_of, text_files
from gradus.errors import GradusError, nearest

__all__ = ["Corpus", "CorpusSplits", "NamedCorpus", "Span", "divided", "load_corpus"]

IN_MEMORY = 64 << 20  # bytes of text that are simply read
ZIPPED = 5  # how much longer than its gzipped form a text is taken to be


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus before it is divided.

    Attributes:
        documents: in their order.
        fingerprint: a hash of the content.
        test_share: share of the text's end that its users agree on as test; None where nobody did.
    """

    documents: Sequence[Document] = field(repr=False)
    fingerprint: str
    test_share: float | None = None


@dataclass(frozen=True)
class Span:
    """The characters `first` to `last` of a document."""

    document: Document
    first: int
    last: int

    def chunks(self) -> Iterator[str]:
        """Yield the text in parts that follow one another."""
        passed = 0
        for chunk in self.document.chunks():
            start, stop = max(self.first - passed, 0), self.last - passed
            passed += len(chunk)
            if start < len(chunk):
                yield chunk[start:stop]
            if passed >= self.last:
                return


@dataclass(frozen=True)
class Corpus:
    """Documents or parts of documents.

    Attributes:
        name: of the data and the split.
        spans: what of which document.
        fingerprint: a hash of the content and of what was taken.
    """

    name: str
    spans: tuple[Span, ...] = field(repr=False)
    fingerprint: str = field(repr=False)

    def __len__(self) -> int:
        return len(self.spans)

    @cached_property
    def characters(self) -> int:
        """Number of characters in all documents."""
        return sum(span.last - span.first for span in self.spans)

    def documents(self) -> Iterator[str]:
        """Yield the documents, reading those on disk again every time; one too large for memory comes in pieces."""
        for span in self.spans:
            yield from in_pieces(span.chunks(), CHUNK) if isinstance(span.document, TextFile) else span.chunks()

    def pieces(self, size: int = PIECE) -> Iterator[tuple[str, bool]]:
        """Yield pieces that no token reaches across, and whether a document ends with the piece."""
        for span in self.spans:
            held: str | None = None
            for piece in in_pieces(span.chunks(), size):
                if held is not None:
                    yield held, False
                held = piece
            yield held or "", True


@dataclass(frozen=True)
class CorpusSplits:
    """The three parts of a corpus.

    Attributes:
        train: to learn from.
        val: to choose by.
        test: to be looked at once.
        name: of the data.
        fingerprint: a hash of the content.
    """

    train: Corpus
    val: Corpus
    test: Corpus
    name: str
    fingerprint: str


def load_corpus(
    data: str,
    *,
    data_dir: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    limit: int | None = None,
    field: str = "text",
) -> CorpusSplits:
    """Return the splits of a registered corpus, a text file, a file of records or a folder of text files.

    Documents are divided as wholes where the fractions give val and test one at least, else each into contiguous parts:
    first train, then val, then test.

    Args:
        data: a registered name (`python-source`, `tinyshakespeare`), a text file, a CSV, TSV or JSONL file, or a
            folder; a name wins over a file, `./name` is always a file.
        data_dir: where to look first for the files of a registered corpus.
        val_fraction: share of the documents, or of the text, for val.
        test_fraction: the same for test, where the corpus has no test of its own.
        seed: of the division by documents.
        limit: the most characters of each split, from its beginning; None for all.
        field: of the records, that holds the text.

    Raises:
        GradusError: if there is no such data, or it cannot be used, naming what is wrong and what to do.
    """
    shares = {"val": val_fraction, "test": test_fraction}
    if any(not 0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise GradusError(
            f"--val-fraction {val_fraction:g} and --test-fraction {test_fraction:g} leave nothing to train on: "
            "they must sum to less than 1"
        )
    if limit is not None and limit < 1:
        raise GradusError(f"a limit of {limit} leaves no text: give a positive number of characters or leave it out")
    found = _opened(data, data_dir, field)
    parts = divided(found, shares, seed)
    corpora = {part: _corpus(data, part, spans, limit) for part, spans in parts.items()}
    if not corpora["train"].characters:
        raise GradusError(f"{data} is too short to be divided: bring more text, or lower the fractions")
    return CorpusSplits(corpora["train"], corpora["val"], corpora["test"], data, found.fingerprint)


def _opened(data: str, data_dir: str | Path | None, name: str) -> NamedCorpus:
    """Return a corpus by name or from the user's files."""
    found = named(data, "corpus")
    if found is not None:
        return canon.load(found)(data_dir=data_dir)
    path = path_of(data, "corpus", canon.names("corpus"))
    if path.is_dir():
        return _marked(_texts(text_files(path)))
    if suffix_of(path) not in RECORDS:
        return _marked(_texts([path]))
    return _marked(_records(path, name))


def _texts(paths: Sequence[Path]) -> list[Document]:
    """Return files as documents, in memory if there is not too much; an empty one among several is left out."""
    size = sum(path.stat().st_size * (ZIPPED if path.suffix == ".gz" else 1) for path in paths)
    several = len(paths) > 1
    filled = [path for path in paths if not several or path.stat().st_size]
    if not filled:
        raise GradusError(f"all files in {paths[0].parent} are empty: name a folder with text in it")
    return [Text(read_text(path)) if size <= IN_MEMORY else TextFile.of(path) for path in filled]


def _records(path: Path, name: str) -> list[Document]:
    """Return the texts of a file's records; those of a large file of JSON lines stay there."""
    if path.stat().st_size > IN_MEMORY and suffix_of(path) in (".jsonl", ".ndjson") and path.suffix != ".gz":
        return list(_lines_on_disk(path, name))
    found: list[Document] = []
    for row, record in enumerate(read_records(path), 1):
        if name not in record:
            raise GradusError(f"{path}, record {row} has no text in a field {name!r}{nearest(name, record)}")
        if record[name].strip():
            found.append(Text(record[name]))
    if not found:
        raise GradusError(f"{path} has no text in its field {name!r}: name another field")
    return found


def _lines_on_disk(path: Path, name: str) -> Iterator[Document]:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                record = json_record(path, number, line)
                if name not in record:
                    raise GradusError(f"{path}, line {number} has no text in a field {name!r}{nearest(name, record)}")
                text = Text(record[name])
                if text.text.strip():
                    yield Record(path, number, offset, name, text.characters, text.mark)
            offset += len(line)


def _marked(documents: Sequence[Document]) -> NamedCorpus:
    return NamedCorpus(documents, hashlib.sha256("".join(d.mark for d in documents).encode()).hexdigest())


def divided(found: NamedCorpus, shares: dict[str, float], seed: int) -> dict[str, list[Span]]:
    """Return what of which document is in train, val and test."""
    whole = [Span(document, 0, document.characters) for document in found.documents]
    marks = [document.mark for document in found.documents]
    fewest = max((1 / share for share in shares.values() if share > 0), default=0)
    if found.test_share is None and len(set(marks)) > fewest:
        rows = divide(torch.zeros(len(whole), dtype=torch.int64), marks, shares, seed, noun="documents")
        return {part: [whole[i] for i in rows[part].tolist()] for part in ("train", "val", "test")}
    test = shares["test"] if found.test_share is None else found.test_share
    parts: dict[str, list[Span]] = {"train": [], "val": [], "test": []}
    for span in whole:
        second = int(span.last * (1 - test))
        first = max(0, second - round(span.last * shares["val"]))
        for part, bounds in zip(parts, ((0, first), (first, second), (second, span.last)), strict=True):
            if bounds[1] > bounds[0]:
                parts[part].append(Span(span.document, *bounds))
    return parts


def _corpus(data: str, part: str, spans: Sequence[Span], limit: int | None) -> Corpus:
    kept = list(spans)
    if limit is not None:
        ends = list(accumulate(span.last - span.first for span in spans))
        kept = [
            Span(span.document, span.first, span.last - max(0, end - limit))
            for span, end in zip(spans, ends, strict=True)
            if end - (span.last - span.first) < limit
        ]
    marks = "/".join(f"{span.document.mark}:{span.first}:{span.last}" for span in kept)
    return Corpus(f"{data}, {part}", tuple(kept), hashlib.sha256(marks.encode()).hexdigest())
