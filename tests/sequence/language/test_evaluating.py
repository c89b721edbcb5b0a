"""What a text costs: every token counts once, however many segments are read together."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.sequence.language import evaluating
from gradus.sequence.language.evaluating import NOT_COUNTED, measure, segments, token_cost
from gradus.sequence.language.gpt import gpt
from gradus.sequence.language.ngram import NGram
from gradus.sequence.language.recurrent import RecurrentModel


def text(length, vocabulary=9, seed=0):
    return torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(seed))


@settings(max_examples=80, deadline=None)
@given(st.integers(2, 400), st.sampled_from([None, 1, 3, 64]), st.integers(1, 40), st.integers(0, 20))
def test_every_token_but_the_first_counts_once(length, context, segment, before):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "SEGMENT", segment)
        patch.setattr(evaluating, "BEFORE", before)
        tokens = torch.arange(length)
        x, y = segments(tokens, context)
        counted = y[y != NOT_COUNTED]
        assert counted.sort().values.tolist() == list(range(1, length))
        assert torch.equal(x[y != NOT_COUNTED] + 1, counted)
        if context is None and length > 1:
            later = y[1:, :before] if x.shape[0] > 1 else y[:0]
            assert bool((later == NOT_COUNTED).all()), "what is read for its state alone was counted"


@pytest.mark.parametrize("at_once", [1, 2, 7, 1000])
def test_the_number_of_streams_read_together_changes_nothing(monkeypatch, at_once):
    monkeypatch.setattr(evaluating, "SEGMENT", 50)
    monkeypatch.setattr(evaluating, "BEFORE", 20)
    tokens = text(700)
    torch.manual_seed(0)
    for model in (
        NGram(9, order=4).fit(text(500, seed=1)),
        RecurrentModel("lstm", 9, width=8).eval(),
        gpt(vocabulary=9, context=16, layers=1, heads=2, width=8).eval(),
    ):
        found, all_at_once = token_cost(model, tokens, at_once), token_cost(model, tokens)
        assert float(found.nats) == pytest.approx(float(all_at_once.nats), abs=1e-7)
        assert int(found.tokens) == 699


def test_segments_of_an_n_gram_are_one_long_stream(monkeypatch):
    monkeypatch.setattr(evaluating, "SEGMENT", 50)
    monkeypatch.setattr(evaluating, "BEFORE", 4)
    model, tokens = NGram(9, order=5).fit(text(800, seed=1)), text(701)
    whole, _ = model.log_probs(tokens[None, :-1], tokens[None, 1:])
    assert float(token_cost(model, tokens).nats) == pytest.approx(float(-whole.mean()), abs=1e-12)


def test_a_recurrent_model_is_read_with_its_state_carried():
    """Up to 4,352 tokens are one sequence; beyond, 256 tokens lead each segment back to nearly the same state."""
    torch.manual_seed(0)
    model, tokens = RecurrentModel("gru", 9, width=8).eval(), text(6000)
    logits = model(tokens[None, :-1])[0].detach()
    costs = torch.nn.functional.cross_entropy(logits[0], tokens[1:], reduction="none")
    assert float(token_cost(model, tokens[:4000]).nats) == pytest.approx(float(costs[:3999].mean()), abs=1e-6)
    assert float(token_cost(model, tokens).nats) == pytest.approx(float(costs.mean()), abs=1e-5)


def test_a_transformer_reads_windows_of_its_context():
    torch.manual_seed(0)
    model, tokens = gpt(vocabulary=9, context=8, layers=1, heads=2, width=8).eval(), text(21)
    costs = []
    for start in (0, 8, 16):
        logits = model(tokens[None, start : min(start + 8, 20)])[0].detach()
        costs.append(torch.nn.functional.cross_entropy(logits[0], tokens[start + 1 : start + 9], reduction="none"))
    assert float(token_cost(model, tokens).nats) == pytest.approx(float(torch.cat(costs).mean()), abs=1e-6)


def test_nats_perplexity_and_bits():
    tokens = torch.tensor([0, 1] * 50)
    model = NGram(2, order=1, smoothing="add-k", k=0.0).fit(tokens)
    found = measure(model, tokens, characters=99, split="test")
    assert found == pytest.approx({"test/loss": math.log(2), "test/perplexity": 2.0, "test/bits_per_character": 1.0})
    twice = measure(model, tokens, characters=198, split="val", unknown=1)
    assert twice["val/bits_per_character"] == pytest.approx(0.5)
    assert twice["val/unknown"] == pytest.approx(0.5)


def test_text_without_a_next_token():
    with pytest.raises(GradusError, match="fewer than two tokens"):
        token_cost(NGram(2).fit(torch.tensor([0, 1])), torch.tensor([1]))


def test_a_probability_of_zero_is_told_and_not_printed_as_infinity():
    model = NGram(3, order=2, smoothing="add-k", k=0.0).fit(torch.tensor([0, 1, 0, 1]))
    with pytest.raises(GradusError, match="probability zero"):
        measure(model, torch.tensor([0, 2, 1]), 3, "test")
