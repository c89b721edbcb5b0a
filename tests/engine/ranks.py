"""What every process of the distributed test does: small learners over its share of each joint batch, by `fit`.

    WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=… python -m engine.ranks FOLDER

Without these variables it is one process with the joint batch: the reference.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from gradus.data.sources import TensorSource
from gradus.engine import Checkpoint, Run, State, Updater, collect, fit, restore
from gradus.optim.adam import adam
from gradus.optim.sgd import momentum

__all__ = ["CASES", "STEPS", "run_case"]

STEPS = 8


def network(*sizes: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Return a perceptron."""
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1]).to(dtype)


class One:
    """One Updater: classification, with clipping, a schedule and an average."""

    def __init__(self, run: Run, accumulate: int = 1, dropout: float = 0.0) -> None:
        with run.stream("init"):
            self.model = run.prepare(nn.Sequential(network(6, 16, 3), nn.Dropout(dropout)))
        self.update = Updater(
            self.model, adam(0.05), clip=0.7, accumulate=accumulate, ema=0.9, schedule=lambda t: 1 / (1 + t)
        )

    def __repr__(self) -> str:
        return f"One({self.update})"

    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Make one update."""
        return {"loss": self.update(F.cross_entropy(self.model(batch[0]), batch[1])).loss}

    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "update": self.update}

    def state_dict(self) -> State:
        return collect(**self.parts())

    def load_state_dict(self, state: State) -> None:
        restore(state, **self.parts())


class Two(One):
    """Two Updaters that play against each other, the second through both networks, with a penalty on a gradient."""

    def __init__(self, run: Run, accumulate: int = 1, penalty: float = 0.1) -> None:
        with run.stream("init"):
            self.maker = run.prepare(network(6, 12, 6))
            self.judge = run.prepare(network(6, 12, 1))
        self.penalty = penalty
        self.update_maker = Updater(self.maker, adam(0.02), accumulate=accumulate)
        self.update_judge = Updater(self.judge, momentum(0.05), clip=1.0, accumulate=accumulate)

    def step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Make one round."""
        real = batch[0].clone().requires_grad_()
        made = self.maker(real.detach())
        scores = self.judge(real)
        loss = F.softplus(-scores).mean() + F.softplus(self.judge(made.detach())).mean()
        if self.penalty:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            loss = loss + self.penalty * slope.square().sum(1).mean()
        judged = self.update_judge(loss)
        praised = self.update_maker(F.softplus(-self.judge(made)).mean())
        return {"judge_loss": judged.loss, "maker_loss": praised.loss}

    def parts(self) -> dict[str, Any]:
        names = ("maker", "judge", "update_maker", "update_judge")
        return {name: getattr(self, name) for name in names}


CASES: dict[str, Callable[[Run], One]] = {
    "one": One,
    "one, accumulated": lambda run: One(run, accumulate=2),
    "two": Two,
    "two, accumulated": lambda run: Two(run, accumulate=2),
    "sharded one": One,
    "sharded one, accumulated": lambda run: One(run, accumulate=2),
    "sharded two": lambda run: Two(run, penalty=0.0),
    "sharded two, accumulated": lambda run: Two(run, penalty=0.0, accumulate=2),
}


# Cases that are also cut and resumed; the noisy one differs between ranks, so no single process can be its reference.
NOISY: dict[str, Callable[[Run], One]] = {"noisy, accumulated": lambda run: One(run, accumulate=2, dropout=0.3)}
RESUMED = ("two, accumulated", "sharded two, accumulated", *NOISY)


def data() -> tuple[Tensor, Tensor]:
    """Return points (48, 6) and labels."""
    points = torch.randn(48, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return points, (points[:, 0] > 0).long() + (points[:, 1] > 0.5).long()


def whole(value: Any) -> Any:
    """Return a state with sharded tensors gathered."""
    if isinstance(value, dict):
        return {key: whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [whole(part) for part in value]
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def run_case(name: str, home: Path, steps: int = STEPS) -> dict[str, Any]:
    """Train one case in a folder of its own, on from its last checkpoint if there is one; return curves and weights."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    place = home / name.replace(", ", "-").replace(" ", "-")
    settings: dict[str, Any] = {"seed": 3, "device": "cpu", "log_every": 1, "shard": "sharded" in name and world > 1}
    if place.exists() or int(os.environ.get("RANK", "0")):
        while not (place / "recipe.json").exists():
            pass
        run = Run.open(place, **settings)
    else:
        run = Run.create(place, **settings)
    with run:
        learner = {**CASES, **NOISY}[name](run)
        source = TensorSource(data(), batch_size=12, seed=5, rank=run.ranks.rank, world=run.ranks.world)
        history = fit(learner, source, run=run, steps=steps, watchers=[Checkpoint(run, every_steps=3)])
        state = whole(learner.state_dict())
        run.ranks.barrier()
    weights = {
        f"{part}.{key}": tensor.detach().clone()
        for part, held in state.items() if not part.startswith("update") for key, tensor in held.items()
    }  # fmt: skip
    return {"curves": history.metrics, "weights": weights}


def main(home: Path) -> None:
    """Run every case, the sharded ones in two sessions; the first rank writes what came out."""
    torch.set_num_threads(1)
    for name in (*CASES, *NOISY):
        found = run_case(name, home / "runs")
        if name in RESUMED:
            run_case(name, home / "cut", STEPS // 2 + 1)
            resumed = run_case(name, home / "cut")
            pairs = [(key, tensor, found["weights"][key]) for key, tensor in resumed["weights"].items()]
            found["resumed"] = {key: bool(torch.equal(one, two)) for key, one, two in pairs}
        if int(os.environ.get("RANK", "0")) == 0:
            file = home / name.replace(" ", "-").replace(",", "")
            save_file(found.pop("weights"), file.with_suffix(".safetensors"))
            file.with_suffix(".json").write_text(json.dumps(found), encoding="utf-8")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
