"""Verbs on runs of texts: a text in place of a file, coloured words, answers, and what reports say of them."""

import contextlib
import io
import json
from types import SimpleNamespace

import pytest
import torch

from app.pages import Page
from gradus import Run
from gradus.app.cli import main
from gradus.app.report.attention import looks
from gradus.nn.attention import SelfAttention

QUIET = ("--quiet", "--device", "cpu")
REVIEWS = "label,review\n" + "".join(
    f"{'good' if i % 2 else 'bad'},{'a fine and merry film' if i % 2 else 'a dull and tedious film'} number {i}\n"
    for i in range(60)
)

TAGGED = [
    f"{first} D\n{noun} N\n{verb} V\n\n"
    for first in ("the", "a", "every")
    for noun in ("cat", "dog", "bird", "horse", "child")
    for verb in ("sleeps", "barks", "sings", "runs")
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return a folder with a classifier, a tagger, a forecaster and a finder of answers."""
    home = tmp_path_factory.mktemp("texts")
    (home / "reviews.csv").write_text(REVIEWS, encoding="utf-8")
    (home / "tags.conll").write_text("".join(TAGGED), encoding="utf-8")
    (home / "book.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 200, encoding="utf-8")
    runs = {
        "reviews": ("sequence/classify", "--data", home / "reviews.csv", "--text-column", "review", "--target", "label",
                    "--model", "bow"),
        "tags": ("sequence/tag", "--data", home / "tags.conll", "--max-steps", "60", "--set", "hidden=16"),
        "book": ("sequence/language-model", "--data", home / "book.txt", "--model", "gpt", "--max-steps", "30",
                 "--context", "32", "--set", "layers=2", "heads=2", "width=32"),
        "season": ("sequence/forecast", "--model", "linear"),
        "finder": ("sequence/answer", "--fast-dev-run"),
    }  # fmt: skip
    for name, words in runs.items():
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(["train", *map(str, words), "--name", name, "--runs-dir", str(home), *QUIET])
        assert code == 0, out.getvalue()
    return home


@pytest.fixture
def call(home, capsys):
    """Return a function that runs a verb on the runs of `home`: exit code, output, errors, the JSON object."""

    def run(*words):
        code = main([*map(str, words), "--runs-dir", str(home)])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, json=json.loads(out) if "--json" in words else None)

    return run


def test_a_text_is_predicted_as_the_same_text_in_a_file_is(call, home):
    text = "a fine and merry evening"
    (home / "new.csv").write_text(f"review\n{text}\n", encoding="utf-8")
    said = call("predict", "reviews", text, "--json").json["predictions"]
    read = call("predict", "reviews", home / "new.csv", "--json").json["predictions"]
    assert said[0]["class"] == "good"
    assert said[0]["all"] == pytest.approx(read[0]["all"], abs=1e-6)


def test_a_sentence_gets_a_tag_for_every_word(call):
    found = call("predict", "tags", "a cat barks", "--json").json["predictions"]
    assert [row["class"] for row in found] == ["D", "N", "V"]


def test_questions_get_answers_out_of_their_contexts(call, home):
    asked = {"question": "What does A inherit from?", "context": "class A(Base):", "answer": "Base", "start": 8}
    (home / "asked.jsonl").write_text(json.dumps(asked) + "\n", encoding="utf-8")
    (found,) = call("predict", "finder", home / "asked.jsonl", "--json").json["predictions"]
    assert found["answer"] in asked["context"]
    assert asked["context"][found["start"] :].startswith(found["answer"])
    assert call("predict", "finder", home / "asked.jsonl", "--out", home / "found.csv").code == 0
    assert (home / "found.csv").read_text(encoding="utf-8").startswith("input,answer,start,probability\n")


def test_an_explanation_of_a_text_adds_up_and_names_the_telling_word(call, home):
    (found,) = call("explain", "reviews", "a merry film", "--json").json["explanations"]
    shares = {piece["text"]: piece["share"] for piece in found["pieces"]}
    assert max(shares, key=shares.get) == "merry"
    assert sum(shares.values()) + found["rest"] == pytest.approx(found["score"] - found["score_of_nothing"], abs=1e-4)
    assert len(call("explain", "reviews", "--count", "3", "--json").json["explanations"]) == 3
    page = home / "why.html"
    assert call("explain", "reviews", "a merry film", "--out", page).code == 0
    assert "merry" in page.read_text(encoding="utf-8")
    assert call("explain", "reviews", "a film", "--method", "ocklusion").code == 2
    assert call("attack", "reviews").code == 2


@pytest.mark.parametrize("verb", ["complete", "translate", "embed"])
def test_a_verb_that_a_run_cannot_answer_says_what_the_run_can(call, verb):
    told = call(verb, "reviews", "a text")
    assert told.code == 2
    assert "a classifier of texts" in told.err


def test_the_report_of_a_language_model_has_its_samples_its_surprise_and_where_it_looks(call):
    told = call("report", "book", "--json").json
    with open(told["report"], encoding="utf-8") as file:
        page = Page(file.read())
    assert {"samples", "surprise", "attention"} <= set(page.words)
    assert "temperature 0.8" in page.words["samples"]
    assert told["metrics"] == call("evaluate", "book", "--json").json["metrics"]
    assert len(page.all("img", "coarse")) == 4


@pytest.mark.parametrize("name", ["season", "tags"])
def test_a_report_without_a_teller_tells_what_evaluate_says(call, name):
    assert call("report", name, "--json").json["metrics"] == call("evaluate", name, "--json").json["metrics"]


@pytest.mark.parametrize("causal", [False, True])
def test_looks_are_the_weights_that_the_attention_used(causal):
    torch.manual_seed(0)
    layer = SelfAttention(8, 2).eval()
    x = torch.randn(1, 5, 8)
    (weights,) = looks(layer, lambda: layer(x, causal=causal), causal)
    value = layer.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)[2]
    gathered = layer.out((weights @ value).transpose(1, 2).flatten(2))
    assert torch.allclose(gathered, layer(x, causal=causal), atol=1e-6)


def test_what_was_trained_outlives_its_text(home, call):
    kept = (home / "book.txt").read_text(encoding="utf-8")
    (home / "book.txt").unlink()
    try:
        assert call("complete", "book", "the cat", "--max-new-tokens", "5", "--json").json["tokens"] > 0
        assert Run.load(home / "book", device="cpu").perplexity("the cat sat") > 1
        assert call("evaluate", "book").code == 2
    finally:
        (home / "book.txt").write_text(kept, encoding="utf-8")


def test_the_features_of_a_text_are_those_of_the_layer_that_is_asked_for(call):
    first, last = (call("embed", "finder", "a text", *words, "--json").json for words in (("--layer", "0"), ()))
    assert len(first["vectors"]["a text"]) == len(last["vectors"]["a text"])
    assert first["vectors"] != last["vectors"]
    told = call("embed", "finder", "a text", "--layer", "99")
    assert (told.code, "there is no layer 99" in told.err) == (2, True)
    assert call("embed", "finder", "a text", "--pooling", "max").code == 2
