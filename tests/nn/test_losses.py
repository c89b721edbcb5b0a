"""Losses at known values: limits, minimisers, and exact numbers where logits are huge."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.losses import (
    binary_focal,
    cross_entropy,
    focal,
    hinge,
    huber,
    label_smoothing,
    logistic,
    loss,
    lp,
    multiclass_hinge,
    squared,
)

DOUBLE = torch.float64


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def minimiser(values: Tensor, name: str, **options: float) -> float:
    """Return the number on a fine grid that a loss likes best for all the values together."""
    grid = torch.linspace(-1, 11, 12001, dtype=DOUBLE)
    each = loss(name, reduction="none", **options)(grid[:, None].expand(-1, len(values)), values.expand(len(grid), -1))
    return float(grid[each.sum(1).argmin()])


def test_what_regression_losses_estimate() -> None:
    """The mean, the median, and Huber's compromise: the mean with far residuals cut to δ."""
    values = numbers(0, 1, 2, 3, 10)
    assert minimiser(values, "mse") == pytest.approx(3.2, abs=1e-3)
    assert minimiser(values, "mae") == pytest.approx(2.0, abs=1e-3)
    # 0 = Σ clip(y − vᵢ, ±1) at y = 1.5: 1 + 0.5 − 0.5 − 1 − 1 < 0; at y = 2: 1 + 1 + 0 − 1 − 1.
    assert minimiser(values, "huber", delta=1.0) == pytest.approx(2.0, abs=1e-3)
    assert minimiser(values, "lp", p=60.0) == pytest.approx(5.0, abs=0.05)


def test_huber_is_half_squared_near_and_linear_far() -> None:
    y, zero = numbers(-3, -0.5, 0.0, 0.5, 3), torch.zeros(5, dtype=DOUBLE)
    torch.testing.assert_close(huber(y, zero, delta=2, reduction="none"), numbers(4, 0.125, 0, 0.125, 4))
    torch.testing.assert_close(huber(y, zero, delta=1e9), 0.5 * squared(y, zero))
    torch.testing.assert_close(huber(y, zero, delta=1e-9) / 1e-9, lp(y, zero))


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_exact_at_huge_logits(dtype: torch.dtype) -> None:
    far = torch.tensor([1e4, -1e4], dtype=dtype)
    zero, one = torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)
    assert logistic(far, zero, reduction="none").tolist() == [1e4, 0.0]
    assert logistic(far, one, reduction="none").tolist() == [0.0, 1e4]
    assert binary_focal(far, one, alpha=None, reduction="none").tolist() == [0.0, 1e4]
    assert hinge(far, one, reduction="none").tolist() == [0.0, 10001.0]
    logits = torch.tensor([[1e4, -1e4, 0.0]] * 3, dtype=dtype)
    labels = torch.arange(3)
    assert cross_entropy(logits, labels, reduction="none").tolist() == [0.0, 2e4, 1e4]
    assert focal(logits, labels, reduction="none").tolist() == [0.0, 2e4, 1e4]
    assert multiclass_hinge(logits, labels, reduction="none").tolist() == [0.0, 30002.0, 10001.0]
    assert multiclass_hinge(logits, labels, form="largest", reduction="none").tolist() == [0.0, 20001.0, 10001.0]
    ties = torch.full((1, 4), 1e4, dtype=dtype)
    assert focal(ties, labels[:1]) == pytest.approx(0.75**2 * math.log(4), rel=1e-6)
    assert cross_entropy(ties, labels[:1]) == pytest.approx(math.log(4), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**31))
