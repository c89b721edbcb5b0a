"""Momentum as an arithmetic mean: closed forms beside the exponential average."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.optim.averaging import arithmetic_momentum
from gradus.optim.rule import Rule
from gradus.optim.sgd import sgd


def _path(rule: Rule, gradients: list[float]) -> list[float]:
    """Return the steps that fixed gradients give, in units of the learning rate."""
    param = torch.zeros(1, dtype=torch.float64)
    state, places = rule.init([param]), [0.0]
    for value in gradients:
        rule.update([param], [torch.full_like(param, value)], state, 1.0)
        places.append(param.item())
    return [a - b for a, b in pairwise(places)]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_the_window_is_the_mean_of_the_last_k(gradients: list[float], k: int) -> None:
    expected = [sum(gradients[max(0, t - k + 1) : t + 1]) / min(k, t + 1) for t in range(len(gradients))]
    assert _path(arithmetic_momentum(window=k), gradients) == pytest.approx(expected, abs=1e-10)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_without_a_window_it_is_the_mean_of_all(gradients: list[float]) -> None:
    expected = [sum(gradients[: t + 1]) / (t + 1) for t in range(len(gradients))]
    assert _path(arithmetic_momentum(window=None), gradients) == pytest.approx(expected, abs=1e-10)


def test_what_one_gradient_weighs_at_every_age() -> None:
    """A gradient of 1 after many of 0: 1/k for k steps and then nothing; (1 − μ) μ^age for ever; 1/t among all."""
    k, mu, before = 5, 0.8, 20
    impulse = [0.0] * before + [1.0] + [0.0] * 9
    window = _path(arithmetic_momentum(window=k), impulse)[before:]
    exponential = _path(sgd(momentum=mu, dampening=mu), impulse)[before:]
    everything = _path(arithmetic_momentum(window=None), impulse)[before:]
    assert window == pytest.approx([1 / k] * k + [0.0] * (10 - k), abs=1e-12)
    assert exponential == pytest.approx([(1 - mu) * mu**age for age in range(10)], abs=1e-12)
    assert everything == pytest.approx([1 / (before + 1 + age) for age in range(10)], abs=1e-12)


def test_a_window_averages_noise_as_an_exponential_average_of_the_same_mean_age() -> None:
    """Variance of the step under unit noise: 1/k, and (1 − μ) / (1 + μ), which μ = (k − 1) / (k + 1) makes equal."""
    k = 9
    mu = (k - 1) / (k + 1)
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for rule in (arithmetic_momentum(window=k), sgd(momentum=mu, dampening=mu)):
        # Many walks at once: the gradient at step t is the noise, rolled by t.
        param = torch.zeros_like(noise)
        state = rule.init([param])
        for t in range(60):
            before = param.clone()
            rule.update([param], [noise.roll(t)], state, 1.0)
        found.append((param - before).var().item())
    assert found == pytest.approx([1 / k] * 2, rel=0.05)


def test_a_window_of_one_is_plain_descent() -> None:
    gradients = [1.0, -2.0, 3.5]
    assert _path(arithmetic_momentum(window=1), gradients) == _path(sgd(), gradients)


def test_a_window_must_hold_something() -> None:
    with pytest.raises(GradusError, match="window=0 is out of range"):
        arithmetic_momentum(window=0)
