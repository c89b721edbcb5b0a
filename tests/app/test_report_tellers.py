"""The report chooses its chapters by what the product is: experiments, tables, groups, snapshots."""

import contextlib
import io
import json

import pytest

from app.pages import Page
from gradus.app.cli import main
from gradus.app.report.scatter import BINS, bars, residual_histogram, scatter

TABLE = ("--quiet", "--device", "cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def reported(home):
    """Return a function that makes a run and reports on it: what the report's verb said, and the page."""

    def call(name, *words):
        here = ("--runs-dir", str(home))
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            assert main([*words, "--name", name, *here]) == 0, out.getvalue()
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(["report", name, *here, "--json"]) == 0
        told = json.loads(out.getvalue())
        with open(told["report"], encoding="utf-8") as file:
            return told, Page(file.read())

    return call


def sections(page):
    return [a["id"] for a in page.all("section")]


def test_a_tree_is_told_with_its_measures_columns_and_rules(reported, home, cli):
    told, page = reported("tree", "train", "tabular/classify", "--data", "breast-cancer", "--model", "tree", *TABLE)
    assert sections(page) == ["classes", "calibration", "columns", "model", "recipe", "provenance"]
    found = cli("evaluate", "tree", "--runs-dir", home, "--json").json["metrics"]
    assert {name: told["metrics"][name] for name in found} == found
    assert all(value in page.values for value in found.values())
    assert "by 9 rules" in page.words["model"] or "rules" in page.words["model"]
    assert "worst perimeter" in page.words["columns"]
    assert "images" not in "".join(page.words.values())


def test_a_regression_is_told_with_its_errors(reported, home, cli):
    told, page = reported("ridge", "train", "tabular/regress", "--data", "diabetes", *TABLE)
    assert sections(page) == ["errors", "columns", "model", "recipe", "provenance"]
    assert told["metrics"] == cli("evaluate", "ridge", "--runs-dir", home, "--json").json["metrics"]
    from gradus.data.table_loading import load_table

    assert len(page.all("circle", "point")) == len(load_table("diabetes", task="regress").test)
    assert "constant" in page.words["model"]


def test_an_experiment_is_told_with_findings_figures_and_table(reported, home, cli):
    told, page = reported("bv", "experiment", "bias-variance", "--fast-dev-run", "--quiet")
    assert sections(page) == ["figures", "table", "recipe", "provenance"]
    assert all(a["src"].startswith("data:image/png;base64,") and a["alt"] for a in page.all("img"))
    assert len(page.all("img")) == len(list((home / "bv" / "plots").iterdir()))
    assert all(value in page.values for value in told["metrics"].values())
    assert not page.all("p", "warn")
    assert "gradus experiment bias-variance" in page.words["recipe"]
    shown = cli("show", "bv", "--runs-dir", home, "--json").json
    assert shown["findings"] == told["metrics"]
    assert "best_degree" in cli("show", "bv", "--runs-dir", home).out


def test_a_cross_validation_is_told_by_fold(reported, home, cli):
    told, page = reported("folds", "cross-validate", "tabular/regress", "--data", "diabetes", "--folds", "3", *TABLE)
    assert "Cross-validation" in page.words[""]
    assert "standard deviation" in page.words[""]
    assert sections(page) == ["members", "recipe", "provenance"]
    assert len(page.all("rect", "bar")) == 3 * len(told["metrics"])
    assert "gradus cross-validate tabular/regress" in page.words["recipe"]
    assert "cross-validation of 3 folds" in cli("show", "folds", "--runs-dir", home).out


def test_an_ensemble_is_told_as_one_beside_its_members(reported, home, cli):
    words = ("train", "tabular/classify", "--data", "iris", "--model", "mlp", "--max-steps", "60", "--ensemble", "2")
    told, page = reported("ens", *words, *TABLE)
    found = cli("evaluate", "ens", "--runs-dir", home, "--json").json["ensemble"]
    assert {name: told["metrics"][f"ensemble {name}"] for name in found} == found
    assert all(value in page.values for value in found.values())
    assert "share their division" in page.words[""]
    assert "--ensemble 2" in page.words["recipe"]
    assert sections(page) == ["training", "members", "recipe", "provenance"]


def test_snapshots_are_told_one_by_one_and_in_every_combination(reported):
    words = ("train", "tabular/classify", "--data", "iris", "--model", "mlp", "--max-steps", "60", "--snapshots", "2")
    told, page = reported("snap", *words, *TABLE)
    for name in ("snapshot 0", "snapshot 1", "vote", "mean of the weights"):
        assert name in page.words["members"]
    assert all(value in page.values for value in told["metrics"].values())


def test_a_table_that_is_gone_leaves_the_model(reported, home, tmp_path):
    import shutil

    from gradus.data.table_sets import iris

    raw, path = iris().raw, tmp_path / "t.csv"
    path.write_text("\n".join(",".join(row) for row in [raw.names, *raw.rows]))
    reported("gone", "train", "tabular/classify", "--data", str(path), "--target", "species", *TABLE)
    shutil.move(path, tmp_path / "elsewhere.csv")
    assert main(["report", "gone", "--runs-dir", str(home)]) == 0
    page = Page((home / "gone" / "report.html").read_text(encoding="utf-8"))
    assert sections(page) == ["columns", "model", "recipe", "provenance"]
    assert "is not there" in page.words[""]


def test_every_kind_of_the_registry_has_a_title(cli):
    from gradus import canon
    from gradus.app.listing import KINDS

    assert {entry.kind for entry in canon.scan().values()} <= set(KINDS)
    assert cli("list", "--kind", "solver", "--json").json["solver"]


def test_errors_are_counted_whole_and_bars_say_their_values():
    errors = [0.1 * i for i in range(-50, 51)]
    page = Page(residual_histogram(errors))
    tips = [a["data-tip"] for a in page.all("rect", "bar")]
    assert len(tips) <= BINS
    assert sum(int(tip.rsplit(": ")[1].split()[0]) for tip in tips) == len(errors)
    assert Page(residual_histogram([0.0, 0.0])).all("rect", "bar")
    assert len(Page(scatter([1.0] * 5, [1.0] * 5, "<y>")).all("circle", "point")) == 5
    assert len(Page(scatter([float(i) for i in range(5000)], [0.0] * 5000, "y")).all("circle", "point")) <= 800
    page = Page(bars("Test loss", ["0", "1"], [0.5, 0.5], 0.5, "fold"))
    assert len(page.all("rect", "bar")) == 2
    assert all(float(a["height"]) >= 0 for a in Page(bars("x", ["0", "1"], [-1.0, 2.0], 0.5, "fold")).all("rect"))