def test_relations(classes: int, seed: int) -> None:
    """γ = 0 is cross-entropy, two classes are one logit, one-hot distributions are labels, K − 1 terms bound one."""
    noise = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(8, classes, dtype=DOUBLE, generator=noise)
    labels = torch.randint(classes, (8,), generator=noise)
    entropy = cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(focal(logits, labels, gamma=0.0, reduction="none"), entropy)
    assert (focal(logits, labels, gamma=2.0, reduction="none") <= entropy).all()
    onehot = torch.nn.functional.one_hot(labels, classes).to(DOUBLE)
    torch.testing.assert_close(cross_entropy(logits, onehot, reduction="none"), entropy)
    mixed = (1 - 0.2) * onehot + 0.2 / classes
    smoothed = label_smoothing(logits, labels, smoothing=0.2, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, mixed, reduction="none"), smoothed)
    torch.testing.assert_close(cross_entropy(logits, onehot, smoothing=0.2, reduction="none"), smoothed)
    most, all_of_them = (multiclass_hinge(logits, labels, form=form, reduction="none") for form in ("largest", "sum"))
    assert ((most <= all_of_them + 1e-12) & (all_of_them <= (classes - 1) * most + 1e-12)).all()

    x, target = logits[:, 0], labels.clamp(max=1)
    pair = torch.stack([torch.zeros_like(x), x], 1)
    torch.testing.assert_close(logistic(x, target), cross_entropy(pair, target))
    torch.testing.assert_close(binary_focal(x, target, alpha=None, gamma=1.5), focal(pair, target, gamma=1.5))
    torch.testing.assert_close(hinge(x, target, reduction="none"), multiclass_hinge(pair, target, reduction="none"))
    torch.testing.assert_close(hinge(x, target), hinge(x, 2 * target - 1))


def test_smoothing_asks_for_finite_confidence() -> None:
    """The minimum is at p_y = 1 − ε + ε/K, where the loss is the entropy of the smoothed target."""
    right = 0.9 + 0.1 / 4
    logits = numbers(right, *[0.025] * 3).log()[None].requires_grad_()
    value = label_smoothing(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert gradient.abs().max() < 1e-12
    assert value.item() == pytest.approx(-right * math.log(right) - 0.075 * math.log(0.025))


def test_positions_behind_the_classes() -> None:
    logits, labels = torch.randn(2, 5, 3, 4, dtype=DOUBLE), torch.randint(5, (2, 3, 4))
    rows, flat = logits.movedim(1, -1).reshape(-1, 5), labels.flatten()
    weight = torch.rand(5, dtype=DOUBLE)
    for name, options in (
        ("cross_entropy", {"weight": weight, "smoothing": 0.1}),
        ("focal", {"weight": weight}),
        ("multiclass_hinge", {}),
    ):
        fn = loss(name, **options)
        torch.testing.assert_close(fn(logits, labels), fn(rows, flat))
        assert fn(logits, labels, reduction="none").shape == labels.shape


def test_ignored_labels_need_not_be_classes_and_get_no_gradient() -> None:
    logits = torch.randn(4, 3, dtype=DOUBLE).requires_grad_()
    labels = torch.tensor([0, -100, 2, -100])
    value = cross_entropy(logits, labels, ignore=-100)
    torch.testing.assert_close(value, cross_entropy(logits[::2], labels[::2]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[1::2].any()


def test_weights() -> None:
    x, t = numbers(0.3, -2.0), numbers(1, 0)
    plain = logistic(x, t, reduction="none")
    torch.testing.assert_close(logistic(x, t, positive_weight=3.0, reduction="none"), plain * numbers(3, 1))
    shares = binary_focal(x, t, reduction="none") / binary_focal(x, t, alpha=None, reduction="none")
    torch.testing.assert_close(shares, numbers(0.25, 0.75))


MISTAKES = {
    "make them equal": lambda: squared(torch.zeros(3, 1), torch.zeros(3)),
    "one label for each": lambda: cross_entropy(torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.int64)),
    "smoothing=1.5": lambda: cross_entropy(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64), smoothing=1.5),
    "p=0.5": lambda: lp(torch.zeros(3), torch.zeros(3), p=0.5),
    "positive delta": lambda: huber(torch.zeros(3), torch.zeros(3), delta=0.0),
    "gamma of at least zero": lambda: binary_focal(torch.zeros(3), torch.zeros(3), gamma=-1.0),
    "needs two of them": lambda: focal(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)),
    "did you mean 'cross-entropy'": lambda: loss("crossentropy"),
    "did you mean 'gamma'": lambda: loss("focal", gama=1.0),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_mistakes(sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        MISTAKES[sentence]()
