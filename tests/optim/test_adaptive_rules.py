"""Adaptive rules that torch has no peer for, against their equations; and what tells each from its neighbours."""

import math

import numpy as np
import pytest
import torch

from gradus.errors import GradusError
from gradus.optim.adadelta import adadelta
from gradus.optim.adagrad import adagrad
from gradus.optim.adam import adam, amsgrad
from gradus.optim.nadam import nadam
from gradus.optim.rule import Rule
from gradus.optim.yogi import yogi


def _walk(rule: Rule, steps: int = 200) -> torch.Tensor:
    """Return where the gradients of a convex function lead whose minimum moves: errors neither grow nor are hidden."""
    param = torch.linspace(-2, 2, 12, dtype=torch.float64).view(3, 4)
    phase, state = param.clone(), rule.init([param])
    for t in range(steps):
        rule.update([param], [param + torch.cos(0.7 * t + phase)], state, rule.lr)
    return param


@pytest.mark.parametrize("correct", [False, True])
def test_yogi_follows_its_equations(correct: bool) -> None:
    """The paper's algorithm 2 for 200 steps, number by number; with Adam's corrections where they are asked for."""
    lr, (b1, b2), eps, start, decay = 0.03, (0.8, 0.95), 1e-2, 1e-4, 0.1
    x = phase = np.linspace(-2, 2, 12).reshape(3, 4)
    m, v = np.zeros_like(x), np.full_like(x, start)
    for t in range(200):
        g = x + np.cos(0.7 * t + phase) + decay * x
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g**2) * g**2
        low, high = (1 - b1 ** (t + 1), 1 - b2 ** (t + 1)) if correct else (1, 1)
        x = x - lr * (m / low) / (np.sqrt(v / high) + eps)
    rule = yogi(lr, (b1, b2), eps, decay, start, bias_correction=correct)
    assert np.abs(_walk(rule).numpy() - x).max() < 1e-13


def test_yogi_forgets_a_large_gradient_slowly_and_adam_at_once() -> None:
    """After one gradient of 1 and n of 0.01: Adam's v has fallen by β₂^n, Yogi's by n (1 − β₂) 10⁻⁴ only."""
    left = {}
    for rule in (yogi(betas=(0.0, 0.9), initial_accumulator_value=0.0), adam(betas=(0.0, 0.9))):
        param = torch.zeros(1, dtype=torch.float64)
        state = rule.init([param])
        for t in range(51):
            rule.update([param], [torch.full_like(param, 1.0 if t == 0 else 0.01)], state, 0.0)
        left[rule.name] = state["exp_avg_sq"][0].item()
    assert left["yogi"] == pytest.approx(0.1 - 50 * 0.1 * 1e-4, rel=1e-12)
    assert left["adam"] < 0.01


def test_amsgrad_is_adam_with_amsgrad_set() -> None:
    settings = {"lr": 0.02, "betas": (0.8, 0.9), "weight_decay": 0.1}
    assert torch.equal(_walk(amsgrad(**settings)), _walk(adam(**settings, amsgrad=True)))
    assert not torch.equal(_walk(amsgrad(**settings)), _walk(adam(**settings)))


def test_adagrad_steps_fall_as_one_over_the_root_of_time() -> None:
    """Under a constant gradient step t is η / √t, whatever the gradient's size."""
    for size in (1e-3, 1e3):
        param, rule = torch.zeros(1, dtype=torch.float64), adagrad(lr=0.5, eps=0.0)
        state = rule.init([param])
        for _ in range(100):
            rule.update([param], [torch.full_like(param, size)], state, rule.lr)
        assert param.item() == pytest.approx(-0.5 * sum(1 / math.sqrt(t) for t in range(1, 101)), rel=1e-12)


def test_adadelta_steps_have_the_parameters_units() -> None:
    """Measuring the loss in units a million times smaller changes no step, but for ε."""
    ends = []
    for units in (1.0, 1e6):
        param, rule = torch.ones(3, dtype=torch.float64), adadelta(eps=1e-30)
        state = rule.init([param])
        state["acc_delta"][0].fill_(1e-6)
        for t in range(50):
            rule.update([param], [units * torch.sin(3 * param + t)], state, rule.lr)
        ends.append(param)
    assert torch.allclose(ends[0], ends[1], rtol=1e-10)


def test_nadam_looks_one_step_further_than_adam() -> None:
    """The first step: Adam's is η sign g; NAdam's gradient part alone is η, and the momentum's comes on top."""
    rule = nadam(lr=1.0, eps=0.0, momentum_decay=0.0)
    param = torch.zeros(1, dtype=torch.float64)
    rule.update([param], [torch.full_like(param, 5.0)], rule.init([param]), 1.0)
    mu = 0.9 * 0.5  # ψ = 0 leaves the momentum at β₁ / 2
    expected = (1 - mu) / (1 - mu) + mu * (1 - 0.9) / (1 - mu**2)
    assert param.item() == pytest.approx(-expected, rel=1e-12)


def test_nadam_keeps_its_product_where_reading_it_never_waits() -> None:
    rule = nadam()
    state = rule.init([torch.zeros(3, dtype=torch.bfloat16)])
    assert (state["mu_product"][0].dtype, state["mu_product"][0].device.type) == (torch.float64, "cpu")


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda: adagrad(initial_accumulator_value=-1), "initial_accumulator_value=-1 is out of range"),
        (lambda: adadelta(rho=1), r"rho=1 is out of range; give a number in \[0, 1\)"),
        (lambda: nadam(momentum_decay=-1), "momentum_decay=-1 is out of range"),
        (lambda: yogi(betas=(0.9, 1.0)), r"betas\[1\]=1.0 is out of range"),
        (lambda: amsgrad(betas=(1.0, 0.9)), r"betas\[0\]=1.0 is out of range"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: object, said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act()  # type: ignore[operator]
