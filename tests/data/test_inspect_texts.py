"""The doctor of texts finds what was planted, names an example, and has nothing to say about good text."""

import json
from pathlib import Path

import pytest

from gradus.data.inspect_texts import Spread, look_at_corpus, look_at_labelled, look_at_pairs, look_at_tagged
from gradus.data.kinds import kind_of
from gradus.errors import GradusError

GOOD = ["a fine film", "what a great story", "this is well played", "one of the best of all", "very good and fine"]
BAD = ["a poor film", "what a dull story", "this is badly played", "one of the worst of all", "very bad and poor"]


def labelled(path: Path, more: list[tuple[str, str]] = []) -> str:  # noqa: B006
    """Write labelled texts, twice as many as there are sentences, all different."""
    rows = [(f"{text} {i}", label) for label, texts in (("good", GOOD), ("bad", BAD)) for text in texts for i in "xy"]
    path.write_text("\n".join(json.dumps({"text": t, "label": c}) for t, c in [*rows, *more]), encoding="utf-8")
    return str(path)


def test_good_texts_have_no_problems(tmp_path: Path) -> None:
    found = look_at_labelled(labelled(tmp_path / "reviews.jsonl"))
    assert [problem for problem in found.problems if "words of test" not in problem] == []
    assert sum(found.counts.values()) == 20
    assert {label: sum(part[label] for part in found.classes.values()) for label in ("good", "bad")} == {
        "good": 10,
        "bad": 10,
    }
    assert (found.kind, found.recipe, found.repeated) == ("texts", "sequence/classify", 0)
    assert json.loads(json.dumps(found.to_json()))["words"]["most"] == 7


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ([("a caf\u00c3\u00a9 in Paris", "good")], "decoded wrongly"),
        ([("it\u00e2\u20ac\u2122s all right", "good")], "decoded wrongly"),
        ([("lost \ufffd here", "good")], "decoded wrongly"),
        ([("a zero\u200bwidth space", "good")], "invisible"),
        ([("first line<br />second", "good")], "HTML"),
        ([("salt &amp; pepper", "good")], "HTML"),
        ([("cafe\u0301 in Paris", "good")], "accents apart"),
        ([("the same words", "good"), ("the  same words ", "bad")], "more than one class: 'the same words'"),
        ([(f"only good {i}", "good") for i in range(200)], "far from balanced: 'good'"),
    ],
)
def test_every_fault_is_told_with_an_example(tmp_path: Path, planted: list[tuple[str, str]], told: str) -> None:
    found = look_at_labelled(labelled(tmp_path / "reviews.jsonl", planted))
    assert any(told in problem for problem in found.problems), found.problems


def test_signs_of_good_languages_are_no_faults(tmp_path: Path) -> None:
    planted = [("Âge d'or, ÂMES, Ão, naïveté — “quoted” 5 < 6 & 7", "good"), ("日本語 und Größe", "bad")]
    found = look_at_labelled(labelled(tmp_path / "reviews.jsonl", planted))
    assert [problem for problem in found.problems if "words of test" not in problem] == []


def test_texts_in_two_splits_are_found(tmp_path: Path) -> None:
    for split, extra in (("train", "kept apart"), ("test", "a fine film")):
        for label, texts in (("good", GOOD), ("bad", BAD)):
            folder = tmp_path / split
            folder.mkdir(exist_ok=True)
            own = texts if split == "train" else [f"{label} {extra}", *(GOOD[:1] if label == "good" else BAD[:1])]
            (folder / f"{label}.txt").write_text("\n".join(own), encoding="utf-8")
    found = look_at_labelled(str(tmp_path))
    assert found.across_splits[0] == 2
    assert sorted(found.across_splits[1]) == ["a fine film", "a poor film"]
    assert any("2 texts in more than one split" in problem for problem in found.problems)


def test_a_corpus_is_counted_as_it_is(tmp_path: Path) -> None:
    text = "one two three four\n" * 2000
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    found = look_at_corpus(str(tmp_path / "a.txt"))
    assert sum(found.characters.values()) == len(text)
    assert (found.vocabulary, found.once, found.unseen, found.problems) == (4, 0, 0.0, [])
    assert found.alphabet == len(set(text))


def test_little_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three four\n" * 50, encoding="utf-8")
    assert any("950 characters are little" in problem for problem in look_at_corpus(str(tmp_path / "a.txt")).problems)


