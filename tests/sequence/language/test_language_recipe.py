"""`sequence/language-model` from the command line: a text in, a model out; killed and resumed; mistakes told."""

import dataclasses
import json
import random

import pytest
import torch

from gradus.app.cli import main
from gradus.engine.loop import fit
from gradus.engine.product import load_product
from gradus.engine.recipe import from_json, to_json
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.language.building import product as product_of
from gradus.sequence.language.recipes import LanguageModel
from gradus.sequence.language.recurrent import RecurrentModel
from gradus.testing import check_learner

WORDS = (
    "the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "over", "green", "hills", "and", "birds", "sang",
)  # fmt: skip


def sentences(count, seed=0):
    draw = random.Random(seed)
    return "\n".join(" ".join(draw.choices(WORDS, k=9)) + "." for _ in range(count)) + "\n"


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text(sentences(120))
    return path


@pytest.fixture
def cli(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in words and code == 0 else out, err

    return call


def train(cli, *words):
    code, told, err = cli("train", "sequence/language-model", *words, "--quiet", "--json", "--device", "cpu")
    assert code == 0, err
    return told


def metrics(cli, name, *words):
    code, told, err = cli("evaluate", name, "--json", "--device", "cpu", *words)
    assert code == 0, err
    return told["metrics"]


SMALL = ("--max-steps", 6, "--batch-size", 4, "--context", 8, "--set")
MODELS = {
    "ngram": (), "markov": (), "rnn": (*SMALL, "model.width=12"), "gru": (*SMALL, "model.width=12"),
    "lstm": (*SMALL, "model.width=12"), "gpt": (*SMALL, "model.width=16", "model.layers=1"),
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
def test_a_text_in_and_text_and_its_cost_out(cli, book, model):
    train(cli, "--data", book, "--model", model, "--name", "a", *MODELS[model])
    found = metrics(cli, "a")
    assert set(found) == {"test/loss", "test/perplexity", "test/bits_per_character"}
    assert found["test/perplexity"] == pytest.approx(torch.tensor(found["test/loss"]).exp().item(), rel=1e-5)
    text = len(book.read_text())
    tokens = text - int(text * 0.9)
    bits = found["test/loss"] / torch.tensor(2.0).log().item()
    assert found["test/bits_per_character"] == pytest.approx(bits * (tokens - 1) / tokens, rel=1e-5)
    assert set(metrics(cli, "a", "--split", "val")) == {"val/loss", "val/perplexity", "val/bits_per_character"}
    product = load_product(book.parent / "runs/a", "cpu")
    assert "".join(product.complete("the cat", max_new_tokens=5, seed=1))


def test_evaluation_does_not_depend_on_the_batch_size(cli, book):
    train(cli, "--data", book, "--name", "a", *MODELS["lstm"])
    options = json.loads((book.parent / "runs/a/recipe.json").read_text())["options"]
    product = load_product(book.parent / "runs/a", "cpu")
    found = [from_json(LanguageModel, {**options, "batch_size": n}).evaluate(product, "test") for n in (1, 7, 64)]
    assert found[0] == found[1] == found[2] == metrics(cli, "a")


@pytest.mark.parametrize("kind", ["char", "word", "bpe", "wordpiece"])
def test_every_tokenizer(cli, book, kind):
    size = ("--vocabulary", 300) if kind in ("bpe", "wordpiece") else ()
    train(cli, "--data", book, "--tokenizer", kind, "--model", "ngram", "--set", "order=3", "--name", "a", *size)
    found = metrics(cli, "a")
    assert 0 < found["test/bits_per_character"] < 2
    product = load_product(book.parent / "runs/a", "cpu")
    assert product.tokenizer.kind == kind
    assert "".join(product.complete("the cat", max_new_tokens=5, seed=1))


def test_rare_words_have_no_token_and_their_share_is_told(cli, book):
    book.write_text(sentences(100) + "zebra " + sentences(15) + "quokka wombat")
    train(cli, "--data", book, "--tokenizer", "word", "--model", "ngram", "--name", "a")
    assert 0 < metrics(cli, "a")["test/unknown"] < 0.1
    assert "zebra" not in load_product(book.parent / "runs/a", "cpu").tokenizer.tokens


def test_documents_end_with_a_token_that_begins_the_next(cli, tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.txt").write_text(f"chapter {i}: " + sentences(4, seed=i))
    train(cli, "--data", folder, "--model", "ngram", "--name", "a", "--set", "order=6")
    product = load_product(tmp_path / "runs/a", "cpu")
    assert product.end == product.tokenizer.id("[EOS]")
    assert "".join(product.complete("", temperature=0, max_new_tokens=7)) == "chapter"


def made(recipe):
    def build(run):
        parts = recipe.build(run)
        return parts.learner, parts.source

    return build


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "lstm", "set": ("width=8", "layers=2", "dropout=0.3", "variational=true", "initial=learned")},
        {"model": "gru", "set": ("width=8", "initial=sampled"), "ema": 0.9, "label_smoothing": 0.1, "accumulate": 2},
        {"model": "rnn", "set": ("width=8",), "stateful": False},
        {"model": "gpt", "set": ("width=8", "layers=1", "heads=2", "dropout=0.1")},
        {"model": "ngram", "context": 64, "batch_size": 32},
        {"model": "markov", "context": 64, "batch_size": 32},
    ],
    ids=["stream of an lstm", "stream of a gru", "windows of an rnn", "gpt", "ngram", "markov"],
)
def test_learners_keep_the_contract(book, settings):
    """Kills in the middle of a stream among them: the carried state is part of what is saved."""
    book.write_text(sentences(6))
    recipe = LanguageModel(data=str(book), **{"batch_size": 3, "context": 20, **settings})
    check_learner(made(recipe), cuts=(1, 3), watch=lambda run, learner: recipe.build(run).watchers[:0])


