"""Decoding against known answers and its definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.sequence.language.decoding import Decoding, allowed, choose, distribution, nucleus, penalised, top_k

FOUR = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()


def kept(logits: torch.Tensor) -> list[int]:
    return torch.isfinite(logits[0]).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("p", "tokens"),
    [(0.05, [1]), (0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.71, [1, 2, 3]), (0.91, [0, 1, 2, 3]),
     (1.0, [0, 1, 2, 3])],
)  # fmt: skip
def test_the_nucleus_is_the_smallest_set_with_the_probability(p, tokens):
    assert kept(nucleus(FOUR, p)) == tokens


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_no_smaller_set_than_the_nucleus_has_the_probability(values, p):
    logits = torch.tensor([values], dtype=torch.float64)
    shares = logits.softmax(-1)[0]
    members = kept(nucleus(logits, p))
    inside = shares[members].sum()
    assert inside >= p - 1e-9
    assert inside - shares[members].min() < p + 1e-9
    outside = [i for i in range(len(values)) if i not in members]
    assert not outside or shares[outside].max() <= shares[members].min()


@given(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=30, unique=True), st.integers(1, 40))
def test_top_k_keeps_the_k_largest(values, k):
    logits = torch.tensor([values])
    largest = sorted(range(len(values)), key=values.__getitem__)[-k:]
    assert kept(top_k(logits, k)) == sorted(largest)


def test_the_penalty_makes_what_was_seen_less_probable_on_both_sides_of_zero():
    logits = torch.tensor([[2.0, -2.0, 3.0, -3.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalised(logits, seen, 2.0).tolist() == [[1.0, -4.0, 3.0, -3.0]]


def test_the_order_is_penalty_temperature_top_k_nucleus():
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    seen = torch.tensor([[True, False, False, False]])
    # The penalty brings token 0 to 1; over the temperature: 2, 6, 4, 2. Ties with the third stay in the top three.
    decoding = Decoding(temperature=0.5, top_k=2, top_p=0.99, repetition_penalty=4.0)
    shares = distribution(logits, decoding, seen)[0]
    expected = [0.0, math.exp(6) / (math.exp(6) + math.exp(4)), math.exp(4) / (math.exp(6) + math.exp(4)), 0.0]
    assert torch.allclose(shares, torch.tensor(expected))
    # Before top-k, token 1 alone has 0.853 of the mass; among the top two it has 0.881, enough for a nucleus of 0.87.
    narrow = Decoding(temperature=0.5, top_k=2, top_p=0.87, repetition_penalty=4.0)
    assert kept(allowed(logits, narrow, seen)) == [1]
    assert kept(allowed(logits, Decoding(temperature=0.5, top_p=0.87, repetition_penalty=4.0), seen)) == [1, 2]


def test_temperature_goes_from_greedy_to_uniform():
    assert distribution(FOUR, Decoding(temperature=0.0)).tolist() == [[0.0, 1.0, 0.0, 0.0]]
    assert torch.allclose(distribution(FOUR, Decoding(temperature=1e-3)), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert torch.allclose(distribution(FOUR, Decoding()), FOUR.exp())
    assert torch.allclose(distribution(FOUR, Decoding(temperature=1e6)), torch.full((1, 4), 0.25), atol=1e-5)


def test_draws_have_their_distribution_and_depend_on_the_seed_alone():
    decoding = Decoding(temperature=0.7, top_p=0.85)
    rows = FOUR.expand(20_000, -1)
    drawn = choose(rows, decoding, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / len(rows)
    expected = distribution(FOUR, decoding)[0]
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / len(rows)).sqrt() + 1e-9).all()
    assert torch.equal(drawn, choose(rows, decoding, generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(drawn, choose(rows, decoding, generator=torch.Generator().manual_seed(1)))


def test_greedy_takes_the_most_probable_token_that_the_penalty_leaves():
    seen = torch.tensor([[False, True, False, False]])
    logits = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    assert choose(logits, Decoding(temperature=0.0)).tolist() == [1]
    assert choose(logits, Decoding(temperature=0.0, repetition_penalty=2.0), seen).tolist() == [3]
    assert choose(logits, Decoding(top_k=1)).tolist() == [1]


@pytest.mark.parametrize(
    "setting",
    [{"temperature": -0.1}, {"temperature": math.inf}, {"temperature": math.nan}, {"top_k": 0}, {"top_p": 0.0},
     {"top_p": 1.5}, {"repetition_penalty": 0.0}, {"repetition_penalty": math.nan}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(setting):
    with pytest.raises(GradusError, match=next(iter(setting))):
        Decoding(**setting)
