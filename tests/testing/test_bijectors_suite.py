"""Every registered bijector keeps the contract, and the contract rejects bijectors with planted bugs."""

import pytest
import torch
from torch import nn
from torch.distributions import constraints

from gradus import canon
from gradus.prob import Affine, Coupling, Exp, Inverse, Sigmoid, StickBreaking, Tanh, Triangular
from gradus.prob.bijector import Bijector, summed
from gradus.prob.elementwise import Elementwise
from gradus.testing.bijectors import check_bijector

BIJECTORS = sorted(id for id, entry in canon.scan().items() if entry.kind == "bijector")


def test_the_registry_knows_bijectors():
    assert {"prob/affine", "prob/coupling", "prob/spline", "prob/stick-breaking"} <= set(BIJECTORS)


@pytest.mark.parametrize("id", BIJECTORS)
def test_contract(id):
    bijector = canon.load(canon.scan()[id])
    check_bijector(canon.example(id) or bijector)


@pytest.mark.parametrize("id", BIJECTORS)
def test_contract_of_the_inverse(id):
    bijector = canon.load(canon.scan()[id])
    make = canon.example(id) or bijector
    check_bijector(lambda: Inverse(make()))


class ForgetsTheLogDeterminant(Exp):
    def forward(self, x):
        return x.exp(), torch.zeros_like(x)

    def inverse(self, y):
        return y.log(), torch.zeros_like(y)


class HasTheWrongSign(Exp):
    def inverse(self, y):
        return y.log(), y.log()


class InvertsRoughly(Sigmoid):
    def inverse(self, y):
        return super().inverse(y.clamp(0.05, 0.95))


class Cancels(Tanh):
    def forward(self, x):
        y = x.tanh()
        return y, torch.log(1 - y**2)


class SumsTooMuch(Tanh):
    def forward(self, x):
        y, logdet = super().forward(x)
        return y, logdet.sum(-1)

    def inverse(self, y):
        x, logdet = super().inverse(y)
        return x, logdet.sum(-1)


class Detaches(Exp):
    def forward(self, x):
        return x.exp(), x.detach()


class MixesTheBatch(Elementwise):
    def forward(self, x):
        scale = 1 + x.numel() / 100
        return scale * x, torch.full_like(x, scale).log()

    def inverse(self, y):
        scale = 1 + y.numel() / 100
        return y / scale, -torch.full_like(y, scale).log()


class LeavesItsCodomain(Affine):
    codomain = constraints.positive


class MiscountsItsEvent(Sigmoid):
    codomain = constraints.independent(constraints.unit_interval, 1)


class WritesIntoItsInput(Exp):
    def forward(self, x):
        y, logdet = super().forward(x)
        with torch.no_grad():
            x += 1e-3
        return y, logdet


class WorksInDouble(Exp):
    def forward(self, x):
        return x.double().exp(), x


class ForgetsTheOffset(StickBreaking):
    def inverse(self, y):
        x, logdet = super().inverse(y)
        return x - 0.1, logdet


class SaysAnotherShape(StickBreaking):
    def image_shape(self, shape):
        return shape


class ForgetsToDetachNothing(Triangular):
    """Its diagonal is learned, but no gradient gets there."""

    def matrix(self):
        return self.below.tril(-1) + torch.diag(self.log_diagonal.detach().exp())

    def forward(self, x):
        y, logdet = super().forward(x)
        return y, logdet.detach()


class CountsKeptNumbers(Coupling):
    def _mapped(self, value, answer):
        image, logdet = answer
        return torch.where(self.mask, value, image), summed(logdet + 0.1 * self.mask, self.event_dims)


class HidesItsState(Bijector):
    """Its scale is neither a parameter nor a buffer, and differs from copy to copy."""

    made = 0

    def __init__(self):
        super().__init__()
        HidesItsState.made += 1
        self.scale = 1.0 + HidesItsState.made / 10

    def forward(self, x):
        return self.scale * x, torch.full_like(x, self.scale).log()

    def inverse(self, y):
        return y / self.scale, -torch.full_like(y, self.scale).log()


def _triangular():
    learned = [nn.Parameter(t) for t in (torch.zeros(3), torch.full((3,), 0.3), torch.ones(3, 3))]
    return ForgetsToDetachNothing(*learned)


def _coupling():
    return CountsKeptNumbers(torch.tensor([True, False]), lambda kept: torch.stack([kept.cos(), kept.sin()], -1))


TWINS = {
    ForgetsTheLogDeterminant: "the Jacobian's",
    HasTheWrongSign: "do not cancel",
    InvertsRoughly: "from x",
    Cancels: "not finite in float32",
    SumsTooMuch: "log-determinants of shapes",
    Detaches: "not those of finite differences|cannot be taken",
    MixesTheBatch: "a row alone",
    (lambda: LeavesItsCodomain(-3.0, 1.0)): "leave the codomain",
    MiscountsItsEvent: "event dimensions",
    WritesIntoItsInput: "input was changed",
    WorksInDouble: "became torch.float64",
    ForgetsTheOffset: "from x",
    SaysAnotherShape: "image_shape",
    _triangular: "no gradient reaches",
    _coupling: "do not cancel",
    HidesItsState: "same state",
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: getattr(twin, "__name__", "twin"))
def test_planted_bugs_are_rejected(twin):
    with pytest.raises(AssertionError, match=TWINS[twin]):
        check_bijector(twin)
