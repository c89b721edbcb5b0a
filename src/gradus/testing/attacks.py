"""The contract of attacks: what every registered one keeps, on a small convolutional network.

`check_attack` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gradus.testing.explainers import SmallNet, refuses, untouched

__all__ = ["check_attack", "distance"]


def distance(
    adversarial: Float[Tensor, "batch *shape"], inputs: Float[Tensor, "batch *shape"], norm: str
) -> Float[Tensor, " batch"]:
    """Return how far each row was moved, in float64: exact for float32 inputs in the maximum norm.

    Args:
        adversarial: where the rows are now.
        inputs: where they were.
        norm: "linf" or "l2".
    """
    moved = (adversarial.double() - inputs.double()).flatten(1)
    return torch.linalg.vector_norm(moved, ord={"linf": torch.inf, "l2": 2}[norm], dim=1)


def check_attack(attack: Callable[..., Tensor], *, norm: str = "linf", budget: float = 0.1) -> None:
    """Assert the contract of an attack `(fn, inputs, labels, *, eps) -> adversarial`.

    It stays in [0, 1] and in the ball, without any tolerance, in float32 and float64; raises the loss (or lowers it
    towards a target); is repeatable; leaves inputs, model and random state alone; takes any function; returns the
    inputs for eps = 0; refuses labels, inputs and budgets that make no sense.

    Args:
        attack: with settings bound, if it has any without default.
        norm: of its ball, "linf" or "l2".
        budget: an eps under which it ought to raise the loss.

    Raises:
        AssertionError: naming what was broken.
    """
    for dtype in (torch.float32, torch.float64):
        for eps in (8 / 255, 0.1, budget, 0.3, 1e-4, 1 / 3):
            _check_ball(attack, norm, eps, dtype)
    _check_progress(attack, budget)
    _check_repeats(attack, budget)
    _check_refusals(attack, budget)


def _example(dtype: torch.dtype = torch.float64) -> tuple[SmallNet, Float[Tensor, "12 2 8 8"], Int[Tensor, "12"]]:
    model = SmallNet(seed=3, dtype=dtype)
    inputs = torch.rand(12, 2, 8, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    # Half the rows lie on faces of the cube, where staying in [0, 1] and in the ball pull at the same coordinate; the
    # others well inside, where nothing but the ball shortens a step.
    inputs = torch.cat([(inputs[:6] * 1.4 - 0.2).clamp(0, 1), 0.4 + 0.2 * inputs[6:]]).to(dtype)
    with torch.no_grad():
        labels = model(inputs).argmax(1)
    return model, inputs, labels


def _check_ball(attack: Callable[..., Tensor], norm: str, eps: float, dtype: torch.dtype) -> None:
    model, inputs, labels = _example(dtype)
    kept = inputs.clone()
    with untouched(model):
        found = attack(model, inputs, labels, eps=eps)
    assert found.shape == inputs.shape, f"a batch of shape {tuple(inputs.shape)} became {tuple(found.shape)}"
    assert found.dtype == dtype, f"a batch of {dtype} became {found.dtype}"
    assert not found.requires_grad, "the answer still hangs on the graph"
    assert torch.equal(inputs, kept), "the inputs were changed"
    assert not inputs.requires_grad, "the inputs were made to require a gradient"
    assert bool(((found >= 0) & (found <= 1)).all()), "the answer leaves [0, 1]"
    farthest = float(distance(found, inputs, norm).max())
    assert farthest <= eps, f"the answer is {farthest!r} away in {norm}, more than eps = {eps!r}"
    native = float(
        torch.linalg.vector_norm((found - inputs).flatten(1), ord={"linf": torch.inf}.get(norm, 2), dim=1).max()
    )
    assert native <= eps, f"measured in {dtype} the answer is {native!r} away, more than eps = {eps!r}"


def _loss(model: SmallNet, inputs: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float(F.cross_entropy(model(inputs), labels))


def _check_progress(attack: Callable[..., Tensor], budget: float) -> None:
    model, inputs, labels = _example()
    clean = _loss(model, inputs, labels)
    attacked = _loss(model, attack(model, inputs, labels, eps=budget), labels)
    assert attacked > clean, f"the attack moved the loss from {clean:.4f} to {attacked:.4f}, not up"
    if "targeted" in inspect.signature(attack).parameters:
        wanted = (labels + 1) % 3
        clean = _loss(model, inputs, wanted)
        attacked = _loss(model, attack(model, inputs, wanted, eps=budget, targeted=True), wanted)
        assert attacked < clean, f"aimed at a target, the attack moved its loss from {clean:.4f} to {attacked:.4f}"
    assert torch.equal(attack(model, inputs, labels, eps=0.0), inputs), "with eps = 0 the answer is not the inputs"


def _check_repeats(attack: Callable[..., Tensor], budget: float) -> None:
    model, inputs, labels = _example()
    seeded = "generator" in inspect.signature(attack).parameters

    def once(fn: Callable[[Tensor], Tensor], seed: int, batch: Tensor) -> Tensor:
        settings = {"generator": torch.Generator().manual_seed(1)} if seeded else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return attack(fn, batch, labels, eps=budget, **settings)

    found = once(model, 1, inputs)
    assert torch.equal(found, once(model, 2, inputs)), "the same generator gave two answers"
    assert torch.equal(found, once(lambda x: model(x), 1, inputs)), "a plain function is attacked otherwise"
    with torch.no_grad():
        assert torch.equal(found, once(model, 1, inputs)), "differs under no_grad"
    with torch.inference_mode():
        assert torch.equal(found, once(model, 1, inputs.clone())), "differs under inference_mode"
    model.requires_grad_(False)
    assert torch.equal(found, once(model, 1, inputs)), "a frozen model is attacked otherwise"


def _check_refusals(attack: Callable[..., Tensor], budget: float) -> None:
    model, inputs, labels = _example()
    for wrong in (3, -1):
        spoilt = labels.clone()
        spoilt[5] = wrong
        refuses(partial(attack, model, inputs, spoilt, eps=budget), f"label {wrong} of 3 classes")
    for value in (1.5, -0.25, float("nan")):
        spoilt = inputs.clone()
        spoilt[2, 0, 1, 1] = value
        refuses(partial(attack, model, spoilt, labels, eps=budget), f"an input of {value}")
    for eps in (-0.1, float("nan"), float("inf")):
        refuses(partial(attack, model, inputs, labels, eps=eps), f"eps = {eps}")
