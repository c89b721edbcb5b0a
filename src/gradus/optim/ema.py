"""Exponential moving average of parameters, with a warm-up that forgets the start.

    d_t = min(d, (1 + t) / (10 + t)),     θ̄ ← d_t θ̄ + (1 − d_t) θ      (t counts the updates made before)

The means and variances that batch normalisation keeps belong to the weights of the moment; under averaged weights,
while the learning rate is high, they are so wrong that a good network looks like a bad one. Averaged alike they fit.

References:
    Polyak and Juditsky 1992, Acceleration of stochastic approximation by averaging.
    Tarvainen and Valpola 2017, Mean teachers are better role models.
Deviations:
    The averages of half-precision parameters are kept in float32: at d = 0.999 bfloat16 would round every update away.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.optim.rule import State, restore
from gradus.optim.settings import inside

__all__ = ["EMA", "running_statistics"]

STATISTICS = ("running_mean", "running_var")


class EMA:
    """Averages of a list of tensors, held beside them in the same strides.

    Args:
        params: tensors that something else changes in place; the integer ones are copied, not averaged.
        decay: d in [0, 1].
        warmup: follow (1 + t) / (10 + t) while that is below `decay`.

    Raises:
        GradusError: for a decay out of range.
    """

    def __init__(self, params: Iterable[Tensor], decay: float = 0.999, warmup: bool = True) -> None:
        self.decay = inside("ema", "decay", decay, 0, 1)
        self.warmup = warmup
        self.params = list(params)
        self.updates = 0
        self.shadow = [_average_of(param) for param in self.params]
        self._swapped = False
        self._parts = _parts(self.params, self.shadow)

    def __repr__(self) -> str:
        return f"EMA({len(self.params)} tensors, decay={self.decay}, warmup={self.warmup}, updates={self.updates})"

    def rate(self) -> float:
        """Return d_t of the next update."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay

    def update(self) -> None:
        """Move the averages towards the parameters: θ̄ ← d_t θ̄ + (1 − d_t) θ."""
        assert not self._swapped, "the averages are in the parameters' place; leave swap() before update()"
        weight = 1 - self.rate()
        with torch.no_grad():
            for averaged, members in self._parts:
                shadow, params = [self.shadow[i] for i in members], [self.params[i].detach() for i in members]
                if not averaged:
                    for mean, param in zip(shadow, params, strict=True):
                        mean.copy_(param)
                    continue
                if shadow[0].dtype is not params[0].dtype:
                    params = [param.to(mean.dtype) for mean, param in zip(shadow, params, strict=True)]
                torch._foreach_lerp_(shadow, params, weight)
        self.updates += 1

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Put the averages in the parameters' place for the block; what was there comes back bit for bit.

        The parameters keep their addresses, so compiled code and other holders see the averages too.
        """
        if self._swapped:
            raise GradusError("the averages are in the parameters' place already; do not nest swap()")
        held = [param.detach().clone(memory_format=torch.preserve_format) for param in self.params]
        self._swapped = True
        try:
            self._put(self.shadow)
            yield
        finally:
            self._put(held)
            self._swapped = False

    def _put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for param, value in zip(self.params, values, strict=True):
                param.copy_(value)

    def state_dict(self) -> State:
        """Return the averages (the live tensors) and the number of updates."""
        return {"updates": self.updates, "shadow": list(self.shadow)}

    def load_state_dict(self, state: State) -> None:
        """Copy `state` into the live averages, which keep their strides and addresses."""
        live = self.state_dict()
        self.updates = int(restore(live, state)["updates"])


def running_statistics(*modules: nn.Module) -> list[Tensor]:
    """Return the means and variances that the normalisation layers of some modules keep, each once."""
    parts = (part for module in modules for part in module.modules())
    held = (getattr(part, name, None) for part in parts for name in STATISTICS)
    return list({id(tensor): tensor for tensor in held if isinstance(tensor, Tensor)}.values())


def _average_of(param: Tensor) -> Tensor:
    shadow = param.detach().clone(memory_format=torch.preserve_format)
    return shadow.float() if param.dtype in (torch.float16, torch.bfloat16) else shadow


def _parts(params: list[Tensor], shadow: list[Tensor]) -> list[tuple[bool, list[int]]]:
    """Return (whether averaged, indices) of the tensors that one foreach call may take."""
    groups: dict[tuple[torch.device, torch.dtype, bool], list[int]] = {}
    for i, param in enumerate(params):
        sharded = hasattr(param, "device_mesh")
        groups.setdefault((param.device, param.dtype, sharded), []).append(i)
    return [(shadow[members[0]].is_floating_point(), members) for members in groups.values()]
