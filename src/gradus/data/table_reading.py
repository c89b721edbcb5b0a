"""Reading CSV files: encoding, delimiter and header are found out; a row of another length is named.

A file may be gzipped, begin with a byte-order mark, quote its fields, and separate them by comma, semicolon, tabulator,
bar or blanks. The first row is a header if it is all text and either stands above numbers or repeats no value of its
columns.
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gradus.data.table_columns import MISSING, is_number
from gradus.errors import GradusError

__all__ = ["RawTable", "read_csv"]

DELIMITERS = (",", ";", "\t", "|", " ")
NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "bar": "|", "space": " "}


@dataclass(frozen=True)
class RawTable:
    """The text of a table.

    Attributes:
        name: of the file, for messages.
        names: of the columns.
        rows: stripped fields, as many in each row as there are names.
        lines: line of the file on which each row ends; empty where rows stand on no lines.
        header: whether the names were in the file.
    """

    name: str
    names: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int] = field(default=(), repr=False)
    header: bool = True

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """Return the texts of a column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    def where(self, row: int) -> str:
        """Return how a message names a row, counted from 0 here and from 1 there."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.name}, row {row + 1}{line}"


def read_csv(path: str | Path, *, header: bool | Sequence[str] | None = None, delimiter: str | None = None) -> RawTable:
    """Return the text of a CSV file.

    Args:
        path: of the file, gzipped or not.
        header: whether the first row has the names; names, one of which a header would have; None finds out.
        delimiter: between fields, as a character or by name (tab, comma, semicolon, bar, space); None finds out.

    Raises:
        GradusError: if the file cannot be read, is empty, has rows of different lengths or two columns of one name.
    """
    path = Path(path)
    text = _text(path)
    if delimiter is not None and len(NAMES.get(delimiter, delimiter)) != 1:
        raise GradusError(f"--delimiter takes one character or {', '.join(NAMES)}, got {delimiter!r}")
    mark = _delimiter(text) if delimiter is None else NAMES.get(delimiter, delimiter)
    rows, lines = _rows(text, mark, path.name)
    if not rows:
        raise GradusError(f"{path} is empty: a table needs rows")
    first = _has_header(rows) if header is None else header
    if not isinstance(first, bool):
        first = bool(set(first) & set(rows[0]))
    names = _named(rows[0] if first else [""] * len(rows[0]), path.name)
    body, places = (rows[1:], lines[1:]) if first else (rows, lines)
    if not body:
        raise GradusError(f"{path} has a header but no rows: add some, or say --header no if the first row is data")
    odd = next((i for i, row in enumerate(body) if len(row) != len(names)), None)
    table = RawTable(path.name, names, body, places, first)
    if odd is not None:
        whose = "the header has" if first else "the first row has"
        raise GradusError(
            f"{table.where(odd)} has {len(body[odd])} fields, but {whose} {len(names)}: "
            "correct it, quote fields that hold the delimiter, or name another with --delimiter"
        )
    return table


def _text(path: Path) -> str:
    """Return the decoded text of a file."""
    if path.is_dir():
        raise GradusError(f"{path} is a folder: name a CSV file in it")
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise GradusError(f"there is no file {path}: name a CSV file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise GradusError(f"{path} cannot be read ({error}): get it anew") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise GradusError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from None
    if "\0" in text[:4096]:
        raise GradusError(f"{path} is no text: name a CSV file")
    return text


def _rows(text: str, delimiter: str, name: str) -> tuple[list[list[str]], list[int]]:
    """Return the stripped fields of all rows that are not blank, with the line on which each ends."""
    reader = _reader(io.StringIO(text, newline=""), delimiter)
    rows, lines = [], []
    try:
        for row in reader:
            stripped = [cell.strip() for cell in row]
            if len(stripped) > 1 or (stripped and stripped[0]):
                rows.append(stripped)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise GradusError(f"{name}, line {reader.line_num}: {error}; correct the quoting there") from None
    return rows, lines


def _reader(lines: Iterable[str], delimiter: str) -> "csv._reader":  # type: ignore[name-defined]
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)


def _delimiter(text: str) -> str:
    """Return the delimiter that cuts the first lines most evenly, and of equals into most fields."""
    lines = list(islice(_lines(text), 50))
    found: dict[str, tuple[float, int]] = {}
    for mark in DELIMITERS:
        widths = []
        try:
            widths = [len(row) for row in _reader(lines, mark) if row]
        except csv.Error:
            continue
        if widths:
            ((width, times),) = Counter(widths).most_common(1)
            if width > 1:
                found[mark] = (round(times / len(widths), 1), width * (mark != " "))
    return max(found, key=found.__getitem__) if found else ","


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of the beginning of a text that hold something."""
    for line in io.StringIO(text[: 1 << 18], newline=""):
        if line.strip():
            yield line


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Say whether the first row names the columns."""
    first, rest = rows[0], rows[1:]
    words = [cell for cell in first if cell]
    if not words or any(is_number(cell) or cell.lower() in MISSING for cell in words):
        return False
    even = [row for row in rest if len(row) == len(first)]
    if not even:
        return not rest
    some = even[:1000]
    for at, name in enumerate(first):
        values = [row[at] for row in some if row[at].lower() not in MISSING]
        if name and values and all(map(is_number, values)):
            return True
    return len(set(words)) == len(words) and not any(
        name and any(row[at] == name for row in even) for at, name in enumerate(first)
    )


def _named(cells: Sequence[str], file: str) -> tuple[str, ...]:
    """Return the names of the columns; those without one are called by their number."""
    names = [cell or f"column{i + 1}" for i, cell in enumerate(cells)]
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if name in seen:
            raise GradusError(f"{file}: columns {seen[name] + 1} and {i + 1} are both called {name!r}; rename one")
        seen[name] = i
    return tuple(names)
