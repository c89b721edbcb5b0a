"""Activations at known values, and by name; their derivatives are the contract's business."""

import math

import pytest
import torch

from gradus.errors import GradusError
from gradus.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, Softmax, Softplus, Swish, Tanh, activation

ONE = torch.tensor([1.0], dtype=torch.float64)
NORMAL = 0.8413447460685429
"""Φ(1)."""

VALUES = {
    Sigmoid(): (1 / (1 + math.exp(-1)), 1 / (1 + math.e)),
    Tanh(): (0.7615941559557649, -0.7615941559557649),
    ReLU(): (1, 0),
    LeakyReLU(0.2): (1, -0.2),
    ELU(2.0): (1, 2 * (math.exp(-1) - 1)),
    Softplus(): (math.log1p(math.e), math.log1p(1 / math.e)),
    Swish(): (1 / (1 + math.exp(-1)), -1 / (1 + math.e)),
    GELU(): (NORMAL, NORMAL - 1),
}


@pytest.mark.parametrize("f", VALUES, ids=repr)
def test_values_at_one_and_minus_one(f: torch.nn.Module) -> None:
    assert (f(ONE).item(), f(-ONE).item()) == pytest.approx(VALUES[f], abs=1e-14)


def test_sharp_ones_are_relus() -> None:
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    for sharp in (Softplus(1e4), Swish(1e4)):
        torch.testing.assert_close(sharp(x), torch.relu(x), rtol=0, atol=1e-4)
    torch.testing.assert_close(GELU(approximate=True)(x), GELU()(x), rtol=0, atol=1e-3)


def test_softmax_is_a_distribution_that_a_shift_leaves_alone() -> None:
    x = torch.randn(4, 5, dtype=torch.float64)
    for axis in (0, 1, -1):
        s = Softmax(axis)(x)
        torch.testing.assert_close(s.sum(axis), torch.ones(s.sum(axis).shape, dtype=torch.float64))
        torch.testing.assert_close(Softmax(axis)(x + 1e3), s)
    jacobian = Softmax().derivative(x)
    assert jacobian.shape == (4, 5, 5)
    torch.testing.assert_close(jacobian, jacobian.mT)
    torch.testing.assert_close(jacobian.sum(-1), torch.zeros(4, 5, dtype=torch.float64))


def test_by_name() -> None:
    assert isinstance(activation("silu"), Swish)
    assert isinstance(activation("Leaky_ReLU", slope=0.3), LeakyReLU)
    assert activation("leaky-relu", slope=0.3).slope == 0.3
    with pytest.raises(GradusError, match="did you mean 'sigmoid'"):
        activation("sigmoyd")
    with pytest.raises(GradusError, match="no setting 'slop'; did you mean 'slope'"):
        activation("leaky_relu", slop=1.0)
    with pytest.raises(GradusError, match="no setting 'slope'; it has none"):
        activation("relu", slope=1.0)
