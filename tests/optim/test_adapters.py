"""The `torch.optim.Optimizer` classes over our rules: torch's protocol holds, and the arithmetic stays the rule's."""

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.errors import GradusError
from gradus.optim import adapters
from gradus.optim.adam import adamw
from gradus.optim.adapters import (
    SGD,
    SGDHD,
    Adadelta,
    AdaGrad,
    Adagrad,
    Adam,
    AdamHD,
    AdamW,
    AMSGrad,
    ArithmeticMomentum,
    NAdam,
    NesterovHD,
    NoisySGD,
    RMSprop,
    RuleOptimizer,
    Yogi,
)
from gradus.optim.rule import Part, Rule

CLASSES: list[tuple[type[RuleOptimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (Adam, {"lr": 0.01, "amsgrad": True}),
    (AdamW, {"lr": 0.01, "fused": False}),
    (RMSprop, {"lr": 0.01, "centered": True}),
    (NoisySGD, {"lr": 0.1, "scale": 0.1, "momentum": 0.5}),
    (ArithmeticMomentum, {"lr": 0.1, "window": 4}),
    (AdaGrad, {"lr": 0.1, "lr_decay": 0.01}),
    (Adadelta, {}),
    (AMSGrad, {"lr": 0.01}),
    (NAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (Yogi, {"lr": 0.01, "bias_correction": True}),
    (SGDHD, {"lr": 0.01}),
    (NesterovHD, {"lr": 0.01, "shared": False}),
    (AdamHD, {"lr": 0.01, "additive": True, "beta": 1e-5}),
]


def _model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 2))
    return model.to(memory_format=torch.channels_last)


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, start: int, steps: int) -> None:
    for t in range(start, start + steps):
        x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(t))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def _weights(model: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def _on_disk(value: Any) -> Any:
    """What a checkpoint gives back: every tensor contiguous."""
    if isinstance(value, Tensor):
        return value.clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: _on_disk(child) for key, child in value.items()}
    return [_on_disk(child) for child in value] if isinstance(value, list) else value


@pytest.mark.parametrize("cls, settings", CLASSES)
def test_state_round_trips_bit_identically_through_torchs_protocol(
    cls: Callable[..., Any], settings: dict[str, Any]
) -> None:
    model = _model()
    optimizer = cls(model.parameters(), **settings)
    _train(model, optimizer, 0, 3)
    saved, weights = _on_disk(optimizer.state_dict()), copy.deepcopy(model.state_dict())
    _train(model, optimizer, 3, 3)

    again = _model()
    again.load_state_dict(weights)
    resumed = cls(again.parameters(), **settings)
    resumed.load_state_dict(saved)
    tensors = [(t, p) for p, own in resumed.state.items() for t in own.values() if torch.is_tensor(t)]
    strides = [(t.stride(), p.stride()) for t, p in tensors if t.shape == p.shape]
    assert strides
    assert all(state == param for state, param in strides)
    _train(again, resumed, 3, 3)
    assert all(torch.equal(a, b) for a, b in zip(_weights(again), _weights(model), strict=True))


@pytest.mark.parametrize("cls, settings", CLASSES)
def test_deepcopy_goes_on_alike(cls: Callable[..., Any], settings: dict[str, Any]) -> None:
    model = _model()
    pair = (model, cls(model.parameters(), **settings))
    _train(*pair, 0, 2)
    twin = copy.deepcopy(pair)
    _train(*pair, 2, 2)
    _train(*twin, 2, 2)
    assert all(torch.equal(a, b) for a, b in zip(_weights(pair[0]), _weights(twin[0]), strict=True))


@pytest.mark.parametrize("title", ["SGD", "AdamW"])
def test_groups_and_torchs_one_cycle_scheduler_are_obeyed(title: str) -> None:
    """OneCycleLR moves the momentum (or β₁) too, so the settings of a group are read at every step."""
    ends = []
    for cls in (getattr(torch.optim, title), getattr(adapters, title)):
        model = _model().double()
        first, *rest = model.parameters()
        settings = {"lr": 0.1, "momentum": 0.9} if title == "SGD" else {"lr": 0.1}
        groups = [{"params": [first], "weight_decay": 0.3, "lr": 0.02}, {"params": rest, "weight_decay": 0.0}]
        optimizer = cls(groups, **settings)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.05, 0.1], total_steps=30)
        for t in range(25):
            x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            scheduler.step()
        ends.append(_weights(model))
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(*ends, strict=True))


def test_closure_is_evaluated_with_gradients_and_its_loss_returned() -> None:
    param = torch.tensor([3.0], requires_grad=True)
    optimizer = SGD([param], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 9.0
    assert param.item() == 0.0


def test_settings_may_be_given_by_position_as_in_torch() -> None:
    param = torch.zeros(1, requires_grad=True)
    group = SGD([param], 0.3, 0.8).param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.3, 0.8)


def test_state_of_another_dtype_survives_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch casts a loaded state to the parameter's dtype: 2²⁴ + 1 does not survive that in float32."""

    def step(part: Part) -> None:
        torch._foreach_add_(part.slots["count"], 1)
        torch._foreach_add_(part.params, part.grads, alpha=-part.lr)

    slots = {"count": lambda param: torch.full(param.shape, 2**24, dtype=torch.int64)}
    monkeypatch.setattr(adapters, "_rule", lambda name, settings: Rule("counting", 0.1, 0.0, slots, step))
    param = torch.zeros(2, requires_grad=True)
    optimizer, resumed = SGD([param]), SGD([param])
    param.grad = torch.ones(2)
    optimizer.step()
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.state[param]["count"].tolist() == [2**24 + 1] * 2
    assert resumed.state[param]["count"].dtype is torch.int64


def test_torchs_spelling_of_adagrad_is_understood() -> None:
    assert Adagrad is AdaGrad


def test_every_registered_rule_has_a_class() -> None:
    named = {cls.rule_name for cls in vars(adapters).values() if isinstance(cls, type) and hasattr(cls, "rule_name")}
    # Heavy ball and Nesterov are settings of SGD in torch, and here too.
    assert named == canon.names("optimizer").keys() - {"momentum", "nesterov"}


def test_classes_carry_the_rules_signature_and_docstring() -> None:
    assert list(inspect.signature(AdamW).parameters) == ["params", *inspect.signature(adamw).parameters]
    assert AdamW.__doc__ == adamw.__doc__
    assert (AdamW.__name__, AdamW.__module__) == ("AdamW", "gradus.optim.adapters")


@pytest.mark.parametrize(
    "act, said",
    [
        (lambda p: AdamW(p, beta=0.9), "did you mean 'betas'"),
        (lambda p: SGD(p, lr=-1.0), "lr=-1.0 is out of range"),
        (lambda p: SGD(p, 1, 0, 0, False, 0, None, 7), "takes 6 settings after params"),
    ],
)
def test_mistakes_are_told_in_one_sentence(act: Callable[[list[Tensor]], Any], said: str) -> None:
    with pytest.raises(GradusError, match=said):
        act([torch.zeros(1, requires_grad=True)])
