"""`gradus train --data X --auto`: what it decides, what it keeps to, and that its name means the best candidate."""

import csv
import json
import shutil

import pytest

from gradus.app.candidates import Candidate, Pace, plan, task_of
from gradus.app.choosing import _choose
from gradus.engine.folder import RunFolder, find_run
from gradus.errors import GradusError
from gradus.tabular.recipes import Classify


def written(path, rows, header=("a", "b", "answer")):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("auto")


@pytest.fixture(scope="module")
def flowers(home):
    """Return a CSV file of iris, of which nothing is known but its rows."""
    from gradus.data.table_sets import iris

    raw = iris().raw
    return written(home / "flowers.csv", raw.rows, raw.names)


@pytest.fixture(scope="module")
def chosen(home, flowers):
    """Return the answer of a finished choice among models of the flowers."""
    import contextlib
    import io

    from gradus.app.cli import main

    out = io.StringIO()
    words = ["train", "--data", str(flowers), "--auto", "--max-time", "6", "--name", "flowers", "--quiet", "--json"]
    with contextlib.redirect_stdout(out):
        assert main([*words, "--runs-dir", str(home)]) == 0
    return json.loads(out.getvalue())


def test_digits_are_learned_within_seconds(cli, tmp_path):
    told = cli("train", "--auto", "--data", "digits", "--max-time", 15, "--quiet", "--json", "--runs-dir", tmp_path)
    assert told.code == 0
    found = cli("evaluate", "auto-1", "--runs-dir", tmp_path, "--json").json
    assert found["metrics"]["test/accuracy"] >= 0.95


def test_texts_are_classified_and_other_texts_are_sent_elsewhere(cli, tmp_path):
    words = {"good": ("merry", "bright", "lovely", "witty"), "bad": ("dull", "stale", "flat", "grim")}
    rows = [[f"a {word} film about {i} other things", name] for name, own in words.items() for word in own
            for i in range(12)]  # fmt: skip
    path = written(tmp_path / "films.csv", rows, ["text", "label"])
    told = cli("train", "--auto", "--data", path, "--max-time", 12, "--quiet", "--json", "--runs-dir", tmp_path)
    assert told.code == 0, told.err
    assert "each in one of 2 classes" in told.json["choice"]["note"]
    assert cli("evaluate", "auto-1", "--runs-dir", tmp_path, "--json").json["metrics"]["test/accuracy"] >= 0.9
    (tmp_path / "book.txt").write_text("It was late.\nNobody came, and so he left.\n")
    told = cli("train", "--auto", "--data", tmp_path / "book.txt", "--runs-dir", tmp_path)
    assert told.code == 2
    assert "gradus train sequence/language-model --data" in told.err


def test_the_last_column_is_the_target_and_the_note_says_so(chosen, home):
    choice = chosen["choice"]
    assert "'species', the last column" in choice["note"]
    assert "3 classes" in choice["note"]
    names = [row["name"] for row in choice["scores"]]
    assert {"softmax", "tree"} <= set(names)
    assert {*names, *choice["left_out"]} == {"softmax", "tree", "network", "wide network"}


def test_the_best_by_validation_is_kept(chosen, home):
    values = [row["metrics"]["val/accuracy"] for row in chosen["choice"]["scores"]]
    assert values[chosen["choice"]["best"]] == max(values)
    assert not any(name.startswith("test/") for row in chosen["choice"]["scores"] for name in row["metrics"])


def test_every_verb_works_on_the_winner_by_the_groups_name(chosen, home, flowers, cli, tmp_path):
    best = home / "flowers" / "members" / str(chosen["choice"]["best"])
    assert find_run("flowers", home) == best
    assert find_run("flowers", home, whole=True) == home / "flowers"
    here = ("--runs-dir", home)
    by_name, itself = (cli("evaluate", run, *here, "--json").json for run in ("flowers", best))
    assert by_name["metrics"] == itself["metrics"]
    assert by_name["run"] == f"flowers/members/{best.name}"
    assert by_name["metrics"]["test/accuracy"] >= 0.9
    out = tmp_path / "said.csv"
    assert cli("predict", "flowers", flowers, "--out", out, *here).code == 0
    assert len(out.read_text().splitlines()) == 151
    assert cli("report", "flowers", "--out", tmp_path / "r.html", *here).code == 0
    page = (tmp_path / "r.html").read_text()
    assert 'id="candidates"' in page
    assert "(chosen)" in page


