"""Finding answers: questions as they are read, windows, metrics with known answers, exact resume; it learns."""

import ast
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.data.tokenizer import train_tokenizer
from gradus.engine.loop import fit
from gradus.engine.product import load_from
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.encoder.answering import exact, f1, normalised
from gradus.sequence.encoder.building import SPECIALS
from gradus.sequence.encoder.questions import Question, header_questions, load_questions, read_questions
from gradus.sequence.encoder.recipes import Answer, Pretrain
from gradus.sequence.encoder.span_finder import SpanFinder, inside, windows
from gradus.testing import check_learner

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("hat", "coat", "ball", "door")
PLACES = ("upstairs", "outside", "here")


def written(path: Path, count: int = 120) -> Path:
    """Write questions about a colour, a thing, or where it is, in either order."""
    draw = random.Random(5)
    lines = []
    for number in range(count):
        said = {"colour": draw.choice(COLOURS), "thing": draw.choice(THINGS), "place": draw.choice(PLACES)}
        context = f"box {number} {said['place']} has a {said['colour']} {said['thing']}"
        if draw.random() < 0.5:
            context = f"a {said['colour']} {said['thing']} is in box {number} {said['place']}"
        asked = draw.choice(list(said))
        record = {"question": f"which {asked} ?", "context": context, "answer": said[asked]}
        lines.append(json.dumps({**record, "start": context.index(said[asked])}))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "questions.jsonl")


def recipe(data: Path, **settings: Any) -> Answer:
    given = {
        "data": str(data), "vocabulary": 80, "context": 24, "stride": 4, "batch_size": 8, "max_steps": 6,
        "set": ("layers=1", "heads=2", "width=16"), "device": "cpu", "tokenizer": "word",
    }  # fmt: skip
    return Answer(**{**given, **settings})


def trained(made: Any) -> Any:
    run = Run.ephemeral(seed=made.seed)
    parts = made.build(run)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return made.product(parts.learner)


# -- questions --------------------------------------------------------------------------------------------------------


def test_questions_about_headers_are_answered_by_what_stands_there() -> None:
    questions = header_questions()
    assert len(questions) > 2000
    for question in questions[::37]:
        assert question.context[question.start :].startswith(question.answer)
        node = ast.parse(f"{question.context} ...").body[0]
        if " default of " in question.question and isinstance(node, ast.FunctionDef):
            name = question.question.split(" default of ")[1].split(" in ")[0]
            spec = node.args
            plain = [*spec.posonlyargs, *spec.args]
            paired = [
                *zip(plain[len(plain) - len(spec.defaults) :], spec.defaults),
                *zip(spec.kwonlyargs, spec.kw_defaults),
            ]
            (default,) = (value for argument, value in paired if argument.arg == name)
            assert default is not None
            assert ast.unparse(default) == question.answer
            before = question.context[: question.start]
            assert before.endswith(f"{name}=") or ": " in before


def test_parts_share_no_context(file: Path) -> None:
    splits = load_questions(str(file), val_fraction=0.2, test_fraction=0.2)
    parts = [{q.context for q in part} for part in splits[:3]]
    assert [len(part) for part in splits[:3]] == [72, 24, 24]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    held = [{q.context for q in load_questions(str(file), folds=4, fold=fold).test} for fold in range(4)]
    assert sum(map(len, held)) == len(set.union(*held)) == 120


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"question": "q", "context": "a b c", "answer": "b", "start": 4},
            "record 1: at character 4 .* stands 'c'",
        ),
        ({"question": "q", "context": "a b c", "answer": "b", "start": -1}, "at character -1"),
        ({"question": "q", "context": "a b c", "answer": "b", "start": "two"}, "must be a number of characters"),
        ({"question": "q", "context": "a b c", "answer": "d"}, "stands 0 times"),
        ({"question": "q", "context": "a b b", "answer": "b"}, "stands 2 times"),
        ({"question": "q", "context": "a b c"}, "has no answer"),
        ({"question": " ", "context": "a b c", "answer": "b"}, "has no question"),
        ({"context": "a b c", "answer": "b"}, "record 1 has no question"),
    ],
)
def test_an_answer_that_does_not_stand_there_is_refused(record: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(record))
    with pytest.raises(GradusError, match=said):
        read_questions(path)


