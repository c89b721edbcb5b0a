"""The recipe and its product: texts in, texts out, the same before and after saving; what cannot be meant is told."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.data.pair_sets import Pairs
from gradus.engine.folder import RunFolder
from gradus.engine.recipe import from_json, to_json
from gradus.engine.run import Run
from gradus.engine.training import train
from gradus.errors import GradusError
from gradus.sequence.translation.product import FINISH, Translator, worth
from gradus.sequence.translation.recipes import Translate

SMALL = ("hidden=16", "embedding=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("translators")
    pairs = [(f"{i:03}", f"{i:03}!"[::-1]) for i in range(300)]
    (folder / "x.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    return folder


def made(home: Path, name: str, **flags) -> Translator:
    if not (home / name).exists():
        flags = {
            "data": str(home / "x.tsv"),
            "max_steps": 8,
            "log_every": 4,
            "evaluate_every": 8,
            "device": "cpu",
            **flags,
        }
        recipe = Translate(**flags)
        train(recipe, RunFolder.create(home / name, "sequence/translate", to_json(recipe)))
    return Run.load(home / name, device="cpu")


MODELS = {
    "rnn": {"model": "rnn", "cell": "lstm", "set": SMALL},
    "attention": {"set": SMALL, "attention": "additive", "scheduled_sampling": "linear", "teacher_forcing": 0.5},
    "fed": {"set": (*SMALL, "feeding=true"), "shared_vocabulary": True},
    "transformer": {
        "model": "transformer", "set": ("width=16", "heads=2", "layers=1"), "label_smoothing": 0.1, "schedule": "noam",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_product_saves_all_it_needs(home, name, tmp_path):
    product = made(home, name, **MODELS[name])
    texts = ["012", "7", "298 ", "", "   ", "555"]
    found = product.translations(texts, beam=4, best=3, alignments=True)
    assert [one.text for one in found[3]] == [one.text for one in found[4]] == [""]
    for i in (0, 1, 2, 5):
        assert len(found[i]) == 3
        assert len({one.text + str(one.ended) for one in found[i]}) == 3
        alone = product.translations([texts[i]], beam=4, best=3)[0]
        assert [one.text for one in alone] == [one.text for one in found[i]]
        assert [one.score for one in alone] == pytest.approx([one.score for one in found[i]], abs=1e-5)
        for one in found[i]:
            assert (one.alignment is None) == (name == "rnn")
            if one.alignment is not None:
                assert one.alignment.source == [*texts[i].strip(), FINISH]
                assert one.alignment.target == [*one.text, *([FINISH] if one.ended else [])]
                assert one.alignment.weights.shape == (len(one.alignment.target), len(one.alignment.source))
                assert torch.allclose(one.alignment.weights.sum(1), torch.ones(len(one.alignment.target)), atol=1e-5)
    product.save(tmp_path / "product")
    again = Translator.load(tmp_path / "product", json.loads((home / name / "product" / "product.json").read_text()))
    assert again.translate(texts) == product.translate(texts)
    assert (tmp_path / "product" / "target").exists() == (name != "fed")


def test_evaluation_says_what_the_translations_are_worth(home):
    made(home, "attention", **MODELS["attention"])
    recipe = from_json(Translate, RunFolder(home / "attention").read()["options"])
    product = Run.load(home / "attention", device="cpu")
    found = recipe.evaluate(product, "test")
    assert set(found) == {"test/loss", "test/perplexity", "test/exact"}
    assert found["test/perplexity"] == pytest.approx(torch.tensor(found["test/loss"]).exp().item(), rel=1e-5)
    test = recipe.splits().test
    mine = product.translate(test.sources)
    assert found["test/exact"] == sum(a == b for a, b in zip(mine, test.targets, strict=True)) / len(test)
    product.translate = lambda texts, **how: list(test.targets)
    assert product.written(test, "test") == {"test/exact": 1.0}  # of one word each, so that BLEU would be zero


def test_the_loss_of_an_evaluation_is_that_of_each_pair_alone(home):
    product = made(home, "transformer", **MODELS["transformer"])
    pairs = Pairs(["012", "9", "12345"], ["210", "9", "54321"])
    total, tokens = 0.0, 0
    for source, target in zip(pairs.sources, pairs.targets, strict=True):
        each = product.columns(Pairs([source], [target]))
        ids = each["target"].values[None]
        logits = product.module(each["source"].values[None], each["source"].lengths, ids[:, :-1])
        total += float(torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum").detach())
        tokens += ids.shape[1] - 1
    assert product.measure(pairs, "x")["x/loss"] == pytest.approx(total / tokens, rel=1e-5)


def test_worth_is_a_share_and_bleu():
    assert worth(["a b c d", "x"], ["a b c d ", "y"], "val")["val/exact"] == 0.5
    assert worth(["a b c"], ["a b c"], "val") == {"val/exact": 1.0}
    assert worth(["the cat sat on the mat"], ["the cat sat on the mat"], "val")["val/bleu"] == pytest.approx(100)


def test_a_tokenizer_that_does_not_match_the_weights_is_noticed(home, tmp_path):
    product = made(home, "rnn", **MODELS["rnn"])
    product.save(tmp_path / "product")
    (tmp_path / "recipe.json").write_text("{}")
    path = tmp_path / "product" / "source" / "tokenizer.json"
    path.write_text(path.read_text().replace('"0"', '"Q"'))
    facts = json.loads((tmp_path / "product" / "product.json").read_text())
    with pytest.raises(GradusError, match="not the tokenizer that the weights were trained with"):
        Translator.load(tmp_path / "product", facts)


def test_what_a_translator_cannot_do_is_told(home):
    product = made(home, "rnn", **MODELS["rnn"])
    with pytest.raises(GradusError, match="a beam of 2 holds between 1 and 2 results"):
        product.translate(["1"], beam=2, best=3)
    with pytest.raises(GradusError, match="a list of texts, not one text"):
        product.translate("123")


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"model": "transformer", "cell": "lstm"}, "--cell: the model transformer takes none"),
        ({"model": "rnn", "attention": "dot"}, "--attention: the model rnn takes none"),
        ({"scheduled_sampling": "linear"}, "needs what to fall to"),
        ({"scheduled_sampling": "exponential", "teacher_forcing": 0.0}, "never falls to 0"),
        ({"teacher_forcing": 1.5}, "is a probability"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
        ({"beam": 0}, "--beam must be positive"),
        ({"set": ("hiden=3",)}, "did you mean 'hidden'"),
        ({"set": ("cell=lstm",)}, "--set cell"),
        ({"snapshots": 2}, "--snapshots"),
        ({"longest": 0}, "--longest must be positive"),
    ],
)
def test_flags_that_cannot_be_meant_are_told(flags, said):
    with pytest.raises(GradusError, match=said):
        Translate(**flags)


def test_pairs_that_are_too_long_are_left_out_and_counted(home):
    (home / "long.tsv").write_text("".join(f"{i:0{3 + i % 2}}\t{i}\n" for i in range(100)))
    run = Run.ephemeral()
    flags = {"data": str(home / "long.tsv"), "val_fraction": 0, "test_fraction": 0, "set": SMALL}
    build = Translate(**flags, longest=3).build(run)
    assert build.notes["note"] == "50 pairs longer than --longest left out"
    assert len(build.learner.facts.source) == 4 + 10
    batch = next(build.source)
    assert int(batch["source_lengths"].max()) == 4  # the end included
    with pytest.raises(GradusError, match="leaves no pair"):
        Translate(**flags, longest=1).build(run)
    with pytest.raises(GradusError, match="no target has the four words that BLEU needs"):
        Translate(data=str(home / "long.tsv"), monitor="val/bleu").build(run)


def test_a_run_that_stopped_goes_on_bit_by_bit(home):
    """Dropout, own tokens drawn while training, label smoothing: stopped after 5 of 9 steps, the end is the same."""
    flags = {
        "max_steps": 9, "evaluate_every": 3, "schedule": "constant", "teacher_forcing": 0.5, "label_smoothing": 0.1,
        "set": (*SMALL, "dropout=0.2"), "data": str(home / "x.tsv"), "device": "cpu",
    }  # fmt: skip
    whole = made(home, "whole", **flags)
    made(home, "halved", **{**flags, "max_steps": 5})
    assert main(["resume", "halved", "--max-steps", "9", "--runs-dir", str(home), "--quiet"]) == 0
    for mine, other in zip(
        whole.module.state_dict().values(), Run.load(home / "halved", device="cpu").module.state_dict().values(),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(mine, other)


def test_the_monitor_decides_which_weights_are_kept():
    assert Translate().best == ("val/loss", "min")
    assert Translate(monitor="val/bleu").best == ("val/bleu", "max")


def test_a_small_translator_learns_to_turn_digits_round(home):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        product = made(
            home, "learned", max_steps=150, evaluate_every=150, batch_size=32, lr=0.01, schedule="one_cycle",
            set=("hidden=64", "embedding=32"),
        )  # fmt: skip
    recipe = from_json(Translate, RunFolder(home / "learned").read()["options"])
    assert product.measure(recipe.splits().test, "test")["test/exact"] >= 0.9
