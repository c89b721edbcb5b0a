"""Files of word vectors: word2vec's text and binary formats, GloVe's text format.

    word2vec text      "V d\n", then for each word its name, a blank and d numbers between blanks
    word2vec binary    "V d\n", then for each word its name, a blank and d little-endian float32; some programs end a
                       vector with "\n", which is read and not written
    GloVe text         as word2vec text, without the first line

Numbers are written with as many digits as give the same float32 back, so reading gives what was written, bit by bit.
"""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

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


def read_vectors(path: str | Path, form: Format | None = None) -> tuple[list[str], Float[Tensor, "words size"]]:
    """Return the words of a file and their vectors; of a word that comes twice, the first.

    Args:
        path: the file, gzipped or not.
        form: text, binary or glove; found out when left out.

    Raises:
        GradusError: naming the line or the word that cannot be read.
    """
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    except (OSError, EOFError) as error:
        raise GradusError(f"{path} cannot be read ({error}): name a file of word vectors") from None
    head, _, rest = raw.partition(b"\n")
    sizes = head.split()
    headed = len(sizes) == 2 and all(size.isdigit() for size in sizes) and form != "glove"
    if not raw.strip():
        raise GradusError(f"{path} is empty: name a file of word vectors")
    if not headed and form in ("text", "binary"):
        raise GradusError(f"{path} does not begin with the number of words and of dimensions: is it GloVe's format?")
    if not headed:
        return _first(path, _lines(path, raw, len(sizes) - 1, 1), None)
    count, size = int(sizes[0]), int(sizes[1])
    binary = form == "binary" if form else not _is_text(rest, size)
    rows = _packed(path, rest, count, size) if binary else _lines(path, rest, size, 2)
    return _first(path, rows, count)


def _is_text(rest: bytes, size: int) -> bool:
    """Return whether the first vector is written as numbers."""
    fields = rest.partition(b"\n")[0].rstrip().rsplit(b" ", size)
    try:
        return len(fields) == size + 1 and bool(np.isfinite([float(field) for field in fields[1:]]).all())
    except ValueError:
        return False


def _lines(path: Path, text: bytes, size: int, first: int) -> Iterator[tuple[bytes, np.ndarray]]:
    if size < 1:
        raise GradusError(f"{path}, line 1 has no numbers behind the word: is it a file of word vectors?")
    for number, line in enumerate(text.split(b"\n"), first):
        stripped = line.rstrip()
        if not stripped:
            continue
        word, *fields = stripped.rsplit(b" ", size)
        try:
            if len(fields) != size:
                raise ValueError(f"{len(fields)} numbers in place of {size}")
            yield word, np.array(fields, dtype=np.float32)
        except ValueError as error:
            raise GradusError(f"{path}, line {number} is no vector of {size} numbers ({error})") from None


def _packed(path: Path, rest: bytes, count: int, size: int) -> Iterator[tuple[bytes, np.ndarray]]:
    place = 0
    for number in range(1, count + 1):
        blank = rest.find(b" ", place, place + LONGEST_NAME)
        if blank < 0 or blank + 1 + 4 * size > len(rest):
            raise GradusError(f"{path} ends within word {number} of {count}: it is cut short, get it anew")
        yield rest[place:blank].lstrip(b"\n"), np.frombuffer(rest, "<f4", size, blank + 1)
        place = blank + 1 + 4 * size


def _first(
    path: Path, rows: Iterator[tuple[bytes, np.ndarray]], count: int | None
) -> tuple[list[str], Float[Tensor, "words size"]]:
    held: dict[str, np.ndarray] = {}
    met = 0
    for name, row in rows:
        met += 1
        held.setdefault(name.decode("utf-8", "replace"), row)
    if count is not None and met != count:
        raise GradusError(f"{path} has {met} vectors, but its first line says {count}: it is damaged, get it anew")
    return list(held), torch.from_numpy(np.stack(list(held.values())).astype(np.float32))
