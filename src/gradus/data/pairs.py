"""Pairs of texts, a source and its target: two aligned files, a table, or a registered set; train, val and test out.

Line i of one file belongs to line i of the other. Pairs of one source stay on one side of a split, so that no source
of val or test was seen in training.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus import canon
from gradus.data.download import digest
from gradus.data.named import named, path_of
from gradus.data.pair_sets import NamedPairs, Pairs
from gradus.data.splits import partition
from gradus.data.table_reading import RawTable, read_csv
from gradus.data.text_files import RECORDS, read_lines, read_records
from gradus.errors import GradusError, nearest

__all__ = ["PairSplits", "Pairs", "load_pairs"]

SOURCE, TARGET = "source", "target"
Rows = Int64[Tensor, "_"]


@dataclass(frozen=True)
class PairSplits:
    """A divided set of pairs.

    Attributes:
        train: what is learned from.
        val: what models are chosen by.
        test: what is touched once.
        name: as the user wrote it.
        fingerprint: a hash of what it was read from.
        tokenizer: the kind that suits it.
        notes: what was left out, each one sentence.
    """

    train: Pairs
    val: Pairs
    test: Pairs
    name: str
    fingerprint: str
    tokenizer: str = "bpe"
    notes: tuple[str, ...] = field(default=(), repr=False)

    @property
    def parts(self) -> dict[str, Pairs]:
        """The splits by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


def load_pairs(
    data: str,
    *,
    target: str | None = None,
    source_field: str | None = None,
    target_field: str | None = None,
    data_dir: str | Path | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
) -> PairSplits:
    """Return the splits of a registered set of pairs, of two aligned files, or of a table with two columns.

    Splits that the data fixes stay as they are; those it lacks are taken out of train, by seed. A pair with nothing on
    one side is left out, which `notes` says.

    Args:
        data: a registered name (`dates`, `multi30k`, …); a text file of sources; or a .tsv, .csv or .jsonl file with
            both. A name wins over a file; `./name` is always a file.
        target: the file of targets, line by line beside that of the sources.
        source_field: the column or field of the sources; `source`, or else the first, when left out.
        target_field: the same for the targets; `target`, or else the second.
        data_dir: where to look first for the files of a registered set.
        val_fraction: share of the pairs for val where the data does not fix it.
        test_fraction: the same for test.
        seed: of the splits.
        folds: for cross-validation: of all pairs outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most pairs of each split; None for all.

    Raises:
        GradusError: if there is no such data, or its two sides do not fit, naming the first bad line.
    """
    found = _opened(data, target, (source_field, target_field), data_dir)
    kept = {name: _whole(pairs) for name, pairs in found.parts.items()}
    gone = sum(map(len, found.parts.values())) - sum(map(len, kept.values()))
    notes = (f"{gone:,} pairs with an empty side left out",) if gone else ()
    if not len(kept["train"]):
        raise GradusError(f"{data} has no pair with text on both sides: name other files")
    sources = [source for pairs in kept.values() for source in pairs.sources]
    everything = Pairs(sources, [aim for pairs in kept.values() for aim in pairs.targets])
    fixed = dict(zip(kept, torch.arange(len(sources)).split([len(pairs) for pairs in kept.values()]), strict=True))
    parts = partition(
        torch.zeros(len(sources), dtype=torch.int64), lambda rows: [sources[i] for i in rows.tolist()], fixed,
        {"val": val_fraction, "test": test_fraction}, seed=seed, folds=folds, fold=fold, limit=limit, noun="sources",
    )  # fmt: skip
    train, val, test = (everything.take(parts[part].tolist()) for part in ("train", "val", "test"))
    return PairSplits(train, val, test, data, found.fingerprint, found.tokenizer, notes)


