"""Groups from the command line: ensembles, snapshots, folds; and runs shown or not shown, resumed."""

import json
from pathlib import Path

import pytest
import torch

from gradus.engine.ensembles import average_weights, vote
from gradus.engine.run import Run
from gradus.vision.recipes import Classify

TINY = ("vision/classify", "--max-epochs", "2", "--quiet", "--json")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("groups")


@pytest.fixture(scope="module")
def run(home):
    """Return a function that runs one command in the same place and gives its exit code and answer."""
    import contextlib
    import io

    from gradus.app.cli import main

    def call(*words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*map(str, words), "--runs-dir", str(home)])
        return code, json.loads(out.getvalue()) if code == 0 else err.getvalue()

    return call


@pytest.fixture(scope="module")
def snapshots(run):
    code, told = run("train", *TINY, "--snapshots", "2", "--name", "snap")
    assert code == 0
    return told


def test_a_quiet_run_is_resumed_with_progress_shown(run):
    assert run("train", "vision/classify", "--max-steps", "20", "--name", "quiet", "--quiet", "--json")[0] == 0
    code, told = run("resume", "quiet", "--max-steps", "25", "--json")
    assert code == 0
    assert told["steps"] == 25


def test_snapshots_are_the_weights_at_the_ends_of_the_cycles(run, snapshots, home):
    product = Run.load(home / "snap", device="cpu")
    assert len(product.products) == 2
    x = torch.rand(3, 1, 8, 8)
    first, second = (p.predict(x) for p in product.products)
    assert not torch.equal(first, second)
    assert torch.allclose(product.predict(x), (first + second) / 2)
    assert torch.allclose(product.scores(x).exp(), product.predict(x), atol=1e-6)
    assert run("resume", "snap", "--max-epochs", "9")[0] == 2


@pytest.mark.parametrize("combine", ["mean", "vote", "weights"])
def test_snapshots_are_evaluated_in_every_combination(run, snapshots, combine):
    code, told = run("evaluate", "snap", "--combine", combine, "--json")
    assert code == 0
    assert told["metrics"]["test/accuracy"] > 0.5
    code, told = run("report", "snap", "--json")
    assert code == 0


def test_an_ensemble_shares_its_test_data_and_is_measured_as_one(run, home):
    assert run("train", *TINY, "--ensemble", "2", "--name", "ens")[0] == 0
    recipes = [json.loads((home / f"ens/members/{i}/recipe.json").read_text())["options"] for i in range(2)]
    assert [r["seed"] for r in recipes] == [0, 1]
    assert [r["split_seed"] for r in recipes] == [0, 0]
    code, told = run("evaluate", "ens", "--json")
    assert code == 0
    single = [m["test/accuracy"] for m in told["members"]]
    assert told["ensemble"]["test/accuracy"] >= min(single)
    assert run("resume", "ens", "--max-epochs", "3", "--json")[0] == 0
    again = [json.loads((home / f"ens/members/{i}/recipe.json").read_text())["options"] for i in range(2)]
    assert [r["max_epochs"] for r in again] == [3, 3]


def test_an_ensemble_is_explained_attacked_and_exported_as_one(run, home):
    assert run("train", *TINY, "--ensemble", "2", "--name", "seeing")[0] == 0
    code, told = run("explain", "seeing", "--count", "2", "--json")
    assert code == 0
    assert [Path(row["path"]).exists() for row in told["explanations"]] == [True, True]
    assert run("explain", "seeing", "--count", "1", "--method", "grad-cam", "--json")[0] == 0
    code, told = run("attack", "seeing", "--count", "64", "--json")
    assert code == 0
    assert told["metrics"]["test/robust_accuracy"] <= told["metrics"]["test/accuracy"]
    code, told = run("export", "seeing", "--json")
    assert code == 0
    program = torch.export.load(told["path"]).module()
    images = torch.rand(3, *told["input"])
    together = Run.load(home / "seeing", device="cpu")
    torch.testing.assert_close(program(images).softmax(1), together.predict(images), atol=1e-5, rtol=0)
    merged = together.combined("weights")
    assert merged.feature_map in list(merged.module.modules())


