"""Files of vectors there and back, and known answers to what vectors are asked."""

import gzip
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.sequence.embedding.product import WordVectors
from gradus.sequence.embedding.similarity import Question, ranks, read_pairs, read_questions, spearman
from gradus.sequence.embedding.vector_files import read_vectors, write_vectors

PLACES = {"man": (1, 0, 0), "woman": (1, 1, 0), "king": (1, 0, 1), "queen": (1, 1, 1), "apple": (-1, 0, 0.1)}


@pytest.fixture
def royal(tmp_path):
    """Return vectors whose directions are known."""
    path = tmp_path / "royal.txt"
    write_vectors(path, list(PLACES), torch.tensor(list(PLACES.values()), dtype=torch.float32))
    return WordVectors.load_vectors(path)


@pytest.mark.parametrize(("name", "form"), [("v.txt", None), ("v.bin", None), ("v.vec", "glove"), ("v.txt", "binary")])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_files_give_the_same_bits_back(tmp_path_factory, name, form, data):
    names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
    words = data.draw(st.lists(names, min_size=1, max_size=6, unique=True))
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(numbers, min_size=3 * len(words), max_size=3 * len(words)))
    vectors = torch.tensor(values, dtype=torch.float32).view(-1, 3)
    path = tmp_path_factory.mktemp("files") / name
    write_vectors(path, words, vectors, form)
    found, read = read_vectors(path, form)
    assert found == words
    assert torch.equal(read, vectors)


def test_formats_are_what_other_programs_write(tmp_path):
    vectors = torch.tensor([[1.0, 0.1], [-2.5, 1e-7]])
    write_vectors(tmp_path / "a.txt", ["ä", "b"], vectors)
    assert (tmp_path / "a.txt").read_bytes() == "2 2\nä 1.0 0.1\nb -2.5 1e-07\n".encode()
    write_vectors(tmp_path / "a.bin", ["ä", "b"], vectors)
    rows = vectors.numpy().astype("<f4")
    assert (tmp_path / "a.bin").read_bytes() == b"2 2\n" + "ä ".encode() + rows[0].tobytes() + b"b " + rows[1].tobytes()
    # The word2vec program ends vectors with a line end; GloVe's names may have blanks in them.
    (tmp_path / "b.bin").write_bytes(b"2 1\na " + struct.pack("<f", 1.5) + b"\nb " + struct.pack("<f", -2) + b"\n")
    assert read_vectors(tmp_path / "b.bin")[1].tolist() == [[1.5], [-2.0]]
    (tmp_path / "c.txt").write_text("in 0.5 1.5\n. . 2 3\n")
    assert read_vectors(tmp_path / "c.txt", "glove")[0] == ["in", ". ."]


@pytest.mark.parametrize("name", ["v.txt", "v.bin", "v.txt.gz", "v.bin.gz"])
def test_only_words_that_are_wanted_are_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr("gradus.sequence.embedding.vector_files.CHUNK", 64)
    words = [f"w{i}" for i in range(200)]
    vectors = torch.randn(200, 7)
    write_vectors(tmp_path / name.removesuffix(".gz"), words, vectors)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / name.removesuffix(".gz")).read_bytes()))
    found, read = read_vectors(tmp_path / name, wanted={"w3", "w150", "none"})
    assert found == ["w3", "w150"]
    assert torch.equal(read, vectors[[3, 150]])
    assert read_vectors(tmp_path / name, wanted=set())[0] == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"2 2\na 1 2\nb 1\n", "line 3 is no vector"),
        (b"2 2\na 1 2\n", "1 vectors, but its first line says 2"),
        (b"a 1 2\nb 1 two\n", "line 2 is no vector"),
        (b"word\n", "no numbers"),
        (b"2 2\na " + struct.pack("<2f", 0.3, 1.7) + b"b \x00", "ends within word 2"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, said):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(GradusError, match=said):
        read_vectors(tmp_path / "bad")
    with pytest.raises(GradusError, match="there is no file"):
        read_vectors(tmp_path / "none")


def test_names_with_blanks_are_not_written(tmp_path):
    with pytest.raises(GradusError, match="parts words by blanks"):
        write_vectors(tmp_path / "x.txt", ["New York"], torch.zeros(1, 2))


def test_queen_is_to_woman_as_king_is_to_man(royal):
    assert royal.analogy("man", "king", "woman")[0][0] == "queen"
    assert royal.most_similar(["king", "woman"], "man", topn=1)[0][0] == "queen"
    assert royal.similarity("man", "queen") == pytest.approx(1 / math.sqrt(3))
    found = royal.most_similar("man", topn=10)
    assert [word for word, _ in found] == ["king", "woman", "queen", "apple"] or [w for w, _ in found][:2] == [
        "woman", "king",
    ]  # fmt: skip
    assert found[-1][0] == "apple"
    assert found[0][1] == pytest.approx(1 / math.sqrt(2))


def test_a_text_is_the_mean_of_its_words_directions(royal):
    vectors = royal.embed(["king", "man woman", "man unheard"])
    assert vectors[0].tolist() == [1, 0, 1]
    expected = (torch.tensor([1.0, 0, 0]) + torch.tensor([1.0, 1, 0]) / math.sqrt(2)) / 2
    assert torch.allclose(vectors[1], expected)
    assert vectors[2].tolist() == [1, 0, 0]
    assert royal.nearest("man woman", 1)[0][0] in ("king", "queen")
    with pytest.raises(GradusError, match="did you mean 'queen'"):
        royal["quen"]
    with pytest.raises(GradusError, match="no word of 'never heard' has a vector"):
        royal.embed(["never heard"])
    with pytest.raises(GradusError, match="at least one word"):
        royal.most_similar([])


def test_agreement_with_people(royal, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("word1\tword2\tscore\nMan\twoman\t9\nman\tqueen\t5\nman\tapple\t1\nman\tship\t3\n")
    found = royal.evaluate_pairs(pairs)
    assert found == {"spearman": pytest.approx(1.0), "pairs": 3, "unknown": 1}
    reversed_ = [("man", "woman", 1.0), ("man", "queen", 2.0), ("man", "apple", 3.0)]
    assert royal.evaluate_pairs(reversed_)["spearman"] == pytest.approx(-1.0)
    assert math.isnan(royal.evaluate_pairs([("x", "y", 1.0)])["spearman"])
    questions = tmp_path / "questions.txt"
    questions.write_text(": family\nman king woman queen\nking man queen WOMAN\nman king woman ship\n: wrong\n"
                         "man king woman apple\n")  # fmt: skip
    found = royal.evaluate_analogies(questions)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["sections"] == {"family": 1.0, "wrong": 0.0}
    assert (found["questions"], found["unknown"]) == (3, 1)
    assert math.isnan(royal.evaluate_analogies([Question("", ("a", "b", "c", "d"))])["accuracy"])
    (tmp_path / "empty").write_text("# nothing\n")
    for read in (read_pairs, read_questions):
        with pytest.raises(GradusError, match="has no"):
            read(tmp_path / "empty")


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranks(torch.tensor([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4, 1, 4, 2, 4]
    assert spearman(torch.tensor([1.0, 2, 3, 4]), torch.tensor([1.0, 3, 2, 4])) == pytest.approx(0.8)
