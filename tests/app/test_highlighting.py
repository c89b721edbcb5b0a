"""Highlighted text: shares sum to what they explain, lie where their words are, and are shown without loss."""

import json
import re
from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.app.highlighting import METHODS, answer, coloured, highlight, markup, stretches
from gradus.app.report.facts import read_facts
from gradus.app.report.held_out import recipe_of
from gradus.app.report.read_text import tell_text
from gradus.app.report.told import Subject
from gradus.data.tokenizer import SPECIALS, train_tokenizer
from gradus.engine.capabilities import Highlights
from gradus.engine.folder import RunFolder
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.classification.models import build
from gradus.sequence.classification.product import TextClassifier
from gradus.sequence.classification.reading import Reader
from gradus.sequence.classification.terms import fit_terms

CORPUS = ["a bright and merry film", "a dull film, and a long one", "merry but long"]
TEXT = "a merry film, but dull"


def product(name: str, *, ngrams: tuple[int, ...] = (1,), columns: tuple[str, ...] = (), **settings) -> TextClassifier:
    torch.manual_seed(0)
    if name in ("bow", "tfidf"):
        reader = Reader(fit_terms(CORPUS, ngrams=ngrams))
    else:
        frame = ("[CLS]", "[SEP]") if name == "bert" else ()
        reader = Reader(train_tokenizer("word", CORPUS, specials=SPECIALS), 64, frame)
    network = build(name, vocabulary=len(reader), classes=2, padding=reader.padding, **settings)
    with torch.no_grad():
        network.head.weight.normal_()
    facts = {"model": name, "settings": settings, "columns": list(columns), "frame": []}
    return TextClassifier(network.double().eval(), reader, ("bad", "good"), facts)


SMOOTH = [
    ("bow", {}),
    ("tfidf", {}),
    ("lstm", {"pooling": "mean", "width": 8, "hidden": 8}),
    ("gru", {"pooling": "last", "width": 8, "hidden": 8}),
    ("bert", {"layers": 1, "width": 16, "heads": 2}),
]
KINKED = [("rnn", {"width": 8, "hidden": 8}), ("cnn", {"width": 8, "filters": 8})]


@pytest.mark.parametrize("name, settings", SMOOTH)
def test_integrated_gradients_sum_to_the_difference_of_scores(name: str, settings: dict) -> None:
    found = highlight(product(name, **settings), TEXT)
    assert sum(piece.share for piece in found.pieces) + found.rest == pytest.approx(
        found.score - found.absent, abs=1e-6
    )
    assert abs(found.score - found.absent) > 1e-4


@pytest.mark.parametrize("name, settings", KINKED)
def test_with_a_maximum_in_them_they_sum_to_it_nearly(name: str, settings: dict) -> None:
    found = highlight(product(name, **settings), TEXT)
    difference = found.score - found.absent
    assert sum(piece.share for piece in found.pieces) == pytest.approx(difference, abs=0.05 * abs(difference) + 1e-3)


def test_of_a_bag_of_words_every_method_gives_the_weights_of_the_words() -> None:
    bag = product("tfidf")
    network, ids = bag.module, bag.tokenizer.encode(TEXT)
    weights = network.weights(torch.tensor([ids]))[0] * network.head.weight[1, ids]
    for method in METHODS:
        found = highlight(bag, TEXT, method, "good")
        assert [piece.text for piece in found.pieces] == ["merry", "film", "but", "dull"]
        assert [piece.share for piece in found.pieces] == pytest.approx(weights.tolist(), abs=1e-12)


def test_occlusion_is_the_fall_of_the_score_without_the_word() -> None:
    network = product("gru", width=8, hidden=8)
    found = highlight(network, TEXT, "occlusion", "bad")
    embedded, absent = network.embedded(TEXT), network.absent(TEXT)
    for i, piece in enumerate(found.pieces):
        covered = embedded.clone()
        covered[:, i] = absent[:, i]
        fall = network.scores_of(embedded)[0, 0] - network.scores_of(covered)[0, 0]
        assert piece.share == pytest.approx(float(fall.detach()))


def test_the_score_is_that_of_the_prediction() -> None:
    for name, settings in SMOOTH:
        whole = product(name, **settings)
        assert isinstance(whole, Highlights)
        assert torch.allclose(whole.scores_of(whole.embedded(TEXT)).softmax(1), whole.predict([TEXT]))
        assert highlight(whole, TEXT).probability == pytest.approx(float(whole.predict([TEXT]).max()))


def test_special_tokens_are_no_pieces_and_stay_where_nothing_else_stands() -> None:
    bert = product("bert", layers=1, width=16, heads=2)
    found = highlight(bert, TEXT)
    assert "".join(piece.text for piece in found.pieces) == TEXT.replace(" ", "")
    ends = bert.embedded(TEXT) - bert.absent(TEXT)
    assert not ends[:, [0, -1]].any()
    assert ends[:, 1:-1].abs().sum(2).all()
    assert found.rest == 0