def test_show_tells_the_table_of_the_candidates(chosen, home, cli):
    told = cli("show", "flowers", "--runs-dir", home)
    for row in chosen["choice"]["scores"]:
        assert row["name"] in told.out
    assert chosen["choice"]["why"] in told.out
    assert cli("show", "flowers", "--runs-dir", home, "--json").json["choice"]["best"] == chosen["choice"]["best"]


def test_a_choice_that_was_broken_off_is_resumed(chosen, home, cli, tmp_path):
    group = tmp_path / "broken"
    shutil.copytree(home / "flowers", group)
    (group / "choice.json").unlink()
    shutil.rmtree(group / "members" / "1")
    shutil.rmtree(group / "members" / "0" / "product")
    here = ("--runs-dir", tmp_path)
    for words in (("evaluate", "broken"), ("predict", "broken", "x.csv"), ("report", "broken")):
        told = cli(*words, *here)
        assert told.code == 2
        assert "gradus resume broken" in told.err
    assert cli("resume", "broken", "--quiet", *here).code == 0
    again = json.loads((group / "choice.json").read_text())
    assert again["scores"] == chosen["choice"]["scores"]
    assert again["best"] == chosen["choice"]["best"]
    assert cli("resume", "broken", "--max-steps", 9, *here).code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vision/classify", "--auto"], "leave vision/classify out"),
        (["--auto", "--data", "iris", "--lr", "3"], "leave --lr out"),
        (["--auto", "--data", "iris", "--seeds=3"], "leave --seeds out"),
        (["--auto"], "name what to learn from"),
        (["--auto", "--data", "iirs"], "did you mean 'iris'"),
        (["--auto", "--data", "digits", "--target", "x"], "leave it out"),
        (["--auto", "--data", "iris", "--target", "specie"], "did you mean 'species'"),
        (["--auto", "--data", "iris", "--max-time", "0"], "--max-time must be positive"),
        (["--auto", "--data", "iris", "--max-time", "soon"], "--max-time takes a number"),
        (["--auto", "--data", "iris", "--seed", "-1"], "--seed"),
        (["--auto", "--data", "iris", "--device", "tpu"], "there is no device 'tpu'"),
        (["--auto", "--data", "iris", "--name", "a/b"], "no plain name"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(cli, tmp_path, words, said):
    told = cli("train", *words, "--runs-dir", tmp_path / "runs")
    assert told.code == 2
    assert said in told.err
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "text", ["", "one\n1\n2\n", "a,b\n1,2\n3\n", "a,b\n1,2\n2,2\n"], ids=["empty", "narrow", "ragged", "constant"]
)
def test_a_useless_file_is_refused_in_one_sentence(cli, tmp_path, text):
    (tmp_path / "odd.csv").write_text(text)
    told = cli("train", "--data", tmp_path / "odd.csv", "--auto", "--runs-dir", tmp_path / "runs")
    assert told.code == 2
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_taken_is_told_before_anything_is_trained(chosen, home, cli, flowers):
    told = cli("train", "--data", flowers, "--auto", "--name", "flowers", "--runs-dir", home)
    assert told.code == 2
    assert "exists already" in told.err


@pytest.mark.parametrize(
    ("value", "recipe"),
    [
        (lambda i: i % 3, "tabular/classify"),
        (lambda i: "yes" if i % 2 else "no", "tabular/classify"),
        (lambda i: i * 7 % 59, "tabular/regress"),
        (lambda i: 0.5 * (i % 4), "tabular/regress"),
    ],
)
def test_numbers_are_regressed_and_names_classified(tmp_path, value, recipe):
    path = written(tmp_path / "t.csv", [(i % 5, i * i % 11, value(i)) for i in range(60)])
    assert task_of(str(path)).recipe == recipe
    assert task_of(str(path), "a").options["target"] == "a"


