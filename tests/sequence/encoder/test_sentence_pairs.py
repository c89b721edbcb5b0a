"""Pairs of passages: half go on, half come from elsewhere; nothing is lost; all fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from gradus.errors import GradusError
from gradus.sequence.encoder.sentence_pairs import passages, sentence_pairs, sentences_only

Documents = list[list[list[int]]]


def documents(count: int, sentences: int, words: int = 5) -> Documents:
    """Return documents whose tokens say where they stand: document · 10⁶ + place."""
    return [
        [[1_000_000 * (d + 1) + s * words + w for w in range(words)] for s in range(sentences)] for d in range(count)
    ]


def test_half_of_them_follow() -> None:
    pairs = sentence_pairs(documents(60, 120), 40, seed=1)
    assert len(pairs) > 1000
    assert binomtest(sum(pair.follows for pair in pairs), len(pairs)).pvalue > 1e-4


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(2, 12), st.integers(1, 30), st.integers(4, 40), st.integers(0, 10**6))
def test_what_follows_follows_and_what_does_not_is_from_elsewhere(
    count: int, sentences: int, words: int, room: int, seed: int
) -> None:
    made = documents(count, sentences, words)
    for pair in sentence_pairs(made, room, seed):
        assert pair.first
        assert pair.second
        assert len(pair.first) + len(pair.second) <= room
        for part in (pair.first, pair.second):
            assert part == list(range(part[0], part[0] + len(part)))
        if pair.follows:
            assert pair.second[0] == pair.first[-1] + 1
        else:
            assert pair.second[0] // 1_000_000 != pair.first[0] // 1_000_000


def test_every_sentence_is_read() -> None:
    made = documents(4, 50)
    seen = {token for pair in sentence_pairs(made, 400, 3) for token in (*pair.first, *pair.second)}
    lost = {token for document in made for sentence in document for token in sentence} - seen
    # A document's last sentence may stand alone, and then nothing follows it.
    assert lost <= {token for document in made for token in document[-1]}


def test_where_other_sentences_begin_gives_nothing_away() -> None:
    """Second passages begin at a sentence's first word whether they follow or not."""
    for pair in sentence_pairs(documents(5, 40, 4), 30, 2):
        assert (pair.second[0] % 1_000_000) % 4 == 0


def test_the_same_seed_gives_the_same_pairs() -> None:
    made = documents(4, 20)
    assert sentence_pairs(made, 40, 5) == sentence_pairs(made, 40, 5)
    assert sentence_pairs(made, 40, 5) != sentence_pairs(made, 40, 6)


def test_single_sentences_make_no_pairs() -> None:
    single = documents(30, 1)
    assert sentences_only(single)
    assert sentences_only([*single, *documents(1, 9)])
    assert not sentences_only(documents(2, 2))
    with pytest.raises(GradusError, match="--no-next-sentence"):
        sentence_pairs(single, 40, 0)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), max_size=8), st.integers(1, 15))
def test_passages_hold_every_token_in_order(document: list[list[int]], room: int) -> None:
    found = passages(document, room)
    assert [token for passage in found for token in passage] == [token for sentence in document for token in sentence]
    assert all(0 < len(passage) <= room for passage in found)


def test_a_passage_holds_as_many_sentences_as_fit() -> None:
    assert passages([[1, 2], [3], [4, 5], [6, 7, 8, 9]], 4) == [[1, 2, 3], [4, 5], [6, 7, 8, 9]]
    assert passages([[1, 2, 3, 4, 5]], 2) == [[1, 2], [3, 4], [5]]
