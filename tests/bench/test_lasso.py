"""The lasso benchmark runs, both sides follow the same path, and nothing is said about time."""

import math

import pytest

pytest.importorskip("sklearn")

from bench import lasso


def test_both_sides_follow_the_same_path():
    found = lasso.path(rounds=2, cases=["diabetes", "wide"])
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    assert found["difference"] < 1e-9
    assert found["ratio"] == max(found["ratio_diabetes"], found["ratio_wide"])
    assert found["diabetes_kinks"] == 13


def test_another_path_is_refused(monkeypatch):
    honest = lasso.lasso_path
    monkeypatch.setattr(lasso, "lasso_path", lambda x, y, **settings: honest(x, y + x[:, 0], **settings))
    with pytest.raises(AssertionError, match="the two paths differ"):
        lasso.path(rounds=2, cases=["diabetes"])
