"""Parity with `torch.optim`: 200 steps of every variant, fused and foreach; adapters trade states; schedules."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gradus.optim.plateau import Plateau
from gradus.optim.rule import make
from gradus.optim.schedules import make as make_schedule

VARIANTS = {
    "sgd": ("sgd", "SGD", {"lr": 0.05}),
    "sgd-decay": ("sgd", "SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "momentum": ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9}),
    "dampened": ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.01}),
    "nesterov": ("sgd", "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": ("adam", "Adam", {"lr": 0.01}),
    "adam-decay": ("adam", "Adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}),
    "amsgrad": ("adam", "Adam", {"lr": 0.01, "amsgrad": True}),
    "adamw": ("adamw", "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    "adamw-amsgrad": ("adamw", "AdamW", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    "rmsprop": ("rmsprop", "RMSprop", {"lr": 0.01}),
    "rmsprop-centred": ("rmsprop", "RMSprop", {"lr": 0.01, "centered": True, "weight_decay": 0.01}),
    "rmsprop-momentum": ("rmsprop", "RMSprop", {"lr": 0.01, "momentum": 0.9, "alpha": 0.9, "eps": 1e-3}),
    "adagrad": ("adagrad", "Adagrad", {"lr": 0.05}),
    "adagrad-decay": (
        "adagrad",
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-6},
    ),
    "adadelta": ("adadelta", "Adadelta", {}),
    "adadelta-decay": ("adadelta", "Adadelta", {"lr": 0.5, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.1}),
    "nadam": ("nadam", "NAdam", {"lr": 0.01}),
    "nadam-decay": ("nadam", "NAdam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.95), "momentum_decay": 0.02}),
    "nadam-decoupled": ("nadam", "NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
}

FUSED = [key for key, (name, _, _) in VARIANTS.items() if name in ("sgd", "adam", "adamw", "adagrad")]  # by torch


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """torch's NAdam rounds the product of its momenta to the default dtype; ours is always a double."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _params(dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 4, 3, 3), (16, 5), (7,), ()]
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    made[0] = made[0].contiguous(memory_format=torch.channels_last)
    return [tensor.requires_grad_() for tensor in made]


def _fill_gradients(params: list[Tensor], step: int) -> None:
    """A smooth function of the parameters and the step, so that an error made early grows and is seen."""
    for i, param in enumerate(params):
        # The last parameter has no gradient at every third step.
        param.grad = None if i == 3 and step % 3 == 1 else torch.sin(param.detach() * 3 + 0.1 * step + i)


def _theirs(title: str, settings: dict[str, Any], dtype: torch.dtype, **path: bool) -> list[Tensor]:
    params = _params(dtype)
    optimizer = getattr(torch.optim, title)(params, **settings, **path)
    for step in range(200):
        _fill_gradients(params, step)
        optimizer.step()
    return params


def _ours(name: str, settings: dict[str, Any], dtype: torch.dtype, **path: bool) -> list[Tensor]:
    params = _params(dtype)
    rule = make(name, **settings, **path)
    state = rule.init(params)
    for step in range(200):
        _fill_gradients(params, step)
        rule.update(params, [param.grad for param in params], state, rule.lr)
    return params


def _gap(left: list[Tensor], right: list[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("path", ["foreach", "fused"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_hundred_steps_end_where_torch_ends(variant: str, path: str) -> None:
    name, title, settings = VARIANTS[variant]
    kernels = {"fused": path == "fused"} if variant in FUSED else {}
    reference = _theirs(title, settings, torch.float64, foreach=False)
    assert _gap(_ours(name, settings, torch.float64, **kernels), reference) < 1e-10
    single = _theirs(title, settings, torch.float32, foreach=False)
    rounding = _gap([param.double() for param in single], reference)
    assert _gap(_ours(name, settings, torch.float32, **kernels), single) < 1e-5 + 10 * rounding


@pytest.mark.parametrize("variant", FUSED)
def test_the_fused_path_is_torchs_fused_path_bit_for_bit(variant: str) -> None:
    name, title, settings = VARIANTS[variant]
    ours = _ours(name, settings, torch.float32, fused=True)
    assert _gap(ours, _theirs(title, settings, torch.float32, fused=True)) == 0.0


@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_step_as_torch_and_trade_states_with_it(variant: str) -> None:
    """Half the way with one class, the other half with the other, in both directions, through `state_dict`."""
    import gradus.optim

    _, title, settings = VARIANTS[variant]
    theirs: Callable[..., Any] = getattr(torch.optim, title)
    ours: Callable[..., Any] = getattr(gradus.optim, title)
    ends = []
    for first, second in ((theirs, theirs), (ours, ours), (ours, theirs), (theirs, ours)):
        params = _params(torch.float64)
        optimizer = first(params, **settings)
        for step in range(40):
            if step == 20:
                saved = optimizer.state_dict()
                optimizer = second(params, **settings)
                optimizer.load_state_dict(saved)
            _fill_gradients(params, step)
            optimizer.step()
        ends.append(params)
    assert all(_gap(end, ends[0]) < 1e-10 for end in ends)


def test_schedules_agree_with_torch() -> None:
    def theirs(scheduler: Callable[..., Any], **settings: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        made, values = scheduler(optimizer, **settings), []
        for _ in range(40):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            made.step()
        return values

    of = torch.optim.lr_scheduler
    pairs = [
        (make_schedule("cosine", total_steps=40, final=0.1), theirs(of.CosineAnnealingLR, T_max=40, eta_min=0.1)),
        (make_schedule("step", total_steps=40, every=7, gamma=0.3), theirs(of.StepLR, step_size=7, gamma=0.3)),
        (make_schedule("step", total_steps=40), theirs(of.MultiStepLR, milestones=[20, 30], gamma=0.1)),
        (make_schedule("exponential", total_steps=40, gamma=0.9), theirs(of.ExponentialLR, gamma=0.9)),
        (
            make_schedule("linear", total_steps=40),
            theirs(of.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=40),
        ),
    ]
    for ours, values in pairs:
        assert [ours(t) for t in range(40)] == pytest.approx(values, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_falls_where_torchs_falls(seed: int, sign: int) -> None:
    """Losses, and accuracies given as their negatives, with thresholds, cooldown and a floor."""
    source = random.Random(seed)
    settings = {"factor": 0.5, "patience": source.randrange(4), "threshold": 0.03, "cooldown": source.randrange(4)}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="min" if sign == 1 else "max", min_lr=0.05, eps=0.0, **settings
    )
    ours, multipliers, rates = Plateau(final=0.05, **settings), [], []
    for t in range(80):
        value = (1 + 3 / (1 + t)) ** sign * source.uniform(0.95, 1.05)
        theirs.step(value)
        ours.observe(sign * value)
        multipliers.append(ours(t))
        rates.append(optimizer.param_groups[0]["lr"])
    assert multipliers == pytest.approx(rates, abs=1e-12)
    assert len(set(rates)) > 2
