"""Our linear models against scikit-learn's: the same coefficients from the same rows."""

import numpy as np
import pytest
import torch

from gradus.tabular.lasso_homotopy import lasso_path
from gradus.tabular.lasso_solvers import lasso
from gradus.tabular.linear import least_squares, ridge
from gradus.tabular.logistic_regression import logistic, softmax
from gradus.tabular.measures import of_classes, of_numbers

datasets = pytest.importorskip("sklearn.datasets")
linear_model = pytest.importorskip("sklearn.linear_model")
metrics = pytest.importorskip("sklearn.metrics")
preprocessing = pytest.importorskip("sklearn.preprocessing")

TOLERANCE = 1e-6


def standardised(load):
    x, y = load(return_X_y=True)
    return preprocessing.StandardScaler().fit_transform(x), y


def near(ours, theirs, tolerance=TOLERANCE):
    return float(np.abs(np.asarray(ours.detach()) - theirs).max()) <= tolerance * max(1.0, float(np.abs(theirs).max()))


def weights_of(count):
    return torch.rand(count, generator=torch.Generator().manual_seed(0)).double() + 0.1


@pytest.fixture
def diabetes():
    return standardised(datasets.load_diabetes)


@pytest.mark.parametrize("weighted", [False, True])
def test_least_squares_and_ridge(diabetes, weighted):
    x, y = diabetes
    w = weights_of(len(y)) if weighted else None
    sample = None if w is None else w.numpy()
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    pairs = [
        (least_squares(tx, ty, weights=w), linear_model.LinearRegression()),
        (ridge(tx, ty, alpha=0.1, weights=w), linear_model.Ridge(0.1)),
        (ridge(tx, ty, alpha=100.0, weights=w), linear_model.Ridge(100.0)),
    ]
    for ours, peer in pairs:
        theirs = peer.fit(x, y, sample_weight=sample)
        assert near(ours.weight[0], theirs.coef_)
        assert near(ours.bias, theirs.intercept_)


@pytest.mark.parametrize("method", ["path", "coordinate", "ista", "fista"])
@pytest.mark.parametrize("alpha", [0.1, 5.0])
def test_lasso(diabetes, alpha, method):
    x, y = diabetes
    theirs = linear_model.Lasso(alpha, tol=1e-14, max_iter=1_000_000).fit(x, y)
    ours = lasso(torch.from_numpy(x), torch.from_numpy(y), alpha=alpha, method=method)
    assert near(ours.weight[0], theirs.coef_)
    assert near(ours.bias, theirs.intercept_)
    assert np.array_equal(ours.weight[0].detach().numpy() == 0, theirs.coef_ == 0)


@pytest.mark.parametrize(("rows", "features"), [(442, 10), (200, 60), (40, 80)])
def test_the_lasso_path(diabetes, rows, features):
    x, y = diabetes
    if features != 10:
        generator = np.random.default_rng(0)
        x = generator.normal(size=(rows, features)) + generator.normal(size=(rows, 1))
        y = x[:, :5].sum(1) + generator.normal(size=rows)
    x, y = x - x.mean(0), y - y.mean()
    alphas, _, coefficients = linear_model.lars_path(x, y, method="lasso", max_iter=10_000)
    path = lasso_path(torch.from_numpy(x), torch.from_numpy(y))
    kept = alphas > 1e-6 * alphas[0]
    for alpha, theirs in zip(alphas[kept], coefficients.T[kept], strict=True):
        assert near(path.at(float(alpha)).weight[0], theirs)
    ours = path.alphas[path.alphas > 1e-6 * path.alphas[0]].numpy()
    assert np.allclose(ours, alphas[kept], rtol=1e-8)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_logistic(alpha, weighted):
    x, y = standardised(datasets.load_breast_cancer)
    w = weights_of(len(y)) if weighted else None
    peer = linear_model.LogisticRegression(C=1 / alpha, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    theirs = peer.fit(x, y, sample_weight=None if w is None else w.numpy())
    ours = logistic(torch.from_numpy(x), torch.from_numpy(y), alpha=alpha, weights=w)
    assert near(ours.weight[1], theirs.coef_[0])
    assert near(ours.bias[1], theirs.intercept_[0])


@pytest.mark.parametrize("load", [datasets.load_iris, datasets.load_wine])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax(load, weighted):
    x, y = standardised(load)
    w = weights_of(len(y)) if weighted else None
    peer = linear_model.LogisticRegression(C=1, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    theirs = peer.fit(x, y, sample_weight=None if w is None else w.numpy())
    ours = softmax(torch.from_numpy(x), torch.from_numpy(y), weights=w)
    assert near(ours.weight, theirs.coef_)
    assert near(ours.bias, theirs.intercept_)


def test_measures():
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(200, 2, generator=generator), torch.randint(2, (200,), generator=generator)
    found = of_classes(scores, labels, "t")
    guesses, odds = scores.argmax(1), scores[:, 1] - scores[:, 0]
    assert found["t/auc"] == pytest.approx(metrics.roc_auc_score(labels, odds))
    assert found["t/f1"] == pytest.approx(metrics.f1_score(labels, guesses, average="macro"))
    assert found["t/loss"] == pytest.approx(metrics.log_loss(labels, scores.double().softmax(1)))
    predicted, target = torch.randn(2, 100, generator=generator)
    numbers = of_numbers(predicted, target, "t")
    assert numbers["t/r2"] == pytest.approx(metrics.r2_score(target, predicted), abs=1e-6)
    assert numbers["t/mae"] == pytest.approx(metrics.mean_absolute_error(target, predicted), abs=1e-6)
