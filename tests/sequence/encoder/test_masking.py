"""Masked words: 15 % of the tokens, 80/10/10, never a special one, whole words or none, a function of the generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chisquare
from torch import Tensor

from gradus.data.tokenizer import train_tokenizer
from gradus.errors import GradusError
from gradus.sequence.encoder.masking import Masking

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, CLS, SEP, MASK = 0, 2, 3, 4
WORDS = tuple(f"w{i}" for i in range(12)) + tuple(f"##s{i}" for i in range(8))
NAMES = SPECIALS + WORDS
LEAST_P = 1e-4  # with a fixed seed: the tests below either always pass or never do


def texts(rows: int, time: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(len(SPECIALS), len(NAMES), (rows, time), generator=generator)
    lengths = torch.full((rows,), time)
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    return tokens, lengths


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_exactly_the_share_of_a_text_is_chosen() -> None:
    tokens, lengths = texts(50, 102)
    found = Masking(NAMES, SPECIALS)(tokens, lengths, seeded())
    counts = torch.bincount(found.places // 102, minlength=50)
    assert counts.tolist() == [15] * 50


def test_eighty_ten_ten() -> None:
    tokens, lengths = texts(400, 102)
    found = Masking(NAMES, SPECIALS)(tokens, lengths, seeded(1))
    now = found.tokens.flatten()[found.places]
    hidden, kept = now == MASK, now == found.targets
    # A token drawn at random is the true one with probability 1 / 20: it then looks as if it had been kept.
    share = torch.tensor([0.8, 0.1 + 0.1 / 20, 0.1 - 0.1 / 20])
    seen = torch.tensor([float(hidden.sum()), float(kept.sum()), float((~hidden & ~kept).sum())])
    assert seen.sum() == len(found.places) == 6000
    assert chisquare(seen.numpy(), (share * seen.sum()).numpy()).pvalue > LEAST_P
    others = now[~hidden & ~kept]
    drawn = torch.bincount(others, minlength=len(NAMES))
    assert not drawn[: len(SPECIALS)].any()
    assert chisquare(drawn[len(SPECIALS) :].numpy()).pvalue > LEAST_P


def test_every_place_is_as_likely_as_any_other() -> None:
    tokens, lengths = texts(2000, 42)
    found = Masking(NAMES, SPECIALS)(tokens, lengths, seeded(2))
    counts = torch.bincount(found.places % 42, minlength=42)
    assert not counts[[0, 41]].any()
    # Six of forty are chosen without replacement, which spreads them more evenly than chance: scaled accordingly.
    deviation = chisquare(counts[1:41].numpy()).statistic / (1 - 6 / 40)
    from scipy.stats import chi2

    assert LEAST_P < chi2.sf(deviation, 39) < 1 - LEAST_P


def test_a_share_of_all_is_hidden_over_texts_of_all_lengths() -> None:
    tokens, _ = texts(3000, 60)
    lengths = torch.randint(20, 60, (3000,), generator=seeded(3))
    tokens = torch.where(torch.arange(60) < lengths[:, None], tokens, PAD)
    tokens[:, 0] = CLS
    for whole in (False, True):
        found = Masking(NAMES, SPECIALS, whole_words=whole)(tokens, lengths, seeded(4))
        candidates = int((tokens >= len(SPECIALS)).sum())
        assert abs(len(found.places) / candidates - 0.15) < 0.002, whole


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 20), st.floats(0.05, 0.9), st.booleans())
def test_specials_and_padding_are_left_alone(seed: int, rows: int, time: int, rate: float, whole: bool) -> None:
    generator = seeded(seed)
    tokens = torch.randint(0, len(NAMES), (rows, time), generator=generator)
    lengths = torch.randint(0, time + 1, (rows,), generator=generator)
    given_tokens = tokens.clone()
    found = Masking(NAMES, SPECIALS, rate=rate, whole_words=whole)(tokens, lengths, seeded(seed))
    assert torch.equal(tokens, given_tokens)
    candidate = (tokens >= len(SPECIALS)) & (torch.arange(time) < lengths[:, None])
    assert bool(candidate.flatten()[found.places].all())
    assert torch.equal(found.targets, tokens.flatten()[found.places])
    rest = torch.ones(rows * time, dtype=torch.bool)
    rest[found.places] = False
    assert torch.equal(found.tokens.flatten()[rest], tokens.flatten()[rest])
    changed = found.tokens.flatten()[found.places]
    assert bool(((changed >= len(SPECIALS)) | (changed == MASK)).all())
    chosen = torch.bincount(found.places // time, minlength=rows)
    assert torch.equal(chosen > 0, candidate.any(1))
    if not whole:
        wanted = (candidate.sum(1) * rate).round().clamp(min=1)
        assert torch.equal(chosen, torch.where(candidate.any(1), wanted.long(), 0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_whole_words_are_hidden_whole(seed: int) -> None:
    tokens, lengths = texts(4, 30, seed)
    found = Masking(NAMES, SPECIALS, whole_words=True)(tokens, lengths, seeded(seed))
    chosen = torch.zeros(4 * 30, dtype=torch.bool)
    chosen[found.places] = True
    chosen = chosen.view(4, 30)
    goes_on = torch.tensor([name.startswith("##") for name in NAMES])[tokens]
    ordinary = tokens >= len(SPECIALS)
    inner = goes_on[:, 1:] & ordinary[:, :-1]
    assert torch.equal(chosen[:, 1:][inner], chosen[:, :-1][inner])


def test_the_same_generator_hides_the_same_words() -> None:
    tokens, lengths = texts(5, 30)
    masking = Masking(NAMES, SPECIALS)
    one, two, other = (masking(tokens, lengths, seeded(seed)) for seed in (7, 7, 8))
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one.tokens, other.tokens)
    generator = seeded(7)
    first = masking(tokens, lengths, generator)
    second = masking(tokens, lengths, generator)
    assert torch.equal(first.tokens, one.tokens)
    assert not torch.equal(second.tokens, first.tokens)


def test_fates_do_not_hang_on_what_is_chosen() -> None:
    """Whether a chosen token is hidden is independent of its place and its neighbour's fate."""
    tokens, lengths = texts(3000, 42)
    found = Masking(NAMES, SPECIALS)(tokens, lengths, seeded(9))
    hidden = (found.tokens.flatten()[found.places] == MASK).view(3000, 6)
    both = int((hidden[:, 0] & hidden[:, 1]).sum())
    assert binomtest(both, 3000, 0.64).pvalue > LEAST_P


def test_of_a_tokenizer() -> None:
    tokenizer = train_tokenizer("wordpiece", ["the cat sat on the mat"] * 5, size=60, specials=SPECIALS)
    masking = Masking.of(tokenizer)
    assert masking.mask == tokenizer.id("[MASK]")
    assert int(masking.ordinary.sum()) == len(tokenizer) - len(SPECIALS)
    assert repr(masking) == "Masking(0.15)"
    with pytest.raises(GradusError, match=r"no \[MASK\]"):
        Masking.of(train_tokenizer("word", ["a b"]))
    with pytest.raises(GradusError, match=r"--mask 1\.5"):
        Masking(NAMES, SPECIALS, rate=1.5)
