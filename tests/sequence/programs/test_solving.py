"""Twenty questions of mathematics from question to explanation, and the parts of the way."""

import math
from pathlib import Path

import pytest
import torch

from gradus.errors import GradusError
from gradus.sequence.programs.courses import cluster, cosine_distance, k_means, tf_idf
from gradus.sequence.programs.model import Endpoint
from gradus.sequence.programs.questions import (
    Question,
    code_of,
    few_shot,
    invented,
    read_questions,
    same_answer,
    zero_shot,
)
from gradus.sequence.programs.sandbox import Limits
from gradus.sequence.programs.solving import Solver
from sequence.programs.scripted import QUESTIONS, Scripted, serving

ASKED = [Question(q["question"], q["course"], q["answer"]) for q in QUESTIONS]
HARD = ("Which is the largest prime factor of 13195?", "What is the inverse of 3 modulo 11?")


def test_twenty_questions_from_end_to_end() -> None:
    assert len(ASKED) == 20
    script = Scripted(needs_examples=HARD)
    with serving(script) as server:
        solver = Solver(Endpoint(server.url, "script", key_variable=""), limits=Limits(seconds=60), trust=True)
        found = solver.solve_all(ASKED)
        fresh = solver.invent([q for q in ASKED if q.course == "Number theory"], 5)
    assert [solution.right for solution in found] == [True] * 20, [(s.answer, s.outcome) for s in found if not s.right]
    assert all(solution.explanation.startswith("First") for solution in found)
    ways = {solution.question.text: solution.way for solution in found}
    assert {text for text, way in ways.items() if way == "few-shot"} == set(HARD)
    assert all(0 <= solution.distance <= 1 for solution in found)
    assert all("```" not in solution.program for solution in found)
    assert [(q.text, q.course) for q in fresh] == [("What is 2 + 2?", "Number theory")]
    shown = [prompt for prompt in script.prompts if prompt.count("Question") > 1 and HARD[0] in prompt]
    assert "Number theory" in shown[0]
    assert "Calculus" not in shown[0]


def test_a_program_that_fails_is_no_answer() -> None:
    class Wrong:
        def write(self, prompt: str, *, stop: object = (), max_tokens: int = 0) -> str:
            return "```python\n1 / 0\n```" if "divide" in prompt else "```python\n41\n```" if "wrong" in prompt else " "

    solver = Solver(Wrong(), trust=True)
    divided, wrong, silent = solver.solve_all([Question("divide"), Question("wrong", answer="42"), Question("nothing")])
    assert (divided.answer, divided.right, divided.solved) == ("", None, False)
    assert "ZeroDivisionError" in divided.outcome.error
    assert (wrong.answer, wrong.right, wrong.solved, wrong.explanation) == ("41", False, False, "")
    assert silent.outcome.error == "the model wrote no program"
    assert solver.solved == []


def test_examples_are_the_nearest_solved_questions() -> None:
    solver = Solver(Scripted(), trust=True, examples=2)
    solver.solved = [
        Question("the determinant of a matrix", program="1"), Question("the area of a circle", program="2"),
        Question("the rank of a matrix", program="3"), Question("a probability", program="4"),
    ]  # fmt: skip
    near = solver.nearest(Question("the determinant of another matrix"))
    assert [q.program for q in near] == ["1", "3"]
    prompt = few_shot(Question("Q"), near)
    assert prompt.index("rank") < prompt.index("determinant") < prompt.rindex("Question: Q")
    assert zero_shot(Question("Q")).endswith("Question: Q\n```python\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nprint(1)\n```", "print(1)\n"),
        ("Look:\n```\na\n```\nand\n```py\nlonger = 1\n```", "longer = 1\n"),
        ("print(2)", "print(2)\n"),
        ("print(3)\n```\nThat is it", "print(3)\n"),
        ("```python\nx = 1", "x = 1\n"),
        ("```python title=a\n  x\n  ```", "  x\n"),
        ("", ""),
    ],
)
def test_code_is_taken_out_of_fences(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ("3", "3.0", True), ("1/3", "0.33333333", True), ("[1, 2]", "(1,2)", True), ("−2", "-2", True),
        ("3", "4", False), ("1, 2", "2, 1", False), ("", "", False), ("1/0", "1/0", True), ("x**2", "X**2 ", True),
        ("1e-12", "0", True), ("0.5", "0.6", False), ("nan", "nan", False),
    ],
)  # fmt: skip
def test_answers_are_compared_as_numbers_where_they_are(found: str, expected: str, same: bool) -> None:
    assert same_answer(found, expected) is same


def test_new_questions_are_not_the_old_ones() -> None:
    text = "Sure:\n1. Old  one.\n2) New one\n- New one\n* Another\nprose"
    assert [q.text for q in invented(text, [Question("old one")], 9)] == ["New one", "Another"]
    assert len(invented(text, [], 1)) == 1


def test_questions_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": " a ", "course": "c", "answer": 3}\n\n{"question": "b", "program": "1"}\n')
    assert read_questions(path) == [Question("a", "c", "3"), Question("b", program="1")]
    path.write_text('{"question": "a"}\n{"quest": "b"}\n')
    with pytest.raises(GradusError, match="question 2"):
        read_questions(path)
    path.write_text("nothing\n")
    with pytest.raises(GradusError, match="line 1 is not JSON"):
        read_questions(path)


def test_tf_idf_is_as_counted_by_hand() -> None:
    found = tf_idf(["a b b", "a c"])
    weight = 1 + math.log(3 / 2)
    expected = torch.tensor([[1, 2 * weight, 0], [1, 0, weight]], dtype=torch.float64)
    assert torch.allclose(found, expected / expected.norm(dim=1, keepdim=True))
    assert float(cosine_distance(found[:1], found[:1])) == pytest.approx(0)
    assert float(cosine_distance(tf_idf(["a", "b"])[:1], tf_idf(["a", "b"])[1:])) == 1
    assert float(cosine_distance(torch.zeros(1, 2), torch.ones(1, 2))) == 1


def test_courses_are_found_again() -> None:
    generator = torch.Generator().manual_seed(3)
    centres = 10 * torch.eye(4, dtype=torch.float64)
    points = (centres[:, None] + torch.randn(4, 12, 4, generator=generator)).flatten(0, 1)
    found = cluster(points)
    assert len(found.labels.unique()) == 4
    assert all(len(part.unique()) == 1 for part in found.labels.split(12))
    assert found.silhouette > 0.7
    assert found.within == pytest.approx(float((points - found.centres[found.labels]).square().sum()))


def test_k_means_finds_the_best_division_of_few_points() -> None:
    points = torch.tensor([[0.0], [1.0], [4.0], [5.0], [9.0]], dtype=torch.float64)
    best = min(
        sum(float((part - part.mean()).square().sum()) for part in (points[: i + 1], points[i + 1 : j], points[j:]))
        for i in range(3)
        for j in range(i + 2, 5)
    )
    assert k_means(points, 3).within == pytest.approx(best)
    assert len(cluster(torch.zeros(5, 2)).labels.unique()) == 1
    assert len(cluster(torch.zeros(1, 2)).labels) == 1
    with pytest.raises(GradusError, match="do not make 6"):
        k_means(points, 6)
