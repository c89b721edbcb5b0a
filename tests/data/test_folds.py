"""k-fold cross-validation: scikit-learn's folds, every row tested once, equal contents together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.model_selection import KFold, StratifiedKFold

from gradus.data.registry import load_images
from gradus.data.splits import folds_of, hold_out
from gradus.errors import GradusError


@pytest.mark.parametrize("folds", [2, 3, 5, 7, 10])
def test_the_folds_are_scikit_learns_on_iris(folds):
    labels = torch.from_numpy(load_iris().target).long()[
        torch.randperm(150, generator=torch.Generator().manual_seed(3))
    ]
    found = folds_of(labels, folds)
    for fold, (_, test) in enumerate(StratifiedKFold(folds).split(labels.numpy(), labels.numpy())):
        assert (found == fold).nonzero().squeeze(1).tolist() == test.tolist()


@given(count=st.integers(5, 60), folds=st.integers(2, 5))
def test_one_class_gives_plain_folds(count, folds):
    found = folds_of(torch.zeros(count, dtype=torch.int64), folds)
    expected = torch.empty(count, dtype=torch.int64)
    for fold, (_, test) in enumerate(KFold(folds).split(range(count))):
        expected[torch.from_numpy(test)] = fold
    assert torch.equal(found, expected)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=20, max_size=60), st.integers(2, 5))
def test_every_row_is_held_out_once_and_equal_contents_together(rows, folds):
    contents = [content for _, content in rows]
    labels = torch.tensor([label for label, _ in rows])
    if len(set(contents)) < folds:
        return
    held = [hold_out(labels, contents, folds, fold, seed=7)[1].tolist() for fold in range(folds)]
    assert sorted(row for part in held for row in part) == list(range(len(rows)))
    for part in held:
        assert not {contents[row] for row in part} & {contents[row] for row in range(len(rows)) if row not in part}


def test_more_folds_than_examples_are_refused():
    with pytest.raises(GradusError, match="fewer --folds"):
        folds_of(torch.zeros(3, dtype=torch.int64), 4)


def test_the_folds_of_the_digits_are_disjoint_and_complete():
    parts = [load_images("digits", folds=4, fold=fold, seed=2) for fold in range(4)]
    assert sum(len(part.test) for part in parts) == sum(len(x) for x in (parts[0].train, parts[0].val, parts[0].test))
    seen = torch.cat([part.test.rows for part in parts])
    assert len(seen.unique()) == len(seen)
