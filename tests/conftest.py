"""What every test stands on: shapes checked at run time, no network, runs in a folder of the test's own."""

import os
from pathlib import Path

import pytest

os.environ["GRADUS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: more threads only wait for each other
os.environ.pop("GRADUS_RUNS", None)

from jaxtyping import install_import_hook

if not os.environ.get("GRADUS_UNCHECKED"):
    install_import_hook("gradus", "tests_typecheck.check")


SLOW = ("parity", "resume", "bench", "test_distributed.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out: peers to import, processes to start."""
    for item in items:
        if set(item.path.parts) & set(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in its own folder, so that `./runs` is nobody else's."""
    monkeypatch.chdir(tmp_path)
