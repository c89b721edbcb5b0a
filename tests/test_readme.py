"""The README tells the truth: its Python runs, its commands parse, its numbers are the evidence's."""

import re
from pathlib import Path

from gradus.app.cli import VERBS
from gradus.app.proving import proofs, table
from gradus.engine.recipe import recipe_class

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path):
    training, mathematics = re.findall(r"```python\n(.*?)```", README, re.S)
    space: dict = {"__name__": "readme"}
    exec(compile(training, "README.md", "exec"), space)
    assert space["history"].step == 500
    assert space["history"].last("train/loss") < 0.1
    assert (tmp_path / "runs/mine/checkpoints/step-000500/state.json").exists()
    exec(compile(mathematics, "README.md", "exec"), space)
    assert space["found"].success
    assert space["found"].fun < 1e-6
    assert space["strategy"].best.value < 1e-6
    assert abs(space["orbit"][-1][0] + 1) < 1e-4
    assert space["chains"].summary.rhat.max() < 1.05


def test_every_command_of_the_readme_exists():
    words = [line.split()[1:] for line in re.findall(r"^(?:\$ )?(gradus [^\n#]+)", README, re.M)]
    assert len(words) >= 8
    for command in words:
        assert command[0] in VERBS, command
        if command[0] in ("train", "cross-validate") and not command[1].startswith("--"):
            fields = {f"--{name.replace('_', '-')}" for name in recipe_class(command[1]).__dataclass_fields__}
            flags = {word for word in command if word.startswith("--")}
            assert flags <= fields | {"--name", "--from", "--seeds", "--ensemble"}, flags - fields


def test_the_table_of_evidence_is_the_evidence():
    shown = re.search(r"<!-- evidence -->\n(.*?)<!-- /evidence -->", README, re.S)
    assert shown is not None
    assert shown[1].strip() == table().strip()


def test_every_proof_is_well_formed():
    for proof in proofs().values():
        assert bool(proof.train) != bool(proof.measure), proof.id
        assert proof.bars, proof.id
        for condition in proof.bars.values():
            assert re.fullmatch(r"(>=|<=) [0-9.e-]+", condition), (proof.id, condition)
        for path in proof.depends:
            assert (Path(__file__).parents[1] / path).exists(), (proof.id, path)
        if proof.train:
            recipe_class(proof.train.split()[0])


def test_pending_lists_what_has_no_evidence():
    home = Path(__file__).parents[1] / "evidence"
    pending = (home / "PENDING.md").read_text(encoding="utf-8")
    for id in proofs():
        assert (home / f"{id}.json").exists() != (f"`{id}`" in pending), id
