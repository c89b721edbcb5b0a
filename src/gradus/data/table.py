"""Tables: rows of numbers, categories and dates with a target, and the schema by which raw rows are read again.

A `TableSchema` says what each column of a file is. It is inferred once, from the data a model is trained on, is kept
with the model as JSON, and turns any later file into the same numbers: a matrix of float64 with NaN where a value is
missing, and for a category its place in the schema's list, −1 where it is not in it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from gradus.data.table_columns import MISSING, Column, convert, infer, is_number, sort_labels
from gradus.data.table_reading import RawTable, read_csv
from gradus.errors import GradusError, nearest

__all__ = ["Table", "TableSchema", "TableSplits", "schema_of"]

Target = Int64[Tensor, " rows"] | Float64[Tensor, " rows"]
MANY = 50


@dataclass(frozen=True)
class TableSchema:
    """What the columns of a table are.

    Attributes:
        columns: all but the target, those that are left out too.
        target: name of the column to predict.
        classes: its values where they are classes; empty where it is a number.
        names: all columns in the order of the file, for files without a header.
        delimiter: between fields; empty where it is found out.
    """

    columns: tuple[Column, ...]
    target: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    delimiter: str = ""

    @property
    def used(self) -> tuple[Column, ...]:
        """The columns that are not left out."""
        return tuple(column for column in self.columns if not column.left_out)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of the matrix."""
        return tuple(name for column in self.used for name in column.features)

    @property
    def categories(self) -> tuple[tuple[str, ...], ...]:
        """The categories of each column of the matrix; none where it is a number."""
        return tuple(column.categories for column in self.used for _ in column.features)

    def values(self, raw: RawTable) -> Float64[Tensor, "rows features"]:
        """Return the matrix of a raw table.

        Raises:
            GradusError: naming row and column of a value that cannot be read.
        """
        parts = [convert(column, raw.column(column.name), raw.where) for column in self.used]
        return torch.from_numpy(np.concatenate(parts, axis=1))

    def targets(self, raw: RawTable) -> Target:
        """Return class indices, or numbers, of a raw table whose targets are all there.

        Raises:
            GradusError: naming the row of one that is not.
        """
        texts = raw.column(self.target)
        if not self.classes:
            numbers = convert(Column(self.target, "number"), texts, raw.where)[:, 0]
            return torch.from_numpy(numbers.copy())
        place = {text: i for i, text in enumerate(self.classes)}
        odd = next((i for i, text in enumerate(texts) if text not in place), None)
        if odd is not None:
            raise GradusError(
                f"{raw.where(odd)}, column {self.target!r}: there is no class "
                f"{texts[odd]!r}{nearest(texts[odd], self.classes)}"
            )
        return torch.tensor([place[text] for text in texts], dtype=torch.int64)

    def read(self, path: Path) -> RawTable:
        """Return a file's rows with the columns that are needed: by name, or by place where it has no header.

        Raises:
            GradusError: if a column is missing, naming it.
        """
        needed = [column.name for column in self.used]
        raw = read_csv(path, header=needed, delimiter=self.delimiter or None)
        if raw.header:
            missing = next((name for name in needed if name not in raw.names), None)
            if missing is not None:
                raise GradusError(f"{path} has no column {missing!r}{nearest(missing, raw.names)}")
            return raw
        inputs = tuple(name for name in self.names if name != self.target)
        for names in (self.names, inputs, tuple(needed)):
            if len(names) == len(raw.names):
                return RawTable(raw.name, names, raw.rows, raw.lines, header=False)
        raise GradusError(
            f"{path} has rows of {len(raw.names)} fields without a header; the model needs {len(inputs)}, in the order "
            f"of its training data, or a header with {', '.join(needed)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON literals."""
        columns = [column.to_json() for column in self.columns]
        facts = {"target": self.target, "classes": list(self.classes), "names": list(self.names)}
        return {"columns": columns, **facts, "delimiter": self.delimiter}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "TableSchema":
        """Return the schema that `to_json` wrote."""
        columns = tuple(Column.from_json(column) for column in facts["columns"])
        return cls(columns, facts["target"], tuple(facts["classes"]), tuple(facts["names"]), facts["delimiter"])

    def __str__(self) -> str:
        width = max(len(column.name) for column in self.columns)
        lines = [f"{column.name:<{width}}  {_described(column)}" for column in self.columns]
        kind = f"one of {len(self.classes)} classes" if self.classes else "number"
        return "\n".join([*lines, f"{self.target:<{width}}  {kind}, to be predicted"])


def _described(column: Column) -> str:
    if column.left_out:
        return f"left out: {column.left_out}"
    if column.kind == "category":
        shown = ", ".join(column.categories[:4]) + (", …" if len(column.categories) > 4 else "")
        return f"category, {len(column.categories)} values: {shown}"
    return f"date, as {column.form}" if column.kind == "date" else column.kind


@dataclass(frozen=True)
class Table:
    """Rows of a table as numbers.

    Attributes:
        schema: what its columns mean.
        values: NaN where a value is missing, the place of a category among the column's.
        target: class indices, or numbers.
        rows: where each row stands in the whole table.
    """

    schema: TableSchema
    values: Float64[Tensor, "rows features"]
    target: Target
    rows: Int64[Tensor, " rows"]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Int64[Tensor, " some"]) -> "Table":
        """Return some of the rows."""
        return Table(self.schema, self.values[indices], self.target[indices], self.rows[indices])


