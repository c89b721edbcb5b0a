"""Convolution as a matrix product: two forms of one linear map, their transposes, and the gathering behind both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backprop.examples import images
from gradus.backprop import Convolution, Window, toeplitz
from gradus.backprop.convolution import col2im, im2col
from gradus.backprop.windows import fold, unfold
from gradus.errors import GradusError

sides = st.tuples(st.integers(1, 3), st.integers(1, 3))
windows = st.builds(
    Window, kernel=sides, stride=sides, padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), dilation=sides
)
sizes = st.tuples(st.integers(7, 9), st.integers(7, 9))


def layer_of(window: Window, seed: int) -> Convolution:
    return Convolution(
        2, 3, window.kernel, stride=window.stride, padding=window.padding, dilation=window.dilation,
        rng=np.random.default_rng(seed), bias=False,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(windows, sizes, st.integers(0, 9))
def test_im2col_and_toeplitz_are_one_map_and_their_transposes_one_gradient(
    window: Window, size: tuple[int, int], seed: int
) -> None:
    layer, x = layer_of(window, seed), images(2, 2, *size, seed=seed)
    y = layer.forward(x)
    matrix = toeplitz(layer.params["weight"], size, window)
    assert np.allclose(np.stack([matrix @ image.ravel() for image in x]), y.reshape(2, -1), atol=1e-12)
    dy = images(*y.shape, seed=seed + 1)
    assert np.allclose(dy.reshape(2, -1) @ matrix, layer.backward(dy).reshape(2, -1), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(windows, sizes, st.integers(0, 9))
def test_folding_is_the_transpose_of_unfolding(window: Window, size: tuple[int, int], seed: int) -> None:
    x = images(2, 3, *size, seed=seed)
    taps = images(*unfold(x, window).shape, seed=seed + 1)
    assert np.isclose((unfold(x, window) * taps).sum(), (x * fold(taps, window, size)).sum())
    columns = images(*im2col(x, window).shape, seed=seed + 2)
    assert np.isclose((im2col(x, window) * columns).sum(), (x * col2im(columns, window, x.shape)).sum())


def test_the_toeplitz_matrix_of_a_small_kernel_by_hand() -> None:
    """A 1×2 kernel (1, 2) on a 1×3 image padded by one column: each row is the kernel, one step on."""
    matrix = toeplitz(np.array([[[[1.0, 2.0]]]]), (1, 3), Window((1, 2), padding=(0, 1)))
    assert np.array_equal(matrix, [[2, 0, 0], [1, 2, 0], [0, 1, 2], [0, 0, 1]])


def test_the_toeplitz_matrix_holds_every_weight_once_for_each_place() -> None:
    weight = np.arange(1.0, 10).reshape(1, 1, 3, 3)
    matrix = toeplitz(weight, (5, 5), Window((3, 3)))
    values, counts = np.unique(matrix[matrix != 0], return_counts=True)
    assert np.array_equal(values, weight.ravel())
    assert set(counts) == {9}


def test_a_convolution_shifts_with_its_input() -> None:
    layer, x = layer_of(Window((3, 3)), 0), images(1, 2, 9, 9)
    assert np.allclose(layer.forward(np.roll(x, 1, 3))[..., 1:], layer.forward(x)[..., :-1])


def test_pixels_that_no_window_shows_get_no_gradient() -> None:
    layer, x = layer_of(Window((2, 2), stride=(3, 3)), 0), images(1, 2, 6, 6)
    dx = layer.backward(np.ones_like(layer.forward(x)))
    assert not dx[..., 2::3, :].any()
    assert dx[..., 0, 0].all()


def test_windows_that_place_nothing_are_refused() -> None:
    with pytest.raises(GradusError, match="must be positive"):
        Window((0, 3))
    with pytest.raises(GradusError, match=r"windows of \(5, 5\) pixels do not fit an image of \(4, 4\)"):
        Window((3, 3), dilation=(2, 2)).outputs((4, 4))
