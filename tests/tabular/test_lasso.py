"""The lasso: its optimality conditions, its exact path, and the three other ways to the same point."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.table_loading import load_table
from gradus.errors import GradusError
from gradus.tabular.lasso_homotopy import lasso_path
from gradus.tabular.lasso_solvers import lasso, violation
from gradus.tabular.linear import centred, least_squares


def rows(count, features, seed=0, shared=0.5, noise=0.5):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64)
    x = x + shared * torch.randn(count, 1, generator=generator, dtype=torch.float64) + 3
    w = torch.zeros(features, dtype=torch.float64)
    w[: min(3, features)] = torch.tensor([2.0, -1.5, 1.0], dtype=torch.float64)[:features]
    return x, x @ w + noise * torch.randn(count, generator=generator, dtype=torch.float64)


def conditions(x, y, w, alpha):
    """Return the violation of the optimality conditions as a part of the largest correlation."""
    own = centred(x, y)
    q = own.x.T @ own.y / len(x)
    return float(violation(w, q - own.x.T @ (own.x @ w) / len(x), alpha) / q.abs().max())


@given(st.integers(5, 60), st.integers(1, 40), st.integers(0, 999), st.floats(0, 3))
@settings(deadline=None, max_examples=60)
def test_every_kink_and_every_point_between_is_optimal(count, features, seed, shared):
    x, y = rows(count, features, seed, shared)
    path = lasso_path(x, y)
    top = float(path.alphas[0])
    assert (path.alphas.diff() <= 0).all()
    for alpha, w in zip(path.alphas.tolist(), path.weights, strict=True):
        assert conditions(x, y, w, alpha) < 1e-7
    for alpha in torch.linspace(1e-3 * top, top, 7, dtype=torch.float64).tolist():
        assert conditions(x, y, path.at(alpha).weight[0], alpha) < 1e-7


def test_the_path_begins_empty_and_is_sparse():
    x, y = rows(100, 30)
    path = lasso_path(x, y)
    own = centred(x, y)
    assert float(path.alphas[0]) == pytest.approx(float((own.x.T @ own.y / 100).abs().max()))
    counts = (path.weights != 0).sum(1)
    assert counts[0] == 0
    assert counts.diff().abs().max() == 1  # one feature joins or leaves at each kink
    strong = path.at(0.2 * float(path.alphas[0])).weight[0]
    assert strong.nonzero()[:, 0].tolist() == [0, 1, 2]
    assert torch.equal(path.at(2 * float(path.alphas[0])).weight, torch.zeros(1, 30, dtype=torch.float64))


def test_the_path_ends_in_least_squares():
    x, y = rows(50, 8)
    path, full = lasso_path(x, y), least_squares(x, y)
    assert float(path.alphas[-1]) == 0
    assert torch.allclose(path.weights[-1], full.weight[0])
    assert torch.allclose(path.at(0.0).bias, full.bias)


def test_more_features_than_rows_end_in_interpolation():
    x, y = rows(20, 60)
    end = lasso_path(x, y).at(0.0)
    assert torch.allclose(end(x)[:, 0], y, atol=1e-8)
    assert int((end.weight != 0).sum()) <= 19


def test_a_feature_leaves_exactly_and_returns_with_the_other_sign():
    """On the diabetes data of Efron et al., whose seventh variable does so."""
    train = load_table("diabetes", task="regress", val_fraction=0, test_fraction=0).train
    x = train.values - train.values.mean(0)
    path = lasso_path(x / torch.linalg.vector_norm(x, dim=0), train.target)
    assert len(path.alphas) == 13
    signs = path.weights[:, 6].sign().unique_consecutive().tolist()
    assert signs == [0, -1, 0, 1]


def test_copies_of_a_feature_wait_for_each_other():
    x, y = rows(40, 5)
    path = lasso_path(torch.cat([x, x[:, :2]], 1), y)
    single = lasso_path(x, y)
    for alpha in (0.5, 0.1, 0.01):
        both = path.at(alpha).weight[0]
        assert torch.allclose(both[:5] + torch.cat([both[5:], torch.zeros(3)]), single.at(alpha).weight[0], atol=1e-8)


@pytest.mark.parametrize("method", ["coordinate", "ista", "fista"])
@pytest.mark.parametrize("alpha", [0.5, 0.05])
def test_every_method_finds_the_same_point(method, alpha):
    x, y = rows(60, 12, shared=1.0)
    found, exact = lasso(x, y, alpha=alpha, method=method), lasso(x, y, alpha=alpha)
    assert torch.allclose(found.weight, exact.weight, atol=1e-7)
    assert torch.equal(found.weight == 0, exact.weight == 0)
    assert torch.allclose(found.bias, exact.bias, atol=1e-6)


def test_weights_are_repetitions():
    x, y = rows(30, 6)
    counts = torch.randint(1, 4, (30,), generator=torch.Generator().manual_seed(2))
    weighted = lasso_path(x, y, weights=counts.double())
    repeated = lasso_path(x.repeat_interleave(counts, 0), y.repeat_interleave(counts))
    assert torch.allclose(weighted.alphas, repeated.alphas)
    assert torch.allclose(weighted.weights, repeated.weights)


def test_what_has_no_answer_is_refused():
    x, y = rows(30, 6)
    with pytest.raises(GradusError, match="cannot be negative, got -1"):
        lasso(x, y, alpha=-1.0)
    with pytest.raises(GradusError, match="cannot be negative, got nan"):
        lasso_path(x, y, min_alpha=math.nan)
    with pytest.raises(GradusError, match="follow it down to"):
        lasso_path(x, y, min_alpha=0.1).at(0.05)
    with pytest.raises(GradusError, match="did not converge in 3 sweeps"):
        lasso(x, y, alpha=0.01, method="ista", max_sweeps=3)


def test_targets_that_are_constant_or_unrelated_give_nothing():
    x, _ = rows(20, 4)
    path = lasso_path(x, torch.full((20,), 5.0, dtype=torch.float64))
    assert torch.equal(path.at(0.0).weight, torch.zeros(1, 4, dtype=torch.float64))
    assert float(path.at(1.0).bias) == pytest.approx(5)
