"""Sharded tensors: rules, clipping and averages act on them as on whole ones (one rank; FSDP2 gives the same type)."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from gradus.errors import GradusError
from gradus.optim.clip import clip_norm_
from gradus.optim.ema import EMA
from gradus.optim.rule import make


@pytest.fixture
def mesh() -> Iterator[object]:
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "name", ["nesterov", "adamw", "rmsprop", "adagrad", "nadam", "noisy_sgd", "arithmetic_momentum"]
)
def test_sharded_parameters_end_where_whole_ones_end(name: str, mesh: object) -> None:
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    def tensors(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((4, 3, 2, 2), (5,), (3, 3))]

    def spread(whole: list[Tensor]) -> list[Tensor]:
        return [distribute_tensor(t, mesh, [Shard(0) if t.dim() > 1 else Replicate()]) for t in whole]

    ends = []
    for sharded in (False, True):
        place = spread if sharded else (lambda whole: whole)
        params = place(tensors(0))
        rule = make(name)
        state, average = rule.init(params), EMA(params)
        for step in range(1, 5):
            grads = place(tensors(step))
            norm = clip_norm_(grads, 0.5)
            assert type(norm) is Tensor
            rule.update(params, grads, state, rule.lr, 0.1)
            average.update()
        with average.swap():
            swapped = [param.clone() for param in params]
        everything = [*params, *average.shadow, *swapped]
        ends.append([t.full_tensor() if sharded else t for t in everything])
        if sharded:
            slots = [(t, p) for slot in rule.slots for t, p in zip(state[slot], params, strict=True)]
            assert all(hasattr(t, "device_mesh") for t, p in slots if t.shape == p.shape)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(*ends, strict=True))


def test_a_learned_rate_refuses_shards(mesh: object) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    with pytest.raises(GradusError, match="without --shard"):
        make("sgd_hd").init([distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)])])
