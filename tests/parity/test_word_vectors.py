"""Word vectors beside gensim: files both ways, similar words, draws, n-gram buckets, scores of the same vectors."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gradus.sequence.embedding.product import WordVectors
from gradus.sequence.embedding.sampling import Noise, keep_chances
from gradus.sequence.embedding.subwords import buckets_of, ngrams
from gradus.sequence.embedding.vector_files import write_vectors

gensim = pytest.importorskip("gensim")
from gensim.models import KeyedVectors, Word2Vec  # noqa: E402
from gensim.models.fasttext_inner import compute_ngrams, ft_hash_bytes  # noqa: E402

WORDS = ["the", "straße", "日本", "king", "queen", "man", "woman", "x1", "don't", "été"]


@pytest.fixture
def both(tmp_path):
    """Return the same vectors here and there."""
    theirs = KeyedVectors(17)
    theirs.add_vectors(WORDS, np.random.default_rng(0).normal(size=(len(WORDS), 17)).astype(np.float32))
    path = tmp_path / "theirs.bin"
    theirs.save_word2vec_format(str(path), binary=True)
    return WordVectors.load_vectors(path), theirs


@pytest.mark.parametrize("binary", [False, True])
def test_files_are_theirs_byte_for_byte(both, tmp_path, binary):
    ours, theirs = both
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    form = "binary" if binary else "text"
    ours.save_vectors(tmp_path / "ours", form)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    back = KeyedVectors.load_word2vec_format(str(tmp_path / "ours"), binary=binary)
    assert list(back.index_to_key) == list(ours.words)
    assert np.array_equal(back.vectors, ours.vectors.numpy())
    again = WordVectors.load_vectors(tmp_path / "theirs")
    assert again.words == tuple(WORDS)
    assert torch.equal(again.vectors, torch.from_numpy(theirs.vectors.copy()))


def test_glove_files_are_read_by_both(both, tmp_path):
    ours, theirs = both
    write_vectors(tmp_path / "glove.txt", ours.words, ours.vectors, "glove")
    back = KeyedVectors.load_word2vec_format(str(tmp_path / "glove.txt"), binary=False, no_header=True)
    assert np.array_equal(back.vectors, theirs.vectors)
    assert torch.equal(WordVectors.load_vectors(tmp_path / "glove.txt").vectors, ours.vectors)


def test_similar_words_are_theirs(both):
    ours, theirs = both
    for positive, negative in ((["king"], []), (["king", "woman"], ["man"]), (["the"], ["x1", "日本"])):
        found = ours.most_similar(positive, negative, topn=5)
        expected = theirs.most_similar(positive=positive, negative=negative, topn=5)
        assert [word for word, _ in found] == [word for word, _ in expected]
        assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in expected], abs=1e-6)
    assert ours.similarity("king", "queen") == pytest.approx(float(theirs.similarity("king", "queen")), abs=1e-6)


def test_chances_are_theirs():
    counts = [4000, 900, 500, 120, 60, 30, 10, 5]
    text = [[f"w{i}"] * n for i, n in enumerate(counts)]
    model = Word2Vec(min_count=1, sample=1e-2, negative=5, vector_size=4)
    model.build_vocab(text)
    kept = [model.wv.get_vecattr(f"w{i}", "sample_int") / 2**32 for i in range(len(counts))]
    assert keep_chances(torch.tensor(counts), 1e-2).tolist() == pytest.approx(kept, abs=1e-6)
    below = model.cum_table.astype(np.float64) / model.cum_table[-1]
    assert Noise(torch.tensor(counts)).chances.cumsum(0).tolist() == pytest.approx(below.tolist(), abs=1e-6)


@pytest.mark.parametrize("word", ["a", "word", "straße", "日本語", "été", "don't"])
def test_ngrams_and_their_buckets_are_theirs(word):
    found = ngrams(word, 3, 6)
    assert sorted(found) == sorted(compute_ngrams(word, 3, 6))
    hashes = [ft_hash_bytes(gram.encode()) % 2_000_000 for gram in found]
    assert buckets_of(found).tolist() == hashes


def test_evaluations_are_theirs(tmp_path):
    home = os.environ.get("GRADUS_DATA") or str(Path(__file__).resolve().parents[3] / "shared" / "data")
    lists = Path(home) / "word-vectors-eval"
    if not lists.exists():
        pytest.skip("word-vectors-eval is not there: set GRADUS_DATA")
    questions = (lists / "questions-words.txt").read_text().splitlines()[:150]
    (tmp_path / "questions.txt").write_text("\n".join(questions) + "\n")
    words = sorted({word for line in questions if not line.startswith(":") for word in line.split()})
    words += sorted({word for line in (lists / "EN-WS-353-ALL.txt").read_text().splitlines()[:200]
                     for word in line.split("\t")[:2]} - set(words))  # fmt: skip
    theirs = KeyedVectors(8)
    theirs.add_vectors(words, np.random.default_rng(1).normal(size=(len(words), 8)).astype(np.float32))
    theirs.save_word2vec_format(str(tmp_path / "v.txt"))
    ours = WordVectors.load_vectors(tmp_path / "v.txt")
    _, expected, unknown = theirs.evaluate_word_pairs(str(lists / "EN-WS-353-ALL.txt"))
    found = ours.evaluate_pairs(lists / "EN-WS-353-ALL.txt")
    assert found["spearman"] == pytest.approx(float(expected.statistic), abs=1e-5)
    assert found["unknown"] / (found["unknown"] + found["pairs"]) == pytest.approx(unknown / 100, abs=1e-9)
    score, sections = theirs.evaluate_word_analogies(str(tmp_path / "questions.txt"))
    answers = ours.evaluate_analogies(tmp_path / "questions.txt")
    assert answers["accuracy"] == pytest.approx(score, abs=1e-9)
    assert answers["questions"] == len(sections[-1]["correct"]) + len(sections[-1]["incorrect"])
