"""Tagging: what needs both directions is learned in both, spans are counted as they should be, and files are tagged."""

from pathlib import Path

import pytest
import torch

from gradus.app.cli import main
from gradus.data.tokenizer import train_tokenizer
from gradus.engine.product import load_product
from gradus.errors import GradusError
from gradus.sequence.encoder.span_finder import SpanFinder, span_scores
from gradus.sequence.tagging.building import tag_entropy
from gradus.sequence.tagging.measures import of_tags, span_f1, spans_of
from gradus.sequence.tagging.product import log_probabilities
from gradus.sequence.tagging.reading import NONE, Reader
from gradus.sequence.tagging.recipes import Tag
from gradus.sequence.tagging.recurrent import recurrent_tagger


def looks_ahead(path: Path, sentences: int = 150) -> None:
    """Write sentences whose tags are the next token: up before 1, down before 0, end at the end."""
    generator = torch.Generator().manual_seed(4)
    lines = []
    for _ in range(sentences):
        bits = torch.randint(2, (8,), generator=generator).tolist()
        tags = [["down", "up"][bit] for bit in bits[1:]] + ["end"]
        lines.append("".join(f"w{bit} {tag}\n" for bit, tag in zip(bits, tags, strict=True)))
    path.write_text("\n".join(lines))


def trained(path: Path, name: str, *words: str) -> Path:
    runs = path.parent / "runs"
    code = main(["train", "sequence/tag", "--data", str(path), "--name", name, "--runs-dir", str(runs), "--quiet",
                 "--device", "cpu", *words])  # fmt: skip
    assert code == 0
    return runs / name


def accuracy(run: Path, data: Path) -> float:
    return Tag(data=str(data)).evaluate(load_product(run, "cpu"), "test")["test/accuracy"]


def test_both_directions_know_what_one_cannot(tmp_path: Path) -> None:
    path = tmp_path / "ahead.conll"
    looks_ahead(path)
    words = (
        "--model",
        "gru",
        "--max-steps",
        "150",
        "--lr",
        "0.02",
        "--set",
        "width=8",
        "hidden=16",
        "model.dropout=0.0",
    )
    both = accuracy(trained(path, "both", *words), path)
    one = accuracy(trained(path, "one", *words, "bidirectional=false"), path)
    assert both == 1.0
    # The end is not seen coming either: one of eight tags is right by guessing it, half of the others.
    assert one < 0.75


