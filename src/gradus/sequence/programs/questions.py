"""Questions of courses, the prompts made of them, and what is read out of a model's answers.

zero-shot    the question, as the docstring of a program that answers it
few-shot     the nearest solved questions with their programs before it
explanation  question and program, to be told step by step
new          numbered questions of a course, to be gone on with

References:
    Drori et al. 2022, A neural network solves, explains, and generates university math problems by program synthesis
    and few-shot learning at human level.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from gradus.data.text_files import read_records
from gradus.errors import GradusError

__all__ = [
    "Question", "code_of", "explaining", "few_shot", "inventing", "invented", "read_questions", "same_answer",
    "zero_shot",
]  # fmt: skip

RULES = (
    "Write a Python program that computes the answer to the question below and prints it as the last line. "
    "Only the standard library, numpy and sympy are there; no files, no network. Give the program alone."
)
FIELDS = ("course", "answer", "program")
TOLERANCE = 1e-4
FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
NUMBERED = re.compile(r"^\s*(?:\d+[.)]|[-*])\s+(.+)$")


class Question(NamedTuple):
    """A question, and what is known about it.

    Attributes:
        text: as it is asked.
        course: it belongs to; empty where nobody said.
        answer: the right one, to judge by; empty where nobody said.
        program: one that answers it, for a question that is solved already.
    """

    text: str
    course: str = ""
    answer: str = ""
    program: str = ""


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a JSONL file with `question` and perhaps `course`, `answer`, `program` in each line.

    Raises:
        GradusError: naming the question that is none.
    """
    found = []
    for number, record in enumerate(read_records(path), 1):
        text = record.get("question", "").strip()
        if not text:
            raise GradusError(
                f'{path}, question {number}: a line is {{"question": …, "course": …, "answer": …}} in JSON'
            )
        found.append(Question(text, *(record.get(name, "") for name in FIELDS)))
    if not found:
        raise GradusError(f"{path} has no questions: give one JSON object with `question` a line")
    return found


def zero_shot(question: Question) -> str:
    """Return the prompt that asks for a program without examples."""
    return f"{RULES}\n\n{_asked(question)}"


def few_shot(question: Question, solved: Sequence[Question]) -> str:
    """Return the prompt with solved questions of the same kind before the question, the nearest last."""
    shown = [f"{_asked(one)}{one.program.strip()}\n```" for one in reversed(solved)]
    return "\n\n".join([RULES, *shown, _asked(question)])


def explaining(question: Question, program: str, answer: str) -> str:
    """Return the prompt that asks why a program answers a question."""
    return (
        f"Question: {question.text}\n\nA program that answers it:\n```python\n{program.strip()}\n```\n"
        f"It gives: {answer}\n\nExplain the solution step by step, for a student of the course"
        f"{' ' + question.course if question.course else ''}."
    )


def inventing(questions: Sequence[Question], count: int, course: str = "") -> str:
    """Return the prompt that asks for new questions of a course, as a list to be gone on with."""
    listed = "\n".join(f"{i}. {_single(q.text)}" for i, q in enumerate(questions, 1))
    last = len(questions)
    return (
        f"Questions of the course{f' {course}' if course else ''}:\n{listed}\n\n"
        f"Write {count} new questions of this course, none of them above, numbered from {last + 1} on, one a line."
    )


def invented(text: str, known: Sequence[Question], count: int, course: str = "") -> list[Question]:
    """Return the new questions in a model's answer, without those known."""
    seen = {_folded(q.text) for q in known}
    found: list[Question] = []
    for line in text.splitlines():
        match = NUMBERED.match(line)
        if match and _folded(match[1]) not in seen:
            seen.add(_folded(match[1]))
            found.append(Question(match[1].strip(), course))
    return found[:count]


def code_of(text: str) -> str:
    """Return the program in a model's answer: what stands in fences (the longest block of Python), or else all."""
    before, fence, after = text.partition("```")
    if fence and before.strip() and "```" not in after and after.strip(" \t")[:1] in ("", "\n"):
        text = before  # the prompt opened a fence, and this closes it
    blocks = [(language.lower(), body) for language, body in FENCE.findall(text)]
    if not blocks:
        return text.strip("\n") + "\n" if text.strip() else ""
    python = [body for language, body in blocks if language in ("python", "py", "python3")]
    return max(python or [body for _, body in blocks], key=len).strip("\n") + "\n"


def same_answer(found: str, expected: str) -> bool:
    """Return whether two answers are one: numbers within 10⁻⁴ of each other (relative), else the same words."""
    one, other = _numbers(found), _numbers(expected)
    if one is not None and other is not None:
        pairs = list(zip(one, other, strict=False))
        return len(one) == len(other) and all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-9) for a, b in pairs)
    return bool(found.strip()) and _folded(found) == _folded(expected)


def _numbers(text: str) -> list[float] | None:
    """Return the numbers that a text consists of: 3, -1/2, 1e3, [1, 2], (x) = 4 is none."""
    body = text.strip().strip("[](){}").replace("−", "-")
    words = [word for word in re.split(r"[,;\s]+", body) if word]
    try:
        return [float(Fraction(word)) if "/" in word else float(word) for word in words] or None
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _asked(question: Question) -> str:
    course = f" ({question.course})" if question.course else ""
    return f"Question{course}: {question.text.strip()}\n```python\n"


def _single(text: str) -> str:
    return " ".join(text.split())


def _folded(text: str) -> str:
    return re.sub(r"[\s.?!]+", " ", text).strip().casefold()
