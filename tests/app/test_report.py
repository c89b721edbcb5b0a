"""The report: complete, self-contained, and with the numbers that `gradus evaluate` gives."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pages import Page
from gradus.app.report.charts import Line, line_chart
from gradus.app.report.facts import command, read_facts
from gradus.app.report.matrix import confusion_figure, confusions, seriated
from gradus.app.report.measure import Effort
from gradus.app.report.sections import classes
from gradus.app.report.svg import Scale, compact, tag
from gradus.engine.folder import RunFolder, digest


def copied(run, path, **changed):
    """Return a copy of a run whose recipe has other options, as if it had been trained with them."""
    shutil.copytree(run, path)
    body = json.loads((path / "recipe.json").read_text())
    body.pop("sha256")
    body["options"] |= changed
    (path / "recipe.json").write_text(json.dumps({**body, "sha256": digest(body)}))
    return path


@pytest.fixture(scope="module")
def written(trained):
    """Return the report of the trained run: what the command said, and the page."""
    import contextlib
    import io

    from gradus.app.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["report", str(trained), "--json", "--count", "24"]) == 0
    markup = (trained / "report.html").read_text(encoding="utf-8")
    return SimpleNamespace(json=json.loads(out.getvalue()), markup=markup, page=Page(markup))


def test_every_section_is_there_and_linked(written):
    sections = [a["id"] for a in written.page.all("section")]
    wanted = ["training", "classes", "calibration", "mistakes", "robustness", "model", "recipe", "provenance"]
    assert sections == wanted
    assert [a["href"] for a in written.page.all("a")] == [f"#{id}" for id in wanted]
    assert len({a["id"] for _, a in written.page.tags if "id" in a}) == len(wanted)


def test_nothing_is_loaded_from_elsewhere(written):
    assert "://" not in written.markup
    assert "@import" not in written.markup
    addresses = [a[key] for _, a in written.page.tags for key in ("src", "href") if key in a]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert not written.page.all("link")
    assert not [a for a in written.page.all("script") if "src" in a]


def test_numbers_are_those_of_evaluate(written, trained, cli):
    found = cli("evaluate", trained, "--json").json["metrics"]
    assert {name: written.json["metrics"][name] for name in found} == found
    for value in found.values():
        assert value in written.page.values
    assert written.json["report"] == str((trained / "report.html").resolve())
    assert written.json["run"] == "small"


def test_confusion_counts_every_test_image(written, trained):
    from gradus.data.registry import load_images

    total = len(load_images("digits").test)
    shown = re.findall(r'class="in-cell(?: deep)?"[^>]*>(\d+)<', written.markup)
    views = 1 + ("by-likeness" in [a.get("class") for a in written.page.all("div")])
    assert sum(map(int, shown)) == views * total


def test_pictures_have_words_and_charts_have_labels(written):
    assert all(a["alt"] for a in written.page.all("img"))
    assert written.page.all("img")
    assert all(a["aria-label"] for a in written.page.all("svg"))
    assert len(written.page.all("svg")) >= 7
    assert len(written.page.all("article", "card")) >= 1


def test_curves_hold_the_logged_values(written, trained):
    facts = read_facts(RunFolder(trained))
    charts = [json.loads(a["data-values"]) for a in written.page.all("figure", "chart") if "data-values" in a]
    loss = charts[0]["lines"]
    assert [point[2] for point in loss[1]] == [str(step) for step, _ in facts.series["val/loss"]]
    assert [point[3] for point in loss[1]] == [compact(value) for _, value in facts.series["val/loss"]]
    assert f"kept: {compact(dict(facts.series['val/loss'])[facts.best['step']])}" in written.markup


def test_recipe_can_be_typed_again(written, trained):
    facts = read_facts(RunFolder(trained))
    assert facts.changed == {"max_epochs": 4}
    assert command(facts) == "gradus train vision/classify --max-epochs 4"
    assert command(facts) in written.page.words["recipe"]


def test_attack_stays_out_when_asked_and_the_file_goes_where_asked(trained, cli, tmp_path):
    found = cli("report", trained, "--count", 0, "--out", tmp_path / "mine.html", "--json")
    page = Page((tmp_path / "mine.html").read_text())
    assert found.code == 0
    assert found.json["report"] == str((tmp_path / "mine.html").resolve())
    assert "robustness" not in [a["id"] for a in page.all("section")]


def test_without_its_data_the_run_folder_speaks(trained, cli, tmp_path):
    run = copied(trained, tmp_path / "alone", data="./gone")
    found = cli("report", run, "--json")
    page = Page((run / "report.html").read_text())
    assert found.code == 0
    assert found.json["metrics"].keys() == {"val/loss", "val/accuracy"}
    assert [a["id"] for a in page.all("section")] == ["training", "model", "recipe", "provenance"]
    assert "gone" in page.words[""]
    assert "is not there" in page.words[""]


def test_an_unfinished_run_is_told_as_far_as_it_went(trained, cli, tmp_path):
    run = copied(trained, tmp_path / "half")
    shutil.rmtree(run / "product")
    shutil.rmtree(run / "checkpoints")
    assert cli("report", run).code == 0
    page = Page((run / "report.html").read_text())
    assert [a["id"] for a in page.all("section")] == ["training", "recipe", "provenance"]
    assert "no product yet" in page.words[""]


def test_a_group_is_shown_by_member_and_in_the_mean(trained, cli, tmp_path):
    body = json.loads((trained / "recipe.json").read_text())
    group = RunFolder.create(tmp_path / "runs" / "group", body["recipe"], body["options"], members=2)
    for i in range(2):
        copied(trained, group.members / str(i), seed=i)
    found = cli("report", "group", "--json")
    page = Page((group.path / "report.html").read_text())
    each = [cli("evaluate", group.members / str(i), "--json").json["metrics"]["test/accuracy"] for i in range(2)]
    assert found.json["metrics"]["test/accuracy"] == pytest.approx(np.mean(each), abs=1e-12)
    assert [a["id"] for a in page.all("section")] == ["training", "members", "recipe", "provenance"]
    assert all(value in page.values for value in each)
    assert len(page.all("path", "faint")) == 8
    assert len(page.all("polygon", "band")) == 4
    assert "--seeds 2" in page.words["recipe"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "no/such/folder/x.html"], "does not exist"),
        (["--out", "."], "is a folder"),
        (["--count", "-1"], "must not be negative"),
        (["--device", "tpu"], "there is no device 'tpu'"),
    ],
)
def test_mistakes_are_one_sentence(trained, cli, words, said):
    found = cli("report", trained, *words)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.splitlines()) == 1


def test_users_words_are_escaped():
    names = ['<script>alert("x")</script>', "a & b", 'quote"d']
    matrix = np.array([[3, 2, 0], [1, 4, 0], [0, 0, 5]])
    page = Page(classes(matrix, names).body)
    assert not page.all("script")
    assert names[0] in page.words[""]
    assert "a & b" in page.words[""]
    assert any(names[0] in a.get("data-tip", "") for a in page.all("rect"))
    assert tag("p", class_="a", data_tip='"<&') == '<p class="a" data-tip="&quot;&lt;&amp;"></p>'


def test_confusions_are_ordered_and_leave_the_diagonal_out():
    matrix = np.array([[9, 0, 4], [7, 1, 0], [0, 1, 2]])
    assert confusions(matrix) == [(1, 0, 7), (0, 2, 4), (2, 1, 1)]
    assert confusions(np.eye(3, dtype=int)) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_confused_classes_become_neighbours(seed):
    rng = np.random.default_rng(seed)
    place = rng.permutation(12)
    matrix = np.where(np.abs(place[:, None] - place[None]) == 1, 20, 0) + 50 * np.eye(12, dtype=int)
    order = place[seriated(matrix)]
    assert (np.abs(np.diff(order)) == 1).all()


def test_a_hundred_classes_and_more_still_fit():
    rng = np.random.default_rng(0)
    matrix = rng.poisson(0.05, (120, 120)) + 50 * np.eye(120, dtype=int)
    page = Page(confusion_figure(matrix, [f"class {i}" for i in range(120)]))
    assert "100 classes with the most mistakes" in page.words[""]
    assert len(page.all("rect", "right")) == 2 * 100
    assert not page.all("text", "in-cell")


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_even_and_inside(low, span):
    scale = Scale(low, low + span, 0, 100)
    ticks = scale.ticks(5)
    assert 1 <= len(ticks) <= 6
    assert all(-1e-3 <= scale(t) <= 100 + 1e-3 for t in ticks)
    if len(ticks) > 2:
        gaps = np.diff(ticks)
        assert gaps == pytest.approx(gaps[0], rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.floats(-9, 6), st.floats(1.4, 12))
def test_logarithmic_ticks_are_inside_too(exponent, decades):
    scale = Scale(10**exponent, 10 ** (exponent + decades), 0, 100, log=True)
    ticks = scale.ticks(4)
    assert len(ticks) >= 2
    assert all(-1e-6 <= scale(t) <= 100 + 1e-6 for t in ticks)


def test_long_curves_are_thinned_to_their_last_point_and_gaps_stay_gaps():
    points = [(float(i), float(i)) for i in range(12_345)]
    thin = Line("a", points).thinned()
    assert len(thin) <= 500
    assert thin[-1] == points[-1]
    broken = line_chart("t", [Line("a", [(0, 1.0), (1, 2.0), (2, float("nan")), (3, 1.0), (4, 2.0)])])
    assert re.search(r'd="M[^"]*L[^"]*M[^"]*L[^"]*"', broken)
    assert line_chart("t", [Line("a", [])]) == ""
    assert line_chart("t", [Line("a", [(0, float("nan"))])]) == ""


def test_effort_falls_with_the_models_size():
    small, large = Effort(400_000, 50_000, True), Effort(4_000_000_000, 80_000_000, True)
    assert small.images(20, 256) == 256
    assert small.chunk == 256
    assert 8 <= large.images(20, 256) < 32
    assert 1 <= large.chunk < 16


def test_a_run_driven_from_python_and_an_empty_group_have_reports_too(cli, tmp_path):
    RunFolder.create(tmp_path / "own", None, {"depth": 3, "note": "<i>"})
    RunFolder.create(tmp_path / "none", "vision/classify", {"lr": 0.1}, members=2)
    for name in ("own", "none"):
        assert cli("report", name, "--runs-dir", tmp_path).code == 0
    page = Page((tmp_path / "own" / "report.html").read_text())
    assert "<i>" in page.words["recipe"]
    assert not page.all("code")
    assert Page((tmp_path / "none" / "report.html").read_text()).all("section")
