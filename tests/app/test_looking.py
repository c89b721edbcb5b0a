"""Explaining and attacking from the command line: pictures on disk, the numbers of `predict`, clear refusals."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gradus.app.looking import Attack, Explain, class_index, parse_eps, told
from gradus.app.report.pictures import AGAINST, FOR, overlay
from gradus.engine.folder import digest
from gradus.errors import GradusError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Return a folder of digits as PNG files, at the size that the network sees."""
    from gradus.data.registry import load_images

    folder = tmp_path_factory.mktemp("photos")
    images, labels = load_images("digits", image_size=28).test.preview(6)
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        array = (image[0] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(array).save(folder / f"digit{label}-{i}.png")
    return folder


@pytest.fixture
def alone(trained, tmp_path):
    """Return a copy of the run whose data is gone."""
    run = tmp_path / "alone"
    shutil.copytree(trained, run)
    body = json.loads((run / "recipe.json").read_text())
    body.pop("sha256")
    body["options"]["data"] = "./gone"
    (run / "recipe.json").write_text(json.dumps({**body, "sha256": digest(body)}))
    return run


@pytest.mark.parametrize("method", ["integrated-gradients", "grad-cam", "occlusion", "saliency"])
def test_every_method_draws_every_file(alone, photos, cli, tmp_path, method):
    found = cli("explain", alone, photos, "--method", method, "--out", tmp_path / "drawn", "--json")
    rows = found.json["explanations"]
    predicted = {row["input"]: row for row in cli("predict", alone, photos, "--json").json["predictions"]}
    assert len(rows) == len(predicted) == 6
    assert len({row["path"] for row in rows}) == 6
    for row in rows:
        assert row["class"] == row["explained"] == predicted[row["file"]]["class"]
        assert row["probability"] == pytest.approx(predicted[row["file"]]["probability"], abs=1e-6)
        with Image.open(row["path"]) as image:
            assert image.size == (2 * 224 + 8, 224)
            left, right = np.asarray(image)[:, :224], np.asarray(image)[:, 232:]
        with Image.open(row["file"]) as image:
            assert (left[4::8, 4::8, 0] == np.asarray(image)).all()
        assert (right.max(2) != right.min(2)).any(), "no colour: nothing was attributed"


def test_a_class_may_be_asked_for(trained, photos, cli, tmp_path):
    found = cli("explain", trained, photos, "--target", "7", "--out", tmp_path, "--json").json
    assert {row["explained"] for row in found["explanations"]} == {"7"}
    text = cli("explain", trained, photos, "--target", "7", "--out", tmp_path).out
    assert text.count("explained: 7") == sum(row["class"] != "7" for row in found["explanations"])


def test_without_files_test_images_are_explained(trained, cli):
    found = cli("explain", trained, "--count", 5, "--json").json
    paths = [row["path"] for row in found["explanations"]]
    assert len(paths) == 5
    assert sorted(p.name for p in (trained / "plots" / "explain").iterdir()) == sorted(p.split("/")[-1] for p in paths)


def test_attacked_pictures_fool_predict_and_stay_within_eps(alone, photos, cli, tmp_path):
    found = cli("attack", alone, photos, "--eps", "48/255", "--out", tmp_path / "bad", "--json").json
    predicted = {row["input"]: row for row in cli("predict", alone, tmp_path / "bad", "--json").json["predictions"]}
    assert found["changed"] >= 1
    for row in found["attacks"]:
        again = predicted[row["path"]]
        assert again["class"] == row["after"]["class"]
        assert again["probability"] == pytest.approx(row["after"]["probability"], abs=1e-6)
        with Image.open(row["path"]) as new, Image.open(row["file"]) as old:
            change = np.abs(np.asarray(new, dtype=int) - np.asarray(old, dtype=int))
        assert change.max() <= 48
    assert found["changed"] == sum(row["before"]["class"] != row["after"]["class"] for row in found["attacks"])


def test_a_wanted_class_is_reached(alone, photos, cli, tmp_path):
    words = ["--eps", "0.4", "--target", "3", "--steps", 20, "--out", tmp_path, "--json"]
    found = cli("attack", alone, photos, *words).json
    assert found["changed"] == sum(row["after"]["class"] == "3" for row in found["attacks"])
    assert found["changed"] >= 3


def test_accuracy_falls_with_the_budget(trained, cli):
    found = cli("attack", trained, "--eps", "32/255", "--count", 40, "--steps", 5, "--json").json
    curve = [point["accuracy"] for point in found["curve"]]
    assert found["images"] == 40
    assert [point["eps"] * 255 for point in found["curve"]] == pytest.approx([0, 4, 8, 16, 32])
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] < curve[0]
    assert found["metrics"] == {"test/accuracy": curve[0], "test/robust_accuracy": curve[-1]}