def _opened(
    data: str, target: str | None, fields: tuple[str | None, str | None], data_dir: str | Path | None
) -> NamedPairs:
    """Return a registered set, or the pairs of the user's files as training pairs."""
    found = named(data, "pair-set")
    if found is not None:
        if target is not None:
            raise GradusError(
                f"--target {target}: the set {data!r} has its own targets; leave it out, or write ./{data}"
            )
        return canon.load(found)(data_dir=data_dir)
    path = path_of(data, "set of pairs", canon.names("pair-set"))
    if target is not None:
        other = Path(target).expanduser()
        pairs = _aligned(path, other)
        return NamedPairs({"train": pairs}, _mark(digest(path), digest(other)), _suited(pairs))
    if path.name.lower().removesuffix(".gz").endswith(RECORDS):
        pairs = _recorded(path, *fields)
        return NamedPairs({"train": pairs}, _mark(digest(path), *map(str, fields)), _suited(pairs))
    raise GradusError(f"{path} holds one side only: name the file of the other with --target")


def _mark(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _suited(pairs: Pairs) -> str:
    """Return bpe, or char where most sources are one word."""
    words = sum(len(source.split()) > 1 for source in pairs.sources)
    return "bpe" if 2 * words > len(pairs) else "char"


def _aligned(path: Path, other: Path) -> Pairs:
    """Return the pairs of two files; raises a GradusError that names the first line without a partner."""
    sources, targets = read_lines(path), read_lines(other)
    if len(sources) != len(targets):
        longer, line = (path, len(targets) + 1) if len(sources) > len(targets) else (other, len(sources) + 1)
        raise GradusError(
            f"{path} has {len(sources):,} lines and {other} has {len(targets):,}: line {line:,} of {longer.name} has "
            "no partner; line i of both must belong together"
        )
    return Pairs(_stripped(sources), _stripped(targets))


def _recorded(path: Path, source: str | None, target: str | None) -> Pairs:
    """Return the pairs of a table or of JSON lines."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        records = read_records(path)
        fields = list(dict.fromkeys(key for record in records for key in record))
    else:
        raw = _rows_of(path, name.endswith(".tsv"), (source or SOURCE, target or TARGET))
        fields = list(raw.names)
        records = [dict(zip(raw.names, row, strict=True)) for row in raw.rows]
    if len(fields) < 2:
        raise GradusError(f"{path} has one field only: a pair needs a source and a target")
    first, second = _named(path, fields, source, target)
    return Pairs(
        _stripped([record.get(first, "") for record in records]),
        _stripped([record.get(second, "") for record in records]),
    )


def _rows_of(path: Path, tabs: bool, names: Sequence[str]) -> RawTable:
    """Return the rows of a CSV or TSV file; its first row is a header if one of the names stands there.

    Tabulators need no quoting, so that a quotation mark in a TSV file is text.
    """
    if not tabs:
        read_lines(path)  # says better what is wrong with a file that is no text
        return read_csv(path, header=names)
    rows = [line.split("\t") for line in read_lines(path)]
    header = bool(set(names) & set(rows[0]))
    body, titles = (rows[1:], rows[0]) if header else (rows, [f"column {i + 1}" for i in range(len(rows[0]))])
    for number, row in enumerate(body, 1 + header):
        if len(row) != len(titles):
            raise GradusError(f"{path}, line {number} has {len(row)} fields, not {len(titles)}: separate them by tabs")
    return RawTable(path.name, tuple(titles), body)


def _named(path: Path, fields: Sequence[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Return the fields of the sources and of the targets."""
    for flag, name in (("--source-field", source), ("--target-field", target)):
        if name is not None and name not in fields:
            raise GradusError(f"{flag}: {path.name} has no field {name!r}{nearest(name, fields)}")
    first = source or (SOURCE if SOURCE in fields and target != SOURCE else next(f for f in fields if f != target))
    second = target or (TARGET if TARGET in fields and first != TARGET else next(f for f in fields if f != first))
    if first == second:
        raise GradusError(f"--source-field and --target-field are both {first!r}: name two different fields")
    return first, second


def _stripped(texts: Sequence[str]) -> list[str]:
    return [text.strip() for text in texts]


def _whole(pairs: Pairs) -> Pairs:
    """Return the pairs with text on both sides."""
    return pairs.take([i for i in range(len(pairs)) if pairs.sources[i] and pairs.targets[i]])
