"""Runs side by side: what differs, what each is worth, and whether a difference is more than luck."""

import json
import shutil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from app.pages import Page
from gradus.engine.folder import RunFolder, digest
from gradus.engine.log import HEADER
from gradus.metrics.intervals import paired, student_quantile, welch

NUMBERS = st.lists(st.floats(-10, 10), min_size=2, max_size=8)


def made(path, lr, seed, values):
    """Make a finished-looking run by hand: a recipe, and a log of validation accuracy."""
    from gradus.engine.recipe import to_json
    from gradus.vision.recipes import Classify

    folder = RunFolder.create(path, "vision/classify", to_json(Classify(lr=lr, seed=seed)), gradus="0")
    rows = "".join(f"{10 * (i + 1)},{i + 1}.5,val/accuracy,{value!r}\n" for i, value in enumerate(values))
    folder.metrics_file.write_text(HEADER + rows)
    return folder


def group(path, lr, values, seeds=None):
    """Make a group with one member for each value of val/accuracy."""
    from gradus.engine.recipe import to_json
    from gradus.vision.recipes import Classify

    folder = RunFolder.create(path, "vision/classify", to_json(Classify(lr=lr)), gradus="0", members=len(values))
    for i, value in enumerate(values):
        made(folder.members / str(i), lr, i if seeds is None else seeds[i], [value / 2, value])
    return folder


@pytest.fixture
def home(tmp_path):
    return tmp_path / "runs"


def test_only_what_differs_is_shown(home, cli):
    made(home / "a", 0.1, 0, [0.5, 0.75])
    made(home / "b", 0.2, 0, [0.5, 0.5, 0.625])
    found = cli("compare", "a", "b", "--json").json
    assert found["differences"] == {"lr": [0.1, 0.2]}
    assert [run["metrics"]["val/accuracy"] for run in found["runs"]] == [0.75, 0.625]
    assert [run["steps"] for run in found["runs"]] == [20, 30]
    assert [run["seconds"] for run in found["runs"]] == [2.5, 3.5]
    only = found["comparisons"][0]
    assert only["difference"] == -0.125
    assert only["half_width"] is None
    text = cli("compare", "a", "b").out
    assert "--lr" in text
    assert "--model" not in text
    assert "--seeds" in text


def test_groups_are_compared_by_welch_and_in_pairs(home, cli):
    first, second = [0.90, 0.91, 0.92, 0.93], [0.95, 0.955, 0.97, 0.98]
    group(home / "a", 0.1, first)
    group(home / "b", 0.2, second)
    found = cli("compare", "a", "b", "--metric", "val/accuracy", "--json").json["comparisons"][0]
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert found["difference"] - found["half_width"] == pytest.approx(low, abs=1e-9)
    assert found["difference"] + found["half_width"] == pytest.approx(high, abs=1e-9)
    assert found["excludes_zero"] is True
    low, high = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert found["paired"]["half_width"] == pytest.approx((high - low) / 2, rel=1e-3)
    assert "excludes zero" in cli("compare", "a", "b").out


def test_equal_groups_do_not_differ_and_other_seeds_are_not_paired(home, cli):
    group(home / "a", 0.1, [0.90, 0.94, 0.92])
    group(home / "b", 0.1, [0.93, 0.91, 0.92], seeds=[7, 8, 9])
    found = cli("compare", "a", "b", "--json").json
    assert found["comparisons"][0]["excludes_zero"] is False
    assert "paired" not in found["comparisons"][0]
    assert found["runs"][0]["metrics"]["val/accuracy"]["count"] == 3
    assert "holds zero" in cli("compare", "a", "b").out


def test_evaluated_numbers_are_those_of_evaluate(trained, tmp_path, cli):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    body = json.loads((other / "recipe.json").read_text())
    body.pop("sha256")
    body["options"]["seed"] = 1
    (other / "recipe.json").write_text(json.dumps({**body, "sha256": digest(body)}))
    found = cli("compare", trained, other, "--evaluate", "--json").json
    each = [cli("evaluate", run, "--json").json["metrics"]["test/accuracy"] for run in (trained, other)]
    assert found["metric"] == "test/accuracy"
    assert [run["metrics"]["test/accuracy"] for run in found["runs"]] == each
    assert found["comparisons"][0]["difference"] == each[1] - each[0]
    assert [run["parameters"] for run in found["runs"]] == [61706, 61706]


def test_a_run_may_be_compared_with_itself_and_three_with_the_first(home, cli):
    made(home / "a", 0.1, 0, [0.5])
    made(home / "b", 0.2, 0, [0.25])
    found = cli("compare", "a", "a", "b", "--json").json
    assert [one["difference"] for one in found["comparisons"]] == [0.0, -0.25]


def test_the_page_stands_alone(home, cli, tmp_path):
    group(home / "<b>a", 0.1, [0.90, 0.94])
    made(home / "b", 0.2, 0, [0.5, 0.6])
    found = cli("compare", "<b>a", "b", "--out", tmp_path / "page.html", "--json")
    markup = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(markup)
    assert found.json["page"] == str((tmp_path / "page.html").resolve())
    assert "://" not in markup
    assert [a["id"] for a in page.all("section")] == ["table", "val"]
    assert len(page.all("path", "line")) == 2
    assert len(page.all("polygon", "band")) == 1
    assert "<b>a" in page.words["table"]
    assert "--lr" in page.words["table"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a"], "name at least two runs"),
        (["a", "bb"], "did you mean"),
        (["a", "b", "--metric", "val/acuracy"], "did you mean 'val/accuracy'?"),
        (["a", "b", "--metric", "test/accuracy"], "add --evaluate"),
        (["a", "b", "--out", "none/x.html"], "name a file in a folder that exists"),
    ],
)
def test_mistakes_are_one_sentence(home, cli, words, said):
    made(home / "a", 0.1, 0, [0.5])
    made(home / "b", 0.2, 0, [0.5])
    found = cli("compare", *words)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.splitlines()) == 1


@settings(max_examples=60, deadline=None)
@given(st.floats(1, 500))
def test_students_quantile(freedom):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS)
def test_welch_is_antisymmetric_and_as_in_scipy(first, second):
    assume(max(first) - min(first) > 1e-3 and max(second) - min(second) > 1e-3)
    one, other = welch(first, second), welch(second, first)
    assert one.mean == pytest.approx(-other.mean)
    assert one.half_width == pytest.approx(other.half_width)
    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (one.mean - one.half_width, one.mean + one.half_width) == pytest.approx((low, high), rel=1e-4, abs=1e-6)


def test_without_spread_the_difference_is_certain():
    assert welch([1.0, 1.0], [1.5, 1.5])[:2] == (0.5, 0.0)
    assert welch([1.0, 1.0], [1.5, 1.5]).excludes_zero
    assert not welch([1.0, 1.0], [1.0, 1.0]).excludes_zero
    assert paired([1.0, 2.0], [1.5, 2.5])[:2] == (0.5, 0.0)
