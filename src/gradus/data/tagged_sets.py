"""Tagged sentences that are on every machine: what each word of a Python function is there for.

`python_roles` reads the functions of the standard library. Their tokens are tagged by the syntax tree, which knows what
no word says of itself: the same name is a parameter in one function, a variable in another, an attribute after a dot.
"""

import ast
import builtins
import hashlib
import io
import keyword
import re
import sysconfig
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gradus.canon import canon
from gradus.errors import GradusError

__all__ = ["WORD", "NamedTags", "python_roles", "roles_of"]

WORD = re.compile(r"\w+|[^\w\s]")
MODULES = (
    "argparse", "bdb", "calendar", "codecs", "collections/__init__", "configparser", "contextlib", "copy", "csv",
    "dataclasses", "difflib", "enum", "filecmp", "fileinput", "fractions", "functools", "gzip", "heapq", "inspect",
    "json/decoder", "json/encoder", "locale", "logging/__init__", "os", "pathlib", "posixpath", "pprint", "random",
    "shutil", "statistics", "string", "tempfile", "textwrap", "threading", "tokenize", "traceback", "urllib/parse",
    "uuid", "weakref",
)  # fmt: skip
SHORTEST, LONGEST = 8, 100  # tokens of a function that is kept
SKIPPED = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENCODING,
           tokenize.ENDMARKER}  # fmt: skip


@dataclass(frozen=True)
class NamedTags:
    """A set of tagged sentences, with what is known about it.

    Attributes:
        sentences: tokens, and as many tags.
        parts: rows of the splits that the authors fixed; only "train" where they fixed none.
        fingerprint: a hash of what it was read from.
    """

    sentences: Sequence[tuple[Sequence[str], Sequence[str]]]
    parts: Mapping[str, range]
    fingerprint: str


@canon(
    "data/python-roles",
    kind="tag-set",
    paper="van Rossum et al. 1990–, The Python standard library",
    names=("python-roles",),
)
def python_roles(data_dir: str | Path | None = None) -> NamedTags:
    """Functions of the standard library, and of each token what it is: parameter, variable, attribute, …; embedded.

    Args:
        data_dir: not looked at.

    Returns:
        Every different function of 8 to 100 tokens of some forty modules, without fixed splits. Texts in quotation
        marks are shortened to `"…"`. What there is depends on the version of Python.

    Raises:
        GradusError: if this Python comes without the source of its library.

    References:
        van Rossum et al. 1990–, The Python standard library.
    """
    sentences = list(_functions(Path(sysconfig.get_path("stdlib"))))
    mark = hashlib.sha256(repr(sentences).encode()).hexdigest()
    return NamedTags(sentences, {"train": range(len(sentences))}, mark)


@cache
def _functions(home: Path) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path in (home / f"{name}.py" for name in MODULES):
        if path.is_file():
            for tokens, tags in roles_of(path.read_text(encoding="utf-8")):
                found.setdefault(tuple(tokens), tuple(tags))
    if not found:
        raise GradusError(f"this Python has no source of its library in {home}, which python-roles is read from")
    return tuple(found.items())


def roles_of(source: str) -> Iterator[tuple[list[str], list[str]]]:
    """Give the functions of a module's source, outermost ones: tokens, and the role of each.

    Roles are keyword, operator, number, string; function (defined or called by name), method (called on something),
    attribute, class, module, parameter, argument (a keyword of a call) and variable.

    Args:
        source: of a module.
    """
    tree = ast.parse(source)
    modules = {
        (alias.asname or alias.name.split(".")[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    classes |= {name for name, value in vars(builtins).items() if isinstance(value, type)}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in SKIPPED]
    lines = source.splitlines()
    starts = [token.start for token in tokens]
    for function in _outermost(tree):
        begin, end = (function.lineno, function.col_offset), (function.end_lineno or 0, function.end_col_offset or 0)
        own = tokens[bisect_left(starts, begin) : bisect_left(starts, end)]
        quiet = _docstring(function)
        own = [token for token in own if token.start[0] not in quiet]
        if SHORTEST <= len(own) <= LONGEST:
            yield _tagged(own, _roles(function, modules, classes, lines))


def _outermost(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Give the functions that stand in no other, in their order."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield node
        elif isinstance(node, ast.stmt):
            yield from _outermost(node)


def _docstring(function: ast.FunctionDef) -> range:
    """Return the lines of a function's docstring."""
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is None:
        return range(0)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _roles(
    function: ast.FunctionDef, modules: set[str], classes: set[str], lines: Sequence[str]
) -> dict[tuple[int, int], str]:
    """Return the role of each name of a function by where it stands (line, column in characters)."""
    nodes = list(ast.walk(function))
    parameters = {node.arg for node in nodes if isinstance(node, ast.arg)}
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found: dict[tuple[int, int], str] = {}
    for node in nodes:
        if isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            where, role = (node.lineno, node.col_offset), "parameter" if isinstance(node, ast.arg) else "argument"
        elif isinstance(node, ast.Attribute):
            where = (node.end_lineno or 0, (node.end_col_offset or 0) - len(node.attr.encode()))
            role = "method" if id(node) in called else "attribute"
        elif isinstance(node, ast.Name):
            where, name = (node.lineno, node.col_offset), node.id
            role = "parameter" if name in parameters else "class" if name in classes else ""
            role = role or ("module" if name in modules else "function" if id(node) in called else "variable")
        else:
            continue
        text = lines[where[0] - 1]
        # The tree counts bytes, the tokens count characters.
        found[where if text.isascii() else (where[0], len(text.encode()[: where[1]].decode()))] = role
    return found


def _tagged(tokens: Sequence[tokenize.TokenInfo], roles: Mapping[tuple[int, int], str]) -> tuple[list[str], list[str]]:
    """Return tokens as they are shown, and the role of each."""
    words, tags = list[str](), list[str]()
    for token in tokens:
        if token.type == tokenize.NAME:
            usual = "keyword" if keyword.iskeyword(token.string) or keyword.issoftkeyword(token.string) else "variable"
            before = words[-1] if words else ""
            named = "function" if before == "def" else "class" if before == "class" else None
            role = named or roles.get(token.start, usual)
        else:
            role = {tokenize.NUMBER: "number", tokenize.OP: "operator"}.get(token.type, "string")
        words.append('"…"' if role == "string" else token.string)
        tags.append(role)
    return words, tags