def test_a_resumed_run_goes_on_in_the_middle_of_a_stream(cli, book):
    words = ("--data", book, *MODELS["lstm"], "--schedule", "constant", "--max-steps")
    train(cli, *words, 6, "--name", "whole")
    train(cli, *words, 4, "--name", "cut")
    code, _, err = cli("resume", "cut", "--max-steps", 6, "--quiet")
    assert code == 0, err
    assert metrics(cli, "whole") == metrics(cli, "cut")


def fitted(recipe):
    run = Run.ephemeral(seed=recipe.seed)
    parts = recipe.build(run)
    history = fit(parts.learner, parts.source, run=run, steps=parts.steps)
    return history, product_of(parts.learner)


def test_an_lstm_learns_a_small_text_by_heart(tmp_path):
    path = tmp_path / "rhyme.txt"
    rhyme = "Twinkle, twinkle, little star,\nHow I wonder what you are!\nUp above the world so high,\n"
    path.write_text(rhyme * 12)
    recipe = LanguageModel(
        data=str(path), val_fraction=0.0, batch_size=4, context=32, max_steps=150, lr=0.01, set=("width=48",)
    )
    history, product = fitted(recipe)
    assert history.last("train/loss") < 0.1
    assert "".join(product.complete(rhyme[:20], temperature=0, max_new_tokens=60)) == rhyme[20:80]


