"""Reading what people bring: plain text, lines, records (CSV, TSV, JSON lines), folders of text files.

Text is UTF-8; a byte-order mark and gzip are accepted. What is no text is refused with the place where that shows.
"""

import csv
import gzip
import json
import zlib
from pathlib import Path

from gradus.data.table_reading import read_csv
from gradus.errors import GradusError

__all__ = ["RECORDS", "TEXTS", "json_record", "read_lines", "read_records", "read_text", "suffix_of", "text_files"]

TEXTS = (
    ".txt", ".text", ".md", ".rst", ".tex", ".html", ".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".rs", ".go",
    ".java", ".js", ".ts", ".jl", ".r", ".sh", ".sql", ".tok", ".log",
)  # fmt: skip
LONGEST_FIELD = 1 << 30  # characters; the csv module stops at 131,072 by itself
RECORDS = (".csv", ".tsv", ".jsonl", ".ndjson")


def read_text(path: str | Path) -> str:
    """Return the text of a file, line ends as they are.

    Args:
        path: of a UTF-8 file, gzipped or not.

    Raises:
        GradusError: if it is missing, a folder, empty, or no UTF-8 text, naming the line and the byte.
    """
    path = Path(path).expanduser()
    data = _bytes(path)
    zero = data.find(b"\0")
    if zero >= 0:
        raise GradusError(f"{path} is a binary file (a zero byte at {_place(data, zero)}): name a text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = _place(data, error.start)
        raise GradusError(f"{path} is not UTF-8 text ({at} is 0x{data[error.start]:02x}): save it as UTF-8") from None
    if not text.strip():
        raise GradusError(f"{path} is empty: name a file with text in it")
    return text


def read_lines(path: str | Path) -> list[str]:
    r"""Return the lines of a text file without their ends (\n, \r\n or \r); empty lines stay.

    Raises:
        GradusError: as `read_text` does.
    """
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n")


def read_records(path: str | Path) -> list[dict[str, str]]:
    """Return the records of a CSV or TSV file with a header, or of a file of JSON objects, one a line.

    Args:
        path: of the file, gzipped or not; `.jsonl` and `.ndjson` are read as JSON, anything else as CSV, whose
            delimiter is the one that its header has most of.

    Returns:
        Text by field name; numbers and truth values of JSON as JSON writes them, null and nested values left out of
        the record.

    Raises:
        GradusError: if the file cannot be read, naming it and the row.
    """
    path = Path(path).expanduser()
    if suffix_of(path) in (".jsonl", ".ndjson"):
        return [json_record(path, i, line) for i, line in enumerate(read_lines(path), 1) if line.strip()]
    head = read_text(path).split("\n", 1)[0]
    mark = max((",", ";", "\t", "|"), key=head.count)
    held = csv.field_size_limit(LONGEST_FIELD)
    try:
        raw = read_csv(path, header=True, delimiter="\t" if suffix_of(path) == ".tsv" else mark)
    finally:
        csv.field_size_limit(held)
    return [dict(zip(raw.names, row, strict=True)) for row in raw.rows]


def text_files(folder: str | Path) -> list[Path]:
    """Return the text files in a folder and its folders, by their endings, sorted; hidden ones are left out.

    Raises:
        GradusError: if there is no such folder, or none in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise GradusError(f"there is no folder {root}: name a folder of text files")
    found = [
        path
        for path in root.rglob("*")
        if suffix_of(path) in TEXTS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not found:
        shown = " ".join(f"*{ending}" for ending in TEXTS[:7])
        raise GradusError(f"{root} has no text files ({shown} …): name a folder that has some")
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def suffix_of(path: Path) -> str:
    """Return a file's ending in small letters, that below `.gz` if it has both."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def json_record(path: Path, number: int, line: str | bytes) -> dict[str, str]:
    """Return the fields of one line of JSON that hold text, a number or a truth value, as text.

    Raises:
        GradusError: if it is no JSON object.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise GradusError(f"{path}, line {number} is not JSON ({error}): correct it") from None
    if not isinstance(value, dict):
        raise GradusError(f"{path}, line {number} is no JSON object: write one object with named fields a line")
    return {name: text for name, held in value.items() if (text := _as_text(held)) is not None}


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise GradusError(f"{path} is a folder: name a file in it")
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError:
        raise GradusError(f"there is no file {path}: name a text file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise GradusError(f"{path} cannot be read ({error}): get it anew") from None


def _place(data: bytes, offset: int) -> str:
    line = data.count(b"\n", 0, offset) + 1
    return f"byte {offset}, line {line}"


def _as_text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None
