"""Workers that share seeds and exchange values hold the same θ to the last bit, which is one process's θ."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gradus.errors import GradusError
from gradus.optim import DistributedES
from gradus.optim.surfaces import rosenbrock, sphere
from optim import evolution_ranks as ranks

TESTS = Path(__file__).resolve().parents[1]
WORLD = 2


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let two gloo processes run every case; return where their findings are."""
    home = tmp_path_factory.mktemp("evolution")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "WORLD_SIZE": str(WORLD), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(TESTS), **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "optim.evolution_ranks", str(home)]
    started = [
        subprocess.Popen(
            command, env={**os.environ, **common, "RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    try:
        told = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * WORLD, "\n".join(told)[-4000:]
    return home


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.CASES)
def test_two_processes_walk_as_one_bit_for_bit(name: str, joint: Path) -> None:
    alone = ranks.walk(ranks.search(name))
    for rank in range(WORLD):
        found = load_file(joint / f"{name}-{rank}.safetensors")
        assert {key: torch.equal(found[key], alone[key]) for key in alone} == dict.fromkeys(alone, True)
    path = alone["path"]
    assert float((path[-1] - path[0]).abs().max()) > 1e-2, "nothing moved, so nothing was compared"
    assert float(alone["value"]) < float(rosenbrock(path[0]))


@pytest.mark.slow
def test_workers_with_other_seeds_are_found_out(joint: Path) -> None:
    for rank in range(WORLD):
        assert "seeds or generations differ" in (joint / f"refusal-{rank}").read_text(encoding="utf-8")


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ranks.CASES)
def test_one_process_can_play_any_number_of_workers(name: str, world: int) -> None:
    alone, workers = ranks.search(name), [ranks.search(name, rank=rank, world=world) for rank in range(world)]
    assert sum(worker.popsize for worker in workers) == alone.popsize
    for _ in range(4):
        values = torch.cat([rosenbrock(worker.ask()) for worker in workers])
        for worker in workers:
            worker.tell_all(values)
        alone.tell(rosenbrock(alone.ask()))
        assert all(torch.equal(worker.mean, alone.mean) for worker in workers)
        assert all(torch.equal(worker.best.x, alone.best.x) for worker in workers)


def test_nothing_but_values_and_a_seed_is_exchanged() -> None:
    sent: list[torch.Tensor] = []

    def gather(mine: torch.Tensor) -> list[torch.Tensor]:
        sent.append(mine.clone())
        return [mine, mine]

    strategy = DistributedES(torch.zeros(1000), 0.1, 8, dice(), rank=0, world=2, gather=gather)
    values = sphere(strategy.ask())
    strategy.tell(values)
    assert [len(message) for message in sent] == [4 + 2]
    assert torch.equal(sent[0][:4].float(), values)


def test_a_state_of_two_workers_goes_on_with_three() -> None:
    first = [ranks.search("adam", rank=rank, world=2) for rank in range(2)]
    alone = ranks.search("adam")

    def generation(workers: list[DistributedES]) -> None:
        values = torch.cat([rosenbrock(worker.ask()) for worker in workers])
        for worker in workers:
            worker.tell_all(values)

    generation(first)
    second = [ranks.search("adam", seed=8, rank=rank, world=3) for rank in range(3)]
    for worker in second:
        worker.load_state_dict(first[1].state_dict())
    generation(second)
    for _ in range(2):
        generation([alone])
    assert all(torch.equal(worker.mean, alone.mean) for worker in second)


def test_the_estimate_points_down_the_slope() -> None:
    """f(x) = aᵀx: with many pairs the gradient's direction is a."""
    slope = torch.linspace(-1, 2, 6, dtype=torch.float64)
    strategy = DistributedES(torch.zeros(6, dtype=torch.float64), 0.1, 4000, dice(), rule=ranks.make("sgd", lr=1.0))
    strategy.tell(strategy.ask() @ slope)
    assert float(torch.cosine_similarity(strategy.mean, -slope, dim=0)) > 0.998


def test_noise_is_fresh_in_every_pair_and_generation_and_normal() -> None:
    strategy = DistributedES(torch.zeros(50, dtype=torch.float64), 0.1, 200, dice())
    drawn = []
    for _ in range(10):
        drawn.append(strategy.noise(range(100)))
        strategy.tell(sphere(strategy.ask()))
    rows = torch.cat(drawn)
    assert len(rows.unique(dim=0)) == 1000
    correlation = torch.corrcoef(rows)
    assert float((correlation - torch.eye(1000, dtype=torch.float64)).abs().max()) < 0.75
    assert float(rows.mean()) == pytest.approx(0, abs=0.02)
    assert float(rows.square().mean()) == pytest.approx(1, abs=0.03)
    assert float(rows.pow(4).mean()) == pytest.approx(3, abs=0.2)


def test_mistakes_are_told_in_a_sentence() -> None:
    start = torch.zeros(3)
    with pytest.raises(GradusError, match="must share their seeds"):
        DistributedES(start, 0.1, world=2, rank=0)
    with pytest.raises(GradusError, match="rank=2 is not one of the 2"):
        DistributedES(start, 0.1, generator=dice(), world=2, rank=2)
    with pytest.raises(GradusError, match="popsize=4 is too small; give at least 6"):
        DistributedES(start, 0.1, 4, dice(), world=3, rank=0)