def test_going_on_from_another_run(cli, book, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text(sentences(60, seed=5))
    small = ("--batch-size", 8, "--context", 16, "--set", "model.width=24", "--lr", 0.01, "--schedule", "constant")
    train(cli, "--data", book, "--name", "base", *small, "--max-steps", 60)
    train(cli, "--data", other, "--name", "tuned", "--from", "base", *small[:4], "--max-steps", 2)
    train(cli, "--data", other, "--name", "fresh", *small, "--max-steps", 2)
    assert metrics(cli, "tuned")["test/loss"] < 0.8 * metrics(cli, "fresh")["test/loss"]
    base, tuned = (load_product(tmp_path / "runs" / name, "cpu") for name in ("base", "tuned"))
    assert base.tokenizer == tuned.tokenizer
    assert tuned.facts["settings"] == {"width": 24}
    for words, said in {
        ("--model", "gru"): "holds the model lstm",
        ("--tokenizer", "word"): "--tokenizer: with --from the tokenizer is that run's",
        ("--set", "model.width=25"): "changes the shape of the weights",
    }.items():
        code, _, err = cli("train", "sequence/language-model", "--data", other, "--from", "base", *words, "--quiet")
        assert code == 2
        assert said in err


def test_averaged_weights_are_kept_beside_the_raw_ones(cli, book):
    train(cli, "--data", book, "--name", "a", *MODELS["lstm"], "--ema", 0.9)
    product = load_product(book.parent / "runs/a", "cpu")
    weights = product.module.state_dict()
    assert product.raw.keys() == weights.keys()
    assert not torch.equal(product.raw["embedding.weight"], weights["embedding.weight"])


def test_which_weights_decay():
    network = RecurrentModel("lstm", 5, width=4)
    update = LanguageModel(model="lstm", set=("weight_decay=0.1",)).updater(network, 10)
    decayed = {id(p) for group in update.groups if group.weight_decay != 0.0 for p in group.params}
    assert {name for name, p in network.named_parameters() if id(p) in decayed} == {
        "embedding.weight", "layers.cells.0.weight_input", "layers.cells.0.weight_hidden",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (b"", (), "empty"),
        (b"  \n ", (), "empty"),
        (b"abc\0def" * 50, (), "binary"),
        (b"caf\xe9 " * 50, (), "UTF-8"),
        (b"a", (), "too short|token"),
        (b"abcd " * 20, ("--context", 500, "--model", "gpt"), "too few for one window of 500"),
        (b"abcd " * 50, ("--folds", 3), "not divided into folds"),
        (b"abcd " * 50, ("--snapshots", 3), "--snapshots"),
        (b"abcd " * 50, ("--model", "ngram", "--lr", 0.1), "--lr: the model ngram is counted"),
        (b"abcd " * 50, ("--model", "markov", "--label-smoothing", 0.1), "--label-smoothing: the model markov"),
        (b"abcd " * 50, ("--model", "ngram", "--set", "order=0"), "order of at least 1"),
        (b"abcd " * 50, ("--model", "ngram", "--set", "width=4"), "neither model nor"),
        (b"abcd " * 50, ("--vocabulary", 2), "leaves no room"),
        (b"abcd " * 50, ("--context", 0), "--context must be positive"),
        (b"abcd " * 50, ("--label-smoothing", 1.5), "--label-smoothing"),
        (b"abcd " * 50, ("--model", "transformer"), "--model"),
        (b"abcd " * 50, ("--from", "nowhere"), "nowhere"),
        (b"abcd " * 50, ("--test-fraction", 0.95, "--val-fraction", 0.2), "nothing to train on"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_sentence(cli, tmp_path, content, words, said):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    code, out, err = cli("train", "sequence/language-model", "--data", path, "--name", "a", "--quiet", *words)
    assert code == 2, err
    assert not out
    assert len(err.strip().splitlines()) == 1
    assert any(part in err for part in said.split("|")), err
    assert not (tmp_path / "runs/a").exists()


def test_a_missing_file_and_a_missing_field(cli, tmp_path):
    code, _, err = cli("train", "sequence/language-model", "--data", "./nothing.txt", "--quiet")
    assert code == 2
    assert "nothing.txt" in err
    (tmp_path / "rows.jsonl").write_text('{"body": "some text here"}\n' * 20)
    code, _, err = cli("train", "sequence/language-model", "--data", tmp_path / "rows.jsonl", "--quiet")
    assert code == 2
    assert "'text'" in err
    assert "body" in err


def test_maximum_likelihood_that_meets_something_new(cli, book):
    book.write_text("ab" * 200 + "bb" * 20)
    code, _, err = cli(
        "train", "sequence/language-model", "--data", book, "--model", "markov", "--set", "k=0",
        "--val-fraction", 0, "--quiet", "--name", "a",
    )  # fmt: skip
    assert code == 0, err
    code, _, err = cli("evaluate", "a")
    assert code == 2
    assert "probability zero" in err


def test_an_empty_part_cannot_be_evaluated(cli, book):
    train(cli, "--data", book, "--model", "markov", "--val-fraction", 0, "--name", "a")
    code, _, err = cli("evaluate", "a", "--split", "val")
    assert code == 2
    assert "the val part" in err


def test_recipes_round_trip():
    recipe = LanguageModel(model="ngram", tokenizer="word", set=("order=3",))
    assert from_json(LanguageModel, json.loads(json.dumps(to_json(recipe)))) == recipe
    with pytest.raises(GradusError, match="--batch-size: the model markov"):
        dataclasses.replace(recipe, model="markov", set=(), batch_size=4)


@pytest.mark.parametrize("attention", ["local", "linear"])
def test_the_attention_of_gpt_is_a_flag(attention):
    recipe = LanguageModel(model="gpt", attention=attention)
    assert recipe.settings()["model"]["attention"] == attention
    with pytest.raises(GradusError, match="--attention: the model lstm has none"):
        LanguageModel(attention=attention)
    with pytest.raises(GradusError, match="attention"):
        LanguageModel(model="gpt", set=(f"attention={attention}",))
