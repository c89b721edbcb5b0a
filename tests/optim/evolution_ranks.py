"""What every process of the distributed test does: a strategy over its share of the population.

WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=… python -m optim.evolution_ranks FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.evolution.distributed import DistributedES
from gradus.optim.rule import make
from gradus.optim.surfaces import rosenbrock

__all__ = ["CASES", "GENERATIONS", "search", "walk"]

GENERATIONS = 12
# dtype, population size (shares of 2 workers: equal, unequal, more than one chunk of noise), rule
CASES: dict[str, tuple[torch.dtype, int, str]] = {
    "adam": (torch.float64, 12, "adam"),
    "unequal": (torch.float64, 14, "momentum"),
    "large": (torch.float32, 150, "adam"),
}


def search(name: str, seed: int = 4, **place: int) -> DistributedES:
    """Return a case's strategy, before its first generation."""
    dtype, popsize, rule = CASES[name]
    start, dice = torch.linspace(-1, 1, 7, dtype=dtype), torch.Generator().manual_seed(seed)
    return DistributedES(start, 0.1, popsize, dice, rule=make(rule, lr=0.02), **place)


def walk(strategy: DistributedES) -> dict[str, Tensor]:
    """Return θ of every generation, and the best point with its value."""
    path = []
    for _ in range(GENERATIONS):
        strategy.tell(rosenbrock(strategy.ask()))
        path.append(strategy.mean)
    value = torch.tensor(strategy.best.value, dtype=torch.float64)
    return {"path": torch.stack(path), "best": strategy.best.x, "value": value}


def main(home: Path) -> None:
    """Run every case; each rank writes what it found, and what it said to a worker with another seed."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    for name in CASES:
        save_file(walk(search(name)), home / f"{name}-{rank}.safetensors")
    odd = search("adam", seed=rank)
    try:
        odd.tell(rosenbrock(odd.ask()))
    except GradusError as error:
        (home / f"refusal-{rank}").write_text(str(error), encoding="utf-8")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
