"""Evidence: claims are judged against their bars, written from a clean tree only, and shown stale when they are."""

import json
import subprocess

import pytest

from gradus.app import proving
from gradus.app.proving import Proof, judge, measured

CLAIM = """
[area.sum]
claim = "one and one is two"
measure = "measuring:total"
arguments = { a = 1, b = 1 }
short = { b = 2 }
bars = { "sum" = ">= 2" }
depends = ["measuring.py"]
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a source tree of its own under git, with one claim."""

    tmp_path = tmp_path / "tree"

    def git(*words):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=tmp_path, check=True)

    (tmp_path / "evidence").mkdir(parents=True)
    (tmp_path / "evidence" / "proofs.toml").write_text(CLAIM)
    (tmp_path / "measuring.py").write_text("def total(a, b):\n    return {'sum': a + b}\n")
    (tmp_path / "README.md").write_text("before\n<!-- evidence -->\nNothing yet.\n<!-- /evidence -->\nafter\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "claims")
    monkeypatch.setattr(proving, "root", lambda: tmp_path)
    return tmp_path, git


def test_a_claim_is_proven_written_and_shown_stale(tree, cli):
    home, git = tree
    assert "pending" in cli("prove").out
    found = cli("prove", "area/sum", "--json")
    assert found.code == 0
    body = json.loads((home / "evidence/area/sum.json").read_text())
    assert body["values"] == {"sum": 2}
    assert body["passed"]
    assert len(body["commit"]) == 40
    assert "one and one is two" in (home / "README.md").read_text()
    assert (home / "README.md").read_text().startswith("before")
    assert "proven" in cli("prove").out
    (home / "measuring.py").write_text("def total(a, b):\n    return {'sum': a * b}\n")
    git("commit", "-qam", "another way")
    assert "stale" in cli("prove").out


def test_a_changed_tree_writes_no_evidence(tree, cli):
    home, _ = tree
    (home / "measuring.py").write_text("def total(a, b):\n    return {'sum': 3}\n")
    found = cli("prove", "area/sum")
    assert found.code == 2
    assert "clean tree" in found.err
    assert not (home / "evidence/area").exists()


def test_the_short_form_writes_nothing(tree, cli):
    home, _ = tree
    assert cli("prove", "area/sum", "--short", "--json").code == 0
    assert not (home / "evidence/area").exists()


def test_an_unknown_claim_suggests_the_nearest(tree, cli):
    assert "did you mean 'area/sum'" in cli("prove", "area/sun").err


def test_bars_are_conditions():
    proof = Proof("a/b", "c", {"x": ">= 1", "y": "<= 2"}, train="t")
    assert judge(proof, {"x": 1.0, "y": 2.0}) == {"x": True, "y": True}
    assert judge(proof, {"x": 0.9, "y": 2.1}) == {"x": False, "y": False}


def test_a_proof_by_training_lists_every_seed():
    proof = Proof("a/b", "c", {}, train="vision/classify --max-steps 3 --quiet", seeds=(3, 5))
    found = measured(proof, False, None)
    assert found["seeds"].keys() == {"3", "5"}
    mean = sum(run["test/accuracy"] for run in found["seeds"].values()) / 2
    assert found["values"]["test/accuracy"] == pytest.approx(mean)