def test_start_may_be_left_out_and_answers_too(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,context,answer\nwhich?,a b c,b\n")
    assert read_questions(path) == [Question("which?", "a b c", "b", 2)]
    path.write_text("question,context\nwhich?,a b c\n")
    assert read_questions(path, answered=False) == [Question("which?", "a b c")]
    path.write_text("question,context,answer\nwhich?,a b c,b\n")
    with pytest.raises(GradusError, match="different contexts, too few"):
        load_questions(str(path))
    with pytest.raises(GradusError, match="did you mean 'python-headers'"):
        load_questions("python-header")


# -- metrics and windows ----------------------------------------------------------------------------------------------


def test_answers_are_compared_as_in_squad() -> None:
    assert normalised("The  Cat, a dog!") == "cat dog"
    assert exact("the Cat.", "cat") == 1
    assert exact("cat", "cats") == 0
    assert f1("the black cat", "black cat sat") == pytest.approx(2 * 2 / 5)
    assert f1("dog", "cat") == 0
    assert f1("cat cat", "cat") == pytest.approx(2 / 3)
    assert exact("()", "[]") == 0
    assert exact("()", "()") == f1("()", "()") == 1


TOKENIZER = train_tokenizer("word", [" ".join(f"w{i}" for i in range(40))], specials=SPECIALS["bert"])


@given(st.integers(0, 40), st.integers(0, 120), st.integers(16, 40), st.integers(0, 7))
def test_windows_read_every_token_and_overlap(asked: int, count: int, length: int, stride: int) -> None:
    question, context = [5] * asked, [6 + i % 30 for i in range(count)]
    parts = windows(question, context, TOKENIZER, length, min(stride, length // 2 - 2))
    seen = []
    for part in parts:
        assert len(part.tokens) == len(part.segments) <= length
        assert part.tokens[part.offset : part.offset + part.size] == context[part.first : part.first + part.size]
        assert all(part.segments[part.offset : part.offset + part.size])
        assert not any(part.segments[: part.offset])
        seen += list(range(part.first, part.first + part.size))
    assert set(seen) == set(range(count))
    for one, other in pairwise(parts):
        assert one.first + one.size - other.first == min(stride, length // 2 - 2)


def test_windows_go_on_even_where_the_stride_is_too_long() -> None:
    parts = windows([5] * 40, [6] * 30, TOKENIZER, 16, 15)
    assert [part.first for part in parts] == list(range(24))


def test_only_the_context_is_scored() -> None:
    parts = windows([5, 5], [6, 7, 8], TOKENIZER, 20, 0)
    scores = inside(torch.zeros(1, 8), parts)
    assert scores.exp().tolist() == [pytest.approx([0.25, 0, 0, 0, 0.25, 0.25, 0.25, 0])]


# -- runs -------------------------------------------------------------------------------------------------------------


def test_learners_keep_the_contract(file: Path) -> None:
    made = recipe(file, evaluate_every=2)
    watchers = {}

    def make(run: Run) -> Any:
        parts = made.build(run)
        watchers[run] = parts.watchers
        return parts.learner, parts.source

    untrained = ("network.trunk.pooler.*",)
    check_learner(make, steps=4, cuts=(2,), watch=lambda run, learner: watchers[run], untrained=untrained)


def test_targets_are_the_answers_tokens(file: Path) -> None:
    parts = recipe(file).build(Run.ephemeral())
    batch, tokenizer = next(parts.source), parts.learner.facts["tokenizer"]
    for tokens, segments, begin, end in zip(*(batch[k].tolist() for k in ("tokens", "segments", "begin", "end"))):
        assert begin == end
        assert segments[begin] == 1
        assert tokenizer.tokens[tokens[begin]] in COLOURS + THINGS + PLACES


def test_it_learns_to_answer(tmp_path: Path) -> None:
    """Who does not look at the question is right a third of the time."""
    made = recipe(
        written(tmp_path / "many.jsonl", 500), max_steps=200, batch_size=32, lr=0.003, evaluate_every=50,
        set=("layers=1", "heads=2", "width=32", "dropout=0.0"),
    )  # fmt: skip
    product = trained(made)
    found = made.evaluate(product, "test")
    assert found["test/exact"] > 0.9
    assert found["test/f1"] >= found["test/exact"]
    context = "box 9 outside has a white coat"
    for asked, wanted in (("colour", "white"), ("thing", "coat"), ("place", "outside")):
        (answer,) = product.answer([Question(f"which {asked} ?", context)])
        assert (answer.text, answer.start) == (wanted, context.index(wanted))
    assert 0 < answer.probability <= 1


def test_a_long_context_is_read_in_windows(file: Path) -> None:
    product = trained(recipe(file))
    long = "box 1 has " + "a thing and " * 40 + "a red hat"
    short, found = product.answer([Question("hat ?", "a red hat"), Question("hat ?", long)])
    assert long[found.start :].startswith(found.text)
    assert "a red hat"[short.start :].startswith(short.text)
    assert product.answer([]) == []


def test_a_product_is_kept_and_read_again(file: Path, tmp_path: Path) -> None:
    product = trained(recipe(file))
    product.save(tmp_path / "run" / "product")
    again = load_from(tmp_path / "run" / "product")
    assert isinstance(again, SpanFinder)
    batches = list(again.read(file))
    assert [name for batch in batches for name in batch.names][:2] == [q.question for q in read_questions(file)[:2]]
    assert again.answer(batches[0].inputs) == product.answer(batches[0].inputs)
    assert torch.equal(again.embed(["a red hat"]), product.embed(["a red hat"]))
    assert repr(again) == repr(product)


def test_it_starts_from_a_pretrained_encoder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(q.context for q in read_questions(file)))
    small = {"context": 24, "set": ("layers=1", "heads=2", "width=16"), "device": "cpu"}
    encoder = trained(Pretrain(data=str(tmp_path / "lines.txt"), vocabulary=80, max_steps=4, **small))
    encoder.save(tmp_path / "run" / "product")
    (tmp_path / "run" / "recipe.json").write_text("{}")
    learner = recipe(file, from_run=str(tmp_path / "run")).build(Run.ephemeral()).learner
    assert learner.facts["tokenizer"] == encoder.tokenizer
    for name, value in learner.network.trunk.state_dict().items():
        assert torch.equal(value, encoder.module.trunk.state_dict()[name]), name


@pytest.mark.parametrize(
    ("settings", "said"), [({"stride": 70}, "--stride"), ({"longest": 0}, "--longest"), ({"context": 8}, "--context")]
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        Answer(**settings)
