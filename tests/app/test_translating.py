"""`gradus translate` and the report of a translator."""

import csv
from pathlib import Path

import pytest

from app.pages import Page
from gradus.app.cli import main
from gradus.app.report.translated import alignment_figure
from gradus.sequence.translation.alignment import Alignment

WORDS = ("--max-steps", "12", "--evaluate-every", "12", "--limit", "60", "--beam", "2", "--quiet", "--device", "cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    pairs = [(f"{d} May 19{y}", f"19{y}-05-{d:02}") for d in range(1, 31) for y in range(80, 90)]
    (home / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    for name, model in (("looks", "rnn-attention"), ("blind", "rnn")):
        words = [
            "train",
            "sequence/translate",
            "--data",
            str(home / "pairs.tsv"),
            "--model",
            model,
            "--tokenizer",
            "char",
            *WORDS,
        ]
        assert main([*words, "--set", "hidden=16", "embedding=8", "--name", name, "--runs-dir", str(home)]) == 0
    return home


def test_texts_are_words_behind_the_run(cli, runs):
    found = cli("translate", "looks", "3 May 1987", "12 May", "--runs-dir", runs, "--json").json
    assert [one["source"] for one in found["translations"]] == ["3 May 1987", "12 May"]
    plain = cli("translate", "looks", "3 May 1987", "12 May", "--runs-dir", runs)
    assert plain.out.splitlines() == [one["translation"] for one in found["translations"]]
    greedy = cli("translate", "looks", "3 May 1987", "--beam", "1", "--runs-dir", runs, "--json").json
    assert len(greedy["translations"][0]["best"]) == 1


def test_the_best_of_each_come_with_scores(cli, runs):
    found = cli("translate", "looks", "3 May 1987", "--best", "7", "--runs-dir", runs, "--json").json
    best = found["translations"][0]["best"]
    assert len(best) == 7  # wider than the run's own search, which is widened for it
    assert [one["score"] for one in best if one["ended"]] == sorted(
        (one["score"] for one in best if one["ended"]), reverse=True
    )
    assert cli("translate", "looks", "3 May 1987", "--best", "3", "--beam", "2", "--runs-dir", runs).code == 2
    lines = cli("translate", "looks", "3 May 1987", "5 May 1987", "--best", "2", "--runs-dir", runs).out.splitlines()
    assert len(lines) == 5
    assert lines[2] == ""


def test_a_file_of_texts_becomes_a_file_of_translations(cli, runs, tmp_path):
    (tmp_path / "in.txt").write_text("3 May 1987\n\n12 May\n")
    said = cli("translate", "looks", "--file", tmp_path / "in.txt", "--out", tmp_path / "out.txt", "--runs-dir", runs)
    assert said.out.strip() == "3 translations in out.txt"
    lines = (tmp_path / "out.txt").read_text().split("\n")
    assert len(lines) == 4
    assert lines[1] == lines[3] == ""
    assert lines[0] == cli("translate", "looks", "3 May 1987", "--runs-dir", runs).out.strip()
    cli("translate", "looks", "1 May 1999", "--best", "2", "--out", tmp_path / "best.csv", "--runs-dir", runs)
    rows = list(csv.reader((tmp_path / "best.csv").open()))
    assert rows[0] == ["line", "rank", "score", "translation"]
    assert [row[:2] for row in rows[1:]] == [["1", "1"], ["1", "2"]]


def test_alignments_are_drawn(cli, runs, tmp_path):
    words = ("--alignment", tmp_path / "a.png", "--runs-dir", runs, "--json")
    found = cli("translate", "looks", "3 May 1987", *words).json
    assert found["pictures"] == [str(tmp_path / "a.png")]
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    look = found["translations"][0]["alignment"]
    assert look["source"] == [*"3␣May␣1987", "¶"]
    assert len(look["weights"]) == len(look["target"])
    two = cli("translate", "looks", "3 May 1987", "4 May 1988", *words).json
    assert [Path(name).name for name in two["pictures"]] == ["a-1.png", "a-2.png"]
    blind = cli("translate", "blind", "3 May 1987", *words)
    assert blind.code == 2
    assert "looks at nothing" in blind.err


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "name a text to translate"),
        (("--best", "0", "--texts", "x"), "--best must be positive"),
        (("x", "--file", "y"), "leave one out"),
        (("--file", "nowhere.txt"), "no file nowhere.txt"),
        (("x", "--alignment", "a.gif"), "a picture ends in .png"),
        (("x", "--beams", "3"), "--beam"),
    ],
)
def test_mistakes_are_told_in_one_sentence(cli, runs, words, said):
    found = cli("translate", "looks", *words, "--runs-dir", runs)
    assert found.code == 2
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_what_was_never_seen_is_told(cli, runs):
    found = cli("translate", "looks", "3 Mäy 1987 ½", "--runs-dir", runs)
    assert found.code == 0
    assert "never seen in training, and read as unknown: 'ä', '½'" in found.err


def test_a_run_that_translates_nothing_says_what_it_can(cli, trained):
    found = cli("translate", trained, "x")
    assert found.code == 2
    assert "not translate" in found.err


def test_the_report_tells_worth_translations_and_alignment(cli, runs):
    told = cli("report", "looks", "--runs-dir", runs, "--json").json
    measured = cli("evaluate", "looks", "--runs-dir", runs, "--json").json["metrics"]
    assert {name: told["metrics"][name] for name in measured} == pytest.approx(measured)
    page = Page(Path(told["report"]).read_text(encoding="utf-8"))
    ids = [a["id"] for a in page.all("section")]
    assert ids == ["training", "translations", "length", "alignment", "recipe", "provenance"]
    blind = cli("report", "blind", "--runs-dir", runs, "--json").json
    assert "alignment" not in [a["id"] for a in Page(Path(blind["report"]).read_text(encoding="utf-8")).all("section")]


def test_the_report_stands_without_its_data(cli, runs, tmp_path):
    (tmp_path / "x.tsv").write_text("".join(f"{i}\t{i}\n" for i in range(60)))
    words = ["train", "sequence/translate", "--data", str(tmp_path / "x.tsv"), "--set", "hidden=16", *WORDS]
    assert cli(*words, "--name", "gone", "--runs-dir", tmp_path).code == 0
    (tmp_path / "x.tsv").unlink()
    told = cli("report", "gone", "--runs-dir", tmp_path, "--json").json
    assert "is not there" in Path(told["report"]).read_text(encoding="utf-8")


def test_a_heat_map_has_a_cell_for_every_look():
    import torch

    weights = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])
    drawn = alignment_figure(Alignment(["<a>", "b", "¶"], ["x", "¶"], weights))
    assert drawn.count('class="cell right"') == 3
    assert "&lt;a&gt;" in drawn
    assert "<a>" not in drawn
