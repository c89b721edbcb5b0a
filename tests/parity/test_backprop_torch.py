"""Parity of hand-written gradients with torch.autograd, in float64: the same weights, inputs and dy on both sides."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backprop.examples import EXAMPLES, images, inputs
from gradus.backprop import (
    GELU,
    GRU,
    LSTM,
    RNN,
    SGD,
    Attention,
    Layer,
    MeanSquaredError,
    Network,
    SoftmaxCrossEntropy,
)
from gradus.backprop.architectures import build
from gradus.backprop.mirror import MODULES, mirror

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
MIRRORED = [name for name, (make, _) in EXAMPLES.items() if type(make(np.random.default_rng(0))) in MODULES]


def leaf(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def noisy(layer: Layer) -> Layer:
    rng = np.random.default_rng(2)
    for array in layer.params.values():
        array += 0.3 * rng.standard_normal(array.shape)
    return layer


def grad_of(parameter: Tensor) -> np.ndarray:
    assert parameter.grad is not None
    return parameter.grad.numpy()


def compare(layer: Layer, module: nn.Module, x: np.ndarray) -> None:
    """Hold outputs, dx, every parameter's gradient and every running statistic against torch's."""
    theirs = leaf(x)
    y, other = layer.forward(x), module(theirs)
    assert np.allclose(y, other.detach().numpy(), **CLOSE)
    dy = images(*y.shape, seed=5)
    other.backward(torch.from_numpy(dy))
    assert np.allclose(layer.backward(dy), grad_of(theirs), **CLOSE)
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    assert params.keys() == layer.params.keys()
    assert all(np.allclose(layer.grads[name], grad_of(p), **CLOSE) for name, p in params.items())
    assert all(np.allclose(array, buffers[name].numpy(), **CLOSE) for name, array in layer.buffers.items())


def test_every_layer_but_the_stateful_ones_has_a_mirror() -> None:
    assert set(EXAMPLES) - set(MIRRORED) == {"rnn", "lstm", "gru", "network in a network"}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", MIRRORED)
def test_layers(name: str, training: bool) -> None:
    if name == "dropout" and training:
        pytest.skip("masks differ; central differences check the gradient of a given mask")
    make, shape = EXAMPLES[name]
    layer = noisy(make(np.random.default_rng(1)))
    layer.forward(inputs(shape, seed=9))
    layer.train(training)
    compare(layer, mirror(layer), inputs(shape))


def test_batch_norm_is_torchs_own_too() -> None:
    make, shape = EXAMPLES["batch norm of images"]
    layer, module = noisy(make(np.random.default_rng(1))), nn.BatchNorm2d(2).double()
    state = {name: torch.from_numpy(array.copy()) for name, array in {**layer.params, **layer.buffers}.items()}
    module.load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
    for seed in (1, 2):  # the second batch meets running statistics that have moved
        module.zero_grad()
        compare(layer, module, inputs(shape, seed=seed))


def test_gelu_is_near_the_exact_one() -> None:
    x = np.linspace(-6, 6, 1001).reshape(1, -1)
    assert np.abs(GELU().forward(x) - F.gelu(torch.from_numpy(x)).numpy()).max() < 5e-4


@pytest.mark.parametrize("ours, theirs", [(RNN, nn.RNN), (LSTM, nn.LSTM), (GRU, nn.GRU)])
def test_recurrent_layers_through_time(ours: type[Any], theirs: type[Any]) -> None:
    """Outputs, last states, and every gradient: of inputs, weights and first states, also from the last states."""
    layer = ours(4, 3, rng=np.random.default_rng(1))
    module = theirs(4, 3, batch_first=True).double()
    names = {name: f"{name}_l0" for name in layer.params}
    module.load_state_dict({names[name]: torch.from_numpy(array.copy()) for name, array in layer.params.items()})
    x, start = images(2, 6, 4), tuple(images(2, 3, seed=i + 1) for i in range(layer.states))
    pulls = tuple(images(2, 3, seed=i + 3) for i in range(layer.states))
    dy = images(2, 6, 3, seed=5)
    y = layer.forward(x, start)
    dx = layer.backward(dy, pulls)
    their_x, their_start = leaf(x), [leaf(s[None]) for s in start]
    other, last = module(their_x, tuple(their_start) if len(start) > 1 else their_start[0])
    finals = last if isinstance(last, tuple) else (last,)
    pulled = sum((torch.from_numpy(p) * f[0]).sum() for p, f in zip(pulls, finals, strict=True))
    ((torch.from_numpy(dy) * other).sum() + pulled).backward()
    assert np.allclose(y, other.detach().numpy(), **CLOSE)
    assert all(np.allclose(a, b[0].detach().numpy(), **CLOSE) for a, b in zip(layer.final, finals, strict=True))
    assert np.allclose(dx, grad_of(their_x), **CLOSE)
    assert all(np.allclose(a, grad_of(b)[0], **CLOSE) for a, b in zip(layer.dstart, their_start, strict=True))
    assert all(np.allclose(layer.grads[n], grad_of(getattr(module, names[n])), **CLOSE) for n in names)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention(causal: bool, masked: bool) -> None:
    q, k, v = images(2, 3, 5, 4), images(2, 3, 5, 4, seed=1), images(2, 3, 5, 6, seed=2)
    mask = np.random.default_rng(0).random((2, 1, 5, 5)) < 0.6 if masked else None
    if mask is not None:
        mask[..., 0] = True  # every query may look at something
    allowed = mask if not causal else np.tri(5, dtype=bool) if mask is None else mask & np.tri(5, dtype=bool)
    layer = Attention(causal)
    y, leaves = layer.forward(q, k, v, mask), [leaf(a) for a in (q, k, v)]
    there = None if allowed is None else torch.from_numpy(allowed)
    other = F.scaled_dot_product_attention(*leaves, attn_mask=there)
    assert np.allclose(y, other.detach().numpy(), **CLOSE)
    dy = images(*y.shape, seed=5)
    other.backward(torch.from_numpy(dy))
    assert all(np.allclose(a, grad_of(b), **CLOSE) for a, b in zip(layer.backward(dy), leaves, strict=True))


@pytest.mark.parametrize("soft", [False, True], ids=["classes", "distributions"])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_softmax_cross_entropy(soft: bool, size: float) -> None:
    logits, loss = size * images(6, 5), SoftmaxCrossEntropy()
    labels = np.random.default_rng(0).dirichlet(np.ones(5), 6) if soft else np.array([0, 4, 2, 2, 1, 3])
    theirs = leaf(logits)
    other = F.cross_entropy(theirs, torch.from_numpy(labels))
    other.backward()
    assert loss.forward(logits, labels) == pytest.approx(other.item(), rel=1e-12)
    assert np.allclose(loss.backward(), grad_of(theirs), **CLOSE)


def test_mean_squared_error() -> None:
    predictions, targets, loss = images(4, 3), images(4, 3, seed=1), MeanSquaredError()
    theirs = leaf(predictions)
    other = F.mse_loss(theirs, torch.from_numpy(targets))
    other.backward()
    assert loss.forward(predictions, targets) == pytest.approx(other.item(), rel=1e-12)
    assert np.allclose(loss.backward(), grad_of(theirs), **CLOSE)


FACTS: dict[str, Any] = {
    "channels": 1, "size": [8, 8], "mean": [0.3], "std": [0.4], "classes": list("abcd"),
}  # fmt: skip
NETWORKS = {
    "mlp": {"hidden": [12, 9], "activation": "tanh", "norm": "batch"},
    "deep mlp": {"hidden": [8] * 4, "activation": "gelu", "norm": "layer"},
    "cnn": {"width": [3, 5]},
}


def network_and_module(name: str) -> tuple[Network, nn.Module]:
    facts = {**FACTS, "model": name.split()[-1], "settings": NETWORKS[name]}
    network = build(facts, np.random.default_rng(0))
    return network, nn.Sequential(*(mirror(layer) for layer in network.layers.values()))


@pytest.mark.parametrize("name", NETWORKS)
def test_twenty_steps_of_training_end_where_torchs_do(name: str) -> None:
    """Forward, loss, backward and SGD with momentum, all by hand and all by torch."""
    network, module = network_and_module(name)
    matrices = [p for p in module.parameters() if p.ndim > 1]
    vectors = [p for p in module.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors}]
    theirs = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    ours, loss = SGD(network.params, momentum=0.9, weight_decay=0.01), SoftmaxCrossEntropy()
    for step in range(20):
        x, labels = images(16, 1, 8, 8, seed=step), np.random.default_rng(step).integers(0, 4, 16)
        value = loss.forward(network.forward(x), labels)
        network.backward(loss.backward())
        ours.step(network.grads, 0.05)
        theirs.zero_grad()
        other = F.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(labels))
        other.backward()
        theirs.step()
        assert value == pytest.approx(other.item(), rel=1e-9)
    ends = [p.detach().numpy() for p in module.parameters()]
    assert all(np.allclose(a, b, **CLOSE) for a, b in zip(network.params.values(), ends, strict=True))
