"""The recipe from a folder of text to vectors: every model learns what stands together; runs resume exactly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.engine.loop import fit
from gradus.engine.product import load_product
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.embedding.recipes import Embed
from gradus.testing import check_learner, check_recipe

MODELS = ["sgns", "skipgram", "cbow", "fasttext", "glove"]
KITCHEN = {"pan", "oven", "salt", "soup", "knife", "bread"}
SMALL = {"vector_size": 12, "window": 3, "batch_size": 500, "sample": 0.0, "device": "cpu"}


def trained(recipe, seed=0):
    run = Run.ephemeral(seed=seed)
    parts = recipe.build(run)
    fit(parts.learner, parts.source, run=run, steps=parts.steps, watchers=parts.watchers)
    return recipe.product(parts.learner)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_what_stands_together(model, story):
    recipe = Embed(data=str(story), model=model, max_epochs=30 if model == "glove" else 6, lr=0.05, **SMALL)
    before = recipe.evaluate(trained(Embed(data=str(story), model=model, max_steps=1, lr=1e-9, **SMALL)), "test")
    product = trained(recipe)
    assert set(product.words) == KITCHEN | {"ship", "sail", "rope", "crew", "anchor", "deck", "the"}
    near = [word for word, _ in product.most_similar("soup", topn=5)]
    assert len(KITCHEN & set(near)) >= 4
    assert recipe.evaluate(product, "test")["test/loss"] < before["test/loss"]


@pytest.mark.parametrize("model", ["sgns", "fasttext", "glove"])
def test_learners_keep_the_contract(model, story):
    recipe = Embed(data=str(story), model=model, max_steps=6, evaluate_every=2, **SMALL)
    watchers = {}

    def build(run):
        found = recipe.build(run)
        watchers[run] = found.watchers
        return found.learner, found.source

    check_learner(build, cuts=(3,), watch=lambda run, learner: watchers[run])


def test_the_recipe_keeps_the_contract(story):
    check_recipe("sequence/embed", "--data", str(story), "--vector-size", "8")


@pytest.mark.parametrize("model", ["sgns", "fasttext", "glove"])
def test_a_product_is_the_same_when_it_comes_back(model, story, tmp_path):
    words = ["train", "sequence/embed", "--data", str(story), "--model", model, "--max-epochs", "1", "--name", "one",
             "--vector-size", "8", "--device", "cpu", "--runs-dir", str(tmp_path), "--quiet"]  # fmt: skip
    assert main(words) == 0
    product = load_product(tmp_path / "one", "cpu")
    assert product.vectors.shape == (13, 8)
    assert product["Soup"].equal(product["soup"])
    assert product.embed(["the soup, the bread!"]).isfinite().all()
    if model == "fasttext":
        assert product["soups"].isfinite().all()
    else:
        with pytest.raises(GradusError, match="did not occur 5 times"):
            product["soups"]
    path = tmp_path / "one" / "product" / "tokenizer.json"
    layout = json.loads(path.read_text())
    layout["normalizer"] = None
    path.write_text(json.dumps(layout))
    with pytest.raises(GradusError, match="does not belong"):
        load_product(tmp_path / "one", "cpu")


def test_threads_make_no_difference(story):
    recipe = Embed(data=str(story), max_steps=3, **SMALL)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(trained(recipe).vectors)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"optimizer": "adam"}, "--optimizer: word vectors have their own rule"),
        ({"precision": "bf16"}, "--precision"),
        ({"clip": 1.0}, "--clip"),
        ({"sample": 1.5}, "--sample is a share"),
        ({"window": 0}, "--window must be positive"),
        ({"set": ("bucket=7",)}, "neither model nor schedule"),
        ({"schedule": "plateau"}, "course known beforehand"),
    ],
)
def test_what_makes_no_sense_is_refused(flags, said):
    with pytest.raises(GradusError, match=said):
        Embed(**flags)


def test_a_text_without_words_is_refused(tmp_path):
    (tmp_path / "few.txt").write_text("one two three four five six " * 2 + ". " * 400)
    with pytest.raises(GradusError, match="lower --min-count"):
        trained(Embed(data=str(tmp_path / "few.txt"), max_steps=1))


def test_flags_are_told_without_torch():
    code = "import sys; from gradus.sequence.embedding.recipes import Embed; Embed(model='glove', set=('x_max=10',)); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_real_words_find_their_kind():
    home = os.environ.get("GRADUS_DATA") or str(Path(__file__).resolve().parents[4] / "shared" / "data")
    if not (Path(home) / "tinyshakespeare").exists():
        pytest.skip("tinyshakespeare is not there: set GRADUS_DATA")
    product = trained(Embed(data="tinyshakespeare", data_dir=home, max_epochs=5, vector_size=32, lr=0.05))
    near = {word for word, _ in product.most_similar("juliet", topn=12)}
    assert near & {"romeo", "nurse", "friar", "laurence", "tybalt", "capulet", "paris", "mercutio"}
