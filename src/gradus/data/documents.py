"""Documents: texts in memory or on disk, read in pieces that a tokenizer sees as it would see the whole.

A piece ends where a blank follows something that is none. No pre-tokeniser here joins what stands before such a place
with what stands behind, so the ids of the pieces, one after the other, are the ids of the document. Where no such place
comes for 64 Ki characters, a piece ends anyway.
"""

import codecs
import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

from gradus.data.text_files import json_record
from gradus.errors import GradusError

__all__ = ["Document", "Record", "Text", "TextFile", "decoded", "in_pieces"]

PIECE = 1 << 16
PATIENCE = 1 << 16  # characters looked through for a place to cut
CHUNK = 1 << 20
SEAM = re.compile(r"(?<=\S)(?=[ \n\t\r])")


@runtime_checkable
class Document(Protocol):
    """A text that is read piece by piece, as often as wanted."""

    @property
    def characters(self) -> int: ...

    @property
    def mark(self) -> str: ...

    def chunks(self) -> Iterator[str]: ...


@dataclass(frozen=True)
class Text:
    """A text in memory."""

    text: str = field(repr=False)

    @property
    def characters(self) -> int:
        """Number of characters."""
        return len(self.text)

    @cached_property
    def mark(self) -> str:
        """A hash of the content."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    def chunks(self) -> Iterator[str]:
        """Yield the text."""
        yield self.text


@dataclass(frozen=True)
class TextFile:
    """A UTF-8 file, gzipped or not, that is never read as a whole; see `TextFile.of`."""

    path: Path
    characters: int
    mark: str

    @staticmethod
    def of(path: Path) -> "TextFile":
        """Return a file as a document, having read it through once.

        Raises:
            GradusError: if it is empty or no text, naming the byte.
        """
        hashed, characters, blank = hashlib.sha256(), 0, True
        for chunk in decoded(path):
            hashed.update(chunk.encode())
            characters += len(chunk)
            blank = blank and not chunk.strip()
        if blank:
            raise GradusError(f"{path} is empty: name a file with text in it")
        return TextFile(path, characters, hashed.hexdigest())

    def chunks(self) -> Iterator[str]:
        """Yield the text in parts of about a million characters."""
        return decoded(self.path)


@dataclass(frozen=True)
class Record:
    """A field of one line of a file of JSON objects, read when asked for."""

    path: Path
    line: int
    offset: int
    name: str
    characters: int
    mark: str

    def chunks(self) -> Iterator[str]:
        """Yield the text."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            yield json_record(self.path, self.line, file.readline())[self.name]


def in_pieces(chunks: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Yield a text in pieces of at least `size` characters but for the last, cut where no token reaches across.

    Where the cuts are depends on the text alone, not on how it is chunked.
    """
    held = ""
    for chunk in chunks:
        held, at = held + chunk, 0
        while len(held) - at > size + PATIENCE:
            end = _seam(held, at + size)
            yield held[at:end]
            at = end
        held = held[at:]
    at = 0
    while at < len(held):
        end = _seam(held, at + size)
        yield held[at:end]
        at = end


def _seam(text: str, start: int) -> int:
    stop = start + PATIENCE
    if start >= len(text):
        return len(text)
    found = SEAM.search(text, start, min(stop, len(text)))
    return found.start() if found else min(stop, len(text))


def decoded(path: Path) -> Iterator[str]:
    """Yield the text of a file chunk by chunk; raises GradusError where it is none."""
    decoder, done = codecs.getincrementaldecoder("utf-8-sig")(), 0
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            while data := file.read(CHUNK):
                zero = data.find(b"\0")
                if zero >= 0:
                    raise GradusError(f"{path} is a binary file (a zero byte at byte {done + zero}): name a text file")
                yield decoder.decode(data)
                done += len(data)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise GradusError(f"{path} is not UTF-8 text (about byte {done}): save it as UTF-8") from None
    except (OSError, EOFError) as error:
        raise GradusError(f"{path} cannot be read ({error}): get it anew") from None
