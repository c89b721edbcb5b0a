"""Where and how a run computes: device, precision, compilation, and the ranks of a distributed run.

One process is the normal case. Under `torchrun` the environment says so, and the same code joins the process group:
gloo on CPUs, nccl on GPUs. Replicas agree because the Updater averages gradients over the ranks; `shard` applies FSDP2.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradus.errors import GradusError, nearest

__all__ = ["PRECISIONS", "Machine", "Ranks", "pick_device"]

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """Return the device a user's word means; `auto` is the best there is.

    Raises:
        GradusError: if the word is unknown or the device is absent.
    """
    kind = name.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
    if kind not in there:
        raise GradusError(f"there is no device {name!r}{nearest(kind, ['auto', *there])}")
    if not there[kind]:
        raise GradusError(f"--device {name} was asked for, but this machine has no {kind.upper()}: use --device auto")
    if kind == "cuda" and ":" in name and int(name.split(":")[1]) >= torch.cuda.device_count():
        raise GradusError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices, from cuda:0")
    return torch.device(name)


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of a distributed run."""

    rank: int = 0
    world: int = 1
    local: int = 0
    device: str = "cpu"

    @classmethod
    def join(cls, device: torch.device) -> "Ranks":
        """Return the ranks that `torchrun` set up, joining the process group; one rank when there is none."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return cls(dist.get_rank(), world, local, f"cuda:{local}" if device.type == "cuda" else "cpu")

    def average(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the ranks, in place."""
        if self.world > 1:
            import torch.distributed as dist

            dist.all_reduce(values)
            values /= self.world
        return values

    def gather(self, state: Any) -> list[Any]:
        """Return every rank's state, the first rank's first; each must call it."""
        if self.world == 1:
            return [state]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, state)
        return found

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        if self.world == 1:
            return flag
        return bool(self.average(torch.tensor(float(flag), device=self.device)).item() > 0)

    def broadcast(self, module: nn.Module) -> None:
        """Copy the first rank's parameters and buffers to every rank."""
        if self.world > 1:
            import torch.distributed as dist

            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.data, src=0)

    def barrier(self) -> None:
        """Wait for every rank."""
        if self.world > 1:
            import torch.distributed as dist

            dist.barrier()


class Machine:
    """The device, precision and ranks of one run.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        precision: `float32`, `bf16` or `fp16` (autocast; fp16 adds a gradient scaler).
        compile: compile prepared modules with `torch.compile`.
        shard: shard prepared modules over the ranks with FSDP2.

    Raises:
        GradusError: if the device is absent or the precision unknown.
    """

    def __init__(self, device: str = "auto", precision: str = "float32", compile: bool = False, shard: bool = False):
        if precision not in PRECISIONS:
            raise GradusError(f"there is no precision {precision!r}{nearest(precision, PRECISIONS)}")
        self.device = pick_device(device)
        self.ranks = Ranks.join(self.device)
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", self.ranks.local)
            torch.cuda.set_device(self.device)
        self.precision, self.compile, self.shard = precision, compile, shard
        if shard and self.ranks.world == 1:
            raise GradusError(
                "--shard needs several processes: start them with `torchrun --nproc-per-node N -m gradus`"
            )

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context that computes in the run's precision."""
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)  # type: ignore[return-value]

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, agree on it over the ranks, then shard and compile it as the run says.

        Sharding and compilation happen in place, so that state keys never carry a prefix.
        """
        module.to(self.device)
        self.ranks.broadcast(module)
        if self.shard:
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(self.device.type, (self.ranks.world,))
            for child in module.children():
                if any(True for _ in child.parameters()):
                    fully_shard(child, mesh=mesh)
            fully_shard(module, mesh=mesh)
        if self.compile:
            module.compile()
        return module

    def facts(self) -> dict[str, str | int | bool]:
        """Return what decides whether another machine computes the same bits."""
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "device": self.device.type,
            "precision": self.precision,
            "compile": self.compile,
            "world": self.ranks.world,
        }
