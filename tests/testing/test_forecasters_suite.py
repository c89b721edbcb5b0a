"""`check_forecaster` passes every registered forecaster, and rejects planted bugs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.sequence.forecasting.models import linear, recurrent
from gradus.testing.forecasters import check_forecaster

IDS = sorted(canon.of_kind("forecaster"))


@pytest.mark.parametrize("id", IDS)
def test_every_registered_forecaster_keeps_the_contract(id: str) -> None:
    canon.load(canon.of_kind("forecaster")[id])
    make = canon.example(id)
    assert make is not None, f"{id} has no example"
    torch.manual_seed(0)
    check_forecaster(make)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_every_cell_keeps_it(name: str) -> None:
    torch.manual_seed(0)
    check_forecaster(lambda: recurrent(name, columns=2, history=8, horizon=3, season=4, hidden=5, layers=2))


def test_the_registry_knows_forecasters() -> None:
    assert set(canon.names("forecaster")) >= {"naive", "linear", "rnn", "gru", "lstm"}


class _Changed(nn.Module):
    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.change = linear(columns=2, history=8, horizon=3, season=4), change

    def forward(self, history: Tensor) -> Tensor:
        return self.change(self.inner, history)


class _Spare(_Changed):
    def __init__(self) -> None:
        super().__init__(lambda f, x: f(x))
        self.spare = nn.Linear(2, 2)


class _Hidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = [linear(columns=2, history=8, horizon=3, season=4)]

    def named_parameters(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]
        return self.inner[0].named_parameters()

    def forward(self, history: Tensor) -> Tensor:
        return self.inner[0](history)


class _NoLevel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, history: Tensor) -> Tensor:
        return history[:, -4:-1, 0] + self.head(history.flatten(1))


def _in_place(network: nn.Module, history: Tensor) -> Tensor:
    found = network(history)
    history -= 1
    return found


TWINS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "one value": (lambda: _Changed(lambda f, x: f(x)[:, :1]), r"not \(series, steps\)"),
    "not finite": (lambda: _Changed(lambda f, x: f(x) / 0.0), "not finite"),
    "changes the history": (lambda: _Changed(_in_place), "changed the history"),
    "draws": (lambda: _Changed(lambda f, x: f(x) + torch.rand(())), "asked twice"),
    "starts anywhere": (lambda: _Changed(lambda f, x: f(x) + 0.1), "repeats itself"),
    "sees its neighbours": (lambda: _Changed(lambda f, x: f(x) + (f(x) - f.base(x)).mean(0)), "alone is forecast"),  # type: ignore[operator]
    "keeps the level in": (_NoLevel, "moving the level"),
    "has a spare part": (_Spare, "no gradient reaches spare"),
    "hides its weights": (_Hidden, "does not go into a new"),
}


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=said):
        check_forecaster(make)
