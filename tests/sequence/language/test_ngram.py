"""N-gram models against counts by hand: every probability again, slowly, from the definitions alone."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.sequence.language.ngram import NGram


def by_hand(stream, vocabulary, order, smoothing, k=0.0):
    """Return p(w | h) as a function of two plain values, from the formulas of the literature and dictionaries."""
    grams = {j: Counter(tuple(stream[i : i + j]) for i in range(len(stream) - j + 1)) for j in range(1, order + 1)}
    counts = {order: grams[order]}
    for j in range(1, order):  # c(hw) = |{v : c(vhw) > 0}|
        counts[j] = Counter(gram[1:] for gram in grams[j + 1])

    def discount(j, c):
        n = Counter(counts[j].values())
        y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.0
        if smoothing == "kneser-ney":
            return y if 0 < y < 1 else 0.5
        own = [i - (i + 1) * y * n[i + 1] / n[i] if n[i] else -1.0 for i in (1, 2, 3)]
        usable = all(0 < d < i for i, d in enumerate(own, 1))
        return (own if usable else [0.5, 1.0, 1.5])[min(c, 3) - 1]

    def kneser_ney(w, h, j):
        if j == 0:
            return 1 / vocabulary
        after = {gram[-1]: c for gram, c in counts[j].items() if gram[:-1] == h}
        lower = kneser_ney(w, h[1:], j - 1)
        if not after:
            return lower
        total = sum(after.values())
        left = sum(discount(j, c) for c in after.values()) / total
        own = (after[w] - discount(j, after[w])) / total if w in after else 0.0
        return own + left * lower

    def add_k(w, h):
        table = Counter(tuple(stream[i : i + len(h) + 1]) for i in range(len(stream) - len(h)))
        total = sum(c for gram, c in table.items() if gram[:-1] == h)
        return (table[(*h, w)] + k) / (total + k * vocabulary) if total else 1 / vocabulary

    def p(w, before):
        h = tuple(before[-(order - 1) :]) if order > 1 else ()
        return add_k(w, h) if smoothing == "add-k" else kneser_ney(w, h, len(h) + 1)

    return p


STREAM = [0, 1, 2, 0, 1, 3, 0, 1, 2, 4, 0, 2, 1, 0, 1, 2, 0, 3, 3, 1, 2, 0, 1, 2, 4, 4, 0, 1]
HELD = [0, 1, 2, 4, 0, 5, 3, 3, 1, 2, 2, 2, 0, 1, 3]


@pytest.mark.parametrize("smoothing", ["modified", "kneser-ney", "add-k"])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_perplexity_against_a_hand_count(smoothing, order):
    model = NGram(6, order=order, smoothing=smoothing, k=0.3).fit(torch.tensor(STREAM))
    p = by_hand(STREAM, 6, order, smoothing, k=0.3)
    expected = [math.log(p(w, HELD[: i + 1])) for i, w in enumerate(HELD[1:])]
    found, _ = model.log_probs(torch.tensor([HELD[:-1]]), torch.tensor([HELD[1:]]))
    assert torch.allclose(found[0], torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    perplexity = math.exp(-sum(expected) / len(expected))
    assert float((-found.mean()).exp()) == pytest.approx(perplexity, rel=1e-12)


def test_a_longer_text_with_discounts_of_its_own():
    """Zipf's law gives the orders counts of counts from which all three discounts can be estimated."""
    draws = torch.rand(1500, generator=torch.Generator().manual_seed(2))
    stream = (40**draws).long().sub(1).tolist()
    model = NGram(40, order=3).fit(torch.tensor(stream))
    assert sum(found != (0.5, 1.0, 1.5) for found in model.discounts) >= 2
    p = by_hand(stream, 40, 3, "modified")
    held = [*stream[200:215], 39, 0, 1]
    expected = [math.log(p(w, held[: i + 1])) for i, w in enumerate(held[1:])]
    found, _ = model.log_probs(torch.tensor([held[:-1]]), torch.tensor([held[1:]]))
    assert torch.allclose(found[0], torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_the_three_discounts_of_chen_and_goodman():
    """n₁ = 6, n₂ = 4, n₃ = 3, n₄ = 2 among the unigrams: D = 6/14, Dᵢ = i − (i+1) D nᵢ₊₁/nᵢ."""
    counts = [1] * 6 + [2] * 4 + [3] * 3 + [4] * 2 + [9]
    stream = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    model = NGram(len(counts), order=1).fit(stream)
    y = 6 / 14
    assert model.discounts[0] == pytest.approx((1 - 2 * y * 4 / 6, 2 - 3 * y * 3 / 4, 3 - 4 * y * 2 / 3))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.lists(st.integers(0, 7), min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from(["modified", "kneser-ney", "add-k"]),
)
def test_probabilities_sum_to_one_after_every_history(stream, history, order, smoothing):
    model = NGram(8, order=order, smoothing=smoothing).fit(torch.tensor(stream))
    p, _ = model.probabilities(torch.tensor([history]))
    assert torch.allclose(p.sum(-1), torch.ones(1, len(history), dtype=torch.float64), atol=1e-12)
    assert bool((p > 0).all())
    targets = torch.arange(8)[:, None].expand(8, len(history))
    single, _ = model.log_probs(torch.tensor([history] * 8), targets)
    assert torch.allclose(single.exp().T, p[0], atol=1e-12)


def test_francisco_follows_san_only():
    """Kneser and Ney's example: a frequent word of one context is not a likely word of a new one."""
    words = ["i", "saw", "san", "francisco", "my", "reading", "glasses", "blue", "new"]
    number = {word: i for i, word in enumerate(words)}
    text = "san francisco " * 20 + "i saw glasses my glasses reading glasses blue glasses " * 2
    stream = torch.tensor([number[word] for word in text.split()])
    francisco, glasses = number["francisco"], number["glasses"]
    assert int((stream == francisco).sum()) > int((stream == glasses).sum())
    new = torch.tensor([[number["new"]]])
    kneser_ney = NGram(9, order=2, smoothing="kneser-ney").fit(stream).probabilities(new)[0][0, 0]
    unigram = NGram(9, order=1, smoothing="add-k", k=0.0).fit(stream).probabilities(new)[0][0, 0]
    assert unigram[francisco] > unigram[glasses]
    assert kneser_ney[glasses] > 2 * kneser_ney[francisco]


def test_unseen_history_backs_off_by_dropping_its_oldest_token():
    model = NGram(6, order=4).fit(torch.tensor(STREAM))
    after_new, _ = model.probabilities(torch.tensor([[5, 5, 1]]))
    after_one, _ = model.probabilities(torch.tensor([[5, 1]]))
    assert torch.equal(after_new[0, -1], after_one[0, -1])
    assert not torch.equal(after_new[0, -1], model.probabilities(torch.tensor([[2, 0, 1]]))[0][0, -1])


def test_maximum_likelihood_is_add_k_with_nothing_added():
    model = NGram(3, order=2, smoothing="add-k", k=0.0).fit(torch.tensor([0, 1, 0, 1, 0, 2]))
    p, _ = model.probabilities(torch.tensor([[0, 2]]))
    assert p[0, 0].tolist() == [0.0, 2 / 3, 1 / 3]
    assert p[0, 1].tolist() == pytest.approx([1 / 3] * 3)  # the stream ends with 2: nothing is known of what follows


def test_a_given_discount():
    model = NGram(3, order=1, smoothing="kneser-ney", discount=0.75).fit(torch.tensor([0, 0, 0, 1]))
    p = model.probabilities(torch.tensor([[0]]))[0][0, 0]
    assert p.tolist() == pytest.approx([(3 - 0.75) / 4 + 0.375 / 3, 0.25 / 4 + 0.375 / 3, 0.375 / 3])


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": 0},
        {"smoothing": "good-turing"},
        {"discount": 0.5},
        {"smoothing": "kneser-ney", "discount": 2.0},
        {"k": -1},
    ],
)
def test_settings_that_make_no_model(wrong):
    with pytest.raises((GradusError, TypeError)):
        NGram(5, **wrong)


def test_text_it_cannot_count():
    with pytest.raises(GradusError, match="no text"):
        NGram(5).fit(torch.tensor([], dtype=torch.int64))
    with pytest.raises(GradusError, match="outside the vocabulary of 5"):
        NGram(5).fit(torch.tensor([1, 5]))
    with pytest.raises(GradusError, match="outside the vocabulary of 5"):
        NGram(5).fit(torch.tensor([1, 2]))(torch.tensor([[7]]))
