"""Program synthesis: a question becomes a program, the program's run the answer, and the answer an explanation.

    question → prompt → program → run in the sandbox → answer → explanation → new questions of the course

First without examples; where that fails (the program does not end well, prints nothing, or the answer is known and
another), with the nearest solved questions as examples, nearest by the cosine distance of their vectors.

References:
    Drori et al. 2022, A neural network solves, explains, and generates university math problems by program synthesis
    and few-shot learning at human level.

Deviations: the model is any that writes; the few-shot examples are those nearest, of the same file, solved by itself
or given with their programs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gradus.sequence.programs.courses import Vectors, cosine_distance, tf_idf
from gradus.sequence.programs.model import Writes
from gradus.sequence.programs.questions import (
    Question,
    code_of,
    explaining,
    few_shot,
    invented,
    inventing,
    same_answer,
    zero_shot,
)
from gradus.sequence.programs.sandbox import Limits, Outcome, run_program

__all__ = ["Solution", "Solver"]

LONGEST_PROGRAM = 1024


class Solution(NamedTuple):
    """What became of a question.

    Attributes:
        question: as it was asked.
        answer: what the program printed last; empty where it failed.
        right: whether that is the known answer; None where none is known.
        way: `zero-shot` or `few-shot`.
        examples: how many solved questions were shown.
        distance: cosine distance between question and prompt.
        program: the last one tried.
        outcome: how it ended.
        explanation: in the model's words; empty where none was asked for.
    """

    question: Question
    answer: str
    right: bool | None
    way: str
    examples: int
    distance: float
    program: str
    outcome: Outcome
    explanation: str = ""

    @property
    def solved(self) -> bool:
        """Whether there is an answer, and no other is known to be right."""
        return bool(self.answer) and self.right is not False


@dataclass
class Solver:
    """Answers questions with a language model and the sandbox.

    Attributes:
        model: what writes.
        vectors: a vector for each of some texts.
        limits: of each program.
        trust: run programs although this machine cannot confine them.
        examples: most solved questions shown.
        explain: whether to ask for explanations.
        solved: questions with programs, to be shown as examples; grows with every question solved.
    """

    model: Writes
    vectors: Vectors = tf_idf
    limits: Limits = field(default_factory=Limits)
    trust: bool = False
    examples: int = 5
    explain: bool = True
    solved: list[Question] = field(default_factory=list)

    def solve(self, question: Question) -> Solution:
        """Return the answer to a question, with the way to it."""
        found = self._tried(question, zero_shot(question), "zero-shot", 0)
        shown = [] if found.solved else self.nearest(question)
        if shown:
            found = self._tried(question, few_shot(question, shown), "few-shot", len(shown))
        if found.solved:
            self.solved.append(question._replace(program=found.program, answer=question.answer or found.answer))
            if self.explain:
                words = self.model.write(explaining(question, found.program, found.answer), max_tokens=LONGEST_PROGRAM)
                found = found._replace(explanation=words.strip())
        return found

    def solve_all(
        self, questions: Sequence[Question], progress: Callable[[Solution], None] | None = None
    ) -> list[Solution]:
        """Return a solution for each question; those not solved are tried once more with what the others gave.

        Args:
            questions: in their order; those that bring a program are examples at once.
            progress: is told of each solution when it is there.
        """
        self.solved += [q for q in questions if q.program]
        found: dict[int, Solution] = {}
        for again in (False, True):
            for place, question in enumerate(questions):
                if not again or not found[place].solved:
                    found[place] = self.solve(question)
                    if progress is not None:
                        progress(found[place])
        return [found[place] for place in range(len(questions))]

    def nearest(self, question: Question) -> list[Question]:
        """Return the solved questions nearest to a question, of its own course where that is known; nearest first."""
        others = [q for q in self.solved if q.text != question.text]
        own = [q for q in others if question.course and q.course == question.course] or others
        if not own:
            return []
        rows = self.vectors([question.text, *(q.text for q in own)])
        order = cosine_distance(rows[:1], rows[1:])[0].argsort(stable=True)
        return [own[i] for i in order[: self.examples].tolist()]

    def invent(self, questions: Sequence[Question], count: int) -> list[Question]:
        """Return new questions of the course that some questions come from.

        Args:
            questions: of one course.
            count: how many, at most; repetitions of known ones are left out.
        """
        course = questions[0].course if questions else ""
        text = self.model.write(inventing(questions, count, course), max_tokens=128 * count)
        return invented(text, questions, count, course)

    def _tried(self, question: Question, prompt: str, way: str, examples: int) -> Solution:
        """Have a program written for a prompt, and run it."""
        program = code_of(self.model.write(prompt, stop=(), max_tokens=LONGEST_PROGRAM))
        if program.strip():
            outcome = run_program(program, self.limits, trust=self.trust)
        else:
            outcome = Outcome("failed", "", "the model wrote no program", 0.0)
        rows = self.vectors([question.text, prompt])
        distance = float(cosine_distance(rows[:1], rows[1:]))
        right = same_answer(outcome.answer, question.answer) if question.answer and outcome.answer else None
        if question.answer and not outcome.answer:
            right = False
        return Solution(question, outcome.answer, right, way, examples, distance, program, outcome)
