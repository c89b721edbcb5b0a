"""`gradus solve` from the command line, against a server of a script."""

import json
from pathlib import Path

import pytest

from gradus.app.solving import Solve
from gradus.errors import GradusError
from gradus.sequence.programs import sandbox
from gradus.sequence.programs.sandbox import Strength
from sequence.programs.scripted import QUESTIONS, Scripted, serving


def solve(*words: str) -> tuple[dict, str, int]:
    answer = Solve.parse([*words, "--key-variable", "", "--trust"])()
    return answer.data, answer.text, answer.code


def test_one_question() -> None:
    with serving(Scripted()) as server:
        data, text, code = solve("What is 3^200 modulo 13?", "--language-model", server.url, "--model", "script")
    assert code == 0
    assert data["questions"][0]["answer"] == "9"
    assert data["questions"][0]["right"] is None
    assert "= 9" in text
    assert "pow(3, 200, 13)" in text
    assert "First one sets it up" in text


def test_a_file_of_questions_with_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "questions.jsonl"
    chosen = [q for q in QUESTIONS if "import" not in q["program"]]
    kept = ("question", "course", "answer")
    path.write_text("".join(json.dumps({name: q[name] for name in kept}) + "\n" for q in chosen))
    out = tmp_path / "answers.jsonl"
    with serving(Scripted()) as server:
        data, text, code = solve(
            str(path), "--language-model", server.url, "--model", "script", "--new-questions", "2", "--no-explain",
            "--out", str(out),
        )  # fmt: skip
    assert (data["right"], data["judged"], code) == (len(chosen), len(chosen), 0)
    assert len(data["clusters"]["labels"]) == len(chosen)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows == data["questions"]
    assert {row["course"] for row in rows if row["new"]} == {q["course"] for q in chosen}
    assert all(row["answer"] == "4" for row in rows if row["question"] == "What is 2 + 2?")
    assert f"{len(chosen)} of {len(chosen)} are right" in text
    assert "zero-shot" in capsys.readouterr().err
    json.dumps(data)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ((), "name a question"),
        (("Q",), "name a question and a language model"),
        (("Q", "--language-model", "http://localhost:1/v1"), "--model"),
        (("Q", "--language-model", "http://", "--model", "m"), "is no address"),
        (("Q", "--language-model", "nowhere"), "nowhere"),
        (("none.jsonl", "--language-model", "http://localhost:1/v1", "--model", "m"), "there is no file"),
        (("Q", "--language-model", "http://localhost:1/v1", "--model", "m", "--new-questions", "-1"), "count from 0"),
        (("Q", "--language-model", "http://localhost:1/v1", "--model", "m", "--out", "no/where"), "--out"),
    ],
)
def test_what_is_missing_is_told(words: tuple[str, ...], match: str) -> None:
    with pytest.raises(GradusError, match=match):
        solve(*words)


def test_nothing_printed_steers_a_terminal() -> None:
    class Rude(Scripted):
        def write(self, prompt: str, *, stop: object = (), max_tokens: int = 512) -> str:
            return "```python\nprint(chr(27) + '[2J9')\n```"

    with serving(Rude()) as server:
        data, text, _ = solve("Q", "--language-model", server.url, "--model", "script")
    assert data["questions"][0]["answer"] == "\x1b[2J9"
    assert "\x1b" not in text
    assert "[2J9" in text


def test_nothing_is_asked_where_programs_cannot_be_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "strength", lambda: Strength({"network": False}, ("limits",), {}))
    with serving(Scripted()) as server:
        with pytest.raises(GradusError, match=r"does not confine network.*--trust"):
            Solve.parse(["Q", "--language-model", server.url, "--model", "script", "--key-variable", ""])()
        assert server.asked == []
