"""Killed by `kill -9` and resumed, a training ends with the same bits: two kills each here; evidence has more."""

from pathlib import Path

import pytest

from resume import killing


def test_classification_survives_kills(tmp_path: Path) -> None:
    """Channels-last, fused, averaged, augmented, stopped early: started anew each time, as users do."""
    found = killing.kill_and_resume("classify", kills=2, seed=1, home=tmp_path)
    assert found["identical"], found
    assert found["kills"] == 2, found
    assert found["compared_tensors"] > 60
    assert found["compared_rows"] > 60


@pytest.mark.parametrize("case", ["gan", "maml", "ppo", "cfr"])
def test_strangers_survive_kills(case: str, tmp_path: Path) -> None:
    found = killing.kill_and_resume(case, kills=2, seed=2, home=tmp_path, forked=True)
    assert found["identical"], found
    assert found["kills"] == 2, found
    assert found["compared_rows"] > 15


def test_the_harness_sees_a_resume_that_is_not_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = killing.CASES["gan"].first
    monkeypatch.setitem(killing.CASES, "forgetful", killing.Case("resume.forgetful", words, words, 240))
    found = killing.kill_and_resume("forgetful", kills=1, seed=0, home=tmp_path, forked=True)
    assert found["kills"] == 1, found
    assert not found["tensors"]
    assert not found["metrics"]
    assert not found["identical"]