def test_a_run_tags_files_and_keeps_its_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ahead.conll"
    looks_ahead(path, 60)
    run = trained(path, "small", "--max-steps", "60", "--set", "width=8", "hidden=8", "layers=2", "model.dropout=0.0")
    text = tmp_path / "text.txt"
    text.write_text("w0 w1 w1\nnever w0\n")
    capsys.readouterr()
    assert main(["predict", str(run), str(text)]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["1:1 w0", "1:2 w1", "1:3 w1", "2:1 never", "2:2 w0"]
    product = load_product(run, "cpu")
    assert [len(tags) for tags in product.tags([["w0"], [], ["w1", "w0"]])] == [1, 0, 2]
    assert product.predict([]).shape == (0, 3)
    (run / "product" / "tokenizer.json").unlink()
    train_tokenizer("word", ["other words"]).save(run / "product")
    with pytest.raises(GradusError, match="not the one that these weights"):
        load_product(run, "cpu")


def test_a_tagger_stands_on_a_frozen_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, text, runs = tmp_path / "ahead.conll", tmp_path / "text.txt", str(tmp_path / "runs")
    looks_ahead(path)
    text.write_text("w0 w1 w1 w0\nw1 w0 w0 w1\n" * 40)
    small = ("--set", "layers=1", "width=8")
    code = main(["train", "sequence/pretrain", "--data", str(text), "--model", "elmo", "--name", "elmo", "--runs-dir",
                 runs, "--quiet", "--device", "cpu", "--max-steps", "3", "--val-fraction", "0.1", *small])  # fmt: skip
    assert code == 0
    origin = load_product(tmp_path / "runs/elmo", "cpu")
    frozen = trained(path, "frozen", "--model", "elmo", "--from", "elmo", "--freeze", "trunk", "--max-steps", "20")
    product = load_product(frozen, "cpu")
    assert product.reader.tokenizer.fingerprint == origin.tokenizer.fingerprint
    assert product.reader.frame == ("[BOS]", "[EOS]")
    for name, value in origin.module.trunk.state_dict().items():
        assert torch.equal(product.module.trunk.state_dict()[name], value), name
    assert product.module.mix.scores.abs().sum() > 0, "the mix of the layers was not learned"
    tuned = load_product(trained(path, "tuned", "--model", "elmo", "--from", "elmo", "--max-steps", "3"), "cpu")
    assert not torch.equal(tuned.module.trunk.words.weight, origin.module.trunk.words.weight)
    other = ["train", "sequence/tag", "--data", str(path), "--name", "x", "--runs-dir", runs, "--model", "bert"]
    capsys.readouterr()
    assert main([*other, "--from", "elmo", "--device", "cpu"]) == 2
    assert "add --model elmo" in capsys.readouterr().err
    assert not (tmp_path / "runs/x").exists()


def test_a_run_that_holds_no_encoder_by_itself_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, answers = tmp_path / "ahead.conll", tmp_path / "answers"
    looks_ahead(path)
    tokenizer = train_tokenizer("word", ["w0 w1"], specials=("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    size = {"layers": 1, "heads": 2, "width": 8, "context": 16}
    SpanFinder(span_scores(tokenizer, size), tokenizer, size, 4, 3).save(answers / "product")
    (answers / "recipe.json").write_text("{}")
    for origin in (answers, trained(path, "tags", "--max-steps", "1")):
        command = ["train", "sequence/tag", "--data", str(path), "--model", "bert", "--from", str(origin)]
        capsys.readouterr()
        assert main([*command, "--runs-dir", str(tmp_path / "runs"), "--device", "cpu"]) == 2
        assert "that run holds no text encoder" in capsys.readouterr().err


def test_spans() -> None:
    assert spans_of(["B-A", "I-A", "O", "B-B", "B-B"]) == {(0, 2, "A"), (3, 4, "B"), (4, 5, "B")}
    assert spans_of(["I-A", "I-B", "I-B", "O"]) == {(0, 1, "A"), (1, 3, "B")}
    assert spans_of(["O", "O"]) == spans_of([]) == set()
    true = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"]]
    found = [["B-A", "O", "O", "B-B"], ["B-A", "B-B"]]
    # Two of four found are right, and of three true ones: 2·2 / (4 + 3).
    assert span_f1(found, true) == pytest.approx(4 / 7)
    assert span_f1([["O"]], [["O"]]) == 1.0
    assert span_f1([["O"]], [["B-A"]]) == 0.0


def test_measures_are_as_counted_by_hand() -> None:
    logs = torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], dtype=torch.float64).log()
    found = of_tags(logs, torch.tensor([0, 0, 0]), ("B-A", "O"), [2, 1], True, "test")
    assert found["test/accuracy"] == pytest.approx(2 / 3)
    assert found["test/loss"] == pytest.approx(-float(torch.tensor([0.7, 0.4, 0.9]).log().mean()))
    assert found["test/f1"] == pytest.approx(4 / 5)


def test_a_tag_stands_at_the_first_piece_and_long_sentences_are_read_in_parts() -> None:
    tokenizer = train_tokenizer("char", ["abcd"], specials=("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    reader = Reader(tokenizer, 5, ("[CLS]", "[SEP]"))
    read = reader.read([["ab", "c", "d"], ["a"], ["abcd"]])
    assert read.parts == 1
    rows = [read.firsts.row(i).tolist() for i in range(len(read.firsts))]
    assert rows == [[NONE, 0, NONE, 1, NONE], [NONE, 2, NONE], [NONE, 3, NONE], [NONE, 4, NONE, NONE, NONE]]
    tags = read.tagged(torch.tensor([5, 6, 7, 8, 9]))
    assert tags.row(0).tolist() == [NONE, 5, NONE, 6, NONE]
    assert [len(read.tokens.row(i)) for i in range(4)] == [5, 3, 3, 5]
    with pytest.raises(GradusError, match="longer context"):
        Reader(tokenizer, 2, ("[CLS]", "[SEP]"))


def test_probabilities_come_in_the_order_of_the_tokens() -> None:
    tokenizer = train_tokenizer("word", ["a b c"])
    reader = Reader(tokenizer)
    network = recurrent_tagger(vocabulary=len(tokenizer), classes=3, width=4, hidden=4).eval()
    sentences = [["a", "b", "c", "a"], ["b"], ["c", "a"]]
    with torch.no_grad():
        together = log_probabilities(network, reader.read(sentences), reader.padding, torch.device("cpu"))
        alone = [log_probabilities(network, reader.read([s]), reader.padding, torch.device("cpu")) for s in sentences]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_the_loss_leaves_out_what_has_no_tag() -> None:
    scores = torch.tensor([[[2.0, 0.0], [0.0, 2.0], [5.0, 5.0]]])

    class Fixed(torch.nn.Module):
        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return scores

    batch = {
        "tokens": torch.zeros(1, 3).long(),
        "tokens_lengths": torch.tensor([3]),
        "tags": torch.tensor([[0, 0, NONE]]),
    }
    loss, logged = tag_entropy(Fixed(), batch)
    expected = -scores[0, :2].log_softmax(1)[:, 0].mean()
    assert float(loss) == pytest.approx(float(expected))
    assert float(logged["accuracy"]) == 0.5


def test_flags_that_mean_nothing_are_refused() -> None:
    with pytest.raises(GradusError, match="there is no model 'lstn'; did you mean 'lstm'"):
        Tag(model="lstn")
    with pytest.raises(GradusError, match="use bert"):
        Tag(from_run="somewhere")
    with pytest.raises(GradusError, match="add --from RUN"):
        Tag(model="elmo", freeze="trunk")
    with pytest.raises(GradusError, match="hiden"):
        Tag(set=("hiden=3",))