@dataclass(frozen=True)
class TableSplits:
    """A table divided into train, val and test.

    Attributes:
        table: all rows.
        parts: the rows of `train`, `val` and `test`.
        name: of the data.
        fingerprint: a hash of what it was read from.
        notes: what a user should know about it.
    """

    table: Table
    parts: Mapping[str, Int64[Tensor, "_"]]
    name: str
    fingerprint: str
    notes: tuple[str, ...] = ()

    @property
    def schema(self) -> TableSchema:
        """What the columns mean."""
        return self.table.schema

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where the target is a number."""
        return self.schema.classes

    @property
    def train(self) -> Table:
        """The rows to learn from."""
        return self.table.take(self.parts["train"])

    @property
    def val(self) -> Table:
        """The rows to choose by."""
        return self.table.take(self.parts["val"])

    @property
    def test(self) -> Table:
        """The rows to judge by."""
        return self.table.take(self.parts["test"])


def schema_of(
    raw: RawTable,
    target: str,
    *,
    classes: bool,
    categorical: Collection[str] = (),
    drop: Mapping[str, str],
    delimiter: str = "",
) -> tuple[TableSchema, list[str]]:
    """Return the schema of a raw table, judged by its values, and what a user should know about it.

    Args:
        raw: whose targets are all there.
        target: name of the column to predict.
        classes: whether its values are classes; else they are numbers.
        categorical: columns whose numbers or dates are categories.
        drop: columns to leave out, and why.
        delimiter: to read other files by; empty where it is found out.

    Raises:
        GradusError: if the target cannot be predicted so, or a value of a column must be a mistake.
    """
    columns: list[Column] = []
    notes: list[str] = []
    for name in raw.names:
        if name in drop:
            columns.append(Column(name, "category", left_out=drop[name]))
        elif name != target:
            texts = raw.column(name)
            column = infer(name, texts, raw.where, name in categorical)
            columns.append(column if name in categorical else _judged(column, texts, notes))
    labels = _classes(raw, target) if classes else _check_numbers(raw, target)
    schema = TableSchema(tuple(columns), target, labels, raw.names, delimiter)
    if not schema.used:
        raise GradusError(f"{raw.name} has no column to predict {target!r} from")
    gone = [f"{column.name} ({column.left_out})" for column in columns if column.left_out and column.name not in drop]
    return schema, [*([f"left out: {', '.join(gone)}"] if gone else []), *notes]


def _judged(column: Column, texts: Sequence[str], notes: list[str]) -> Column:
    """Return a column, left out where it names the rows; note what else is odd about it."""
    if column.left_out:
        return column
    if column.kind == "date" and column.form.startswith("mdy"):
        notes.append(f"the dates of {column.name} are read as month, day, year")
    if column.kind == "category" and len(column.categories) > MANY:
        present = sum(text.lower() not in MISSING for text in texts)
        if len(column.categories) > 0.9 * present:
            why = f"{len(column.categories):,} different values in {present:,} rows; --categorical keeps it"
            return Column(column.name, column.kind, (), left_out=why)
    if column.kind == "number" and len(texts) > MANY and _counts(texts):
        notes.append(f"{column.name} counts the rows: leave it out with --drop {column.name}")
    return column


def _counts(texts: Sequence[str]) -> bool:
    """Say whether texts are successive whole numbers."""
    start = texts[0]
    return start.isdecimal() and all(text == str(int(start) + i) for i, text in enumerate(texts))


def _classes(raw: RawTable, target: str) -> tuple[str, ...]:
    labels = set(raw.column(target))
    if len(labels) < 2:
        raise GradusError(f"column {target!r} has one value only, {min(labels)!r}: there is nothing to tell apart")
    broken = [label for label in labels if is_number(label) and not float(label).is_integer()]
    if len(labels) > MANY and (len(broken) > len(labels) / 2 or len(labels) > len(raw) / 2):
        raise GradusError(
            f"column {target!r} has {len(labels):,} different values in {len(raw):,} rows, which are no classes: "
            "use tabular/regress"
        )
    return sort_labels(labels)


def _check_numbers(raw: RawTable, target: str) -> tuple[str, ...]:
    """Require a column to hold numbers."""
    texts = raw.column(target)
    odd = next((i for i, text in enumerate(texts) if not is_number(text)), None)
    if odd is not None:
        raise GradusError(
            f"{raw.where(odd)}, column {target!r}: {texts[odd]!r} is not a number; correct it, or use tabular/classify"
        )
    if len({float(text) for text in texts}) < 2:
        raise GradusError(f"column {target!r} has one value only, {texts[0]!r}: there is nothing to predict")
    return ()
