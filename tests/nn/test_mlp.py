"""The multilayer perceptron approximates, counts its weights, and equals torch's on the same weights."""

import math

import pytest
import torch
from torch import nn

from gradus.errors import GradusError
from gradus.nn.mlp import MLP, counts
from gradus.nn.summary import summary
from gradus.optim.adam import adam


def test_approximates_a_sine() -> None:
    """The curve sin(2πx) on [0, 1], learned from 256 points, below 1e-3 in mean square on points in between."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP(1, 1, hidden=(32, 32), activation="tanh")
    x = torch.linspace(0, 1, 256)[:, None]
    between = (x[1:] + x[:-1]) / 2
    y, rule, parameters = torch.sin(2 * math.pi * x), adam(lr=1e-2), list(model.parameters())
    state = rule.init(parameters)
    for step in range(400):
        gradients = torch.autograd.grad((model(x) - y).square().mean(), parameters)
        rule.update(parameters, gradients, state, 1e-2 * (1 - step / 400))
    with torch.no_grad():
        assert (model(between) - torch.sin(2 * math.pi * between)).square().mean() < 1e-3


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("hidden", [(), (7,), (5, 6, 4)])
def test_the_formula_counts(hidden: tuple[int, ...], norm: str) -> None:
    counted = summary(MLP(3, 2, hidden=hidden, norm=norm), (10, 3))
    weights, work = counts(3, 2, hidden, norm=norm)
    assert (counted.parameters, counted.multiply_adds) == (weights, 10 * work)


PEERS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU}


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("name", PEERS)
def test_equals_torch_on_the_same_weights(name: str, norm: str) -> None:
    norms = {"none": lambda units: [], "batch": lambda u: [nn.BatchNorm1d(u)], "layer": lambda u: [nn.LayerNorm(u)]}
    ours = MLP(4, 3, hidden=(6, 5), activation=name, norm=norm).double()
    first, second = norms[norm](6), norms[norm](5)
    peer = nn.Sequential(
        nn.Linear(4, 6), *first, PEERS[name](), nn.Linear(6, 5), *second, PEERS[name](), nn.Linear(5, 3)
    ).double()
    for one, two in zip(ours.parameters(), peer.parameters(), strict=True):
        one.data = two.data = torch.randn_like(one)
    x = torch.randn(20, 4, dtype=torch.float64)
    for training in (True, False):
        y, expected = ours.train(training)(x), peer.train(training)(x)
        torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
        gradients = torch.autograd.grad(y.square().sum(), list(ours.parameters()))
        theirs = torch.autograd.grad(expected.square().sum(), list(peer.parameters()))
        for mine, other in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


def test_leading_axes_are_all_batch() -> None:
    model = MLP(3, 2, norm="batch").double()
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(model(x), model(x.flatten(0, 1)).unflatten(0, (4, 5)))
    plain = MLP(3, 2).double()
    torch.testing.assert_close(plain(x[0, 0]), plain(x)[0, 0])
    assert plain(x[:0]).shape == (0, 5, 2)


def test_dropout_drops_hidden_units_in_training_only() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MLP(3, 1000, hidden=(1000,), dropout=0.25)
        with torch.no_grad():
            model.layers.linear1.bias.fill_(5.0)
            model.layers.linear.weight.copy_(torch.eye(1000))
            model.layers.linear.bias.zero_()
        x = torch.randn(1, 3) / 10
        kept = model(x)
    whole = model.eval()(x)
    dropped = (kept == 0).float().mean()
    assert dropped == pytest.approx(0.25, abs=0.06)
    torch.testing.assert_close(kept[kept != 0], whole[kept != 0] / 0.75)


def test_mistakes() -> None:
    with pytest.raises(GradusError, match="at least one unit"):
        MLP(3, 2, hidden=(4, 0))
    with pytest.raises(GradusError, match="dropout=1"):
        MLP(3, 2, dropout=1.0)
    with pytest.raises(GradusError, match="did you mean 'relu'"):
        MLP(3, 2, activation="relux")
    with pytest.raises(GradusError, match="takes 3 features, not 4"):
        MLP(3, 2)(torch.zeros(5, 4))
