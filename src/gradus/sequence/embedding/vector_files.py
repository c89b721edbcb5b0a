"""Files of word vectors: word2vec's text and binary formats, GloVe's text format.

    word2vec text      "V d\n", then for each word its name, a blank and d numbers between blanks
    word2vec binary    "V d\n", then for each word its name, a blank and d little-endian float32; some programs end a
                       vector with "\n", which is read and not written
    GloVe text         as word2vec text, without the first line

Numbers are written with as many digits as give the same float32 back, so reading gives what was written, bit by bit.
"""

import gzip
import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradus.engine.folder import write_atomically
from gradus.errors import GradusError

__all__ = ["FORMATS", "format_of", "read_vectors", "write_vectors"]

Format = Literal["text", "binary", "glove"]
FORMATS = ("text", "binary", "glove")
LONGEST_NAME = 4096
CHUNK = 1 << 20
Wanted = Collection[bytes] | None
Rows = Iterator[tuple[bytes, np.ndarray]]


def format_of(path: Path) -> Format:
    """Return the format that a file's name means: .bin is binary, everything else text."""
    return "binary" if path.name.removesuffix(".gz").endswith(".bin") else "text"


def write_vectors(
    path: str | Path, words: Sequence[str], vectors: Float[Tensor, "words size"], form: Format | None = None
) -> None:
    """Write vectors in the order given.

    Args:
        path: the file.
        words: names, without blanks or line ends within.
        vectors: of each.
        form: text, binary or glove; by the file's name when left out.

    Raises:
        GradusError: if a word cannot be written.
    """
    path, values = Path(path), vectors.detach().cpu().float().numpy()
    form = form or format_of(path)
    for word in words:
        if not word or any(c in word for c in " \n\r\t"):
            raise GradusError(f"the word {word!r} cannot be written to {path}: its format parts words by blanks")
    assert len(words) == len(values), f"{len(words)} words, {len(values)} vectors"
    parts = [] if form == "glove" else [f"{values.shape[0]} {values.shape[1]}\n".encode()]
    for word, row in zip(words, values, strict=True):
        name = word.encode("utf-8", "replace")
        if form == "binary":
            parts.append(name + b" " + row.astype("<f4").tobytes())
        else:
            parts.append(name + b" " + " ".join([str(number) for number in row]).encode() + b"\n")
    write_atomically(path, b"".join(parts))


def read_vectors(
    path: str | Path, form: Format | None = None, wanted: Collection[str] | None = None
) -> tuple[list[str], Float[Tensor, "words size"]]:
    """Return the words of a file and their vectors; of a word that comes twice, the first.

    The file is read piece by piece and only the words that are wanted stay, so that it may be larger than memory.

    Args:
        path: the file, gzipped or not.
        form: text, binary or glove; found out when left out.
        wanted: the words to read; all when left out.

    Raises:
        GradusError: naming the line or the word that cannot be read.
    """
    path = Path(path)
    held: dict[str, np.ndarray] = {}
    try:
        with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as file:
            for name, row in _rows(path, file, form, None if wanted is None else {w.encode() for w in wanted}):
                held.setdefault(name.decode("utf-8", "replace"), row)
    except FileNotFoundError:
        raise GradusError(f"there is no file {path}: name a file of word vectors") from None
    except (OSError, EOFError, zlib.error) as error:
        raise GradusError(f"{path} cannot be read ({error}): name a file of word vectors") from None
    odd = next((word for word, row in held.items() if not np.isfinite(row).all()), None)
    if odd is not None:
        raise GradusError(f"{path}: the vector of {odd!r} is not finite; leave it out of the file")
    rows = np.stack(list(held.values())) if held else np.empty((0, 0))
    return list(held), torch.from_numpy(rows.astype(np.float32))


def _rows(path: Path, file: Any, form: Format | None, wanted: Wanted) -> Rows:
    """Yield names and vectors, in whatever format they are."""
    head = file.readline()
    if not head.strip():
        raise GradusError(f"{path} is empty: name a file of word vectors")
    sizes = head.split()
    headed = len(sizes) == 2 and all(size.isdigit() for size in sizes) and form != "glove"
    if not headed and form in ("text", "binary"):
        raise GradusError(f"{path} does not begin with the number of words and of dimensions: is it GloVe's format?")
    if not headed:
        yield from _lines(path, itertools.chain([head], file), len(sizes) - 1, 1, None, wanted)
        return
    count, size = int(sizes[0]), int(sizes[1])
    binary = form == "binary" if form else not _is_text(file.readline(), size)
    file.seek(len(head))
    yield from _packed(path, file, count, size, wanted) if binary else _lines(path, file, size, 2, count, wanted)


def _is_text(line: bytes, size: int) -> bool:
    """Return whether the first vector is written as numbers."""
    fields = line.rstrip().rsplit(b" ", size)
    try:
        return len(fields) == size + 1 and bool(np.isfinite([float(field) for field in fields[1:]]).all())
    except ValueError:
        return False


def _lines(path: Path, lines: Iterable[bytes], size: int, first: int, count: int | None, wanted: Wanted) -> Rows:
    if size < 1:
        raise GradusError(f"{path}, line 1 has no numbers behind the word: is it a file of word vectors?")
    met = 0
    for number, line in enumerate(lines, first):
        stripped = line.rstrip()
        if not stripped:
            continue
        word, *fields = stripped.rsplit(b" ", size)
        met += 1
        try:
            if len(fields) != size:
                raise ValueError(f"{len(fields)} numbers in place of {size}")
            if wanted is None or word in wanted:
                yield word, np.array(fields, dtype=np.float32)
        except ValueError as error:
            raise GradusError(f"{path}, line {number} is no vector of {size} numbers ({error})") from None
    if count is not None and met != count:
        raise GradusError(f"{path} has {met} vectors, but its first line says {count}: it is damaged, get it anew")


def _packed(path: Path, file: Any, count: int, size: int, wanted: Wanted) -> Rows:
    held, place, longest = b"", 0, LONGEST_NAME + 4 * size
    for number in range(1, count + 1):
        if len(held) - place < longest:
            held, place = held[place:] + file.read(longest + CHUNK), 0
        blank = held.find(b" ", place, place + LONGEST_NAME)
        if blank < 0 or blank + 1 + 4 * size > len(held):
            raise GradusError(f"{path} ends within word {number} of {count}: it is cut short, get it anew")
        word = held[place:blank].lstrip(b"\n")
        if wanted is None or word in wanted:
            yield word, np.frombuffer(held, "<f4", size, blank + 1)
        place = blank + 1 + 4 * size
