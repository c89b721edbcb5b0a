"""The registry: `@canon(...)` puts a name, a kind and a paper beside the code.

Two views of the same facts. *Live*: importing a module registers what it decorates. *Scanned*: `scan()` reads the
literals off the syntax tree of every source file, with the parameters of the decorated callable, so that listings,
help and errors about flags never import torch (which costs seconds). A test compares the two.
"""

import ast
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from gradus.errors import GradusError, nearest

__all__ = [
    "Entry", "Parameter", "canon", "example", "find", "known", "live", "load", "lookup", "names", "of_kind", "scan",
]  # fmt: skip

T = TypeVar("T", bound=Callable[..., Any])
REQUIRED = "<required>"


@dataclass(frozen=True)
class Parameter:
    """A keyword of a registered callable: its annotation as written and its literal default."""

    annotation: str
    default: Any = REQUIRED


@dataclass(frozen=True)
class Entry:
    """One registered method.

    Attributes:
        id: `<area>/<slug>`.
        kind: the family, which decides the contract suite (`classifier`, `optimizer`, `attack`, …).
        paper: author, year and title of the source.
        names: the names users type; the slug when the method has one name only.
        module: where it lives.
        attribute: the decorated function or class in that module.
        summary: first line of its docstring.
        parameters: keywords with annotation and default, for typed `--set key=value`.
    """

    id: str
    kind: str
    paper: str = ""
    names: tuple[str, ...] = ()
    module: str = ""
    attribute: str = ""
    summary: str = ""
    parameters: dict[str, Parameter] = field(default_factory=dict, compare=False)


_LIVE: dict[str, Entry] = {}
_EXAMPLES: dict[str, Callable[[], Any]] = {}


def canon(
    id: str, *, kind: str, paper: str = "", names: tuple[str, ...] = (), example: Callable[[], Any] | None = None
) -> Callable[[T], T]:
    """Register the decorated function or class.

    Args:
        id: `<area>/<slug>`, unique.
        kind: the family whose contract suite tests it.
        paper: author, year and title.
        names: what users type; by default the slug.
        example: a tiny factory that the contract suite calls in place of the method's own defaults.

    Raises:
        AssertionError: if another callable holds the id.
    """

    def register(target: T) -> T:
        summary = (target.__doc__ or "").strip().split("\n")[0]
        entry = Entry(id, kind, paper, names or (id.split("/")[-1],), target.__module__, target.__qualname__, summary)
        held = _LIVE.get(id)
        assert held is None or (held.module, held.attribute) == (entry.module, entry.attribute), f"{id} is taken"
        _LIVE[id] = entry
        if example is not None:
            _EXAMPLES[id] = example
        return target

    return register


def live() -> dict[str, Entry]:
    """Return what the modules imported so far have registered, by id."""
    return dict(_LIVE)


def example(id: str) -> Callable[[], Any] | None:
    """Return the tiny factory registered with `id`, after its module was imported."""
    return _EXAMPLES.get(id)


def scan() -> dict[str, Entry]:
    """Return every registered method by id, read from the syntax trees without importing any of them."""
    return {entry.id: entry for path in _texts() for entry in _read(path)}


@cache
def of_kind(kind: str) -> dict[str, Entry]:
    """Return the registered methods of a kind by id; parses only the files that speak of it."""
    mark = f'kind="{kind}"'
    found = (entry for path, text in _texts().items() if mark in text for entry in _read(path))
    return {entry.id: entry for entry in found if entry.kind == kind}


@lru_cache(maxsize=1)
def _texts() -> dict[Path, str]:
    """Return the source files that register something."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.rglob("*.py"))}
    return {path: text for path, text in texts.items() if "@canon(" in text}


@cache
def _read(path: Path) -> tuple[Entry, ...]:
    """Return what a file registers."""
    parts = path.relative_to(Path(__file__).parent).with_suffix("").parts
    try:
        return tuple(_entries(ast.parse(_texts()[path]), ".".join(("gradus", *parts)).removesuffix(".__init__")))
    except ValueError as error:
        raise ValueError(f"{path}: @canon takes literals only ({error})") from None


def _entries(tree: ast.Module, module: str) -> Iterator[Entry]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "canon":
                    id = ast.literal_eval(mark.args[0])
                    literals = {k.arg: ast.literal_eval(k.value) for k in mark.keywords if k.arg and k.arg != "example"}
                    literals.setdefault("names", (id.split("/")[-1],))
                    summary = (ast.get_docstring(node) or "").split("\n")[0]
                    yield Entry(
                        id,
                        module=module,
                        attribute=node.name,
                        summary=summary,
                        parameters=_parameters(node),
                        **literals,
                    )


def _parameters(node: ast.FunctionDef | ast.ClassDef) -> dict[str, Parameter]:
    """Return the parameters with a literal default (or none), of the function or of the class's `__init__`."""
    if isinstance(node, ast.ClassDef):
        methods = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        if not methods:
            return {}
        node = methods[0]
    found: dict[str, Parameter] = {}
    plain = [*node.args.posonlyargs, *node.args.args]
    padded: list[ast.expr | None] = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    for arg, default in [
        *zip(plain, padded, strict=True),
        *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
    ]:
        if arg.arg == "self":
            continue
        annotation = ast.unparse(arg.annotation) if arg.annotation else "Any"
        found[arg.arg] = Parameter(annotation, REQUIRED if default is None else _literal(default))
    return found


def _literal(node: ast.expr) -> Any:
    """Return a default's value where it is a literal or a quotient of literals, else its source text."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _literal(node.left) / _literal(node.right)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def names(kind: str) -> dict[str, Entry]:
    """Return what users may type for a kind, with the entry behind each name."""
    return {name: entry for entry in of_kind(kind).values() for name in entry.names}


def known(kind: str, name: str) -> Entry | None:
    """Return the entry of a kind that a user's name means, if there is one; hyphens and underscores are alike."""
    folded = {key.replace("-", "_").lower(): entry for key, entry in names(kind).items()}
    return folded.get(name.replace("-", "_").lower())


def lookup(kind: str, name: str, what: str | None = None) -> Entry:
    """Return the entry of a kind that a user's name means; hyphens and underscores are alike.

    Raises:
        GradusError: if there is none, naming the nearest.
    """
    entry = known(kind, name)
    if entry is None:
        raise GradusError(f"there is no {what or kind} {name!r}{nearest(name, names(kind))}")
    return entry


def load(entry: Entry) -> Any:
    """Import and return the callable behind an entry."""
    return getattr(importlib.import_module(entry.module), entry.attribute)


def find(kind: str, name: str) -> Any:
    """Return the callable of a kind that a user's name means, imported; raises as `lookup` does."""
    return load(lookup(kind, name))
