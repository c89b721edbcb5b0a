"""Bags of words: the order is not seen, weights are those of the formula, and what each place bears adds up."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.ragged import Ragged, padded
from gradus.errors import GradusError
from gradus.sequence.classification.bag_of_words import BagOfWords, bag, inverse_frequency, occurrences
from gradus.sequence.classification.models import build
from gradus.sequence.classification.terms import Terms, fit_terms

ROWS = st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=6)


def filled(model: BagOfWords) -> BagOfWords:
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        model.head.bias.normal_(generator=torch.Generator().manual_seed(1))
    return model.double()


def rows(lists: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    return padded(Ragged.of(lists), torch.arange(len(lists)))


def test_who_sent_whom_is_not_seen_by_a_bag_but_by_a_recurrent_network() -> None:
    one, other = "Alice sent Bob", "Bob sent Alice"
    terms = fit_terms([one])
    for name, seen in (("bow", False), ("tfidf", False), ("rnn", True), ("lstm", True), ("cnn", True)):
        torch.manual_seed(0)
        model = build(name, vocabulary=len(terms), classes=2).double().eval()
        with torch.no_grad():
            model.head.weight.normal_()
        a, b = (model(torch.tensor([terms.encode(text)])) for text in (one, other))
        assert torch.allclose(a, b, rtol=0, atol=1e-12) != seen, name
    assert fit_terms([one], ngrams=(1, 2)).encode(one) != fit_terms([one], ngrams=(1, 2)).encode(other)


@settings(max_examples=40, deadline=None)
@given(ROWS, st.booleans(), st.booleans(), st.booleans(), st.randoms())
def test_scores_are_those_of_the_formula_in_any_order(
    lists: list[list[int]], sublinear: bool, normalise: bool, inverse: bool, random
) -> None:
    model = filled(BagOfWords(10, 3, 0, sublinear=sublinear, normalise=normalise, inverse=inverse))
    model.observe(Ragged.of(lists))
    n = len(lists)
    have = [sum(w in row for row in lists) for w in range(10)]
    idf = [math.log((1 + n) / (1 + have[w])) + 1 if inverse else 1.0 for w in range(10)]
    dense = torch.zeros(n, 10, dtype=torch.float64)
    for i, row in enumerate(lists):
        for w in set(row):
            dense[i, w] = (1 + math.log(row.count(w)) if sublinear else row.count(w)) * idf[w]
    if normalise:
        dense = dense / dense.norm(dim=1, keepdim=True).clamp(min=1e-300)
    shuffled = [random.sample(row, len(row)) for row in lists]
    assert torch.allclose(model(*rows(lists)), model.head(dense), rtol=0, atol=1e-12)
    assert torch.allclose(model(*rows(shuffled)), model.head(dense), rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(ROWS)
def test_occurrences_are_counts(lists: list[list[int]]) -> None:
    tokens, lengths = rows(lists)
    inside = torch.arange(tokens.shape[1]) < lengths[:, None]
    found = occurrences(tokens, inside)
    for row, counts in zip(lists, found.tolist(), strict=True):
        assert counts[: len(row)] == [row.count(w) for w in row]


def test_a_term_that_every_text_has_still_counts_and_a_new_one_counts_most() -> None:
    idf = inverse_frequency(Ragged.of([[1, 1, 2], [1, 3], [1]]), 5)
    assert idf[1] == 1
    assert idf[2] == idf[3] == math.log(4 / 2) + 1
    assert idf[4] == math.log(4) + 1


def test_what_places_add_sums_to_the_score() -> None:
    model = filled(bag(vocabulary=10, classes=3))
    tokens, lengths = rows([[1, 2, 2, 3], [4]])
    places = model.embed(tokens, lengths)
    assert torch.allclose(places.sum(1) + model.head.bias, model(tokens, lengths))
    assert torch.equal(places[0, 1], places[0, 2])
    assert not places[1, 1:].any()


def test_a_text_of_no_known_term_is_the_bias() -> None:
    model = filled(bag("bow", vocabulary=10, classes=3))
    assert torch.equal(model(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0]))[0], model.head.bias)


def test_terms_lower_leave_out_stem_and_join() -> None:
    text = "The Runners were running, and not the horses; a runner"
    assert [term for term, _ in fit_terms([text]).found(text)] == [
        "the", "runners", "were", "running", "and", "not", "the", "horses", "runner",
    ]  # fmt: skip
    terms = fit_terms([text], stop_words=True, stem=True, ngrams=(1, 2))
    found = list(terms.found(text))
    assert [term for term, _ in found] == [
        "runner", "run", "not", "hors", "runner", "runner run", "run not", "not hors", "hors runner",
    ]  # fmt: skip
    assert [text[a:b] for _, (a, b) in found[5:7]] == ["Runners were running", "running, and not"]
    assert "The" in fit_terms([text], lowercase=False).tokens


def test_the_vocabulary_is_bounded_and_known_again(tmp_path) -> None:
    texts = ["apple pear", "apple fig", "apple pear plum"]
    assert fit_terms(texts, size=2).tokens == ("[PAD]", "apple", "pear")
    assert fit_terms(texts, least=2).tokens == ("[PAD]", "apple", "pear")
    terms = fit_terms(texts, ngrams=(2, 1))
    assert terms.encode("pear apple kiwi") == [terms.id("pear"), terms.id("apple")]
    assert terms.spans("pear apple kiwi") == [(0, 4), (5, 10)]
    terms.save(tmp_path)
    again = Terms.load(tmp_path)
    assert (again.tokens, again.fingerprint, again.ngrams) == (terms.tokens, terms.fingerprint, (1, 2))
    (tmp_path / "terms.json").write_text("{}")
    with pytest.raises(GradusError, match="missing or damaged"):
        Terms.load(tmp_path)


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(GradusError, match="no word of two letters"):
        fit_terms(["a b c", "!"])
    with pytest.raises(GradusError, match="counts words from 1"):
        fit_terms(["some words"], ngrams=(0,))
