"""The two recipes: they learn digits, keep the contract of learners, resume exactly, and leave a product that works."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gradus.app.cli import main
from gradus.backprop import SGD
from gradus.backprop.learner import Backpropagation, evaluate
from gradus.backprop.recipes import TrainCNN, TrainMLP
from gradus.data.registry import load_images
from gradus.engine import Evaluate, Run, fit
from gradus.engine.learner import Learner, Source
from gradus.errors import GradusError
from gradus.explain.cam import grad_cam
from gradus.testing import check_learner

SMALL: dict[str, Any] = {
    "mlp": TrainMLP(limit=60, batch_size=16, hidden=(16, 8), dropout=0.3, momentum=0.8),
    "mlp with layer norm": TrainMLP(
        limit=60, batch_size=16, hidden=(8,), norm="layer", activation="gelu", augment="mixup=0.2"
    ),
    "cnn": TrainCNN(limit=60, batch_size=16, width=(4, 6), augment="rotate=10"),
}


@pytest.mark.parametrize("name", SMALL)
def test_learners_keep_their_contract_and_resume_exactly(name: str) -> None:
    torch.set_num_threads(1)

    def make(run: Run) -> tuple[Learner, Source]:
        build = SMALL[name].build(run)
        return build.learner, build.source

    def watch(run: Run, learner: Learner) -> list[Any]:
        assert isinstance(learner, Backpropagation)
        val = SMALL[name].splits().val
        return [Evaluate(run, lambda: evaluate(learner.scores, val.batches(64), "val"), every_steps=2)]

    check_learner(make, watch=watch)


@pytest.mark.parametrize("recipe", [TrainMLP(max_epochs=12), TrainCNN(max_epochs=8)], ids=["mlp", "cnn"])
def test_they_learn_digits_to_97_per_cent(recipe: Any) -> None:
    """Mean of two seeds, each on a division of its own; a part of the default epochs, which the evidence holds."""
    found = []
    for seed in range(2):
        seeded = dataclasses.replace(recipe, seed=seed)
        run = Run.ephemeral(seed=seed)
        build = seeded.build(run)
        fit(build.learner, build.source, run=run, steps=build.steps, watchers=build.watchers)
        found.append(seeded.evaluate(seeded.product(build.learner), "test")["test/accuracy"])
    assert np.mean(found) >= 0.97, found


def test_from_the_command_line_to_a_product_that_can_be_looked_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "backprop/mlp", "--limit", "200", "--max-steps", "60", "--hidden", "32", "16", "--name", "a"]
    assert main([*words, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 60
    assert main(["evaluate", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert set(found) == {"test/accuracy", "test/loss"}
    assert found["test/accuracy"] > 0.7
    image = load_images("digits").test.preview(1).images[0]
    Image.fromarray((image[0] * 255).round().byte().numpy()).save(tmp_path / "0.png")
    assert main(["predict", "a", str(tmp_path / "0.png")]) == 0
    assert main(["attack", "a", "--count", "8", "--steps", "2"]) == 0
    assert main(["report", "a", "--count", "0"]) == 0
    assert main(["export", "a"]) == 0


def test_an_ensemble_is_evaluated_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "backprop/mlp", "--ensemble", "2", "--max-steps", "20", "--limit", "60", "--name", "e", "--quiet"]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["evaluate", "e", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["ensemble"]) == {"test/accuracy", "test/loss"}


@pytest.mark.parametrize("name", SMALL)
def test_the_product_gives_the_networks_own_scores(name: str, tmp_path: Path) -> None:
    recipe = SMALL[name]
    run = Run.ephemeral(seed=1)
    build = recipe.build(run)
    fit(build.learner, build.source, run=run, steps=5)
    images = next(build.source).images
    own = build.learner.scores(images)
    product = recipe.product(build.learner)
    assert np.allclose(product.scores(images).detach().numpy(), own, atol=1e-5)
    product.save(tmp_path / "product")
    facts = json.loads((tmp_path / "product/product.json").read_text())
    again = type(product).load(tmp_path / "product", facts)
    assert torch.equal(again.scores(images), product.scores(images))
    before = product.predict(images)
    build.learner.step(next(build.source))
    assert torch.equal(product.predict(images), before), "the product has weights of its own"
    regions = grad_cam(product.scores, images, target=0, layer=product.feature_map)
    assert regions.shape == (len(images), 1, 8, 8)
    assert bool(torch.isfinite(regions).all())
    assert float(regions.max()) > 0


def test_images_of_another_size_are_brought_to_the_networks() -> None:
    build = SMALL["mlp"].build(Run.ephemeral(seed=0))
    product = SMALL["mlp"].product(build.learner)
    assert product.predict(torch.rand(3, 1, 11, 9)).shape == (3, 10)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--device", "cuda"], "computes with NumPy, on the CPU"),
        (["--precision", "bf16"], "--precision: this recipe computes with NumPy"),
        (["--compile"], "--compile: this recipe"),
        (["--lr", "-1"], "--lr must be positive"),
        (["--momentum", "1"], "--momentum must be at least 0 and below 1"),
        (["--dropout", "1"], "--dropout must be"),
        (["--weight-decay", "-1"], "--weight-decay must not be negative"),
        (["--hidden", "8", "0"], "--hidden takes positive lengths, got 8 0"),
        (["--schedule", "cosin"], "did you mean 'cosine'"),
    ],
)
def test_impossible_options_are_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", "backprop/mlp", *words]) == 2
    assert said in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_images_too_small_to_halve_are_told() -> None:
    with pytest.raises(GradusError, match="cannot be halved 4 times"):
        TrainCNN(width=(2, 2, 2, 2)).build(Run.ephemeral())


def test_no_batch_is_a_single_image_and_validation_may_be_left_out() -> None:
    build = TrainMLP(limit=65, batch_size=16, val_fraction=0.0).build(run := Run.ephemeral(seed=0))
    assert build.notes["val"] == 0
    fit(build.learner, build.source, run=run, steps=9, watchers=build.watchers)
    assert build.learner.steps == 9


def test_a_loss_that_breaks_names_the_layer() -> None:
    run = Run.ephemeral(seed=0)
    build = TrainMLP(limit=60, norm="none").build(run)
    build.learner.network.params["linear2.weight"][0, 0] = np.nan
    with pytest.raises(GradusError, match=r"nan at step 1: it began in the parameter linear2\.weight; lower --lr"):
        fit(build.learner, build.source, run=run, steps=3)
    build = TrainMLP(limit=60, norm="none", lr=1e30).build(run := Run.ephemeral(seed=0))
    with pytest.raises(GradusError, match=r"it began in .*linear\d"):
        fit(build.learner, build.source, run=run, steps=10)


def test_sgd_with_momentum_on_a_parabola_follows_its_recurrence() -> None:
    """θ_{t+1} = θ_t − η v_t with v_t = μ v_{t−1} + θ_t, and decay on matrices only."""
    params = {"w": np.ones((1, 1)), "b": np.ones(1)}
    update = SGD(params, momentum=0.5, weight_decay=0.5)
    theta, bias, v, u = 1.0, 1.0, 0.0, 0.0
    for _ in range(5):
        update.step(dict(params), 0.1)
        v, u = 0.5 * v + 1.5 * theta, 0.5 * u + bias
        theta, bias = theta - 0.1 * v, bias - 0.1 * u
    assert params["w"][0, 0] == pytest.approx(theta, rel=1e-14)
    assert params["b"][0] == pytest.approx(bias, rel=1e-14)
    with pytest.raises(GradusError, match="momentum 1"):
        SGD(params, momentum=1.0)
