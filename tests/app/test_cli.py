"""The command line's contract: flags, names, exit codes, one JSON object, and one sentence for every mistake."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from gradus.app.cli import VERBS, main
from gradus.engine import Run


def read(path):
    return json.loads(Path(path).read_text())


FAST = ("train", "vision/classify", "--fast-dev-run", "--quiet")


def test_help_names_every_verb(cli):
    found = cli("--help")
    assert found.code == 0
    assert all(f"  {verb} " in found.out for verb in VERBS)


def test_every_verb_has_help(capsys):
    for verb in VERBS:
        assert main([verb, "--help"]) == 0, verb
        assert capsys.readouterr().out.strip(), verb


def test_train_evaluate_and_resume(cli, tmp_path):
    done = cli(*FAST, "--name", "a", "--json")
    assert done.code == 0
    assert done.json["run"] == "a"
    assert done.json["steps"] == 2
    found = cli("evaluate", "a", "--json")
    assert found.json["run"] == "a"
    assert set(found.json["metrics"]) == {"test/accuracy", "test/loss"}
    assert set(cli("evaluate", "latest", "--split", "val", "--json").json["metrics"]) == {"val/accuracy", "val/loss"}
    before = (tmp_path / "runs/a/metrics.csv").read_bytes()
    assert cli("resume", "a", "--quiet").code == 0
    assert (tmp_path / "runs/a/metrics.csv").read_bytes() == before


def test_names_are_numbered_and_never_overwritten(cli):
    assert cli(*FAST).code == 0
    assert cli(*FAST).code == 0
    assert sorted(os.listdir("runs")) == ["classify-1", "classify-2"]
    found = cli(*FAST, "--name", "classify-1")
    assert found.code == 2
    assert "exists already" in found.err


def test_underscores_recipe_files_and_from_spell_the_same(cli):
    assert cli("train", "vision/classify", "--fast_dev_run", "--batch_size=32", "--quiet", "--name", "a").code == 0
    recipe = read("runs/a/recipe.json")
    assert recipe["options"]["batch_size"] == 32
    assert cli("train", "--recipe", "runs/a/recipe.json", "--seed", "4", "--quiet", "--name", "b").code == 0
    again = read("runs/b/recipe.json")["options"]
    assert again == {**recipe["options"], "seed": 4}
    assert cli(*FAST, "--from", "a", "--freeze", "trunk", "--name", "c").code == 0


def test_set_is_typed_and_dealt_out(cli):
    assert cli(*FAST, "--set", "betas=0.8,0.9", "--set", "dropout=0.5", "activation=tanh", "--name", "a").code == 0
    assert read("runs/a/product/product.json")["settings"] == {"dropout": 0.5, "activation": "tanh"}


def test_runs_dir_and_environment_move_the_runs(cli, tmp_path, monkeypatch):
    assert cli(*FAST, "--runs-dir", tmp_path / "there", "--name", "a").code == 0
    assert cli("evaluate", "a", "--runs-dir", tmp_path / "there").code == 0
    assert cli("evaluate", tmp_path / "there" / "a").code == 0
    monkeypatch.setenv("GRADUS_RUNS", str(tmp_path / "there"))
    assert cli("show", "a", "--json").json["run"] == "a"


def test_a_group_trains_members_and_gives_intervals(cli):
    done = cli(*FAST, "--seeds", "2", "--name", "g", "--json")
    assert done.json["metrics"]["val/accuracy"]["count"] == 2
    seeds = [read(f"runs/g/members/{i}/recipe.json")["options"]["seed"] for i in (0, 1)]
    assert seeds == [0, 1]
    found = cli("evaluate", "g", "--json").json
    assert len(found["members"]) == 2
    ensemble, first = (Run.load(path, device="cpu") for path in ("g", "runs/g/members/0"))
    images = torch.rand(3, 1, 8, 8)
    probabilities = ensemble.predict(images)
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    assert torch.allclose(ensemble.scores(images).exp(), probabilities, atol=1e-6)
    assert not torch.allclose(probabilities, first.predict(images))
    assert found["metrics"]["test/accuracy"] == pytest.approx(sum(m["test/accuracy"] for m in found["members"]) / 2)


def test_extending_a_run(cli):
    assert cli("train", "vision/classify", "--max-steps", "3", "--quiet", "--name", "a").code == 0
    assert cli("resume", "a", "--max-steps", "5", "--json", "--quiet").json["steps"] == 5
    assert read("runs/a/recipe.json")["options"]["max_steps"] == 5


def test_predict_writes_csv_without_the_training_data(cli, trained, tmp_path, digit_files):
    moved = shutil.copytree(trained, tmp_path / "elsewhere")
    found = cli("predict", moved, digit_files, "--out", "p.csv", "--json")
    assert found.code == 0, found.err
    rows = Path("p.csv").read_text().splitlines()
    assert rows[0].startswith("input,class,probability,p(0)")
    assert len(rows) == 1 + len(list(digit_files.iterdir()))
    assert cli("predict", moved, digit_files / "0.png").code == 0


def test_export_is_checked(cli, trained, tmp_path):
    found = cli("export", trained, "--out", tmp_path / "m.pt2", "--json")
    assert found.json["max_difference"] <= 1e-4


def test_list_show_and_inspect(cli, trained):
    assert "vision/classify" in cli("list").out
    assert cli("list", "--kind", "optimizer", "--json").json.keys() == {"optimizer"}
    shown = cli("show", trained, "--json").json
    assert shown["status"].startswith("finished")
    assert cli("show", "adamw", "--json").json["methods"][0]["options"]["lr"]["default"] == 0.001
    assert cli("inspect", "digits", "--json").code == 0


@pytest.fixture
def digit_files(tmp_path):
    """Return a folder with three images."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (12, 10), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