def test_clean_accuracy_of_all_images_is_that_of_evaluate(trained, cli):
    found = cli("attack", trained, "--method", "fgsm", "--eps", 0, "--count", 10_000, "--json").json
    assert found["metrics"]["test/accuracy"] == cli("evaluate", trained, "--json").json["metrics"]["test/accuracy"]
    other = cli("attack", trained, "--norm", "l2", "--steps", 2, "--count", 16, "--split", "val")
    assert "norm l2 on 16 images of val" in other.out
    assert "0.5 " in other.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain", "--method", "grad-cm"], "did you mean 'grad-cam'?"),
        (["explain", "nowhere.png"], "nowhere.png does not exist"),
        (["explain", "empty"], "there are no image files"),
        (["explain", "words.png"], "is not a readable image"),
        (["explain", "--target", "eleven"], "there is no class 'eleven'"),
        (["explain", "--count", "0"], "--count must be positive"),
        (["explain", "--out", "words.png/x"], "cannot be made"),
        (["attack", "--method", "pdg"], "did you mean 'pgd'?"),
        (["attack", "--method", "fgsm", "--steps", "3"], "the attack fgsm takes none"),
        (["attack", "--norm", "l3"], "there is no norm 'l3'"),
        (["attack", "--eps", "8"], "write 8/255"),
        (["attack", "--eps", "eight"], "takes a number or a fraction"),
        (["attack", "--eps", "1/0"], "takes a number or a fraction"),
        (["attack", "--eps", "-0.1"], "at least 0"),
        (["attack", "--split", "tests"], "did you mean 'test'?"),
        (["attack", "--target", "3"], "--target needs images"),
    ],
)
def test_mistakes_are_one_sentence(trained, cli, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.png").write_text("these are words")
    found = cli(words[0], trained, *words[1:])
    assert found.code == 2
    assert said in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["explain", "attack"])
def test_without_data_and_without_files_the_remedy_is_said(alone, cli, verb):
    found = cli(verb, alone)
    assert found.code == 2
    assert f"gradus {verb}" in found.err
    assert "FILE_OR_FOLDER" in found.err
    assert len(found.err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["explain", "attack"])
def test_a_product_that_cannot_is_refused(trained, cli, monkeypatch, verb):
    agent = SimpleNamespace(kind="a PPO agent", act=lambda observation: 0)
    monkeypatch.setattr("gradus.engine.product.load_product", lambda path, device: agent)
    found = cli(verb, trained)
    assert found.code == 2
    assert "holds a PPO agent: it can evaluate, play" in found.err


def test_words_become_fields():
    assert Explain.parse(["r", "f", "--target", "cat"]) == Explain(run="r", files="f", target="cat")
    assert Attack.parse(["--eps", "0.1"]) == Attack(run="latest", eps="0.1")
    assert Attack.parse(["r", "--files", "g"]) == Attack(run="r", files="g")


def test_budgets_and_classes_are_read_as_people_write_them():
    assert parse_eps("8/255", "linf") == 8 / 255
    assert parse_eps("2", "l2") == 2.0
    assert told(8 / 255, "linf") == "8/255"
    assert told(0.5, "l2") == "0.5"
    assert class_index(["cat", "Dog"], "dog") == 1
    with pytest.raises(GradusError, match="did you mean 'cat'"):
        class_index(["cat", "Dog"], "cats")


def test_overlay_colours_by_sign_and_keeps_the_rest_grey():
    attribution = torch.zeros(1, 2, 2)
    attribution[0, 0, 0], attribution[0, 1, 1] = 1.0, -1.0
    shown = overlay(torch.full((3, 2, 2), 0.5), attribution).astype(int)
    assert np.abs(shown[0, 0] - FOR).max() < 25
    assert np.abs(shown[1, 1] - AGAINST).max() < 25
    assert len(set(shown[0, 1])) == 1
    assert (shown[0, 1] == shown[1, 0]).all()