def test_the_plan_keeps_to_its_time_and_drops_what_it_cannot_afford():
    quick, slow = Candidate("quick", epochs=(2, 1000)), Candidate("slow", epochs=(5, 50), weight=2.0)
    recipe = Classify(model="mlp")
    paces = [Pace(0.5, 0.01, 0.1, 20), Pace(0.5, 0.2, 0.5, 20)]
    planned, without = plan([(quick, recipe), (slow, recipe)], paces, 90.0)
    assert not without
    used = sum(pace.seconds(one.recipe.max_steps) for one, pace in zip(planned, paces, strict=True))
    assert 60 <= used <= 0.8 * 90 + 1
    assert 100 <= planned[1].recipe.max_steps <= 50 * 20
    planned, without = plan([(quick, recipe), (slow, recipe)], paces, 20.0)
    assert without == ["slow"]
    assert paces[0].seconds(planned[0].recipe.max_steps) <= 0.8 * 20 + 0.5
    (only,), _ = plan([(quick, recipe)], [Pace(5.0, 1.0, 1.0, 100)], 1.0)
    assert only.recipe.max_steps == 1


def test_ties_go_to_the_smaller_loss_and_what_diverged_never_wins():
    rows = [{"val/accuracy": 0.9, "val/loss": 0.4}, {"val/accuracy": 0.9, "val/loss": 0.3}, {}, {"val/accuracy": 0.8}]
    auto = {
        "metric": "val/accuracy",
        "sign": 1,
        "candidates": [{"name": n} for n in "abcd"],
        "left_out": [],
        "note": "",
    }
    assert _choose(rows, auto, 1.0)["best"] == 1
    rows = [{"val/mse": 3.0}, {"val/mse": float("nan")}, {"val/mse": 2.0}, {}]
    assert _choose(rows, {**auto, "metric": "val/mse", "sign": -1}, 1.0)["best"] == 2


def test_a_candidate_that_fails_is_told_and_the_others_go_on(chosen, home, cli, tmp_path, monkeypatch):
    from gradus.app import choosing

    group, learn = tmp_path / "some", choosing.learn
    shutil.copytree(home / "flowers", group)
    shutil.rmtree(group / "members" / "0")

    def failing(recipe, folder, launch):
        if folder.path.name == "0":
            raise GradusError("the loss is not finite")
        return learn(recipe, folder, launch)

    monkeypatch.setattr(choosing, "learn", failing)
    told = cli("resume", "some", "--quiet", "--json", "--runs-dir", tmp_path)
    assert told.code == 0
    assert told.json["choice"]["failed"] == {"softmax": "the loss is not finite"}
    assert told.json["choice"]["best"] != 0
    assert "the loss is not finite" in cli("show", "some", "--runs-dir", tmp_path).out


def test_two_processes_do_not_choose_at_once(chosen, home, cli):
    with RunFolder(home / "flowers").locked():
        told = cli("resume", "flowers", "--quiet", "--runs-dir", home)
    assert told.code == 2
    assert "another process" in told.err


def test_an_unreadable_choice_is_one_sentence(tmp_path):
    (tmp_path / "g" / "members").mkdir(parents=True)
    (tmp_path / "g" / "choice.json").write_text("{")
    with pytest.raises(GradusError, match="damaged"):
        find_run("g", tmp_path)


def test_the_data_doctor_tells_what_the_columns_of_a_table_are_taken_for(tmp_path, cli):
    path = tmp_path / "people.csv"
    rows = [f"{i % 7 + 0.5},{'abc'[i % 3]},1,{'yes' if i % 2 else 'no'}" for i in range(60)]
    path.write_text("\n".join(["size,city,same,rich", *rows]) + "\n")
    found = cli("inspect", path, "--json")
    assert found.code == 0, found.err
    assert found.json["rows"] == 60
    assert found.json["recipe"] == "tabular/classify"
    assert any("same" in note for note in found.json["notes"])
    told = cli("inspect", path, "--target", "size").out
    assert "tabular/regress" in told
    assert "city" in told
    assert cli("inspect", path, "--target", "sise").code == 2
    assert "size" in cli("inspect", path, "--target", "sise").err
    assert cli("inspect", "digits", "--json").json["images"]
