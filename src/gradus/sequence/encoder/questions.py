"""Questions whose answers stand in a context: records of a file, or questions about the functions of Python's library.

A record has `question`, `context`, `answer` and `start`, the character of the context where the answer begins. Where
`start` is left out, the answer must stand in the context once.

References:
    Rajpurkar, Zhang, Lopyrev, Liang 2016, SQuAD: 100,000+ questions for machine comprehension of text.
"""

import ast
import hashlib
import os
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from gradus.data.splits import partition
from gradus.data.text_files import read_records
from gradus.errors import GradusError, nearest

__all__ = ["HEADERS", "Question", "QuestionSplits", "header_questions", "load_questions", "read_questions"]

HEADERS = "python-headers"
FEWEST = 4  # different contexts that can be divided


class Question(NamedTuple):
    """A question.

    Attributes:
        question: what is asked.
        context: where the answer stands.
        answer: a part of the context, to the letter.
        start: the character of the context where the answer begins.
    """

    question: str
    context: str
    answer: str = ""
    start: int = 0


class QuestionSplits(NamedTuple):
    """Questions by part; those about one context are in one part.

    Attributes:
        train: to learn from.
        val: to choose by.
        test: to be looked at once.
        fingerprint: a hash of the content.
    """

    train: list[Question]
    val: list[Question]
    test: list[Question]
    fingerprint: str


def read_questions(path: str | Path, answered: bool = True) -> list[Question]:
    """Return the questions of a CSV, TSV or JSONL file.

    Args:
        path: of the file.
        answered: whether answers must be there, and stand where they are said to.

    Raises:
        GradusError: naming the record that cannot be used.
    """
    records = read_records(path)
    if not records:
        raise GradusError(f"{path} has no records: write one question a line")
    return [_question(record, f"{path}, record {row}", answered) for row, record in enumerate(records, 1)]


def _question(record: Mapping[str, str], place: str, answered: bool) -> Question:
    for name in ("question", "context", *(("answer",) if answered else ())):
        if not record.get(name, "").strip():
            raise GradusError(f"{place} has no {name}: it needs question, context, answer and start")
    question, context = record["question"], record["context"]
    if not answered:
        return Question(question, context)
    answer = record["answer"]
    try:
        start = int(record["start"]) if record.get("start", "").strip() else _only(context, answer, place)
    except ValueError:
        raise GradusError(f"{place}: start is {record['start']!r}, and must be a number of characters") from None
    if start < 0 or context[start : start + len(answer)] != answer:
        found = context[max(start, 0) : max(start, 0) + len(answer)]
        raise GradusError(
            f"{place}: at character {start} of the context stands {found!r}, not the answer {answer!r}: correct start"
        )
    return Question(question, context, answer, start)


def _only(context: str, answer: str, place: str) -> int:
    if context.count(answer) != 1:
        often = context.count(answer)
        raise GradusError(f"{place}: the answer {answer!r} stands {often} times in the context: say where with start")
    return context.index(answer)


def load_questions(
    data: str,
    *,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    folds: int | None = None,
    fold: int = 0,
    limit: int | None = None,
) -> QuestionSplits:
    """Return questions in three parts, divided by their contexts.

    Args:
        data: `python-headers`, or a file of records.
        val_fraction: share of the contexts for val.
        test_fraction: share of the contexts for test, where there are no folds.
        seed: of the division.
        folds: one of this many parts becomes test; None for none.
        fold: which part.
        limit: the most questions of each part.

    Raises:
        GradusError: if there are no such questions, or too few.
    """
    if data == HEADERS:
        questions = header_questions()
    elif os.sep in data or Path(data).expanduser().exists():
        questions = read_questions(Path(data).expanduser())
    else:
        raise GradusError(f"there are no questions and no file {data!r}{nearest(data, [HEADERS])}")
    contexts = [question.context for question in questions]
    if len(set(contexts)) < max(FEWEST, folds or 0):
        raise GradusError(
            f"{data} has {len(set(contexts))} different contexts, too few to divide: bring more questions"
        )
    parts = partition(
        torch.zeros(len(questions), dtype=torch.int64), lambda rows: [contexts[i] for i in rows.tolist()],
        {"train": torch.arange(len(questions))}, {"val": val_fraction, "test": test_fraction}, seed=seed, folds=folds,
        fold=fold, limit=limit, noun="contexts",
    )  # fmt: skip
    chosen = {name: [questions[i] for i in parts[name].tolist()] for name in ("train", "val", "test")}
    mark = hashlib.sha256("\0".join("\0".join(map(str, q)) for q in questions).encode("utf-8", "surrogatepass"))
    return QuestionSplits(**chosen, fingerprint=mark.hexdigest())


def header_questions() -> list[Question]:
    """Return questions about the functions and classes of the standard library's modules on this machine.

    The context is a header in one line, `def glob(pathname, *, root_dir=None):`; asked are a parameter's default and
    annotation, what a function returns, what a class inherits from, and what comes after a parameter.

    Raises:
        GradusError: if the library's source is not on this machine.
    """
    found = _headers(Path(sysconfig.get_paths()["stdlib"]))
    if not found:
        raise GradusError("Python came without the source of its library: bring questions with --data file.jsonl")
    return list(found)


@cache
def _headers(root: Path) -> tuple[Question, ...]:
    """Return the different questions about the modules of a folder; parsing them takes seconds."""
    return tuple(dict.fromkeys(q for path in sorted(root.glob("*.py")) for q in _of_module(path)))


def _of_module(path: Path) -> Iterator[Question]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _of_function(node)
        elif isinstance(node, ast.ClassDef) and node.bases:
            bases = ", ".join(map(ast.unparse, node.bases))
            yield _placed(f"What does {node.name} inherit from?", [f"class {node.name}(", bases, "):"], 1)


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Question]:
    """Yield questions about a header that is put together piece by piece, so that it is known where each stands."""
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults)
    pieces, asked = [f"def {node.name}("], list[tuple[str, int]]()
    starred = f"*{spec.vararg.arg}" if spec.vararg else "*" if spec.kwonlyargs else None
    listed = [*zip(plain, defaults), *([(None, None)] if starred else []), *zip(spec.kwonlyargs, spec.kw_defaults)]
    for place, (argument, default) in enumerate(listed):
        pieces.append(", " if place else "")
        pieces.append(argument.arg if argument is not None else starred or "")
        if argument is None:
            continue
        if argument.annotation is not None:
            pieces += [": ", ast.unparse(argument.annotation)]
            asked.append((f"What is the type of {argument.arg} in {node.name}?", len(pieces) - 1))
        if default is not None:
            pieces += ["=", ast.unparse(default)]
            asked.append((f"What is the default of {argument.arg} in {node.name}?", len(pieces) - 1))
        if place + 1 < len(listed) and (after := listed[place + 1][0]) is not None and after.arg != argument.arg:
            where = len(pieces) + 1
            asked.append((f"What comes after {argument.arg} in {node.name}?", where))
    pieces.append(f", **{spec.kwarg.arg})" if spec.kwarg and listed else f"**{spec.kwarg.arg})" if spec.kwarg else ")")
    if node.returns is not None:
        pieces += [" -> ", ast.unparse(node.returns)]
        asked.append((f"What does {node.name} return?", len(pieces) - 1))
    pieces.append(":")
    yield from (_placed(question, pieces, place) for question, place in asked if pieces[place].strip())


def _placed(question: str, pieces: Sequence[str], place: int) -> Question:
    return Question(question, "".join(pieces), pieces[place], sum(map(len, pieces[:place])))