def test_stretches_are_the_text_and_carry_every_share() -> None:
    for name, grams in (("tfidf", (1, 2)), ("bow", (2,)), ("lstm", (1,))):
        found = highlight(product(name, ngrams=grams), TEXT + "  and more ")
        parts = stretches(found)
        assert "".join(part for part, _ in parts) == found.text
        assert max(abs(weight) for _, weight in parts) == 1
        total, scale = sum(w for _, w in parts), sum(piece.share for piece in found.pieces)
        ratio = {round(w / total, 6) for _, w in parts if w} if len(found.pieces) == 1 else None
        assert ratio in (None, {1.0})
        assert total * scale > 0 or abs(scale) < 1e-6


def test_overlapping_pieces_share_their_words() -> None:
    found = highlight(product("bow", ngrams=(1, 2)), "merry film")
    one, two, both = (piece.share for piece in found.pieces)
    parts = dict(stretches(found))
    limit = max(abs(one + both * 5 / 9), abs(two + both * 4 / 9))
    assert parts["merry"] == pytest.approx((one + both * 5 / 9) / limit)
    assert parts["film"] == pytest.approx((two + both * 4 / 9) / limit)
    assert parts[" "] == 0


def test_an_answer_has_numbers_colours_json_and_a_page(tmp_path: Path) -> None:
    bag = product("tfidf")
    plain = answer("run", bag, TEXT, colours=False)
    assert re.search(r"merry +[+-]0\.\d{4}", plain.text)
    shown = answer("run", bag, TEXT, colours=True).text
    assert "\x1b[" in shown
    assert TEXT in re.sub(r"\x1b\[[\d;]*m", "", shown)
    body = json.loads(json.dumps(plain.data))
    (told,) = body["explanations"]
    assert all(TEXT[p["start"] : p["end"]] == p["text"] for p in told["pieces"])
    assert told["class"] in bag.classes
    page = tmp_path / "page.html"
    assert answer("run", bag, "<b>merry</b> film", out=str(page)).data["path"] == str(page)
    html = page.read_text()
    assert "&lt;b&gt;" in html
    assert "<b>merry" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_file_of_texts_is_explained_up_to_a_count(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(CORPUS))
    assert len(answer("run", product("bow"), str(file), count=2).data["explanations"]) == 2
    with pytest.raises(GradusError, match="nothing to explain"):
        answer("run", product("bow"), "  ")
    with pytest.raises(GradusError, match="cannot be written"):
        answer("run", product("bow"), TEXT, out=str(tmp_path / "no" / "x.html"))


def test_a_text_of_nothing_known_has_no_shares() -> None:
    found = highlight(product("bow"), "zzz qqq")
    assert found.pieces == ()
    assert coloured(found) == "zzz qqq"
    assert markup(found) == "zzz qqq"
    assert [piece.share for piece in highlight(product("lstm"), "zzz").pieces] != []


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(GradusError, match="'ocluson'; did you mean 'occlusion'"):
        highlight(product("bow"), TEXT, "ocluson")
    with pytest.raises(GradusError, match="no class 'god'; did you mean 'good'"):
        highlight(product("bow"), TEXT, target="god")
    with pytest.raises(GradusError, match="pairs of texts"):
        highlight(product("bow", columns=("a", "b")), TEXT)


@pytest.mark.parametrize("model", ["bow", "lstm", "cnn"])
def test_the_shares_of_a_pair_add_up_too(model: str) -> None:
    both = (TEXT, "a second one")
    found = highlight(product(model, columns=("a", "b")), both)
    assert found.text == "\n".join(both)
    assert any(piece.start > len(TEXT) for piece in found.pieces)
    assert all(found.text[piece.start : piece.end] == piece.text for piece in found.pieces)
    total = sum(piece.share for piece in found.pieces) + found.rest
    assert total == pytest.approx(found.score - found.absent, abs=0.02)


def test_a_report_tells_the_mistakes_and_the_telling_words(tmp_path: Path) -> None:
    data = tmp_path / "films.csv"
    good, bad = ("merry", "bright", "lovely", "witty", "warm"), ("dull", "long", "stale", "flat", "grim")
    rows = [f"a {word} film of {other} days number{i},{name}" for name, words in (("good", good), ("bad", bad))
            for i, word in enumerate(words * 8) for other in ("olden",)]  # fmt: skip
    data.write_text("\n".join(["text,label", *rows]))
    words = ("train", "sequence/classify", "--data", data, "--name", "films", "--runs-dir", tmp_path, "--quiet")
    assert main([str(word) for word in (*words, "--device", "cpu", "--max-epochs", "40")]) == 0
    folder = RunFolder(tmp_path / "films")
    facts, whole = read_facts(folder), Run.load(folder.path, device="cpu")
    told = tell_text(Subject(folder, facts, whole))
    assert [chapter.id for chapter in told.chapters] == ["classes", "calibration", "mistakes", "words"]
    wanted = recipe_of(facts.body, "films").evaluate(whole, "test")
    assert {name: told.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert not told.notes
    telling = told.chapters[-1].body
    rows_of = dict(re.findall(r'<th scope="row">(\w+)</th><td>(.*?)</td>', telling))
    assert sum(word in rows_of["good"] for word in good) >= 3
    assert not any(word in rows_of["good"] for word in bad)
    assert "images" not in "".join(chapter.body for chapter in told.chapters)
    data.unlink()
    alone = tell_text(Subject(folder, facts, whole))
    assert not alone.chapters
    assert "not there" in alone.notes[0]
