"""`gradus embed` and the report of word vectors, from the command line."""

import csv
from pathlib import Path

import pytest

from gradus.app.cli import VERBS, main
from gradus.app.embedding import Embed
from gradus.app.report.facts import read_facts
from gradus.app.report.told import Subject
from gradus.app.report.word_vectors import tell_vectors
from gradus.engine.folder import RunFolder
from gradus.errors import GradusError
from gradus.sequence.embedding.vector_files import read_vectors

TEXT = "the ship and the sail and the rope are on the deck. the soup and the bread and the pan are on the table. "


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    (home / "text.txt").write_text(TEXT * 80)
    words = ["train", "sequence/embed", "--data", str(home / "text.txt"), "--model", "fasttext", "--max-epochs", "3",
             "--vector-size", "8", "--name", "tiny", "--runs-dir", str(home), "--quiet", "--device", "cpu"]  # fmt: skip
    assert main(words) == 0
    return str(home / "tiny")


def asked(run, *words):
    return Embed.parse([run, *words])()


def test_words_and_texts_have_vectors_and_neighbours(run):
    found = asked(run, "ship", "the soup", "shipping", "--nearest", "3")
    assert set(found.data["vectors"]) == {"ship", "the soup", "shipping"}
    assert all(len(vector) == 8 for vector in found.data["vectors"].values())
    assert [len(near) for near in found.data["nearest"].values()] == [3, 3, 3]
    assert "ship" not in dict(found.data["nearest"]["ship"])
    assert not {"the", "soup"} & set(dict(found.data["nearest"]["the soup"]))
    assert found.text.startswith("ship\n  ")
    assert asked(run, "ship", "--nearest", "0").text.startswith("ship  ")


def test_analogies(run):
    found = asked(run, "--analogy", "ship", "sail", "soup", "--nearest", "2")
    assert len(found.data["analogy"]) == 2
    assert not {"ship", "sail", "soup"} & {word for word, _ in found.data["analogy"]}


def test_files(run, tmp_path):
    found = asked(run, "--out", str(tmp_path / "all.bin"))
    words, vectors = read_vectors(tmp_path / "all.bin")
    assert f"{len(words)} vectors in" in found.text
    assert words[0] == "the"
    asked(run, "ship", "the soup", "--out", str(tmp_path / "two.csv"))
    with open(tmp_path / "two.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["text", "ship", "the soup"]
    place = words.index("ship")
    assert [float(value) for value in rows[1][1:]] == pytest.approx(vectors[place].tolist())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a word"),
        (("--analogy", "a", "b"), "three words"),
        (("ship", "--nearest", "-1"), "negative"),
        (("ship", "--out", "x.pkl"), "end the name in"),
        (("ship", "--out", "x.txt"), None),
    ],
)
def test_mistakes(run, words, said):
    if said is None:
        assert asked(run, *words).data["out"] == "x.txt"
        return
    with pytest.raises(GradusError, match=said):
        asked(run, *words)


def test_the_report_tells_neighbours_and_draws_a_map(run):
    from gradus.engine.product import load_product

    folder = RunFolder(Path(run))
    told = tell_vectors(Subject(folder, read_facts(folder), load_product(folder.path, "cpu")))
    assert [chapter.id for chapter in told.chapters] == ["neighbours", "map"]
    assert "test/loss" in told.metrics
    assert "<svg" in told.chapters[1].body
    assert all(f">{word}<" in told.chapters[0].body for word in ("ship", "soup"))


def test_the_verb_is_known():
    if "embed" not in VERBS:
        pytest.skip("the verb is not among those of the command line yet")
    assert VERBS["embed"][0] == "embedding:Embed"
