"""Recurrent and convolutional classifiers: filters that find a run of words, pools, bounded weights, parity of bits."""

import pytest
import torch
from jaxtyping import TypeCheckError

from bench.parity import bits, train
from gradus.errors import GradusError
from gradus.nn.places import pooled
from gradus.sequence.classification.convolutional import cnn
from gradus.sequence.classification.models import adopt_vectors, build, transfer
from gradus.sequence.classification.recurrent import recurrent


def test_a_filter_finds_its_run_of_words_wherever_it_stands() -> None:
    model = cnn(vocabulary=12, classes=1, width=12, windows=(3,), filters=1, bound=None).double().eval()
    with torch.no_grad():
        model.vectors.weight.copy_(torch.eye(12))
        model.vectors.weight[0] = 0
        (layer,) = model.trunk.filters
        layer.weight.zero_()
        for place, word in enumerate((5, 6, 7)):
            layer.weight[0, word, place] = 1
        layer.bias.fill_(-2)
        model.head.weight.fill_(1)
        model.head.bias.zero_()
    found = {text: model(torch.tensor([text])).item() for text in
             ((5, 6, 7), (1, 2, 5, 6, 7), (5, 6, 7, 9), (5, 7, 6), (6, 7), (7, 6, 5))}  # fmt: skip
    assert [found[text] for text in found] == [1, 1, 1, 0, 0, 0]
    assert model(torch.tensor([[5]])).item() == 0


def test_weights_of_a_class_are_bounded() -> None:
    model = cnn(vocabulary=12, classes=2, width=4, windows=(2,), filters=3, dropout=0).double()
    tokens = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[30.0, 0, 40.0], [0.1, 0.2, 0.2]]))
        model.head.bias.zero_()
        features = model.trunk(model.embed(tokens), None)
    wanted = features @ torch.tensor([[1.8, 0, 2.4], [0.1, 0.2, 0.2]], dtype=torch.float64).T
    assert torch.allclose(model(tokens), wanted)


def test_pools() -> None:
    rows = torch.tensor([[[1.0], [-4.0], [9.0]], [[-2.0], [7.0], [7.0]], [[5.0], [5.0], [5.0]]])
    there = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    assert pooled(rows, there, "mean").flatten().tolist() == [-1.5, -2, 0]
    assert pooled(rows, there, "max").flatten().tolist() == [1, -2, 0]


def test_the_last_state_is_that_of_both_ends() -> None:
    model = recurrent("gru", vocabulary=9, classes=2, width=3, hidden=4, pooling="last").double().eval()
    tokens = torch.tensor([[3, 4, 5, 6]])
    outputs, _ = model.trunk.layers(model.embed(tokens))
    ends = torch.cat([outputs[:, -1, :4], outputs[:, 0, 4:]], 1)
    assert torch.allclose(model(tokens), model.head(ends))


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises((GradusError, TypeCheckError), match="sum"):
        recurrent(vocabulary=9, classes=2, pooling="sum")  # type: ignore[arg-type]
    with pytest.raises(GradusError, match="no model 'lstn'; did you mean 'lstm'"):
        build("lstn", vocabulary=9, classes=2)
    with pytest.raises(GradusError, match="windows of a word at least"):
        cnn(vocabulary=9, classes=2, windows=(0,))


def test_weights_are_taken_over_but_for_a_head_of_other_classes() -> None:
    torch.manual_seed(0)
    origin = build("lstm", vocabulary=9, classes=2, width=3, hidden=4)
    other = build("lstm", vocabulary=9, classes=3, width=3, hidden=4)
    fresh = other.head.weight.clone()
    transfer(origin, other, False, "run")
    assert torch.equal(other.vectors.weight, origin.vectors.weight)
    assert torch.equal(other.head.weight, fresh)
    same = build("lstm", vocabulary=9, classes=2, width=3, hidden=4)
    transfer(origin, same, True, "run")
    assert all(torch.equal(a, b) for a, b in zip(same.state_dict().values(), origin.state_dict().values(), strict=True))
    with pytest.raises(GradusError, match="--from run: that run's model has another form"):
        transfer(origin, build("lstm", vocabulary=9, classes=2, width=3, hidden=5), True, "run")
    with pytest.raises(GradusError, match="another form"):
        transfer(origin, build("lstm", vocabulary=9, classes=2, width=3, hidden=4, layers=2), True, "run")


def test_vectors_from_elsewhere_get_the_spread_of_the_own() -> None:
    torch.manual_seed(0)
    model = build("cnn", vocabulary=200, classes=2, width=50)
    before = model.vectors.weight.detach().clone()
    theirs = {f"w{i}": 40 * torch.randn(50) for i in range(100, 200)}
    assert adopt_vectors(model, {f"w{i}": i for i in range(200)}, theirs) == 100
    after = model.vectors.weight.detach()
    assert torch.equal(after[:100], before[:100])
    assert float(after[100:].std()) == pytest.approx(0.1, rel=0.05)
    row = torch.stack([after[150], theirs["w150"]])
    assert float(torch.corrcoef(row)[0, 1]) == pytest.approx(1, abs=1e-5)


def test_a_long_short_term_memory_learns_the_parity_of_short_strings() -> None:
    network = train("lstm", length=5, hidden=16, steps=500, seed=0, batch=64, lr=0.02)
    inputs, lengths, labels = bits(512, 5, torch.Generator().manual_seed(99), fixed=True)
    assert (network(inputs, lengths).argmax(1) == labels).double().mean() >= 0.99


def test_strings_of_bits_are_labelled_by_their_parity() -> None:
    tokens, lengths, labels = bits(200, 9, torch.Generator().manual_seed(1))
    assert lengths.min() == 1
    assert lengths.max() == 9
    for row, length, label in zip(tokens.tolist(), lengths.tolist(), labels.tolist(), strict=True):
        assert row[length:] == [0] * (9 - length)
        assert set(row[:length]) <= {1, 2}
        assert row.count(2) % 2 == label
