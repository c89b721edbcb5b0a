"""What every test stands on: shapes checked at run time, no network, runs in a folder of the test's own."""

import os
from pathlib import Path

import pytest

os.environ["GRADUS_OFFLINE"] = "1"
os.environ.pop("GRADUS_RUNS", None)

from jaxtyping import install_import_hook

if not os.environ.get("GRADUS_UNCHECKED"):
    install_import_hook("gradus", "tests_typecheck.check")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in its own folder, so that `./runs` is nobody else's."""
    monkeypatch.chdir(tmp_path)