def test_the_members_of_a_group_of_seeds_have_no_image_that_is_new_to_all(run):
    assert run("train", *TINY, "--seeds", "2", "--name", "seeds")[0] == 0
    code, error = run("explain", "seeds")
    assert code == 2
    assert "name images" in error


def test_cross_validation_tests_on_every_fold_and_tells_the_mean(run, home):
    code, told = run("cross-validate", *TINY, "--folds", "3", "--name", "folds")
    assert code == 0
    assert len(told["members"]) == 3
    accuracies = [m["test/accuracy"] for m in told["members"]]
    assert told["metrics"]["test/accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert told["intervals"]["test/accuracy"]["std"] == pytest.approx(torch.tensor(accuracies).std().item(), abs=1e-6)
    assert json.loads((home / "folds/cross-validation.json").read_text()) == told
    tested = torch.cat([Classify(folds=3, fold=i).splits().test.rows for i in range(3)])
    assert tested.sort().values.equal(torch.arange(1797))


@pytest.mark.parametrize(
    "words, told",
    [
        (("train", *TINY, "--ensemble", "2", "--seeds", "2"), "one of them"),
        (("train", *TINY, "--folds", "1"), "--folds"),
        (("train", *TINY, "--fold", "1"), "without --folds"),
        (("train", "experiments/bias-variance", "--ensemble", "2"), "--ensemble"),
        (("train", *TINY, "--snapshots", "0"), "--snapshots"),
        (("cross-validate", *TINY, "--folds", "3", "--fold", "1"), "--fold"),
        (("evaluate", "no-such-run"), "no-such-run"),
    ],
)
def test_groups_that_cannot_be_meant_are_refused_in_one_sentence(run, words, told):
    code, error = run(*words)
    assert code == 2
    assert told in error
    assert len(error.strip().splitlines()) == 1


def test_a_vote_counts_heads_and_leaves_no_class_impossible():
    probabilities = torch.tensor([[[0.6, 0.4, 0.0]], [[0.1, 0.9, 0.0]], [[0.2, 0.8, 0.0]]])
    found = vote(probabilities)
    assert torch.allclose(found, torch.tensor([[1 + 1 / 3, 2 + 1 / 3, 1 / 3]]) / 4)
    assert torch.allclose(found.sum(-1), torch.ones(1))


def test_averaged_weights_of_linear_models_are_their_averaged_outputs():
    modules = [torch.nn.Linear(4, 3) for _ in range(3)]
    x = torch.randn(5, 4)
    mean = torch.stack([module(x) for module in modules]).mean(0)
    assert torch.allclose(average_weights(modules, "three")(x), mean, atol=1e-6)


def test_a_plateau_falls_by_what_the_run_measures_and_survives_a_restart(run, home):
    words = (
        "vision/classify",
        "--schedule",
        "plateau",
        "--set",
        "patience=0",
        "--set",
        "threshold=0.99",
        "--quiet",
        "--json",
    )
    assert run("train", *words, "--max-epochs", "4", "--name", "plateau", "--log-every", "5")[0] == 0
    rates = [
        float(line.split(",")[3])
        for line in (home / "plateau/metrics.csv").read_text().splitlines()
        if line.split(",")[2] == "train/lr"
    ]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] < rates[0] / 5
    assert run("train", *words, "--max-epochs", "2", "--name", "halves", "--log-every", "5")[0] == 0
    assert run("resume", "halves", "--max-epochs", "4", "--quiet", "--json")[0] == 0
    kept = [
        [line.split(",")[::2] for line in (home / n / "metrics.csv").read_text().splitlines() if "/lr" in line]
        for n in ("plateau", "halves")
    ]
    assert kept[0][-1] == kept[1][-1]
    assert run("train", *words, "--snapshots", "2")[0] == 2
