"""`load_table`: a name or a CSV file in; train, val and test out, by rows, without leaks.

Rows that are equal in every column stay on one side of a split; where the target is a class, every class is divided in
proportion.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from gradus import canon
from gradus.data.download import digest
from gradus.data.named import named, path_of
from gradus.data.splits import partition
from gradus.data.table import Table, TableSplits, schema_of
from gradus.data.table_columns import MISSING
from gradus.data.table_reading import RawTable, read_csv
from gradus.data.table_sets import NamedTable
from gradus.errors import GradusError, nearest

__all__ = ["load_table"]

Rows = Int64[Tensor, "_"]


def load_table(
    data: str,
    *,
    target: str | None = None,
    task: Literal["classify", "regress"] = "classify",
    data_dir: str | Path | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    drop: Collection[str] = (),
    categorical: Collection[str] = (),
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
) -> TableSplits:
    """Return the splits of a registered table or of a CSV file.

    Args:
        data: a registered name or the path of a CSV file; a name wins, `./name` is always a file.
        target: the column to predict; a registered table knows its own.
        task: whether the target is a class or a number.
        data_dir: where to look first for the files of a registered table.
        header: whether the first row has the names; None finds out.
        delimiter: between fields; None finds out.
        drop: columns to leave out.
        categorical: columns whose numbers are categories.
        val_fraction: share of the rows for val.
        test_fraction: share for test, where the data has no test rows of its own.
        seed: of the splits.
        folds: for cross-validation: of all rows outside a fixed test set, one of this many parts becomes test.
        fold: which part.
        limit: the most rows of each split; None for all.

    Raises:
        GradusError: if there is no such data or column, or it cannot be used, naming row and column.
    """
    found = _opened(data, data_dir, header, delimiter)
    target = _known(target or found.target, found.raw, "--target")
    left_out = _left_out(found, target, drop, categorical)
    raw, parts, notes = _with_target(found, target)
    schema, more = schema_of(
        raw, target, classes=task == "classify", drop=left_out, categorical=categorical, delimiter=delimiter or ""
    )
    table = Table(schema, schema.values(raw), schema.targets(raw), torch.arange(len(raw)))
    labels = table.target if schema.classes else torch.zeros(len(table), dtype=torch.int64)
    marks = torch.cat([table.values, table.target.double()[:, None]], 1).numpy()
    parts = partition(
        labels, lambda rows: [marks[i].tobytes() for i in rows.tolist()], parts,
        {"val": val_fraction, "test": test_fraction}, seed=seed, folds=folds, fold=fold, limit=limit,
        classes=schema.classes or (target,), noun="rows",
    )  # fmt: skip
    mark = hashlib.sha256(f"{found.fingerprint}/{target}/{sorted(left_out)}/{sorted(categorical)}".encode())
    return TableSplits(table, parts, data, mark.hexdigest(), (*notes, *more))


def _opened(data: str, data_dir: str | Path | None, header: bool | None, delimiter: str | None) -> NamedTable:
    """Return a registered table, or a CSV file as one that knows no target."""
    found = named(data, "table")
    if found is not None:
        return canon.load(found)(data_dir=data_dir)
    path = path_of(data, "table", canon.names("table"))
    raw = read_csv(path, header=header, delimiter=delimiter)
    if len(raw.names) < 2:
        raise GradusError(f"{path} has one column only: name what separates its fields with --delimiter")
    return NamedTable(raw, "", digest(path))


def _known(name: str, raw: RawTable, flag: str) -> str:
    """Return a column's name if the table has it."""
    if not name:
        shown = ", ".join(raw.names[:20]) + (", …" if len(raw.names) > 20 else "")
        raise GradusError(f"name the column to predict with --target; {raw.name} has {shown}")
    if name not in raw.names:
        raise GradusError(f"{flag}: {raw.name} has no column {name!r}{nearest(name, raw.names)}")
    return name


def _left_out(found: NamedTable, target: str, drop: Collection[str], categorical: Collection[str]) -> dict[str, str]:
    """Return the columns to leave out, and why; the target never is."""
    for flag, names in (("--drop", drop), ("--categorical", categorical)):
        for name in names:
            _known(name, found.raw, flag)
    if target in drop:
        raise GradusError(f"--drop {target}: that is the column to predict; leave it in, or name another --target")
    asked = {**dict.fromkeys(found.leave_out, "as the data says"), **dict.fromkeys(drop, "--drop")}
    return {name: why for name, why in asked.items() if name != target}


def _with_target(found: NamedTable, target: str) -> tuple[RawTable, dict[str, Rows], list[str]]:
    """Return the rows whose target is there, the splits that the data fixes, and a note on what is gone."""
    raw = found.raw
    keep = [i for i, text in enumerate(raw.column(target)) if text.lower() not in MISSING]
    if not keep:
        raise GradusError(f"column {target!r} of {raw.name} is empty: name another with --target")
    gone = len(raw) - len(keep)
    notes = [f"{gone:,} rows without {target} left out"] if gone else []
    bound = found.test_from if found.test_from is not None else len(raw)
    trained = sum(i < bound for i in keep)
    parts = {"train": torch.arange(trained)}
    if found.test_from is not None:
        parts["test"] = torch.arange(trained, len(keep))
    if not gone:
        return raw, parts, notes
    lines: Sequence[int] = [raw.lines[i] for i in keep] if raw.lines else ()
    return RawTable(raw.name, raw.names, [raw.rows[i] for i in keep], lines, raw.header), parts, notes
