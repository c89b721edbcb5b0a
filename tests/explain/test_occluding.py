"""Occlusion against a loop that covers one window after another."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.explain import gradient, occlusion
from gradus.testing.explainers import SmallNet

TARGETS = torch.tensor([0, 2, 1])


def images(*size: int) -> torch.Tensor:
    return torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def loop(fn, inputs, target, window, stride, baseline):
    """Cover, score, uncover, add up; one window of one image at a time."""
    height, width = inputs.shape[2:]
    found = torch.zeros_like(inputs)
    for b, image in enumerate(inputs):
        total, count = torch.zeros(height, width).double(), torch.zeros(height, width).double()
        clean = fn(image[None])[0, target[b]]
        top = 0
        while True:
            left = 0
            while True:
                covered = image.clone()
                covered[:, top : top + window[0], left : left + window[1]] = baseline
                total[top : top + window[0], left : left + window[1]] += clean - fn(covered[None])[0, target[b]]
                count[top : top + window[0], left : left + window[1]] += 1
                if left + window[1] >= width:
                    break
                left += stride[1]
            if top + window[0] >= height:
                break
            top += stride[0]
        found[b] = total / count
    return found


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_window_and_stride_agree_with_the_loop(data):
    with torch.no_grad():
        model, inputs = SmallNet(), images(8, 8)
        window = tuple(data.draw(st.integers(2, 8)) for _ in range(2))
        stride = tuple(data.draw(st.integers(max(1, extent // 3), extent)) for extent in window)
        expected = loop(model, inputs, TARGETS, window, stride, 0.5)
        found = occlusion(model, inputs, target=TARGETS, window=window, stride=stride, baselines=0.5, chunk=23)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_single_place_of_a_linear_model_is_worth_its_weight_times_its_value():
    weights = torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = images(5, 7)
    found = occlusion(lambda x: torch.einsum("bchw,kchw->bk", x, weights), inputs, target=TARGETS, window=1)
    expected = (weights[TARGETS] * inputs).sum(1, keepdim=True).expand_as(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.sum((2, 3))[:, 0], (weights[TARGETS] * inputs).sum((1, 2, 3)))


def test_tables_and_series():
    weights = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = torch.rand(3, 6, dtype=torch.float64)
    found = occlusion(lambda x: x @ weights.T, rows, target=TARGETS)
    torch.testing.assert_close(found, weights[TARGETS] * rows, rtol=1e-12, atol=1e-14)
    series = torch.rand(3, 2, 3, dtype=torch.float64)
    found = occlusion(lambda x: x.flatten(1) @ weights.T, series, target=TARGETS, window=1)
    expected = (weights[TARGETS].view(3, 2, 3) * series).sum(1, keepdim=True).expand_as(series)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_it_needs_no_gradient_and_few_calls():
    model, calls = SmallNet(), []

    def fn(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return model(x).round(decimals=3).detach()

    occlusion(fn, images(8, 8), target=TARGETS, window=1)
    assert sum(calls) == 3 + 3 * 64
    assert len(calls) == 2


def test_the_default_window_is_a_seventh_of_the_image():
    calls = []

    def fn(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return x.mean((2, 3))

    occlusion(fn, images(28, 28)[:1], target=0)
    assert sum(calls) == 1 + 13 * 13


@pytest.mark.parametrize(
    "settings",
    [{"window": 0}, {"window": (3, 9)}, {"window": 2, "stride": 3}, {"window": (2, 2, 2)}, {"window": 2, "stride": 0}],
    ids=str,
)
def test_windows_that_make_no_sense_are_refused(settings):
    with pytest.raises(GradusError):
        occlusion(SmallNet(), images(8, 8), target=0, **settings)


def test_the_plain_gradient_and_its_absolute():
    model, inputs = SmallNet(), images(8, 8)
    signed = gradient(model, inputs, target=TARGETS)
    assert torch.equal(gradient(model, inputs, target=TARGETS, absolute=True), signed.abs())
    step = 1e-6 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        change = (model(inputs + step) - model(inputs - step)).gather(1, TARGETS[:, None])[:, 0] / 2
    torch.testing.assert_close((signed * step).flatten(1).sum(1), change, rtol=1e-6, atol=1e-12)
