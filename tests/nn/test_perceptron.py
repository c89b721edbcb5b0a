"""The perceptron learns what a line can part, within Novikoff's bound, and never what no line can."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.perceptron import Perceptron, threshold

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
NAND = torch.tensor([1, 1, 1, 0])
XOR = torch.tensor([0, 1, 1, 0])


def by_definition(x: Tensor, y: Tensor, rate: float, epochs: int) -> tuple[Tensor, int]:
    """Return weights and bias after some epochs of the rule, one sample at a time, and the number of mistakes."""
    w, mistakes = torch.zeros(x.shape[1] + 1, dtype=x.dtype), 0
    for _ in range(epochs):
        for sample, label in zip(x, y, strict=True):
            long, sign = torch.cat([sample, torch.ones(1, dtype=x.dtype)]), 2 * int(label) - 1
            if sign * (w @ long) <= 0:
                w, mistakes = w + rate * sign * long, mistakes + 1
    return w, mistakes


def test_nand_is_learned_in_finitely_many_steps() -> None:
    unit = Perceptron(2)
    fit = unit.fit(CORNERS, NAND)
    assert fit.converged
    assert unit.predict(CORNERS).tolist() == NAND.tolist()
    # (−2, −1, 3) parts the corners by 1 and is √14 long; the longest (x, 1) is √3.
    assert fit.mistakes <= 3 * 14


def test_xor_is_never_learned() -> None:
    """The weights come back to where they were, so what follows repeats for ever, and each round has a mistake."""
    unit = Perceptron(2)
    fit = unit.fit(CORNERS, XOR)
    assert not fit.converged
    assert fit.cycle > 0
    before = torch.cat([unit.weight, unit.bias[None]])
    again = unit.fit(CORNERS, XOR, max_epochs=fit.cycle)
    assert torch.equal(torch.cat([unit.weight, unit.bias[None]]), before)
    assert again.mistakes >= fit.cycle


def test_two_layers_of_threshold_units_compute_xor() -> None:
    """Or and not-and, then and: what one unit cannot do, three set by hand can."""
    hidden = threshold(CORNERS, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-0.5, 1.5]))
    assert hidden[:, 1].tolist() == NAND.tolist()
    output = threshold(hidden, torch.tensor([[1.0, 1.0]]), torch.tensor([-1.5]))
    assert output[:, 0].tolist() == XOR.tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(2, 300), st.floats(0.02, 0.5), st.integers(0, 2**31))
def test_mistakes_stay_within_novikoffs_bound(inputs: int, samples: int, gap: float, seed: int) -> None:
    noise = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, dtype=torch.float64, generator=noise)
    line = torch.randn(inputs + 1, dtype=torch.float64, generator=noise)
    line /= line.norm()
    long = torch.cat([x, torch.ones(samples, 1, dtype=torch.float64)], 1)
    scores = long @ line
    x, long, scores = (part[scores.abs() > gap] for part in (x, long, scores))
    assume(len(x) > 0)
    y = (scores > 0).long()
    bound = (long.norm(dim=1).max() / scores.abs().min()) ** 2
    unit = Perceptron(inputs).double()
    fit = unit.fit(x, y, max_epochs=int(bound) + 2)
    assert fit.converged
    assert fit.mistakes <= bound
    assert torch.equal(unit.predict(x), y)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 600), st.integers(1, 3), st.integers(0, 2**31))
def test_the_vectorised_rule_is_the_rule(inputs: int, samples: int, epochs: int, seed: int) -> None:
    """On integers, where sums are exact, the same weights and mistakes as one sample at a time."""
    noise = torch.Generator().manual_seed(seed)
    x = torch.randint(-3, 4, (samples, inputs), generator=noise).double()
    y = torch.randint(2, (samples,), generator=noise)
    unit = Perceptron(inputs).double()
    fit = unit.fit(x, y, max_epochs=epochs)
    weights, mistakes = by_definition(x, y, 1.0, min(epochs, fit.epochs))
    assert torch.equal(torch.cat([unit.weight, unit.bias[None]]), weights)
    assert fit.mistakes == mistakes


def test_the_rate_only_scales() -> None:
    one, ten = Perceptron(2), Perceptron(2)
    assert one.fit(CORNERS, NAND) == ten.fit(CORNERS, NAND, rate=16.0)
    assert torch.equal(16 * one.weight, ten.weight)


def test_a_cycle_that_does_not_begin_at_once() -> None:
    """From weights far out the walk first comes home; the cycle is found and is the shortest period of the weights."""
    unit = Perceptron(2)
    unit.weight += torch.tensor([9.0, -4.0])
    fit = unit.fit(CORNERS, XOR)
    assert fit.cycle > 0
    start, seen = torch.cat([unit.weight, unit.bias[None]]), []
    for _ in range(fit.cycle):
        unit.fit(CORNERS, XOR, max_epochs=1)
        seen.append(torch.equal(torch.cat([unit.weight, unit.bias[None]]), start))
    assert seen == [False] * (fit.cycle - 1) + [True]


def test_mistakes() -> None:
    with pytest.raises(GradusError, match="label them 0 and 1"):
        Perceptron(2).fit(CORNERS, torch.tensor([1, 1, -1, 1]))
    with pytest.raises(GradusError, match="3 inputs"):
        Perceptron(3).fit(CORNERS, XOR)
    with pytest.raises(GradusError, match="not finite"):
        Perceptron(2).fit(CORNERS / 0, XOR)
