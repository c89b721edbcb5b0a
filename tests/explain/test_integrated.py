"""Integrated gradients: completeness, exactness where theory promises it, order of convergence where it does not."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.explain import completeness_residual, integrated_gradients
from gradus.explain.integrated import QUADRATURES
from gradus.testing.explainers import SmallNet


def images(rows: int = 5) -> torch.Tensor:
    return torch.rand(rows, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


TARGETS = torch.tensor([0, 1, 2, 0, 1])


@pytest.mark.parametrize("baseline", [None, 0.5, images(1), images(5).flip(0)], ids=["zero", "grey", "one", "each"])
def test_attributions_sum_to_the_change_of_score(baseline):
    model, inputs = SmallNet(), images()
    found = integrated_gradients(model, inputs, target=TARGETS, baselines=baseline)
    residual = completeness_residual(model, inputs, found, target=TARGETS, baselines=baseline)
    assert float(residual.abs().max()) < 1e-10


@pytest.mark.parametrize("rule", QUADRATURES)
@pytest.mark.parametrize("steps", [2, 5])
def test_a_linear_model_is_attributed_exactly_by_every_rule(rule, steps):
    weights = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = integrated_gradients(
        lambda x: x @ weights.T + 3, inputs, target=TARGETS, baselines=0.25, steps=steps, quadrature=rule
    )
    torch.testing.assert_close(found, weights[TARGETS] * (inputs - 0.25), rtol=1e-13, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 12), extra=st.integers(0, 1))
def test_gauss_legendre_is_exact_to_its_degree_and_no_further(steps, extra):
    """n nodes integrate polynomials of degree 2n − 1: a score of degree 2n is exact, one of degree 2n + 1 is not."""
    degree = 2 * steps + extra
    inputs = torch.tensor([[1.5]], dtype=torch.float64)
    found = integrated_gradients(lambda x: x**degree, inputs, target=0, steps=steps)
    error = abs(float(found) / 1.5**degree - 1)
    assert (error < 1e-10) if extra == 0 else (error > 1e-12 or steps > 9)


@pytest.mark.parametrize(("rule", "order"), [("left", 1), ("right", 1), ("middle", 2), ("trapezoid", 2)])
def test_riemann_sums_converge_in_their_order(rule, order):
    model, inputs = SmallNet(), images()

    def residual(steps: int) -> float:
        found = integrated_gradients(model, inputs, target=TARGETS, steps=steps, quadrature=rule)
        return float(completeness_residual(model, inputs, found, target=TARGETS).abs().sum())

    # The trapezoid rule of n nodes has n − 1 intervals.
    extra = 1 if rule == "trapezoid" else 0
    assert math.log2(residual(40 + extra) / residual(80 + extra)) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64, 10_000])
def test_the_chunk_bounds_the_batch_and_does_not_change_the_answer(chunk):
    model, inputs = SmallNet(), images()
    sizes = []

    def fn(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return model(x)

    found = integrated_gradients(fn, inputs, target=TARGETS, steps=9, chunk=chunk)
    torch.testing.assert_close(
        found, integrated_gradients(model, inputs, target=TARGETS, steps=9), rtol=1e-10, atol=1e-12
    )
    assert max(sizes) <= chunk
    assert sum(sizes) == 9 * len(inputs)


def test_implementation_invariance_and_symmetry():
    """Functions that are equal get equal attributions; inputs that play the same part get the same."""
    inputs = torch.tensor([[0.3, 0.3, 0.9]], dtype=torch.float64)
    one = integrated_gradients(lambda x: (x[:, :2].sum(1, keepdim=True) * x[:, 2:]).exp(), inputs, target=0)
    other = integrated_gradients(lambda x: (x[:, :1] * x[:, 2:]).exp() * (x[:, 1:2] * x[:, 2:]).exp(), inputs, target=0)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    assert float(one[0, 0]) == pytest.approx(float(one[0, 1]), rel=1e-12)


def test_sensitivity_where_the_plain_gradient_is_blind():
    """f(x) = 1 − ReLU(1 − x) is flat at x = 2, yet differs from the baseline: the path sees it."""
    found = integrated_gradients(
        lambda x: 1 - (1 - x).relu(),
        torch.tensor([[2.0]], dtype=torch.float64),
        target=0,
        steps=1000,
        quadrature="middle",
    )
    assert float(found) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"quadrature": "legendr"}, "did you mean 'legendre'"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 1, "quadrature": "trapezoid"}, "at least 2 steps"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"baselines": torch.rand(3, 9)}, "do not broadcast"),
        ({"target": 3}, "outside the function's 3 classes"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, complaint):
    with pytest.raises(GradusError, match=complaint):
        integrated_gradients(SmallNet(), images(), **{"target": 0, **settings})
