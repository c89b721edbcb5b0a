"""Learning-rate finder: bit for bit no trace, a sweep in equal ratios, and a rate that trains."""

import copy
import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.optim.adam import adam
from gradus.optim.lr_finder import find_learning_rate
from gradus.optim.rule import make
from gradus.optim.sgd import sgd


class Restless(nn.Module):
    """Dropout, batch norm, a buffer put in another's place, and draws from every global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 10)
        )
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("absent", None)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return self.body(x) + 1e-3 * random.random() + 1e-3 * np.random.rand()  # noqa: NPY002


def _everything(model: nn.Module, state: object, generator: torch.Generator) -> list[object]:
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [(t.data_ptr(), t.stride(), t.detach().clone()) for t in tensors],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [module.training for module in model.modules()],
        copy.deepcopy(state),
        (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), generator.get_state()),  # noqa: NPY002
    ]


def _same(a: object, b: object) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("ending", ["whole", "diverges", "fails"])
def test_leaves_no_trace(ending: str) -> None:
    """Weights (channels-last), buffers, flags, gradients, optimiser state, random states: even where the loss fails."""
    torch.manual_seed(0)
    model, source = Restless(), torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 1, 8, 8), torch.randint(10, (16,))
    model.body[1].eval()
    rule, params = adam(), list(model.parameters())
    state = rule.init(params)
    F.cross_entropy(model(x), y).backward()
    rule.update(params, [p.grad for p in params], state, 1e-3)
    calls = []

    def loss() -> Tensor:
        calls.append(model.seen.item())
        model.train()
        if ending == "fails" and len(calls) == 5:
            raise RuntimeError("the data ran out")
        return F.cross_entropy(model(x + 0.1 * torch.randn(x.shape, generator=source)), y)

    before = _everything(model, state, source)
    arguments = {"state": state, "generators": [source], "highest": 1e3 if ending == "diverges" else 1e-2, "steps": 40}
    if ending == "fails":
        with pytest.raises(RuntimeError, match="ran out"):
            find_learning_rate(loss, model, rule, **arguments)
    else:
        assert find_learning_rate(loss, model, rule, **arguments).diverged == (ending == "diverges")
    assert len(calls) >= 5, "the model was used"
    assert calls[-1] > calls[0], "and its buffers moved"
    assert _same(_everything(model, state, source), before)


def test_the_given_state_is_where_the_sweep_starts() -> None:
    """A velocity of 10 shows in the first step, x ← x − η (μ v + g)."""
    param = torch.ones(1, dtype=torch.float64, requires_grad=True)
    rule = sgd(momentum=0.9)
    state = rule.init([param])
    rule.update([torch.zeros_like(param)], [torch.full_like(param, 10.0)], state, 0.0)
    second = {}
    for name, own in {"fresh": None, "held": state}.items():
        found = find_learning_rate(lambda: (param**2).sum(), [param], rule, state=own, lowest=1e-3, steps=20)
        second[name] = found.losses[1].item()
    assert second == pytest.approx({"fresh": (1 - 1e-3 * 2) ** 2, "held": (1 - 1e-3 * (0.9 * 10 + 2)) ** 2})


def test_rates_grow_by_a_constant_factor_and_losses_are_those_of_a_hand_written_sweep() -> None:
    start = torch.linspace(-1, 1, 5, dtype=torch.float64)
    param = start.clone().requires_grad_()
    found = find_learning_rate(lambda: (param**2).sum(), [param], "sgd", lowest=1e-4, highest=1e-1, steps=31)
    assert found.lrs.tolist() == pytest.approx([1e-4 * 10 ** (i / 10) for i in range(31)], rel=1e-12)
    x, losses = start.clone(), []
    for lr in found.lrs.tolist():
        losses.append((x**2).sum().item())
        x = x - lr * 2 * x
    assert found.losses.tolist() == pytest.approx(losses, rel=1e-12)
    assert not found.diverged


@pytest.mark.parametrize("curvature", [0.1, 1.0, 50.0])
def test_on_a_quadratic_the_suggestion_is_below_the_edge_of_stability(curvature: float) -> None:
    """Gradient descent diverges above 2 / h; the loss falls most steeply within a decade below that."""
    param = torch.ones(4, dtype=torch.float64, requires_grad=True)
    found = find_learning_rate(lambda: curvature / 2 * (param**2).sum(), [param], "sgd", lowest=1e-6, highest=1e5)
    assert found.diverged
    assert 0.02 / curvature < found.suggestion < 2 / curvature


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_suggestion_trains_an_mlp_on_digits(name: str) -> None:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    source = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        rows = torch.randint(1500, (128,), generator=source)
        return F.cross_entropy(model(x[rows]), y[rows])

    found = find_learning_rate(loss, model, name)
    params, rule = list(model.parameters()), make(name)
    state = rule.init(params)
    for _ in range(200):
        rule.update(params, torch.autograd.grad(loss(), params), state, found.suggestion)
    assert (model(x[1500:]).argmax(1) == y[1500:]).float().mean() > 0.85


def _rising() -> Callable[[], Tensor]:
    count = [0.0]
    param = torch.ones(1, requires_grad=True)

    def loss() -> Tensor:
        count[0] += 1
        return param.sum() * 0 + count[0]

    return lambda: find_learning_rate(loss, [param])


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda p: find_learning_rate(lambda: p.sum(), [p], lowest=1.0, highest=0.1), "0 < lowest < highest"),
        (lambda p: find_learning_rate(lambda: p.sum(), [p], highest=math.inf), "0 < lowest < highest"),
        (lambda p: find_learning_rate(lambda: p.sum(), [p], steps=3), "steps=3 is out of range"),
        (lambda p: find_learning_rate(lambda: p, [p]), r"shape \(3,\)"),
        (lambda p: find_learning_rate(lambda: p.detach().sum(), [p]), "does not depend"),
        (lambda p: find_learning_rate(lambda: p.sum() * math.nan, [p]), "nan before any step"),
        (lambda p: find_learning_rate(lambda: p.sum(), [p.detach()]), "no trainable parameter"),
        (lambda p: find_learning_rate(lambda: p.sum(), [p], "adamm"), "did you mean 'adam"),
        (lambda p: _rising()(), "never fell"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: Callable[[Tensor], object], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act(torch.ones(3, requires_grad=True))
