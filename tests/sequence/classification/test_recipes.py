"""`sequence/classify` from the command line: it learns, starts from other runs, goes over folds, and refuses."""

import json
from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.engine.capabilities import Highlights, Predicts
from gradus.engine.folder import RunFolder
from gradus.engine.group import members
from gradus.engine.run import Run
from gradus.errors import GradusError
from gradus.sequence.classification.recipes import Classify
from gradus.testing import check_learner

COLOURS = ("red", "green", "blue", "grey", "white", "black")
THINGS = ("fox", "hare", "owl", "toad", "crow", "wren", "newt", "bat")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Return a file in which order decides: who follows whom."""
    path = tmp_path_factory.mktemp("data") / "chase.csv"
    rows = []
    for a in THINGS:
        for c in COLOURS:
            rows += [f"the {c} {a} follows the dog,hunter", f"the dog follows the {c} {a},hunted"]
    path.write_text("\n".join(["text,role", *rows]) + "\n")
    return path


@pytest.fixture
def cli(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, json.loads(out) if code == 0 and "--json" in words else out, err

    return call


def train(cli, data: Path, home: Path, name: str, *flags) -> Path:
    words = ("train", "sequence/classify", "--data", data, "--target", "role", "--quiet", "--device", "cpu")
    code, _, err = cli(*words, "--name", name, "--runs-dir", home, *flags)
    assert code == 0, err
    return home / name


def accuracy(cli, run: Path) -> float:
    code, found, err = cli("evaluate", run, "--json")
    assert code == 0, err
    return found["metrics"]["test/accuracy"]


def test_a_network_sees_the_order_and_a_bag_does_not(cli, data: Path, tmp_path: Path) -> None:
    sizes = ("--set", "width=16", "hidden=16", "--lr", "0.02", "--max-epochs", "20")
    assert accuracy(cli, train(cli, data, tmp_path, "gru", "--model", "gru", *sizes)) == 1
    assert accuracy(cli, train(cli, data, tmp_path, "words", "--model", "bow", "--max-epochs", "60")) < 0.7
    pairs = train(cli, data, tmp_path, "pairs", "--model", "bow", "--ngrams", "2", "--max-epochs", "60")
    assert accuracy(cli, pairs) > 0.8


def test_a_product_predicts_texts_files_and_folders(cli, data: Path, tmp_path: Path) -> None:
    sizes = ("--set", "filters=16", "width=16", "--lr", "0.01", "--max-epochs", "30")
    run = train(cli, data, tmp_path, "cnn", "--model", "cnn", *sizes)
    product = Run.load(run, device="cpu")
    assert isinstance(product, Predicts)
    assert isinstance(product, Highlights)
    assert product.classes == ("hunted", "hunter")
    texts = ["the red fox follows the dog", "the dog follows the red fox", "x"]
    found = product.predict(texts)
    assert torch.allclose(found.sum(1), torch.ones(3, dtype=torch.float64))
    assert found.argmax(1).tolist()[:2] == [1, 0]
    assert torch.allclose(product.predict(texts[1:2]), found[1:2], atol=1e-6)
    assert product.predict([]).shape == (0, 2)
    plain = tmp_path / "new.txt"
    plain.write_text("\n".join(texts[:2]))
    (batch,) = product.read(plain)
    assert batch.names == ["line 1", "line 2"]
    (whole,) = product.read(data)
    assert len(whole.inputs) == 96
    _, told, _ = cli("predict", run, plain, "--json")
    assert [row["class"] for row in told["predictions"]] == ["hunter", "hunted"]
    with pytest.raises(GradusError, match="trained on single texts"):
        product.predict([("a", "b")])


def test_a_run_starts_from_another(cli, data: Path, tmp_path: Path) -> None:
    sizes = ("--model", "lstm", "--set", "width=16", "hidden=16")
    first = train(cli, data, tmp_path, "first", *sizes, "--lr", "0.01", "--max-epochs", "20")
    second = train(
        cli, data, tmp_path, "second", "--model", "lstm", "--from", first, "--freeze", "trunk", "--max-steps", "3"
    )
    one, two = Run.load(first, device="cpu"), Run.load(second, device="cpu")
    assert one.tokenizer.fingerprint == two.tokenizer.fingerprint
    assert torch.equal(one.module.vectors.weight, two.module.vectors.weight)
    assert not torch.equal(one.module.head.weight, two.module.head.weight)
    assert accuracy(cli, second) > 0.9
    code, _, err = cli(
        "train", "sequence/classify", "--data", data, "--target", "role", "--model", "gru", "--from", first
    )
    assert code == 2
    assert "add --model lstm" in err


def test_folds_are_members_of_a_group(cli, data: Path, tmp_path: Path) -> None:
    words = ("cross-validate", "sequence/classify", "--data", data, "--target", "role", "--folds", "3", "--quiet")
    code, found, err = cli(*words, "--max-epochs", "2", "--name", "folds", "--runs-dir", tmp_path, "--json")
    assert code == 0, err
    assert len(members(RunFolder(tmp_path / "folds"))) == 3
    assert 0 <= found["metrics"]["test/accuracy"] <= 1


def test_an_ensemble_of_classifiers_predicts_as_one(cli, data: Path, tmp_path: Path) -> None:
    words = ("train", "sequence/classify", "--data", data, "--target", "role", "--ensemble", "2", "--quiet")
    code, _, err = cli(*words, "--max-epochs", "2", "--name", "two", "--runs-dir", tmp_path)
    assert code == 0, err
    ensemble = Run.load(tmp_path / "two", device="cpu")
    texts = ["the red fox follows the dog"]
    alone = torch.stack([product.predict(texts) for product in ensemble.products])
    assert torch.allclose(ensemble.predict(texts), alone.mean(0))
    code, found, err = cli("evaluate", tmp_path / "two", "--json")
    assert code == 0, err
    assert 0 <= found["ensemble"]["test/accuracy"] <= 1


def test_pairs_are_classified(cli, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    rows = [f"the {c} {a},the {c} {b},{'same' if a == b else 'other'}"
            for c in COLOURS for a in THINGS[:4] for b in (a, THINGS[(THINGS.index(a) + 1) % 4])]  # fmt: skip
    path.write_text("\n".join(["one,two,kind", *rows]))
    flags = ("--text-column", "one", "--pair-column", "two", "--target", "kind", "--model", "bert", "--max-epochs", "1",
             "--set", "layers=1", "width=16", "heads=2")  # fmt: skip
    words = ("train", "sequence/classify", "--data", path, "--quiet", "--name", "pairs", "--runs-dir", tmp_path)
    code, _, err = cli(*words, *flags)
    assert code == 0, err
    product = Run.load(tmp_path / "pairs", device="cpu")
    one, other = product.predict([("the red fox", "the red fox"), ("the red fox", "the red hare")])
    assert not torch.equal(one, other)
    with pytest.raises(GradusError, match="cannot judge single ones: give a file with the columns one and two"):
        product.predict(["the red fox"])
    for words in (("explain", "pairs"), ("explain", "pairs", path), ("report", "pairs", "--out", tmp_path / "r.html")):
        code, told, err = cli(*words, "--json", "--runs-dir", tmp_path)
        assert code == 0, err
    code, told, err = cli("explain", "pairs", path, "--json", "--count", "2", "--runs-dir", tmp_path)
    first = told["explanations"][0]
    assert first["text"] == "\n".join(rows[0].split(",")[:2])
    assert {piece["text"] for piece in first["pieces"]} >= set(THINGS[0:1])
    shares = sum(piece["share"] for piece in first["pieces"]) + first["rest"]
    assert shares == pytest.approx(first["score"] - first["score_of_nothing"], abs=0.02)


def test_vectors_of_a_file_are_the_start(cli, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("\n".join(f"{word} {i} {-i} 1 2 3" for i, word in enumerate((*THINGS, "dog"))))
    run = train(cli, data, tmp_path, "v", "--model", "cnn", "--vectors", file, "--freeze", "trunk", "--max-steps", "2")
    product = Run.load(run, device="cpu")
    vectors = product.module.vectors.weight
    assert vectors.shape[1] == 5
    known = product.tokenizer.id("newt")
    assert torch.corrcoef(torch.stack([vectors[known], torch.tensor([6.0, -6, 1, 2, 3])]))[0, 1] > 0.9999


def test_long_texts_are_cut_and_it_is_said(cli, data: Path, tmp_path: Path) -> None:
    words = ("train", "sequence/classify", "--data", data, "--target", "role", "--model", "cnn", "--longest", "3")
    code, _, err = cli(*words, "--fast-dev-run", "--name", "cut", "--runs-dir", tmp_path, "--quiet")
    assert code == 0, err
    assert "66 training texts are longer than 3 tokens and were cut there: raise --longest" in err
    product = Run.load(tmp_path / "cut", device="cpu")
    assert len(product.pieces("one two three four five")) == 3


def test_a_vocabulary_of_another_run_is_refused(cli, data: Path, tmp_path: Path) -> None:
    run = train(cli, data, tmp_path, "a", "--max-steps", "1")
    body = json.loads((run / "product" / "terms.json").read_text())
    body["terms"][1] = "other"
    (run / "product" / "terms.json").write_text(json.dumps(body))
    with pytest.raises(GradusError, match=r"terms.json does not match the weights"):
        Run.load(run, device="cpu")


def parts(recipe: Classify):
    def make(run):
        built = recipe.build(run)
        return built.learner, built.source

    return make


LEARNERS = [
    {"model": "tfidf", "class_weights": "balanced", "ema": 0.9},
    {"model": "lstm", "set": ("width=6", "hidden=5", "layers=2"), "label_smoothing": 0.1, "accumulate": 2},
    {"model": "cnn", "set": ("width=6", "filters=4"), "clip": 1.0},
]


@pytest.mark.parametrize("options", LEARNERS, ids=["tfidf", "lstm", "cnn"])
def test_learners_keep_the_contract(data: Path, options: dict) -> None:
    recipe = Classify(data=str(data), target="role", batch_size=16, **options)
    check_learner(parts(recipe), steps=4, watch=lambda run, learner: recipe.build(run).watchers[:0])


REFUSALS: list[tuple[dict, str]] = [
    ({"model": "lstm", "ngrams": "1,2"}, "--ngrams: the model lstm takes none"),
    ({"model": "lstm", "stem": True}, "--stem: the model lstm takes none"),
    ({"model": "tfidf", "longest": 9}, "--longest: the model tfidf takes none"),
    ({"model": "bow", "vectors": "x"}, "--vectors: the model bow takes none"),
    ({"model": "bert", "vectors": "x"}, "--vectors: the model bert takes none"),
    ({"model": "lstn"}, "no model 'lstn'; did you mean 'lstm'"),
    ({"ngrams": "0,1"}, "--ngrams takes numbers of words, as 1 or 1,2, got '0,1'"),
    ({"freeze": "trunk"}, "add --from RUN"),
    ({"monitor": "val/bleu"}, "--monitor is"),
    ({"label_smoothing": 1.0}, "--label-smoothing must be"),
    ({"least": 0}, "--least must be positive"),
    ({"model": "gru", "from_run": "x", "vocabulary": 9}, "--vocabulary: --from brings"),
    ({"model": "gru", "set": ("wdth=3",)}, "--set wdth.*did you mean 'width'"),
]  # fmt: skip


@pytest.mark.parametrize("options, said", REFUSALS)
def test_what_means_nothing_is_refused(options: dict, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        Classify(**options)
