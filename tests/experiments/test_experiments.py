"""Experiments end with the right findings, and live in run folders like everything else."""

import contextlib
import csv
import io
import json

import pytest

from gradus.app.cli import main
from gradus.engine.folder import RunFolder
from gradus.engine.run import Run
from gradus.engine.training import train
from gradus.experiments.bias_variance import BiasVariance
from gradus.experiments.double_descent import DoubleDescent


def rows_of(experiment):
    run = Run.ephemeral(experiment.seed)
    table = experiment.build(run).learner
    for numbered in enumerate(experiment.cells()):
        table.step(numbered)
    return table.rows


def test_bias_variance_and_noise_add_up_to_the_error():
    experiment = BiasVariance(resamples=2000, degrees=(0, 1, 3, 6, 9))
    rows = rows_of(experiment)
    for row in rows:
        assert row["bias2"] + row["variance"] + row["noise"] == pytest.approx(row["error"], abs=5 * row["error_std"])
    # sin has a mean square of 1/2 and no mean: all that a constant leaves
    assert rows[0]["bias2"] == pytest.approx(0.5, abs=0.01)
    # σ² (d + 1) / n is the variance of least squares averaged over its own points
    assert rows[2]["variance"] == pytest.approx(0.3**2 * 4 / 30, rel=0.15)
    assert [row["variance"] for row in rows] == sorted(row["variance"] for row in rows)
    assert experiment.findings(rows)["best_degree"] == 3


def test_the_error_descends_a_second_time():
    experiment = DoubleDescent(examples=200, widths=(20, 50, 200, 2000), repeats=3)
    found = experiment.findings(rows_of(experiment))
    assert found["peak_width"] == 200
    assert found["peak_error"] > 2 * found["least_error_before"]
    assert found["peak_error"] > 2 * found["error_at_the_widest"]


def test_from_the_threshold_on_every_label_is_fitted_the_wrong_ones_too():
    rows = rows_of(DoubleDescent(examples=100, widths=(50, 150), repeats=2))
    errors = {width: max(r["train_error"] for r in rows if r["width"] == width) for width in (50, 150)}
    assert errors[150] == 0
    assert errors[50] > 0


def call(*words):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()


def test_a_half_done_experiment_goes_on_to_the_same_table(tmp_path):
    recipe = BiasVariance(resamples=40, degrees=(0, 1, 2, 3))
    folders = {}
    for name in ("whole", "parts"):
        folders[name] = RunFolder.create(tmp_path / name, "experiments/bias-variance", {})
    train(recipe, folders["whole"])
    with Run(folders["parts"], seed=recipe.seed, log_every=1).hold() as run:
        from gradus.engine.loop import fit

        build = recipe.build(run)
        fit(build.learner, build.source, run=run, steps=2, watchers=build.watchers)
    train(recipe, folders["parts"], again=True)
    assert (folders["whole"].product / "table.csv").read_bytes() == (
        folders["parts"].product / "table.csv"
    ).read_bytes()


def test_the_verb_tells_findings_and_draws_figures(tmp_path):
    code, out, err = call("experiment", "bias-variance", "--resamples", 30, "--runs-dir", tmp_path, "--quiet", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["findings"].keys() == {"best_degree", "least_error", "largest_gap_in_standard_errors"}
    assert [name.rsplit("/", 1)[1] for name in told["figures"]] == ["bias-variance.png"]
    with open(tmp_path / told["run"] / "product" / "table.csv") as file:
        assert len(list(csv.DictReader(file))) == 10
    code, _, err = call("evaluate", told["run"], "--runs-dir", tmp_path)
    assert code == 2
    assert "experiment" in err
    code, _, err = call("resume", told["run"], "--runs-dir", tmp_path, "--quiet")
    assert code == 0, err


@pytest.mark.parametrize(
    "words, named",
    [
        (("experiment",), "name an experiment"),
        (("experiment", "double-decent"), "double-descent"),
        (("experiment", "bias-variance", "--degrees", "40"), "--degrees"),
        (("experiment", "double-descent", "--examples", "4000"), "--examples"),
        (("experiment", "bias-variance", "--seeds", "3"), "--seeds"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(tmp_path, words, named):
    code, _, err = call(*words, "--runs-dir", tmp_path, *(["--quiet"] if len(words) > 1 else []))
    assert code == 2
    assert named in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
