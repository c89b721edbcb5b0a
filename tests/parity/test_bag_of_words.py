"""Our bags of words against scikit-learn's: the same terms and weights, and a classifier as good as its own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gradus.app.cli import main
from gradus.data.labelled_text import load_labelled
from gradus.data.ragged import Ragged, padded
from gradus.engine.run import Run
from gradus.optim.minimizing import minimize
from gradus.sequence.classification.bag_of_words import BagOfWords, inverse_frequency
from gradus.sequence.classification.terms import Terms, fit_terms

text = pytest.importorskip("sklearn.feature_extraction.text")
linear = pytest.importorskip("sklearn.linear_model")

GRAMS = [(1, 1), (1, 2), (2, 3)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(load_labelled("python-docs", limit=400).train.texts)


def dense(terms: Terms, model: BagOfWords, texts: list[str]) -> np.ndarray:
    """Return our weights as the matrix that we never make."""
    rows = Ragged.of(terms.encode_batch(texts))
    tokens, lengths = padded(rows, torch.arange(len(rows)))
    found = torch.zeros(len(texts), len(terms), dtype=torch.float64)
    return found.scatter_add_(1, tokens, model.weights(tokens, lengths))[:, 1:].numpy()


def bag(terms: Terms, **options: bool) -> BagOfWords:
    return BagOfWords(len(terms), 2, 0, **options).double()


@pytest.mark.parametrize("grams", GRAMS)
def test_counts_are_those_of_the_count_vectorizer(texts: list[str], grams: tuple[int, int]) -> None:
    peer = text.CountVectorizer(ngram_range=grams)
    theirs = peer.fit_transform(texts).toarray()
    terms = fit_terms(texts, ngrams=tuple(range(grams[0], grams[1] + 1)))
    assert terms.tokens[1:] == tuple(peer.get_feature_names_out())
    ours = dense(terms, bag(terms, sublinear=False, normalise=False, inverse=False), texts)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("grams", GRAMS)
@pytest.mark.parametrize("sublinear", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_weights_are_those_of_the_tfidf_vectorizer(
    texts: list[str], grams: tuple[int, int], sublinear: bool, normalise: bool
) -> None:
    train, test = texts[:300], texts[300:]
    peer = text.TfidfVectorizer(ngram_range=grams, sublinear_tf=sublinear, norm="l2" if normalise else None)
    theirs = [peer.fit_transform(train).toarray(), peer.transform(test).toarray()]
    terms = fit_terms(train, ngrams=tuple(range(grams[0], grams[1] + 1)))
    model = bag(terms, sublinear=sublinear, normalise=normalise, inverse=True)
    model.observe(Ragged.of(terms.encode_batch(train)))
    for part, wanted in zip((train, test), theirs, strict=True):
        assert np.abs(dense(terms, model, part) - wanted).max() < 1e-10


def test_idf_is_that_of_the_transformer(texts: list[str]) -> None:
    terms = fit_terms(texts)
    counts = dense(terms, bag(terms, sublinear=False, normalise=False, inverse=False), texts)
    theirs = text.TfidfTransformer().fit(counts).idf_
    ours = inverse_frequency(Ragged.of(terms.encode_batch(texts)), len(terms))[1:]
    assert np.abs(ours.numpy() - theirs).max() < 1e-12


def test_a_bounded_vocabulary_keeps_the_frequent_terms(texts: list[str]) -> None:
    peer = text.CountVectorizer(min_df=3)
    peer.fit(texts)
    assert fit_terms(texts, least=3).tokens[1:] == tuple(peer.get_feature_names_out())
    counts = text.CountVectorizer().fit(texts)
    sums = np.asarray(counts.transform(texts).sum(0))[0]
    kept = [sums[counts.vocabulary_[term]] for term in fit_terms(texts, size=100).tokens[1:]]
    assert sorted(kept) == sorted(sums)[-100:]


def test_at_its_minimum_it_is_their_logistic_regression() -> None:
    """The ridge-penalised cross-entropy has one minimum: both find it."""
    splits = load_labelled("python-docs", limit=300)
    peer = text.TfidfVectorizer(sublinear_tf=True)
    x = peer.fit_transform(splits.train.texts)
    theirs = linear.LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(x, splits.train.labels.numpy())
    terms = fit_terms(splits.train.texts)
    model = BagOfWords(len(terms), 6, 0, sublinear=True, normalise=True, inverse=True).double()
    rows = Ragged.of(terms.encode_batch(splits.train.texts))
    model.observe(rows)
    tokens, lengths = padded(rows, torch.arange(len(rows)))
    shapes = [tuple(p.shape) for p in model.parameters()]
    sizes = [p.numel() for p in model.parameters()]
    names = [name for name, _ in model.named_parameters()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = {n: part.view(s) for n, s, part in zip(names, shapes, flat.split(sizes), strict=True)}
        scores = torch.func.functional_call(model, parts, (tokens, lengths))
        total = torch.nn.functional.cross_entropy(scores, splits.train.labels, reduction="sum")
        return total + 0.5 * parts["head.weight"].square().sum()

    start = torch.zeros(sum(sizes), dtype=torch.float64)
    found = minimize(loss, start, method="lbfgs", gtol=1e-7).x
    weight = found[: sizes[0]].view(shapes[0])[:, 1:]
    assert float((weight - torch.from_numpy(theirs.coef_)).abs().max()) < 1e-3


def test_as_shipped_it_is_as_accurate_as_their_logistic_regression(tmp_path: Path) -> None:
    words = ["train", "sequence/classify", "--quiet", "--device", "cpu", "--max-epochs", "5", "--batch-size", "64"]
    assert main([*words, "--name", "a", "--runs-dir", str(tmp_path)]) == 0
    splits = load_labelled("python-docs")
    guesses = Run.load(tmp_path / "a", device="cpu").predict(splits.test.texts).argmax(1)
    ours = (guesses == splits.test.labels).double().mean().item()
    peer = text.TfidfVectorizer(sublinear_tf=True)
    x = peer.fit_transform(splits.train.texts)
    theirs = linear.LogisticRegression(max_iter=500).fit(x, splits.train.labels.numpy())
    score = theirs.score(peer.transform(splits.test.texts), splits.test.labels.numpy())
    noise = (score * (1 - score) / len(splits.test)) ** 0.5
    assert ours >= score - noise
