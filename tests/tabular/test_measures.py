"""What predictions of a table are worth, in cases that can be counted by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.tabular.measures import auc, of_classes, of_numbers


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(pairs):
    scores = torch.tensor([float(score) for score, _ in pairs])
    labels = torch.tensor([int(positive) for _, positive in pairs])
    ones, zeros = scores[labels == 1], scores[labels == 0]
    found = auc(scores, labels)
    if not len(ones) or not len(zeros):
        assert found != found
        return
    wins = (ones[:, None] > zeros).double() + 0.5 * (ones[:, None] == zeros)
    assert found == pytest.approx(float(wins.mean()))


def test_numbers():
    found = of_numbers(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([1.0, 3.0, 5.0]), "val")
    assert found == pytest.approx({"val/mse": 1 / 3, "val/mae": 1 / 3, "val/r2": 1 - 1 / 8})
    assert "val/r2" not in of_numbers(torch.ones(2), torch.ones(2), "val")


def test_classes():
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    found = of_classes(scores, torch.tensor([0, 1, 1]), "test")
    assert found["test/accuracy"] == pytest.approx(2 / 3)
    assert found["test/f1"] == pytest.approx(2 / 3)
    assert found["test/auc"] == pytest.approx(0.5)
    assert set(of_classes(scores, torch.zeros(3, dtype=torch.int64), "test")) == {
        "test/loss",
        "test/accuracy",
        "test/f1",
    }
