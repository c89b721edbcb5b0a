"""Recurrent language models: state, truncated gradients, tying, dropout, learning."""

import pytest
import torch
from torch import nn

from gradus.data.corpus_sources import StreamBatch, StreamSource
from gradus.engine.device import Ranks
from gradus.errors import GradusError
from gradus.sequence.language.objectives import NextToken
from gradus.sequence.language.recurrent import RecurrentModel

KINDS = ["rnn", "gru", "lstm"]


def model(kind="lstm", **settings):
    torch.manual_seed(0)
    return RecurrentModel(kind, 13, **{"width": 12, "layers": 2, **settings})


def stream(length, seed=0):
    return torch.randint(13, (length,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("initial", ["zero", "learned"])
@pytest.mark.parametrize("kind", KINDS)
def test_carried_state_is_one_long_sequence(kind, initial):
    network = model(kind, initial=initial).double().eval()
    if initial == "learned":
        nn.init.normal_(network.layers.start)
    text = stream(60)[None]
    whole, _ = network(text)
    state, parts = network.start(1), []
    for piece in text.split(7, 1):
        logits, state = network(piece, state)
        parts.append(logits)
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_carries_values_and_cuts_gradients(kind):
    """The loss of a stretch is that within one long sequence; its gradient is that from the stretch's start on."""
    network = model(kind).double()
    source = StreamSource(stream(61).numpy(), batch_size=3, context=5)
    carried, plain = NextToken(carry=True), NextToken()
    first, second = next(source), next(source)
    carried(network, first)
    loss, _ = carried(network, second)
    logits, _ = network(torch.cat([first.x, second.x], 1))
    long = nn.functional.cross_entropy(logits[:, 5:].flatten(0, 1), second.y.flatten())
    assert torch.allclose(loss, long, atol=1e-6)
    assert not torch.allclose(loss, plain(network, second)[0], atol=1e-6)
    with torch.no_grad():
        _, state = network(first.x)
    cut, _ = network(second.x, state)
    truncated = nn.functional.cross_entropy(cut.flatten(0, 1), second.y.flatten())
    wanted = torch.autograd.grad(truncated, list(network.parameters()))
    found = torch.autograd.grad(loss, list(network.parameters()))
    full = torch.autograd.grad(long, list(network.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))
    assert not all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, full, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_begin_anew_start_at_the_learned_start(kind):
    network = model(kind, initial="learned")
    nn.init.normal_(network.layers.start)
    text = stream(20).view(2, 10)
    objective = NextToken(carry=True)
    objective(network, StreamBatch(text[:, :4], text[:, 1:5], torch.tensor([True, True])))
    batch = StreamBatch(text[:, 4:8], text[:, 5:9], torch.tensor([False, True]))
    state = objective._begin(network, batch)
    parts, starts = (x if isinstance(x, tuple) else (x,) for x in (state, network.start(2)))
    for part, start in zip(parts, starts, strict=True):
        assert torch.equal(part[:, 1], start[:, 1])
        assert not torch.equal(part[:, 0], start[:, 0])
    loss, _ = objective(network, batch)
    (gradient,) = torch.autograd.grad(loss, [network.layers.start])
    assert bool((gradient != 0).any()), "a learned start learns in every step in which a row begins"


def test_every_rank_carries_the_state_of_its_own_streams():
    """What the first rank saves holds the states of all, and each takes up its own."""
    network, source = model("lstm"), StreamSource(stream(61).numpy(), batch_size=3, context=5)
    mine, other = NextToken(carry=True), NextToken(carry=True)
    mine(network, next(source))
    other(network, next(source))

    class Second(Ranks):
        def gather(self, state):
            return [other._carried, state]

    saved = NextToken(carry=True, ranks=Second(rank=1, world=2))
    saved._carried = mine._carried
    resumed = NextToken(carry=True, ranks=Second(rank=1, world=2))
    resumed.load_state_dict(saved.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(resumed._carried, mine._carried, strict=True))
    first = NextToken(carry=True)
    first.load_state_dict(saved.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(first._carried, other._carried, strict=True))


def test_tokens_are_written_as_they_are_read():
    tied, untied = model(tie=True), model(tie=False)
    names = [name for name, value in tied.state_dict().items() if 13 in value.shape and value.ndim == 2]
    assert names == ["embedding.weight"]
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters()) == 13 * 12
    text = torch.zeros(1, 3, dtype=torch.long)
    before = tied.eval()(text)[0]
    with torch.no_grad():
        tied.embedding.weight[7] += 1.0
    change = tied(text)[0] - before
    assert bool((change[..., 7] != 0).all())
    assert bool((change[..., :7] == 0).all())
    narrow = model(tie=True, embedding=5)
    assert narrow(text)[0].shape == (1, 3, 13)
    assert narrow.project is not None


def test_variational_dropout_forgets_the_same_features_all_along():
    network = model("rnn", dropout=0.5, variational=True).train()
    kept = network._forget(torch.ones(4, 9, 12))
    assert torch.equal(kept, kept[:, :1].expand_as(kept))
    assert not torch.equal(kept[0], kept[1])
    assert set(kept.unique().tolist()) == {0.0, 2.0}
    network.variational = False
    each = network._forget(torch.ones(4, 9, 12))
    assert not torch.equal(each, each[:, :1].expand_as(each))
    assert torch.equal(network.eval()._forget(torch.ones(1, 2, 12)), torch.ones(1, 2, 12))


def test_smoothed_labels():
    network, text = model().eval(), stream(11)
    batch = (text[None, :-1], text[None, 1:])
    logs = network(batch[0])[0].log_softmax(-1)[0]
    hard = -logs[torch.arange(10), text[1:]]
    wanted = 0.9 * hard - 0.1 * logs.mean(-1)
    assert torch.allclose(NextToken(label_smoothing=0.1)(network, batch)[0], wanted.mean(), atol=1e-6)


def test_an_empty_model_is_refused():
    with pytest.raises(GradusError, match="at least one token"):
        RecurrentModel("lstm", 0)
    with pytest.raises(GradusError, match="'lstm'"):
        RecurrentModel("lstn", 5)
