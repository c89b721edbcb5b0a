"""Our update rules beside `torch.optim`, fused and foreach, on the parameters of a ResNet-20.

Only the update is timed: fixed gradients, no forward or backward. It is for information: what an update costs is a
few per cent of a step. Both sides make the same steps, and their parameters are compared afterwards.
"""

from typing import Any

import torch
from torch import Tensor

from bench.turns import Advance, interleave, milliseconds, paired
from gradus.optim.rule import make
from gradus.vision import models

__all__ = ["optimisers", "ours", "theirs"]

PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}),
    "adam": ("Adam", {"lr": 1e-3}),
    "adamw": ("AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
}


def optimisers(rounds: int = 40, chunk: int = 25, model: str = "resnet20", seed: int = 0) -> dict[str, float]:
    """Time of torch's optimisers over ours, `<rule>_fused` and `<rule>_foreach`; above 1 ours is quicker.

    Args:
        rounds: how many are kept.
        chunk: updates of a turn.
        model: whose parameters are updated.
        seed: of parameters and gradients.
    """
    torch.manual_seed(seed)
    params = [p.detach() for p in models.build(model, classes=10, channels=3, image_size=32).parameters()]
    grads = [torch.randn_like(p) * 1e-2 for p in params]
    found: dict[str, float] = {}
    for name, (peer, settings) in PEERS.items():
        held = {side: [p.clone() for p in params] for side in ("ours", "fused", "foreach")}
        sides = {"ours": ours(name, settings, held["ours"], grads)}
        for kind in ("fused", "foreach"):
            sides[kind] = theirs(peer, {**settings, kind: True}, held[kind], [g.clone() for g in grads])
        times = interleave(sides, chunk=chunk, rounds=rounds)
        for kind in ("fused", "foreach"):
            far = max(float((a - b).abs().max()) for a, b in zip(held["ours"], held[kind], strict=True))
            assert far < 1e-4, f"{name}: ours and torch's {kind} one end {far} apart"
            found |= paired(times, kind, "ours", f"{name}_{kind}")
            found[f"{name}_{kind}_difference"] = far
        found |= {f"{name}_{key}": value for key, value in milliseconds(times).items()}
    return found


def ours(name: str, settings: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> Advance:
    """Return what makes updates of parameters by our rule."""
    rule = make(name, **settings)
    state = rule.init(params)

    def advance(steps: int) -> None:
        for _ in range(steps):
            rule.update(params, grads, state, rule.lr)

    return advance


def theirs(name: str, settings: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> Advance:
    """Return what makes updates of parameters by torch's class."""
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer = getattr(torch.optim, name)(params, **settings)

    def advance(steps: int) -> None:
        for _ in range(steps):
            optimizer.step()

    return advance
