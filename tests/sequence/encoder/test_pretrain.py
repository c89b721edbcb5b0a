"""Pretraining: the recipe, its rows, its product; exact resume; it learns."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus.data.ragged import Ragged
from gradus.data.tokenizer import train_tokenizer
from gradus.engine.loop import fit
from gradus.engine.product import load_from
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.encoder.building import SPECIALS
from gradus.sequence.encoder.product import TextEncoder, read_vocabulary
from gradus.sequence.encoder.recipes import Pretrain
from gradus.sequence.encoder.rows import framed, rows_of, sentences_of
from gradus.testing import check_learner

SMALL = ("layers=1", "heads=2", "width=16")


def story(seed: int, lines: int) -> str:
    """Return a document of its own animal, in which a word says what comes two words later."""
    draw = random.Random(seed)
    animal = ("cat", "dog", "owl", "fox")[seed % 4]
    said = (f"the {animal} {verb} a {thing}" for verb, thing in (
        draw.choice((("eats", "fish"), ("reads", "book"), ("rides", "horse"))) for _ in range(lines)))  # fmt: skip
    return "\n".join(said) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "stories"
    place.mkdir()
    for i in range(16):
        (place / f"{i}.txt").write_text(story(i, 14))
    return place


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lines.txt"
    path.write_text(story(1, 150))
    return path


def recipe(data: Path, **settings: Any) -> Pretrain:
    sizes = SMALL if settings.get("model", "bert") == "bert" else ("layers=1", "width=16")
    given = {"data": str(data), "vocabulary": 90, "context": 24, "batch_size": 8, "max_steps": 6, "set": sizes}
    return Pretrain(**{**given, "device": "cpu", **settings})


def built(made: Pretrain, seed: int = 0) -> Any:
    return made.build(Run.ephemeral(seed=seed))


def trained(made: Pretrain) -> TextEncoder:
    run = Run.ephemeral(seed=made.seed)
    parts = made.build(run)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return made.product(parts.learner)


# -- learners and rows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"whole_words": True}, {"model": "elmo"}])
def test_learners_keep_the_contract(settings: dict[str, Any], folder: Path) -> None:
    made = recipe(folder, evaluate_every=2, ema=0.9, **settings)
    watchers = {}

    def make(run: Run) -> Any:
        parts = made.build(run)
        watchers[run] = parts.watchers
        return parts.learner, parts.source

    check_learner(make, steps=4, cuts=(2,), watch=lambda run, learner: watchers[run])


def test_a_folder_makes_pairs_of_passages(folder: Path) -> None:
    parts = built(recipe(folder))
    assert "pairs of passages" in parts.notes["train"]
    assert "note" not in parts.notes
    batch = next(parts.source)
    tokenizer = parts.learner.facts["tokenizer"]
    begin, end = tokenizer.id("[CLS]"), tokenizer.id("[SEP]")
    for tokens, segments, length in zip(
        batch["tokens"].tolist(), batch["segments"].tolist(), batch["tokens_lengths"].tolist(), strict=True
    ):
        row = tokens[:length]
        assert row[0] == begin
        assert row[-1] == end
        assert row.count(end) == 2
        first = row.index(end) + 1
        assert segments[:first] == [0] * first
        assert segments[first:length] == [1] * (length - first)
        assert length <= 24


def test_a_file_makes_lines_and_says_what_is_not_learned(file: Path) -> None:
    parts = built(recipe(file))
    assert parts.notes["train"].endswith(" lines")
    assert "masked words are learned and not what follows" in parts.notes["note"]
    assert "follows" not in next(parts.source)
    assert parts.learner.network.follows is None
    quiet = built(recipe(file, next_sentence=False))
    assert "note" not in quiet.notes


def test_examples_may_be_chosen(file: Path, folder: Path) -> None:
    assert built(recipe(file, examples="passages")).notes["train"].endswith(" passages")
    assert built(recipe(folder, examples="lines")).notes["train"].endswith(" lines")
    assert built(recipe(folder, next_sentence=False)).notes["train"].endswith(" passages")


def test_rows_are_what_they_say() -> None:
    tokenizer = train_tokenizer("word", ["a b c d e f"], specials=SPECIALS["bert"])
    documents = sentences_of(["a b\n\nc d e\n", "  \n", "f"], tokenizer)
    assert [[len(line) for line in document] for document in documents] == [[2, 3], [1]]

    def texts(**settings: Any) -> list[str]:
        tokens = rows_of(documents, tokenizer, ("[CLS]", "[SEP]"), pairs=False, seed=0, **settings)["tokens"]
        assert isinstance(tokens, Ragged)
        return [" ".join(tokenizer.tokens[i] for i in tokens.row(r).tolist()) for r in range(len(tokens))]

    assert texts(context=10, examples="lines") == ["[CLS] a b [SEP]", "[CLS] c d e [SEP]", "[CLS] f [SEP]"]
    assert texts(context=10, examples="passages") == ["[CLS] a b c d e [SEP]", "[CLS] f [SEP]"]
    assert texts(context=4, examples="passages")[:2] == ["[CLS] a b [SEP]", "[CLS] c d [SEP]"]
    assert framed([7], [8, 9], 1, 2) == ([1, 7, 2, 8, 9, 2], [0, 0, 0, 1, 1, 1])


def test_texts_are_hidden_anew_in_every_epoch(file: Path) -> None:
    parts = built(recipe(file))
    objective, network = parts.learner.objective, parts.learner.network
    batch = next(parts.source)
    read: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, given: read.append(given[0].clone()))
    objective(network, batch)
    objective(network, batch)
    assert not torch.equal(read[0], read[1])
    assert batch["tokens"].shape == read[0].shape


# -- learning ---------------------------------------------------------------------------------------------------------


LEARNING: dict[str, Any] = {"batch_size": 32, "test_fraction": 0.4, "tokenizer": "word"}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.txt"
    path.write_text("".join(story(i, 1) for i in range(1000)))
    return path


def test_bert_learns_what_goes_with_what(mixed: Path) -> None:
    """One word of five is hidden. The verb says the thing and the thing the verb; nothing says which of 4 animals.

    That is log 4 / 5 nats; whoever knows the place of a word only needs (log 4 + 2 log 3) / 5.
    """
    made = recipe(
        mixed, max_steps=300, lr=0.003, set=("layers=1", "width=32", "heads=2", "dropout=0.0"), mask=0.2, **LEARNING
    )
    found = made.evaluate(trained(made), "test")
    assert found["test/loss"] < 0.6 * (math.log(4) + 2 * math.log(3)) / 5
    assert found["test/masked_accuracy"] > 0.75
    assert found["test/perplexity"] == pytest.approx(math.exp(found["test/loss"]))


def test_elmo_learns_what_goes_with_what(mixed: Path) -> None:
    """Ahead, the animal is one of 4 and the verb one of 3; back, the thing and the animal; all else is certain."""
    made = recipe(mixed, model="elmo", max_steps=150, lr=0.01, set=("layers=1", "width=64", "dropout=0.0"), **LEARNING)
    found = made.evaluate(trained(made), "test")
    assert found["test/loss"] < 1.2 * (math.log(4) + math.log(3)) / 6
    assert set(found) == {"test/loss", "test/perplexity", "test/accuracy"}


def test_evaluation_is_the_same_twice_and_hides_the_same(file: Path) -> None:
    made = recipe(file)
    product = trained(made)
    assert made.evaluate(product, "test") == made.evaluate(product, "test")
    assert made.evaluate(product, "val") != made.evaluate(product, "test")


# -- the product ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["bert", "elmo"])
def test_features_and_vectors(model: str, file: Path, tmp_path: Path) -> None:
    product = trained(recipe(file, model=model))
    texts = ["the cat eats a fish", "the owl", "", "a horse"]
    layers = product.features(texts)
    counts = [len(product.tokenizer.encode(text)) + 2 for text in texts]
    assert len(layers) == 2
    for layer in layers:
        assert layer.shape == (4, max(counts), 16)
        for row, count in zip(layer, counts, strict=True):
            assert bool((row[count:] == 0).all())
    mean = product.embed(texts)
    assert mean.shape == (4, 16)
    assert torch.allclose(mean[0], layers[-1][0, 1 : counts[0] - 1].mean(0), atol=1e-6)
    assert torch.allclose(product.embed(texts, layer=0)[1], layers[0][1, 1 : counts[1] - 1].mean(0), atol=1e-6)
    assert torch.allclose(product.embed(texts, pooling="cls"), layers[-1][:, 0], atol=1e-6)
    assert torch.allclose(product.embed(texts, pooling="none"), layers[-1], atol=1e-6)
    assert torch.allclose(product.embed(texts * 40)[-4:], mean, atol=1e-6)
    assert product.embed([]).shape == (0, 16)
    with pytest.raises(GradusError, match="no layer 2: this encoder has 0 to 1"):
        product.embed(texts, layer=2)
    with pytest.raises(GradusError, match="mean, cls or none"):
        product.embed(texts, pooling="max")


@pytest.mark.parametrize("more", [{}, {"model": "elmo", "set": ("layers=1", "width=16", "characters=true")}])
def test_a_product_is_kept_and_read_again(more: dict[str, Any], file: Path, tmp_path: Path) -> None:
    product = trained(recipe(file, **more))
    product.save(tmp_path / "run" / "product")
    again = load_from(tmp_path / "run" / "product")
    texts = ["the cat eats", "a fish"]
    assert torch.equal(again.embed(texts), product.embed(texts))
    assert repr(again) == repr(product)
    other = train_tokenizer("word", ["quite other words"], specials=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    other.save(tmp_path / "run" / "product")
    with pytest.raises(GradusError, match="not the tokenizer that these weights were trained with"):
        load_from(tmp_path / "run" / "product")


def test_long_texts_are_cut_and_counted(file: Path) -> None:
    product = trained(recipe(file))
    with pytest.warns(UserWarning, match="2 of 3 texts are longer than 24 tokens"):
        found = product.embed(["the cat " * 30, "the cat", "the dog " * 40])
    assert bool(torch.isfinite(found).all())


def test_a_folder_for_transformers_there_and_back(folder: Path, tmp_path: Path) -> None:
    product = trained(recipe(folder))
    product.to_hugging_face(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForPreTraining"]
    again = TextEncoder.from_hugging_face(tmp_path / "model")
    assert torch.equal(again.embed(["the cat eats"]), product.embed(["the cat eats"]))
    (tmp_path / "model" / "tokenizer.json").unlink()
    plain = read_vocabulary(tmp_path / "model")
    assert plain.tokens == product.tokenizer.tokens
    assert plain.encode("the cat eats a fish") == product.tokenizer.encode("the cat eats a fish")
    (tmp_path / "model" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n")
    with pytest.raises(GradusError, match="has 6 tokens and its weights are for"):
        TextEncoder.from_hugging_face(tmp_path / "model")
    (tmp_path / "model" / "vocab.txt").unlink()
    with pytest.raises(GradusError, match="neither tokenizer"):
        read_vocabulary(tmp_path / "model")


def test_pretraining_goes_on_from_a_folder_and_from_a_run(folder: Path, tmp_path: Path) -> None:
    first = trained(recipe(folder))
    first.to_hugging_face(tmp_path / "model")
    made = recipe(folder, from_run=str(tmp_path / "model"))
    learner = built(made).learner
    assert learner.facts["tokenizer"] == first.tokenizer
    for name, value in learner.network.state_dict().items():
        assert torch.equal(value, first.module.state_dict()[name]), name
    first.save(tmp_path / "run" / "product")
    (tmp_path / "run" / "recipe.json").write_text("{}")
    network = built(recipe(folder, from_run=str(tmp_path / "run"), next_sentence=False)).learner.network
    assert network.follows is None
    assert torch.equal(network.trunk.tokens.weight, first.module.trunk.tokens.weight)
    with pytest.raises(GradusError, match="holds bert, not elmo"):
        built(recipe(folder, model="elmo", from_run=str(tmp_path / "run")))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mask": 0.0}, "--mask"),
        ({"mask": 1.0}, "--mask"),
        ({"model": "elmo", "mask": 0.2}, "--mask: the model elmo hides no words"),
        ({"model": "elmo", "next_sentence": False}, "--next-sentence"),
        ({"model": "bart"}, "did you mean 'bert'"),
        ({"context": 3}, "--context"),
        ({"folds": 3}, "--folds"),
        ({"set": ("vocabulary=3",)}, "--set vocabulary"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        Pretrain(**settings)


def test_an_empty_part_is_named(file: Path) -> None:
    made = recipe(file, test_fraction=0.0, val_fraction=0.0)
    product = trained(made)
    with pytest.raises(GradusError, match=r"the test part of .* is empty"):
        made.evaluate(product, "test")
