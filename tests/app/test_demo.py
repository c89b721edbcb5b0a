"""`make demo` and `gradus doctor` do what they promise."""

import json
from pathlib import Path

import pytest

from gradus.app import demo


@pytest.mark.slow
def test_the_demo_reaches_97_percent_and_leaves_a_report(cli, capsys):
    assert demo.run() == 0
    assert "done in" in capsys.readouterr().out
    assert Path("runs/demo-1/report.html").stat().st_size > 20_000
    assert cli("evaluate", "demo-1", "--json").json["metrics"]["test/accuracy"] >= 0.97


@pytest.mark.slow
def test_the_doctor_exercises_every_verb_and_finds_them_sound(cli):
    found = cli("doctor", "--json")
    assert found.code == 0, found.out
    assert all(verb["code"] == 0 for verb in found.json["verbs"].values())
    assert found.json["versions"]["torch"] != "missing"


def test_the_doctor_says_what_fails(cli, monkeypatch):
    from gradus.app import doctoring

    monkeypatch.setattr(doctoring, "CHECKS", (("evaluate", "evaluate nobody --runs-dir {home}"),))
    found = cli("doctor", "--json")
    assert found.code == 1
    told = json.loads(found.out)["verbs"]["evaluate"]
    assert "there is no run 'nobody'" in told["error"]
