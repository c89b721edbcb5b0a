"""Two gloo processes, each with its share, learn what one process learns from the joint batch.

Everything is computed in float64, so the weights agree to 1e-12 and loss curves to 1e-10 relative: the sums over the
batch are taken in another order.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine import ranks

TESTS = Path(__file__).resolve().parents[1]
WORLD = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let two processes run every case; return where their findings are."""
    home = tmp_path_factory.mktemp("joint")
    common = {
        "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    if sys.platform != "linux":
        common.pop("GLOO_SOCKET_IFNAME")
    command = [sys.executable, "-m", "engine.ranks", str(home)]
    started = []
    for rank in range(WORLD):
        env = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    try:
        told = [process.communicate(timeout=240)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * WORLD, "\n".join(told)[-4000:]
    return home


def read(home: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    file = home / name.replace(" ", "-").replace(",", "")
    return json.loads(file.with_suffix(".json").read_text()), load_file(file.with_suffix(".safetensors"))


@pytest.mark.parametrize("name", ranks.CASES)
def test_two_processes_learn_what_one_does(name: str, joint: Path, tmp_path: Path) -> None:
    found, weights = read(joint, name)
    alone = ranks.run_case(name, tmp_path)
    assert found["curves"].keys() == alone["curves"].keys()
    for metric, pairs in alone["curves"].items():
        steps, values = zip(*pairs, strict=True)
        assert [step for step, _ in found["curves"][metric]] == list(steps)
        assert [value for _, value in found["curves"][metric]] == pytest.approx(values, rel=1e-10)
        assert max(values) - min(values) > 1e-3, "nothing was learnt, so nothing was compared"
    assert weights.keys() == alone["weights"].keys()
    for key, tensor in alone["weights"].items():
        torch.testing.assert_close(weights[key], tensor, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ranks.RESUMED)
def test_a_run_of_two_processes_goes_on_from_its_checkpoint(name: str, joint: Path) -> None:
    found, weights = read(joint, name)
    assert found["resumed"].keys() == weights.keys()
    assert all(found["resumed"].values())


def test_one_share_alone_learns_something_else(joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: without the other half of each batch the weights are far off."""
    honest = ranks.TensorSource
    monkeypatch.setattr(ranks, "TensorSource", lambda *a, **k: honest(*a, **{**k, "rank": 0, "world": WORLD}))
    alone = ranks.run_case("one", tmp_path)
    _, weights = read(joint, "one")
    assert max(float((weights[key] - tensor).abs().max()) for key, tensor in alone["weights"].items()) > 1e-4
