"""A trained run for the tests of the verbs, and a way to call the command line in this process."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from gradus.app.cli import main


@pytest.fixture
def cli(capsys):
    """Return a function that runs one command and gives its exit code, output and errors."""

    def call(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        lines = out.strip().splitlines()
        data = json.loads(out) if "--json" in words and code == 0 and len(lines) == 1 else None
        return SimpleNamespace(code=code, out=out, err=err, json=data)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Return the folder of a small finished run on the embedded digits."""
    home = tmp_path_factory.mktemp("trained")
    words = ["train", "vision/classify", "--max-epochs", "4", "--name", "small", "--runs-dir", str(home), "--quiet"]
    assert main(words) == 0
    return home / "small"
