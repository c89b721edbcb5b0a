"""Our decision trees against scikit-learn's: the same numbers, and the same accuracy over many splits."""

import statistics

import numpy as np
import pytest
import torch

from gradus.tabular.decision_tree import tree

datasets = pytest.importorskip("sklearn.datasets")
selection = pytest.importorskip("sklearn.model_selection")
peer = pytest.importorskip("sklearn.tree")

SPLITS = 20


@pytest.mark.parametrize("criterion", ["gini", "entropy"])
@pytest.mark.parametrize("load", [datasets.load_iris, datasets.load_breast_cancer])
def test_accuracy(load, criterion):
    """The mean difference over splits is within three of its standard errors, theirs drawing among equal questions."""
    x, y = load(return_X_y=True)
    differences, leaves = [], []
    for seed in range(SPLITS):
        train, test, known, asked = selection.train_test_split(x, y, random_state=seed, stratify=y, test_size=0.3)
        ours = tree(torch.from_numpy(train), torch.from_numpy(known), criterion=criterion)
        theirs = peer.DecisionTreeClassifier(criterion=criterion, random_state=seed).fit(train, known)
        guesses = ours(torch.from_numpy(test)).argmax(1).numpy()
        differences.append(float((guesses == asked).mean() - theirs.score(test, asked)))
        leaves.append(ours.leaves - theirs.get_n_leaves())
    noise = statistics.stdev(differences) / SPLITS**0.5
    assert abs(statistics.mean(leaves)) < 1
    assert statistics.mean(differences) >= -3 * noise - 0.002


@pytest.mark.parametrize("settings", [{"max_depth": 3}, {"max_depth": 5, "min_leaf": 7}])
def test_numbers_are_predicted_alike(settings):
    x, y = datasets.load_diabetes(return_X_y=True)
    ours = tree(torch.from_numpy(x), torch.from_numpy(y), **settings)
    model = peer.DecisionTreeRegressor(max_depth=settings["max_depth"], min_samples_leaf=settings.get("min_leaf", 1))
    theirs = model.fit(x, y)
    assert np.allclose(ours(torch.from_numpy(x))[:, 0].detach().numpy(), theirs.predict(x))
    assert np.allclose(ours.importance().numpy(), theirs.feature_importances_)


def test_the_weighted_root_is_the_same():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    weights = np.where(y == 1, 0.2, 3.0)
    ours = tree(torch.from_numpy(x), torch.from_numpy(y), max_depth=1, weights=torch.from_numpy(weights))
    theirs = peer.DecisionTreeClassifier(max_depth=1).fit(x, y, sample_weight=weights).tree_
    assert int(ours.feature[0]) == theirs.feature[0]
    assert float(ours.threshold[0]) == pytest.approx(theirs.threshold[0], rel=1e-5)
    inside = sum(theirs.weighted_n_node_samples[i] * theirs.impurity[i] for i in (1, 2))
    assert float(ours.gain[0]) == pytest.approx(theirs.impurity[0] - inside / theirs.weighted_n_node_samples[0])
