"""The gradient check itself: it finds planted mistakes and names them, and raises no false alarm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop.examples import images, inputs
from gradus.backprop import (
    GRU,
    BatchNorm,
    Convolution,
    Flatten,
    Layer,
    Linear,
    Network,
    ReLU,
    Tanh,
    check_gradients,
    check_layer,
    numeric_gradient,
)
from gradus.backprop.gradient_check import STEP
from gradus.errors import GradusError


class Slanted(Layer):
    """A layer with a planted mistake: after its own backward, some gradients are changed."""

    def __init__(self, inner: Layer, name: str, factor: float) -> None:
        super().__init__(**inner.params)
        self.inner, self.name, self.factor = inner, name, factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        return self.inner.forward(x)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        dx = self.inner.backward(dy)
        self.grads = dict(self.inner.grads)
        if self.name == "x":
            return dx * self.factor
        self.grads[self.name] = self.grads[self.name] * self.factor
        return dx


def network(slanted: str = "", name: str = "weight", factor: float = -1.0) -> tuple[Network, np.ndarray]:
    rng = np.random.default_rng(0)
    layers: dict[str, Layer] = {
        "conv": Convolution(2, 3, 3, padding=1, rng=rng),
        "norm": BatchNorm(3),
        "relu": ReLU(),
        "flatten": Flatten(),
        "linear": Linear(3 * 6 * 6, 4, rng=rng),
    }
    if slanted:
        layers[slanted] = Slanted(layers[slanted], name, factor)
    return Network(layers), inputs((4, 2, 6, 6))


def test_a_right_network_passes() -> None:
    report = check_layer(*network())
    assert report.ok, f"\n{report}"
    assert str(report).count("ok") == len(report.rows)


@pytest.mark.parametrize(
    "layer, name", [("conv", "weight"), ("norm", "weight"), ("norm", "bias"), ("linear", "weight"), ("linear", "bias")]
)
def test_a_planted_sign_error_is_found_and_its_parameter_named(layer: str, name: str) -> None:
    report = check_layer(*network(layer, name))
    assert report.wrong == [f"{layer}.{name}"]
    (row,) = [row for row in report.rows if not row.ok]
    assert row.error == pytest.approx(2, rel=1e-5)
    assert row.analytic == pytest.approx(-row.numeric, rel=1e-5)
    assert f"{layer}.{name}" in str(report)
    assert "WRONG" in str(report)


def test_a_mistake_in_dx_shows_in_everything_below_it() -> None:
    report = check_layer(*network("relu", "x"))
    assert set(report.wrong) == {"x", "conv.weight", "norm.weight", "norm.bias"}
    # The bias of a convolution in front of batch normalisation has no effect, and −0 is right.
    assert "conv.bias" not in report.wrong


def test_a_small_mistake_is_found_too() -> None:
    assert check_layer(*network("linear", "weight", 1 + 1e-5)).wrong == ["linear.weight"]


def test_a_sign_error_inside_one_gate_of_a_recurrent_cell_is_found() -> None:
    class Wrong(GRU):
        def cell_back(self, dstate, memo):  # type: ignore[no-untyped-def]
            da, dc, direct = super().cell_back(dstate, memo)
            dc[:, 2 * self.hidden :] *= -1
            return da, dc, direct

    layer = Wrong(3, 2, rng=np.random.default_rng(0))
    report = check_layer(layer, inputs((2, 4, 3)))
    assert {"weight_hh", "bias_hh"} <= set(report.wrong)
    assert check_layer(GRU(3, 2, rng=np.random.default_rng(0)), inputs((2, 4, 3))).ok


# -- accuracy and the control of the step ------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.floats(-3, 3), st.floats(0.1, 3))
def test_differences_of_smooth_functions_are_right_to_nine_digits(at: float, rate: float) -> None:
    x = np.array([at])
    found = numeric_gradient(lambda: float(np.exp(rate * x[0])), x)
    assert found[0] == pytest.approx(rate * np.exp(rate * at), rel=1e-9)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e6])
def test_the_step_grows_with_the_parameter(size: float) -> None:
    """At 10⁶ a fixed step of 7e-4 would drown in the rounding of L = x²."""
    x = np.array([size])
    assert numeric_gradient(lambda: float(x[0] ** 2), x)[0] == pytest.approx(2 * size, rel=1e-9)


def test_extrapolation_is_exact_for_quartics() -> None:
    """The h² errors cancel, and D(h) of x⁴ has no others."""
    x = np.array([0.5])
    assert numeric_gradient(lambda: float(x[0] ** 4), x)[0] == pytest.approx(0.5, rel=1e-11)


@pytest.mark.parametrize("share", [0.9, 0.4, 0.1, 0.02])
def test_the_step_shrinks_away_from_a_corner(share: float) -> None:
    """|x| with the corner inside [x − h, x + h]: the plain difference at h gives `share`, the slope is 1."""
    x = np.array([share * STEP])
    assert float(abs(x[0] + STEP) - abs(x[0] - STEP)) / (2 * STEP) == pytest.approx(share)
    assert numeric_gradient(lambda: float(abs(x[0])), x)[0] == pytest.approx(1, rel=1e-9)


def test_corners_raise_no_false_alarm_in_a_large_relu_network() -> None:
    rng = np.random.default_rng(3)
    layers: dict[str, Layer] = {"a": Linear(20, 60, rng=rng), "b": ReLU(), "c": Linear(60, 60, rng=rng), "d": ReLU()}
    chain = Network({**layers, "e": Linear(60, 3, rng=rng)})
    report = check_layer(chain, images(30, 20), most=300)
    assert report.ok, f"\n{report}"


def test_gradients_near_zero_raise_no_false_alarm() -> None:
    """The tail of tanh: L is of size one, its slope of size 10⁻¹⁵."""
    x = np.array([18.0, 0.5])
    tanh = Tanh()
    tanh.forward(x)
    assert check_gradients(lambda: float(tanh.forward(x).sum()), {"x": x}, {"x": tanh.backward(np.ones(2))}).ok


def test_arrays_are_put_back_bit_for_bit() -> None:
    layer, x = network()
    before = {name: array.copy() for name, array in {**layer.params, **layer.buffers}.items()}
    kept = x.copy()
    check_layer(layer, x)
    assert np.array_equal(x, kept)
    after = {**layer.params, **layer.buffers}
    assert all(np.array_equal(after[name], array) for name, array in before.items())

    def fail() -> float:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        numeric_gradient(fail, x)
    assert np.array_equal(x, kept)


def test_large_arrays_are_sampled() -> None:
    rows = {row.name: row for row in check_layer(*network(), most=10).rows}
    assert rows["linear.weight"].entries == (10, 432)
    assert rows["linear.bias"].entries == (4, 4)


# -- what cannot be checked --------------------------------------------------------------------------------------------


def test_what_cannot_be_checked_is_told() -> None:
    layer, x = network()
    layer.cast(np.float32)
    with pytest.raises(GradusError, match="float32: differences need float64"):
        check_gradients(lambda: float(layer.forward(x).sum()), layer.params, layer.params)
    x = np.ones(2)
    with pytest.raises(GradusError, match="gradient of x is missing"):
        check_gradients(lambda: 0.0, {"x": x}, {})
    with pytest.raises(GradusError, match=r"gradient of x is of shape \(3,\), not \(2,\)"):
        check_gradients(lambda: 0.0, {"x": x}, {"x": np.ones(3)})
    with pytest.raises(GradusError, match=r"not finite beside x\[0\]"):
        check_gradients(lambda: float("nan"), {"x": x}, {"x": x})


def test_a_gradient_that_is_not_finite_is_wrong() -> None:
    x = np.ones(2)
    report = check_gradients(lambda: float(x.sum()), {"x": x}, {"x": np.array([1.0, np.nan])})
    assert report.wrong == ["x"]
    assert report.rows[0].worst == (1,)
