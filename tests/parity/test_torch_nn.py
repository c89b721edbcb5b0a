"""Ours against torch.nn on the same weights: the same numbers and gradients, in float64 to 1e-10."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gradus.nn.activations import activation
from gradus.nn.losses import loss
from gradus.nn.recurrent import Recurrent, torch_names

PEERS = {
    "rnn": lambda *sizes, **options: nn.RNN(*sizes, **options),
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": lambda *sizes, **options: nn.GRU(*sizes, **options),
    "lstm": lambda *sizes, **options: nn.LSTM(*sizes, **options),
}


def as_tuple(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("lengths", [None, [3, 8, 1, 5]], ids=["whole", "padded"])
@pytest.mark.parametrize("given", [False, True], ids=["zero", "given"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("fused", [False, True], ids=["written", "kernel"])
@pytest.mark.parametrize("kind", PEERS)
def test_recurrent(
    kind: str, fused: bool, layers: int, bidirectional: bool, given: bool, lengths: list[int] | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    peer = PEERS[kind](5, 6, num_layers=layers, bidirectional=bidirectional, batch_first=True).double()
    ours = Recurrent(kind, 5, 6, layers=layers, bidirectional=bidirectional, fused=fused).double()
    ours.load_state_dict(torch_names(peer.state_dict()))
    x = torch.randn(4, 8, 5, dtype=torch.float64, generator=generator).requires_grad_()
    state = None
    if given:
        shape = (layers * (1 + bidirectional), 4, 6)
        state = tuple(torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(2))
        state = state if kind == "lstm" else state[0]
    y, end = ours(x, state, None if lengths is None else torch.tensor(lengths))
    if lengths is None:
        expected, last = peer(x, state)
    else:
        packed, last = peer(pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=False), state)
        expected, _ = pad_packed_sequence(packed, batch_first=True)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    for mine, theirs in zip(as_tuple(end), as_tuple(last), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)

    def gradients(y: Tensor, end: Tensor | tuple[Tensor, ...], module: nn.Module) -> dict[str, Tensor]:
        named = {"x": x, **dict(module.named_parameters())}
        loss = y.square().sum() + sum(part.sin().sum() for part in as_tuple(end))
        return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    mine, theirs = gradients(y, end, ours), gradients(expected, last, peer)
    torch.testing.assert_close(mine.pop("x"), theirs.pop("x"), rtol=1e-9, atol=1e-10)
    for name, value in torch_names(theirs).items():
        torch.testing.assert_close(mine[name], value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", PEERS)
def test_recurrent_in_single_precision(kind: str) -> None:
    """Other kernels run in float32 (oneDNN's, for an LSTM)."""
    peer = PEERS[kind](16, 32, batch_first=True)
    ours = Recurrent(kind, 16, 32)
    ours.load_state_dict(torch_names(peer.state_dict()))
    x = torch.randn(4, 20, 16, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([20, 3, 11, 11])
    packed, _ = peer(pack_padded_sequence(x, lengths, True, enforce_sorted=False))
    torch.testing.assert_close(ours(x)[0], peer(x)[0], rtol=0, atol=1e-5)
    padded, _ = pad_packed_sequence(packed, batch_first=True)
    torch.testing.assert_close(ours(x, lengths=lengths)[0], padded, rtol=0, atol=1e-5)


ACTIVATIONS = {
    "sigmoid": (nn.Sigmoid(), {}),
    "tanh": (nn.Tanh(), {}),
    "relu": (nn.ReLU(), {}),
    "leaky-relu": (nn.LeakyReLU(0.2), {"slope": 0.2}),
    "elu": (nn.ELU(1.5), {"scale": 1.5}),
    "softplus": (nn.Softplus(2.0), {"sharpness": 2.0}),
    "silu": (nn.SiLU(), {}),
    "gelu": (nn.GELU(), {}),
    "gelu by tanh": (nn.GELU("tanh"), {"approximate": True}),
    "softmax": (nn.Softmax(1), {"axis": 1}),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    """Values by either, and our written derivative against the backward pass of torch's module."""
    peer, options = ACTIVATIONS[name]
    ours = activation(name.split()[0], **options)
    x = (4 * torch.randn(5, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    sent = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = peer(x)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-8 if name == "softplus" else 1e-10)
    (gradient,) = torch.autograd.grad((expected * sent).sum(), x)
    torch.testing.assert_close(ours.pullback(x.detach(), sent), gradient, rtol=0, atol=1e-8)


WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1, 3.0], dtype=torch.float64)

# Name; settings; the peer; targets: real numbers, probabilities, zeros and ones, class numbers or distributions.
LOSSES: dict[str, tuple[str, dict[str, Any], Callable[..., Tensor], str]] = {
    "mse": ("mse", {}, F.mse_loss, "real"),
    "l1": ("lp", {"p": 1.0}, F.l1_loss, "real"),
    "huber": ("huber", {"delta": 0.7}, lambda y, t, **k: F.huber_loss(y, t, delta=0.7, **k), "real"),
    "logistic": ("logistic", {}, F.binary_cross_entropy_with_logits, "share"),
    "weighed logistic": (
        "logistic",
        {"positive_weight": 3.0},
        lambda y, t, **k: F.binary_cross_entropy_with_logits(y, t, pos_weight=torch.tensor(3.0), **k),
        "binary",
    ),
    "cross-entropy": ("cross_entropy", {}, F.cross_entropy, "class"),
    "weighed": (
        "cross_entropy",
        {"weight": WEIGHT},
        lambda y, t, **k: F.cross_entropy(y, t, weight=WEIGHT, **k),
        "class",
    ),
    "smoothed": (
        "cross_entropy",
        {"weight": WEIGHT, "smoothing": 0.2},
        lambda y, t, **k: F.cross_entropy(y, t, weight=WEIGHT, label_smoothing=0.2, **k),
        "class",
    ),
    "ignored": (
        "cross_entropy",
        {"ignore": 2, "smoothing": 0.2},
        lambda y, t, **k: F.cross_entropy(y, t, ignore_index=2, label_smoothing=0.2, **k),
        "class",
    ),
    "weighed and ignored": (
        "cross_entropy",
        {"ignore": 1, "weight": WEIGHT},
        lambda y, t, **k: F.cross_entropy(y, t, ignore_index=1, weight=WEIGHT, **k),
        "class",
    ),
    "distribution": (
        "cross_entropy",
        {"weight": WEIGHT, "smoothing": 0.2},
        lambda y, t, **k: F.cross_entropy(y, t, weight=WEIGHT, label_smoothing=0.2, **k),
        "distribution",
    ),
    "smoothing": ("label_smoothing", {}, lambda y, t, **k: F.cross_entropy(y, t, label_smoothing=0.1, **k), "class"),
    # Theirs divides the sum over the other classes by the number of classes.
    "hinge": ("multiclass_hinge", {}, lambda y, t, **k: 5 * F.multi_margin_loss(y, t, **k), "class"),
    "squared hinge": (
        "multiclass_hinge",
        {"p": 2, "margin": 0.5},
        lambda y, t, **k: 5 * F.multi_margin_loss(y, t, p=2, margin=0.5, **k),
        "class",
    ),
    "binary hinge": (
        "hinge",
        {},
        # With z = ±x it is theirs on distances: max(0, m − d) for the label −1.
        lambda y, t, **k: F.hinge_embedding_loss(torch.where(t > 0, y, -y), -torch.ones_like(y), **k),
        "binary",
    ),
}


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, reduction: str) -> None:
    ours, options, peer, kind = LOSSES[name]
    noise = torch.Generator().manual_seed(0)
    y = (3 * torch.randn(9, 5, dtype=torch.float64, generator=noise)).requires_grad_()
    values = torch.randn(9, 5, dtype=torch.float64, generator=noise)
    target = {
        "real": values,
        "share": values.sigmoid(),
        "binary": (values > 0).to(values),
        "class": values.argmax(1),
        "distribution": values.softmax(1),
    }[kind]
    found, expected = loss(ours, **options)(y, target, reduction=reduction), peer(y, target, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    mine, theirs = (torch.autograd.grad(value.square().sum(), y)[0] for value in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("alpha", [0.25, None])
def test_focal_against_torchvision(alpha: float | None) -> None:
    ops = pytest.importorskip("torchvision.ops")
    y = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    t = (y.detach() + 0.3 > 0).to(y)
    found = loss("binary_focal", alpha=alpha, gamma=1.5)(y, t, reduction="sum")
    expected = ops.sigmoid_focal_loss(y, t, alpha=-1 if alpha is None else alpha, gamma=1.5, reduction="sum")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    mine, theirs = (torch.autograd.grad(value, y)[0] for value in (found, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
