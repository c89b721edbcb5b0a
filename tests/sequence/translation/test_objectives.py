"""What translators are trained for: smoothing, scheduled sampling, and the equality of its two passes with one."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gradus.sequence.translation.objectives import Teach, drawn, falling, token_losses
from gradus.sequence.translation.recurrent import AttentionTranslator, RecurrentTranslator
from gradus.sequence.translation.transformer import TransformerTranslator


def batch() -> dict[str, torch.Tensor]:
    numbers = torch.Generator().manual_seed(0)
    lengths = torch.tensor([5, 3, 2])
    source = torch.randint(4, 11, (3, 5), generator=numbers)
    source[torch.arange(5) >= lengths[:, None]] = 0
    target = torch.randint(4, 9, (3, 6), generator=numbers)
    target[:, 0] = 2
    target[1, 4:] = 0
    return {"source": source, "source_lengths": lengths, "target": target}


def test_smoothing_is_the_cross_entropy_with_a_smoothed_target():
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 5, 7, dtype=torch.float64), torch.randint(1, 7, (4, 5))
    labels[2, 3:] = 0
    loss, nats = token_losses(logits, labels, 0, 0.1)
    flat, known = logits.flatten(0, 1), labels.flatten()
    for found, smoothing in ((loss, 0.1), (nats, 0.0)):
        wanted = F.cross_entropy(flat, known, ignore_index=0, label_smoothing=smoothing)
        assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    assert torch.allclose(token_losses(logits, labels, 0)[0].float(), nats.float())


@given(st.sampled_from(["linear", "exponential", "sigmoid"]), st.integers(1, 100_000), st.floats(0.05, 0.9))
def test_the_right_token_is_shown_ever_less_often(kind, total, final):
    truth = falling(kind, total, final)
    course = [truth(i * total // 8) for i in range(9)]
    assert course == sorted(course, reverse=True)
    assert course[0] + course[-1] == pytest.approx(1 + final)
    assert course[0] == 1 or (kind == "sigmoid" and course[0] > 0.5)
    assert truth(3 * total) == truth(total)


def test_the_three_courses_are_those_of_the_paper():
    assert [falling("linear", 10, 0.5)(i) for i in (0, 5, 10, 20)] == [1.0, 0.75, 0.5, 0.5]
    assert [falling("exponential", 10, 0.25)(i) for i in (5, 10)] == pytest.approx([0.5, 0.25])
    sigmoid = falling("sigmoid", 1000, 0.0)
    k = sigmoid(0) / (1 - sigmoid(0))
    assert k * math.log(k) == pytest.approx(500)
    assert sigmoid(500) == pytest.approx(0.5)
    assert [sigmoid(i) for i in (200, 900)] == pytest.approx([k / (k + math.exp(i / k)) for i in (200, 900)])
    assert falling("none", 10, 0.3)(7) == 0.3


MODELS = {
    "rnn": lambda: RecurrentTranslator(11, 9, embedding=6, hidden=8),
    "attention": lambda: AttentionTranslator(11, 9, embedding=6, hidden=8, feeding=True),
    "transformer": lambda: TransformerTranslator(11, 9, width=8, heads=2, layers=2, dropout=0.0),
}


@pytest.mark.parametrize("name", ["rnn", "attention"])  # no graph leads through a cache of keys and values
def test_the_loss_on_drawn_tokens_has_the_gradient_of_drawing_on_the_way(name):
    """Step by step with a graph through every state, feeding the very tokens that were drawn: the same gradient."""
    torch.manual_seed(0)
    model = MODELS[name]()
    given = batch()
    labels = given["target"][:, 1:]
    memory = model.encode(given["source"], given["source_lengths"])
    inputs = drawn(model, memory, given["target"][:, :-1], 0.3)
    assert not torch.equal(inputs, given["target"][:, :-1])
    loss, _ = token_losses(model(given["source"], given["source_lengths"], inputs), labels, 0)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    memory = model.encode(given["source"], given["source_lengths"])
    state, logits = model.start(memory, 6), []
    for token in inputs.unbind(1):
        one, state = model.step(state, token)
        logits.append(one)
    stepped, _ = token_losses(torch.stack(logits, 1), labels, 0)
    for mine, other in zip(gradients, torch.autograd.grad(stepped, list(model.parameters())), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_own_tokens_are_drawn_from_the_models_distribution(name):
    torch.manual_seed(1)
    model = MODELS[name]()
    rows = 4000
    given = {key: value[:1].repeat_interleave(rows, 0) for key, value in batch().items()}
    tokens = given["target"][:, :-1]
    memory = model.encode(given["source"], given["source_lengths"])
    assert torch.equal(drawn(model, memory, tokens, 1.0), tokens)
    found = drawn(model, memory, tokens, 0.25)
    assert bool((found[:, 0] == tokens[:, 0]).all())
    with torch.no_grad():
        own = model.decode(memory, tokens[:, :1])[0, 0].softmax(-1)
    wanted = 0.75 * own
    wanted[tokens[0, 1]] += 0.25
    counts = torch.bincount(found[:, 1], minlength=9) / rows
    assert float((counts - wanted).abs().max()) < 4 * math.sqrt(0.25 / rows)


def test_the_objective_keeps_its_step():
    model = MODELS["rnn"]()
    teach = Teach(0, truth=falling("linear", 10, 0.0))
    assert [float(teach(model, batch())[1]["teacher_forcing"]) for _ in range(3)] == pytest.approx([1.0, 0.9, 0.8])
    again = Teach(0, truth=falling("linear", 10, 0.0))
    again.load_state_dict(teach.state_dict())
    assert float(again(model, batch())[1]["teacher_forcing"]) == pytest.approx(0.7)
    assert "truth=0.6" in repr(again)


def test_padding_of_the_target_does_not_count():
    torch.manual_seed(0)
    model, given = MODELS["rnn"](), batch()
    loss, logged = Teach(0)(model, given)
    wider = {**given, "target": F.pad(given["target"], (0, 3))}
    assert torch.allclose(Teach(0)(model, wider)[0], loss, rtol=1e-6)
    assert torch.allclose(logged["loss"], loss, rtol=1e-6)
