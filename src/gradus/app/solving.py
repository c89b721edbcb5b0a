"""`gradus solve`: questions answered by programs that a language model writes and a sandbox runs."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradus.app.verb import Answer, Verb, shown
from gradus.engine.folder import write_atomically
from gradus.errors import GradusError

__all__ = ["Solve"]

HINT = 'gradus solve "What is the derivative of x**3 at 2?" --language-model http://localhost:8000/v1 --model NAME'


@dataclass(kw_only=True)
class Solve(Verb):
    """Answer questions by programs: gradus solve "…"|FILE.jsonl --language-model URL|RUN --model NAME.

    A language model writes a Python program for each question; the program runs in a sandbox without network or files;
    what it prints is the answer, which the model then explains.
    """

    question: str = ""
    """A question, or a JSONL file with question, and perhaps course, answer, program (also given as the first word)."""
    language_model: str = ""
    """An OpenAI-compatible address (https://api.openai.com/v1), or a run that completes text."""
    model: str = ""
    """The model's name at that address."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable with the key for that address; '' for none."""
    embeddings: str = ""
    """A model for embeddings at that address, or a run that embeds text; TF-IDF of the questions when left out."""
    new_questions: int = 0
    """How many new questions of each course to write, and to answer."""
    examples: int = 5
    """Most solved questions to show when a question fails without."""
    explain: bool = True
    """Ask for explanations."""
    trust: bool = False
    """Run programs although this machine cannot confine them."""
    timeout: float = 30.0
    """Seconds that a program may take."""
    out: str | None = None
    """Write one JSON object a question: FILE.jsonl."""

    operands: ClassVar[tuple[str, ...]] = ("question",)

    def __call__(self) -> Answer:
        """Answer, explain, go on with new questions, and sort the questions into courses."""
        from gradus.sequence.programs.sandbox import Limits, strength
        from gradus.sequence.programs.solving import Solver

        if not self.question.strip() or not self.language_model:
            raise GradusError(f"name a question and a language model: {HINT}")
        if self.new_questions < 0 or self.examples < 0:
            raise GradusError("--new-questions and --examples count from 0")
        questions = self._questions()
        out = None if self.out is None else Path(self.out)
        if out is not None and (out.is_dir() or not out.parent.is_dir()):
            raise GradusError(f"--out {out}: name a file in a folder that exists")
        if not self.trust and not strength().confined:
            raise GradusError(f"{strength()}: use Linux 5.13 or later, or read what the model writes and add --trust")
        model = self._model()
        solver = Solver(model, self._vectors(model), Limits(seconds=self.timeout), self.trust, self.examples,
                        self.explain)  # fmt: skip
        told = None if self.json or len(questions) == 1 else _tell
        solutions = solver.solve_all(questions, told)
        fresh = [] if not self.new_questions else self._invented(solver, questions)
        rows = [_row(solution) for solution in solutions] + [_row(solution, new=True) for solution in fresh]
        if out is not None:
            write_atomically(out, "".join(json.dumps(row) + "\n" for row in rows))
        return self._answer(rows, questions, solver, out)

    def _questions(self) -> list[Any]:
        from gradus.sequence.programs.questions import Question, read_questions

        path = Path(self.question)
        if path.suffix.lower() in (".jsonl", ".ndjson") or (len(self.question) < 256 and path.is_file()):
            return read_questions(path)
        return [Question(self.question.strip())]

    def _model(self) -> Any:
        """Return what writes."""
        from gradus.sequence.programs.model import Endpoint, Local

        if "://" in self.language_model:
            if not self.model:
                raise GradusError("--model: name the model at that address")
            return Endpoint(self.language_model, self.model, key_variable=self.key_variable)
        from gradus.engine.capabilities import ask

        product = self.product(self.language_model)
        return Local(ask(product, "complete", self.language_model, "solve"))

    def _vectors(self, model: Any) -> Callable[[Sequence[str]], Any]:
        """Return what gives a vector for each text."""
        import torch

        from gradus.sequence.programs.courses import tf_idf
        from gradus.sequence.programs.model import Endpoint

        if not self.embeddings:
            return tf_idf
        if isinstance(model, Endpoint) and not _is_run(self.embeddings):
            return lambda texts: torch.tensor(model.embed(texts, model=self.embeddings), dtype=torch.float64)
        from gradus.engine.capabilities import ask

        product = ask(self.product(self.embeddings), "embed", self.embeddings, "solve")
        return lambda texts: product.embed(texts).double()

    def _invented(self, solver: Any, questions: Sequence[Any]) -> list[Any]:
        """Return answers to new questions of each course."""
        found = []
        for course in dict.fromkeys(question.course for question in questions):
            own = [question for question in questions if question.course == course]
            found += [solver.solve(question) for question in solver.invent(own, self.new_questions)]
        return found

    def _answer(self, rows: list[dict[str, Any]], questions: Sequence[Any], solver: Any, out: Path | None) -> Answer:
        from gradus.sequence.programs.sandbox import strength

        asked = [row for row in rows if not row["new"]]
        judged = [row for row in asked if row["right"] is not None]
        data: dict[str, Any] = {
            "questions": rows, "answered": sum(bool(row["answer"]) for row in asked), "asked": len(asked),
            "right": sum(row["right"] for row in judged) if judged else None, "judged": len(judged),
            "sandbox": {"confined": strength().confined, "walls": list(strength().walls)},
        }  # fmt: skip
        if len(questions) > 2:
            data["clusters"] = _clusters(questions, solver)
        if out is not None:
            data["file"] = str(out.resolve())
        code = 0 if data["answered"] else 1
        return Answer(data, _text(data, out), code)


def _is_run(name: str) -> bool:
    """Return whether a name means a run rather than a model of a server."""
    base = Path(os.environ.get("GRADUS_RUNS", "runs"))
    return any((place / "recipe.json").is_file() for place in (Path(name), base / name))


def _row(solution: Any, new: bool = False) -> dict[str, Any]:
    """Return a solution as data."""
    question = solution.question
    return {
        "question": question.text, "course": question.course, "new": new, "answer": solution.answer,
        "expected": question.answer or None, "right": solution.right, "way": solution.way,
        "examples": solution.examples, "distance": solution.distance, "program": solution.program,
        "status": solution.outcome.status, "error": solution.outcome.error, "seconds": solution.outcome.seconds,
        "explanation": solution.explanation,
    }  # fmt: skip


def _clusters(questions: Sequence[Any], solver: Any) -> dict[str, Any]:
    """Return which questions lie together."""
    from gradus.sequence.programs.courses import cluster

    found = cluster(solver.vectors([question.text for question in questions]))
    labels = found.labels.tolist()
    score = None if found.silhouette != found.silhouette else found.silhouette
    return {"labels": labels, "count": len(set(labels)), "silhouette": score}


def _tell(solution: Any) -> None:
    said = solution.answer or f"({solution.outcome.status})"
    print(_plain(f"{solution.way:<9}  {said}  ←  {solution.question.text[:80]}"), file=sys.stderr)


def _text(data: dict[str, Any], out: Path | None) -> str:
    """Return what was found, for people."""
    lines = []
    for row in data["questions"]:
        verdict = {True: "  (right)", False: f"  (expected {row['expected']})", None: ""}[row["right"]]
        why = row["error"].splitlines()[-1:] if row["error"] else []
        answer = row["answer"] or f"no answer: {row['status']}{': ' + why[0] if why else ''}"
        lines += [f"{'new  ' if row['new'] else ''}{row['question']}", f"  = {answer}{verdict}",
                  f"  {row['way']}, distance to the prompt {row['distance']:.3f}"]  # fmt: skip
        if len(data["questions"]) == 1:
            lines += ["", row["program"].rstrip(), *(["", row["explanation"]] if row["explanation"] else [])]
    if data["judged"]:
        lines.append(f"{data['right']} of {data['judged']} are right")
    if "clusters" in data:
        lines.append(f"the questions form {data['clusters']['count']} clusters")
    if not data["sandbox"]["confined"]:
        lines.append("the programs were not confined")
    return _plain("\n".join(lines)) + (f"\n{shown(out)}" if out else "")


def _plain(text: str) -> str:
    """Return text without characters that would steer a terminal: programs and models may write any."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
