"""Random weights for two implementations of one network, in float64 and shared, so that large ones fit in memory."""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from gradus.vision.models import build, torchvision_names

LARGE = 10_000_000


@lru_cache(maxsize=3)
def _large(shape: torch.Size, gain: float) -> Tensor:
    return _draw(shape, gain)


def _draw(shape: torch.Size, gain: float) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).mul_(gain / math.sqrt(math.prod(shape[1:])))


def random_state(model: nn.Module) -> dict[str, Tensor]:
    """Return random values for every parameter and buffer, of scales that keep activations near one."""
    # Normalised networks add branches up and want less; the others halve the variance at every ReLU.
    gain = 0.7 if any(key.endswith("running_var") for key in model.state_dict()) else 1.4
    state = {}
    for key, like in model.state_dict().items():
        if not like.is_floating_point():
            state[key] = torch.ones(like.shape, dtype=like.dtype)
        elif like.ndim >= 2:
            state[key] = (_large if like.numel() > LARGE else _draw)(like.shape, gain)
        elif key.endswith(("weight", "running_var")):
            state[key] = torch.rand(like.shape, dtype=torch.float64) + 0.5
        else:
            state[key] = 0.2 * torch.randn(like.shape, dtype=torch.float64)
    return state


def twins(theirs: Callable[[], nn.Module], name: str, **settings: object) -> tuple[nn.Module, nn.Module]:
    """Return the peer's model and ours with the same random weights, in evaluation mode.

    Loading is strict: a name of theirs that has no place in ours, or the other way round, is an error.
    """
    with torch.device("meta"):
        peer = theirs()
        ours = build(name, **{"classes": 10, **settings})
    assert count(peer) == count(ours)
    state = random_state(peer)
    peer.load_state_dict(state, assign=True)
    mapped = torchvision_names(name, state)
    own = ours.state_dict()
    mapped = {key: value.reshape(own[key].shape) if key in own else value for key, value in mapped.items()}
    ours.load_state_dict(mapped, assign=True)
    return peer.eval(), ours.eval()


def count(model: nn.Module) -> int:
    """Return the number of weights."""
    return sum(p.numel() for p in model.parameters())