TRAIN = ("train", "vision/classify")
MISTAKES = [
    (("trian",), "did you mean 'train'"),
    (("train",), "name a recipe"),
    (("train", "vision/clasify"), "did you mean 'vision/classify'"),
    ((*TRAIN, "--batch-sise", "3"), "did you mean --batch-size"),
    ((*TRAIN, "--batch-size", "x"), "--batch-size takes a whole number, got 'x'"),
    ((*TRAIN, "--batch-size", "-3"), "--batch-size must be positive"),
    ((*TRAIN, "--lr", "0"), "--lr must be positive"),
    ((*TRAIN, "--lr", "abc"), "--lr takes a number, got 'abc'"),
    ((*TRAIN, "--seed", "-1"), "--seed must not be negative"),
    ((*TRAIN, "--max-epochs", "0"), "--max-epochs must be positive"),
    ((*TRAIN, "--model", "resnet2O"), "did you mean 'resnet20'"),
    ((*TRAIN, "--optimizer", "adamv"), "did you mean 'adam"),
    ((*TRAIN, "--schedule", "cosin"), "did you mean 'cosine'"),
    ((*TRAIN, "--set", "droput=0.1"), "did you mean 'dropout'"),
    ((*TRAIN, "--set", "dropout"), "--set takes key=value"),
    ((*TRAIN, "--set", "dropout=x"), "a value of type float is needed"),
    ((*TRAIN, "--precision", "fp8"), "there is no 'fp8'"),
    ((*TRAIN, "--device", "cuda"), "no CUDA"),
    ((*TRAIN, "--device", "gpu"), "there is no device 'gpu'"),
    ((*TRAIN, "--data", "digit"), "did you mean 'digits'"),
    ((*TRAIN, "--data", "./none"), "does not exist"),
    ((*TRAIN, "--augment", "flop"), "did you mean 'flip'"),
    ((*TRAIN, "--freeze", "trunk"), "add --from RUN"),
    ((*TRAIN, "--from", "nobody"), "there is no run 'nobody'"),
    ((*TRAIN, "--name", "a/b"), "no plain name"),
    ((*TRAIN, "--seeds", "0"), "--seeds must be positive"),
    ((*TRAIN, "--shard"), "torchrun"),
    ((*TRAIN, "--label-smoothing", "1.5"), "--label-smoothing must be"),
    ((*TRAIN, "--track", "tensorbord"), "did you mean 'tensorboard'"),
    (("train", "--recipe", "none.json"), "cannot be read"),
    (("evaluate", "nobody"), "there is no run 'nobody'"),
    (("resume",), "there is no run"),
    (("show", "nobody"), "there is no run"),
    (("list", "--kind", "optimiser"), "did you mean 'optimizer'"),
    (("inspect", "./none"), "does not exist"),
]


@pytest.mark.parametrize("words, sentence", MISTAKES, ids=lambda x: " ".join(x) if isinstance(x, tuple) else "")
def test_a_mistake_is_one_sentence_and_leaves_nothing(cli, words, sentence):
    found = cli(*words)
    assert found.code == 2
    assert sentence in found.err
    assert len(found.err.strip().splitlines()) == 1, found.err
    assert found.out == ""
    assert not os.path.exists("runs") or not os.listdir("runs")


def test_bad_folders_are_one_sentence(cli, tmp_path):
    from PIL import Image

    def folder(name, files):
        for path in files:
            target = tmp_path / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (len(path) * 9 % 255, hash(path) % 255, 3)).save(target)
        (tmp_path / name).mkdir(exist_ok=True)
        return tmp_path / name

    many = [f"{c}/{i}.jpg" for c in ("cat", "dog") for i in range(12)]
    corrupt = folder("corrupt", many)
    (corrupt / "cat" / "3.jpg").write_bytes(b"\xff\xd8\xff\xe0 no image")
    cases = [
        (folder("empty", []), "is empty"),
        (folder("single", [f"cat/{i}.jpg" for i in range(9)]), "class"),
        (corrupt, "3.jpg"),
    ]
    for path, sentence in cases:
        found = cli(*TRAIN, "--data", path, "--quiet")
        assert found.code == 2, (path, found.err)
        assert sentence in found.err, found.err
        assert len(found.err.strip().splitlines()) == 1, found.err
        assert not os.path.exists("runs") or not os.listdir("runs")


def test_broken_run_folders_are_one_sentence(cli, trained, tmp_path):
    def copy(name):
        return shutil.copytree(trained, tmp_path / "runs" / name)

    (copy("half") / "recipe.json").unlink()
    edited = copy("edited") / "recipe.json"
    edited.write_text(edited.read_text().replace('"batch_size": 64', '"batch_size": 65'))
    weights = copy("weights") / "product" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    facts = copy("facts") / "product" / "product.json"
    facts.write_text(facts.read_text().replace('"lenet"', '"vgg11"'))
    cases = [
        (("evaluate", "half"), "not a run folder"),
        (("resume", "edited"), "was edited after the run began"),
        (("evaluate", "weights"), "does not hold this model's weights"),
        (("evaluate", "facts"), "was edited by hand"),
    ]
    for words, sentence in cases:
        found = cli(*words)
        assert found.code == 2
        assert sentence in found.err
        assert len(found.err.strip().splitlines()) == 1


def test_a_read_only_place_is_one_sentence(cli, tmp_path, monkeypatch):
    from gradus.engine import folder

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(folder, "write_atomically", refuse)
    found = cli(*FAST, "--name", "a")
    assert found.code == 2
    assert "cannot be written (Read-only file system)" in found.err
    assert os.listdir("runs") == []
