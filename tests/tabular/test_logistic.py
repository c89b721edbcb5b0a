"""Logistic and softmax regression: stationary, consistent with each other, and honest where there is no minimum."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.tabular.logistic_regression import logistic, softmax


def rows(count, features, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64) * 2 + 1
    scores = x @ torch.randn(features, classes, generator=generator, dtype=torch.float64)
    noise = -(-torch.rand(count, classes, generator=generator, dtype=torch.float64).log()).log()
    return x, (scores + 2 * noise).argmax(1)


def slope(model, x, y, alpha, weights=None):
    """Return the gradient of the penalised loss by autograd, over weight and bias."""
    w, b = (p.detach().clone().requires_grad_() for p in (model.weight, model.bias))
    each = F.cross_entropy(x @ w.T + b, y, reduction="none")
    loss = (each if weights is None else each * weights).sum() + alpha / 2 * w.square().sum()
    return torch.autograd.grad(loss, (w, b))


@given(st.integers(2, 5), st.integers(1, 6), st.sampled_from([0.01, 1.0, 30.0]), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_the_gradient_of_softmax_is_zero(classes, features, alpha, seed):
    x, y = rows(80, features, classes, seed)
    weights = torch.rand(80, generator=torch.Generator().manual_seed(seed)).double() + 0.1
    model = softmax(x, y, classes=classes, alpha=alpha, weights=weights)
    for part in slope(model, x, y, alpha, weights):
        assert part.abs().max() < 1e-6
    assert model.bias.sum().abs() < 1e-9
    assert model.weight.sum(0).abs().max() < 1e-6


@given(st.integers(1, 6), st.sampled_from([0.01, 1.0, 30.0]), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_the_gradient_of_logistic_is_zero(features, alpha, seed):
    x, y = rows(80, features, 2, seed)
    model = logistic(x, y, alpha=alpha)
    w, b = slope(model, x, y, alpha)
    assert w[1].abs().max() < 1e-6
    assert b[1].abs() < 1e-6
    assert torch.equal(model.weight[0], torch.zeros(features, dtype=torch.float64))


def test_softmax_of_two_classes_is_logistic_with_half_the_penalty():
    """W₁ = −W₀ = w/2 has ‖W‖² = ‖w‖²/2."""
    x, y = rows(100, 4, 2)
    both, one = softmax(x, y, alpha=2.0), logistic(x, y, alpha=1.0)
    assert torch.allclose(both.weight[1] - both.weight[0], one.weight[1], atol=1e-8)
    assert torch.allclose(both.bias[1] - both.bias[0], one.bias[1], atol=1e-8)


def test_without_features_that_matter_the_bias_is_the_log_odds():
    x = torch.zeros(10, 1, dtype=torch.float64)
    y = torch.tensor([1] * 8 + [0] * 2)
    assert float(logistic(x, y).bias[1]) == pytest.approx(torch.tensor(4.0).log())


@pytest.mark.parametrize("fit", [logistic, softmax])
def test_separable_classes_need_a_penalty(fit):
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
    y = (x[:, 0] > 0).long()
    with pytest.raises(GradusError, match="a plane divides the classes"):
        fit(x, y, alpha=0.0)
    assert (fit(x, y, alpha=1e-3)(x).argmax(1) == y).all()


def test_scores_of_badly_scaled_features_stay_finite():
    x, y = rows(60, 3, 2)
    x = x * torch.tensor([1e-4, 1.0, 1e5], dtype=torch.float64)
    for fit in (logistic, softmax):
        model = fit(x, y, alpha=1e-6)
        assert torch.isfinite(model(x)).all()
        assert (model(x).argmax(1) == y).double().mean() > 0.7


def test_labels_outside_the_classes_are_refused():
    x, y = rows(30, 2, 3)
    with pytest.raises(GradusError, match="labels are from 0 to 1 here, got 0 to 2"):
        logistic(x, y)
    with pytest.raises(GradusError, match="labels are from 0 to 1 here"):
        softmax(x, y, classes=2)
    with pytest.raises(GradusError, match="cannot be negative"):
        softmax(x, y, alpha=-1.0)