def test_equal_documents_are_counted_once_each(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"the text of number {i % 39}\n", encoding="utf-8")
    assert look_at_corpus(str(tmp_path)).repeated == 1


def test_pairs_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    sources = [f"ein kurzer Satz {i}" for i in range(30)]
    targets = [f"a short sentence {i}" for i in range(30)]
    targets[3] = "a line that belongs to another file altogether, " * 5
    sources[7] = targets[7]
    sources[11] = sources[12]
    (tmp_path / "a.de").write_text("\n".join(sources), encoding="utf-8")
    (tmp_path / "a.en").write_text("\n".join(targets), encoding="utf-8")
    problems = look_at_pairs(str(tmp_path / "a.de"), target=str(tmp_path / "a.en")).problems
    assert any("1 pair with one side over" in problem for problem in problems)
    assert any("1 pair with the same text on both sides" in problem for problem in problems)
    assert any("1 source with more than one target" in problem for problem in problems)


def test_tags_are_counted_by_token(tmp_path: Path) -> None:
    sentences = "\n\n".join(f"Ada B\nwrites O\nline{i} O" for i in range(20))
    (tmp_path / "a.conll").write_text(sentences, encoding="utf-8")
    found = look_at_tagged(str(tmp_path / "a.conll"))
    assert sum(part["O"] for part in found.classes.values()) == 40
    assert sum(part["B"] for part in found.classes.values()) == 20


def test_spread_of_known_numbers() -> None:
    assert Spread.of(range(1, 101)) == Spread(1, 50, 95, 100)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


PROSE = "It was a long day, and nobody came.\nThen, at last, the bell rang; it was late.\n"


@pytest.mark.parametrize(
    ("files", "data", "target", "kind"),
    [
        ({"a.txt": PROSE}, "a.txt", None, "corpus"),
        ({"notes": PROSE}, "notes", None, "corpus"),
        ({"a.txt": PROSE, "b.txt": PROSE}, "a.txt", "b.txt", "pairs"),
        ({"a.csv": "a,b\n1,2\n3,4\n"}, "a.csv", None, "table"),
        ({"a.data": "1,2,x\n3,4,y\n"}, "a.data", None, "table"),
        ({"a.csv": "text,label\ngood,1\nbad,0\n"}, "a.csv", None, "texts"),
        ({"a.csv": f"remark,stars\n{'very ' * 9}good,1\n{'very ' * 9}bad,0\n"}, "a.csv", "stars", "texts"),
        ({"a.csv": f"a,b,c,remark,y\n1,2,3,{'very ' * 9}good,1\n"}, "a.csv", "y", "table"),
        ({"a.tsv": "source\ttarget\nja\tyes\n"}, "a.tsv", None, "pairs"),
        ({"a.jsonl": '{"text": "' + "word " * 9 + '"}\n'}, "a.jsonl", None, "corpus"),
        ({"a.jsonl": '{"tokens": ["a"], "tags": ["X"]}\n'}, "a.jsonl", None, "tags"),
        ({"a.conll": "Ada B\n"}, "a.conll", None, "tags"),
        ({"d/good/1.txt": PROSE, "d/bad/1.txt": PROSE}, "d", None, "texts"),
        ({"d/train/good.txt": PROSE, "d/train/bad.txt": PROSE}, "d", None, "texts"),
        ({"d/1.txt": PROSE, "d/more/2.txt": PROSE}, "d", None, "corpus"),
        ({"d/a/1.png": "", "d/b/1.png": "", "d/README.txt": PROSE}, "d", None, "images"),
        ({"d/train.conll": "Ada B\n"}, "d", None, "tags"),
    ],
)
def test_what_data_is_shows_in_it(
    tmp_path: Path, files: dict[str, str], data: str, target: str | None, kind: str
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    aim = str(tmp_path / target) if target and (tmp_path / target).exists() else target
    assert kind_of(str(tmp_path / data), aim) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [("digits", "images"), ("python_source", "corpus"), ("sst2", "texts"), ("dates", "pairs"), ("seasons", "series"),
     ("python-roles", "tags"), ("adult", "table"), ("bike-sharing", "table")],
)  # fmt: skip
def test_names_are_what_they_are_registered_as(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_name_that_is_nothing_is_told_with_the_nearest() -> None:
    with pytest.raises(GradusError, match="tinyshakespeare"):
        kind_of("tinyshakespear")
    with pytest.raises(GradusError, match="does not exist"):
        kind_of("./none")
