"""Least squares and ridge: their limits, and the noise that equals a ridge, in exact expectation."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.tabular.linear import (
    check_rows,
    dropout_penalty,
    least_squares,
    noise_penalty,
    ridge,
    ridge_path,
)


def rows(count, features, seed=0, noise=0.3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64) + 1
    w = torch.randn(features, generator=generator, dtype=torch.float64)
    return x, x @ w + 2 + noise * torch.randn(count, generator=generator, dtype=torch.float64)


def coefficients(model):
    return torch.cat([model.weight[0], model.bias])


@given(st.integers(3, 40), st.integers(1, 6), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_residuals_of_least_squares_are_orthogonal_to_every_feature(count, features, seed):
    x, y = rows(count, features, seed)
    residual = y - least_squares(x, y)(x)[:, 0]
    assert residual.sum().abs() < 1e-9
    assert (x.T @ residual).abs().max() < 1e-8


def test_of_many_solutions_the_shortest():
    x, y = rows(30, 2)
    twice = torch.cat([x, x], dim=1)
    found = least_squares(twice, y).weight[0]
    assert torch.allclose(found[:2], found[2:])
    assert torch.allclose(2 * found[:2], least_squares(x, y).weight[0])


@pytest.mark.parametrize("alpha", [0.1, 3.0, 50.0])
def test_ridge_is_the_limit_of_gradient_descent(alpha):
    x, y = rows(40, 3)
    w, b = torch.zeros(3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    padded = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    rate = 1 / (float(torch.linalg.eigvalsh(padded.T @ padded)[-1]) + alpha)
    for _ in range(20_000):
        residual = x @ w + b - y
        w, b = w - rate * (x.T @ residual + alpha * w), b - rate * residual.sum()
    assert torch.allclose(coefficients(ridge(x, y, alpha=alpha)), torch.cat([w, b[None]]), atol=1e-8)


@pytest.mark.parametrize("alpha", [0.5, torch.tensor([0.1, 1.0, 10.0, 2.0, 0.5, 3.0, 1.0, 4.0], dtype=torch.float64)])
def test_both_forms_of_ridge_agree(alpha):
    x, y = rows(8, 8)
    gram = ridge(x, y, alpha=alpha)
    padding = torch.zeros(8, 1, dtype=torch.float64)  # one more feature than rows, of no effect: the kernel form
    more = torch.cat([alpha, torch.ones(1)]) if isinstance(alpha, torch.Tensor) else alpha
    kernel = ridge(torch.cat([x, padding], 1), y, alpha=more)
    assert torch.allclose(gram.weight[0], kernel.weight[0, :-1])
    assert float(kernel.weight[0, -1]) == 0


def test_the_path_of_ridge_is_ridge_at_every_penalty():
    x, y = rows(30, 4)
    weights = torch.rand(30, generator=torch.Generator().manual_seed(1)).double() + 0.1
    alphas = torch.tensor([100.0, 1.0, 1e-3], dtype=torch.float64)
    found, biases = ridge_path(x, y, alphas, weights=weights)
    for alpha, w, b in zip(alphas.tolist(), found, biases, strict=True):
        single = ridge(x, y, alpha=alpha, weights=weights)
        assert torch.allclose(w, single.weight[0])
        assert torch.allclose(b, single.bias[0])


def test_dropout_on_inputs_is_in_expectation_a_ridge():
    """All 2^12 masks of a 4×3 matrix: the mean squared error over them is least where the ridge says."""
    x, y = rows(4, 3, noise=1.0)
    rate = 0.3
    masks = torch.tensor(list(product([0.0, 1.0], repeat=12)), dtype=torch.float64).view(-1, 4, 3)
    chance = (masks * (1 - rate) + (1 - masks) * rate).flatten(1).prod(1)
    assert float(chance.sum()) == pytest.approx(1)
    found = ridge(x, y, alpha=dropout_penalty(x, rate))
    w, b = found.weight[0].clone().requires_grad_(), found.bias[0].clone().requires_grad_()
    errors = (y - (x * masks / (1 - rate)) @ w - b).square().sum(1)
    (chance @ errors).backward()
    assert w.grad.abs().max() < 1e-10
    assert b.grad.abs() < 1e-10


def test_noise_on_inputs_is_in_expectation_a_ridge():
    """Monte Carlo: the gradient of the noisy loss at the ridge is zero within four of its standard errors."""
    x, y = rows(20, 3)
    std, draws = 0.5, 200_000
    found = ridge(x, y, alpha=noise_penalty(x, std))
    w = found.weight[0].detach()
    generator = torch.Generator().manual_seed(3)
    row = torch.randint(20, (draws,), generator=generator)
    noisy = x[row] + std * torch.randn(draws, 3, generator=generator, dtype=torch.float64)
    residual = y[row] - noisy @ w - found.bias[0]
    slopes = -2 * residual[:, None] * noisy
    error = slopes.std(0) / draws**0.5
    assert (slopes.mean(0).abs() < 4 * error).all()
    plain = least_squares(x, y)
    biased = -2 * (y[row] - noisy @ plain.weight[0] - plain.bias[0])[:, None] * noisy
    assert (biased.mean(0).abs() > 4 * error).any(), "the test would not tell a ridge from least squares"


def test_what_cannot_be_fitted_is_refused():
    x, y = rows(5, 2)
    with pytest.raises(GradusError, match="alpha must be positive, got 0: use linear"):
        ridge(x, y, alpha=0.0)
    with pytest.raises(GradusError, match="5 rows but 4 targets"):
        check_rows(x, y[:-1])
    with pytest.raises(GradusError, match="features are not all finite"):
        check_rows(x / 0, y)
    with pytest.raises(GradusError, match="0 rows of 2 features"):
        check_rows(x[:0], y[:0])
    with pytest.raises(GradusError, match="not all zero"):
        check_rows(x, y, torch.zeros(5))
    with pytest.raises(GradusError, match="below 1"):
        dropout_penalty(x, 1.0)
