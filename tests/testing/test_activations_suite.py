"""Every registered activation keeps the contract, and the contract rejects activations with planted bugs."""

import pytest
import torch
from torch import Tensor, nn

from gradus import canon
from gradus.nn.activations import ELU, GELU, Activation, LeakyReLU, ReLU, Softmax, Softplus, Swish, Tanh, activation
from gradus.testing.activations import check_activation

NAMES = sorted(canon.names("activation"))
VARIANTS = {
    "leaky": lambda: LeakyReLU(0.3),
    "elu": lambda: ELU(0.5),
    "sharp softplus": lambda: Softplus(5.0),
    "sharp swish": lambda: Swish(1.7),
    "approximate gelu": lambda: GELU(approximate=True),
    "softmax of the first axis": lambda: Softmax(1),
}


def test_the_registry_knows_activations() -> None:
    assert {"sigmoid", "tanh", "relu", "leaky-relu", "swish", "gelu", "softmax"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    check_activation(lambda: activation(name))


@pytest.mark.parametrize("name", VARIANTS)
def test_contract_of_settings(name: str) -> None:
    check_activation(VARIANTS[name])


class WrongBelowZero(ReLU):
    def derivative(self, x: Tensor) -> Tensor:
        return (x > -0.5).to(x.dtype)


class ForgetsTheChain(Tanh):
    def derivative(self, x: Tensor) -> Tensor:
        return 1 - x.square()


class NaiveSoftplus(Softplus):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp().log1p()


class OverflowingDerivative(Swish):
    def derivative(self, x: Tensor) -> Tensor:
        return (x.exp() + 1 + x) * x.exp() / (1 + x.exp()).square()


class InPlace(ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(min=0) if not x.requires_grad else torch.relu(x)


class Noisy(Tanh):
    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return torch.tanh(x)


class Learns(ReLU):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))


class Silent(LeakyReLU):
    def extra_repr(self) -> str:
        return ""


class Widens(Tanh):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.double())


class OtherPullback(Softmax):
    def pullback(self, x: Tensor, gradient: Tensor) -> Tensor:
        s = self.forward(x)
        return s * (1 - s) * gradient


class Detached(Tanh):
    """Right in value and written derivative, and wrong for autograd."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) + 0.1 * (x - x.detach())


TWINS: dict[type[Activation], str] = {
    WrongBelowZero: "central differences",
    ForgetsTheChain: "central differences",
    NaiveSoftplus: "not finite",
    OverflowingDerivative: "not finite",
    InPlace: "input was changed",
    Noisy: "random state",
    Learns: "nothing to learn",
    Silent: "does not tell slope",
    Widens: "became torch.float64",
    OtherPullback: "central differences",
    Detached: "autograd",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_planted_bugs_are_rejected(twin: type[Activation]) -> None:
    with pytest.raises(AssertionError, match=TWINS[twin]):
        check_activation(twin)
