"""Corpora by name: the source of Python's standard library, which is on every machine, and Tiny Shakespeare.

Every registered function returns a `NamedCorpus`.
"""

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from gradus.canon import canon
from gradus.data.corpora import NamedCorpus
from gradus.data.documents import Document, Text
from gradus.data.download import Progress, PublishedFile, obtain
from gradus.data.text_files import read_text
from gradus.errors import GradusError

__all__ = ["python_source", "tinyshakespeare"]

LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "__pycache__", "_bundled"}
SHAKESPEARE = PublishedFile(
    "input.txt",
    "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    (
        "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/"
        "data/tinyshakespeare/input.txt",
    ),
)


@canon("data/python-source", kind="corpus", paper="", names=("python-source",))
def python_source(data_dir: str | Path | None = None, progress: Progress | None = None) -> NamedCorpus:
    """The modules of Python's standard library on this machine, a document each; embedded.

    Tests, bundled packages and what is installed beside the library are left out, and so are files that are not UTF-8.
    The text hangs on the version of Python, and so do numbers measured on it.

    Args:
        data_dir: not looked at.
        progress: not called.

    Raises:
        GradusError: if the library's source is not on this machine.
    """
    root = sysconfig.get_paths()["stdlib"]
    documents: list[Document] = []
    marks = hashlib.sha256()
    for path in sorted(_modules(root)):
        try:
            text = Path(root, path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            continue
        if text.strip() and "\0" not in text:
            documents.append(Text(text))
            marks.update(f"{path}\0{text}\0".encode())
    if not documents:
        raise GradusError(f"Python came without the source of its library ({root}): name another corpus with --data")
    return NamedCorpus(documents, marks.hexdigest())


@canon(
    "data/tinyshakespeare",
    kind="corpus",
    paper="Karpathy 2015, The unreasonable effectiveness of recurrent neural networks",
    names=("tinyshakespeare",),
)
def tinyshakespeare(data_dir: str | Path | None = None, progress: Progress | None = None) -> NamedCorpus:
    """1,115,394 characters of Shakespeare's plays, 65 of them different; the last tenth is test.

    Args:
        data_dir: a folder to look in first.
        progress: called with (file, bytes so far, bytes in all) during a download.

    Raises:
        GradusError: if the file is nowhere, not downloadable or not the published one.

    References:
        Karpathy 2015, The unreasonable effectiveness of recurrent neural networks.
    """
    (path,) = obtain(["tinyshakespeare"], [SHAKESPEARE], data_dir, progress)
    text = Text(read_text(path))
    return NamedCorpus([text], text.mark, test_share=0.1)


def _modules(root: str) -> Iterator[str]:
    """Yield the paths of modules below a folder, relative to it."""
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in LEFT_OUT and not name.startswith(("config-", "."))]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in files if name.endswith(".py"))
