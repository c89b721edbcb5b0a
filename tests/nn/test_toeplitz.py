"""A convolution is a matrix: it equals torch's, its transpose is the transposed one, and the laws of algebra hold."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus.errors import GradusError
from gradus.nn.toeplitz import compose, convolution_matrix, convolve, separate, toeplitz

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Draw an input, a weight and settings that fit each other, in one, two or three dimensions."""
    axes, groups = draw(st.sampled_from([1, 2, 2, 3])), draw(st.sampled_from([1, 1, 2, 3]))
    settings: dict[str, list[int]] = {"stride": [], "padding": [], "dilation": []}
    kernel, size = [], []
    for _ in range(axes):
        taps, gap, pad = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 2))
        kernel.append(taps)
        size.append(draw(st.integers(max(gap * (taps - 1) + 1, pad + 1), 7 - axes + gap * taps)))
        settings["stride"].append(draw(st.integers(1, 3)))
        settings["padding"].append(pad)
        settings["dilation"].append(gap)
    channels, out = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    seed = draw(st.integers(0, 1000))
    x, weight = drawn(1, channels * groups, *size, seed=seed), drawn(out * groups, channels, *kernel, seed=seed + 1)
    return x, weight, {**settings, "groups": groups}


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_matrix_is_torchs_convolution(case: tuple[Tensor, Tensor, dict[str, Any]]) -> None:
    x, weight, options = case
    matrix = convolution_matrix(weight, x.shape[2:], **options)
    expected = CONVOLUTIONS[x.ndim - 2](x, weight, **options)
    assert matrix.shape == (expected.numel(), x.numel())
    torch.testing.assert_close((matrix @ x.flatten()).view(expected.shape), expected, rtol=0, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_transpose_is_torchs_transposed_convolution(case: tuple[Tensor, Tensor, dict[str, Any]]) -> None:
    x, weight, options = case
    y = torch.randn_like(CONVOLUTIONS[x.ndim - 2](x, weight, **options))
    matrix = convolution_matrix(weight, x.shape[2:], **options)
    # What a strided convolution leaves over at the end is `output_padding` on the way back.
    spare = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, k, s, p, d in zip(
            x.shape[2:], weight.shape[2:], options["stride"], options["padding"], options["dilation"]
        )
    ]
    expected = TRANSPOSED[x.ndim - 2](y, weight, output_padding=spare, **options)
    torch.testing.assert_close((matrix.T @ y.flatten()).view(expected.shape), expected, rtol=0, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_reflected_padding(case: tuple[Tensor, Tensor, dict[str, Any]]) -> None:
    x, weight, options = case
    widths = [side for pad in reversed(options["padding"]) for side in (pad, pad)]
    expected = CONVOLUTIONS[x.ndim - 2](F.pad(x, widths, mode="reflect"), weight, **{**options, "padding": 0})
    matrix = convolution_matrix(weight, x.shape[2:], padding_mode="reflect", **options)
    torch.testing.assert_close((matrix @ x.flatten()).view(expected.shape), expected, rtol=0, atol=1e-10)


def test_a_small_matrix_by_hand() -> None:
    """[a b c] over four pixels, padded by one: constant along diagonals."""
    kernel = torch.tensor([[[2.0, 3.0, 5.0]]])
    expected = [[3, 5, 0, 0], [2, 3, 5, 0], [0, 2, 3, 5], [0, 0, 2, 3]]
    assert convolution_matrix(kernel, (4,), padding=1).tolist() == expected
    assert convolution_matrix(kernel, (4,), padding=1, stride=2).tolist() == expected[::2]
    mirrored = [[3, 7, 0, 0], [2, 3, 5, 0], [0, 2, 3, 5], [0, 0, 7, 3]]
    assert convolution_matrix(kernel, (4,), padding=1, padding_mode="reflect").tolist() == mirrored
    assert toeplitz(kernel[0, 0], (2,)).tolist() == [[2, 0], [3, 2], [5, 3], [0, 5]]


def test_two_dimensions_are_blocks_of_toeplitz_matrices() -> None:
    matrix = convolution_matrix(drawn(1, 1, 3, 2), (5, 6)).view(3, 5, 5, 6)
    for row in range(2):
        for column in range(4):
            torch.testing.assert_close(matrix[row, :, column, :], matrix[row + 1, :, column + 1, :])
    block = matrix[0, :, 1, :]
    assert torch.equal(block[:-1, :-1], block[1:, 1:])


sizes = st.lists(st.integers(1, 5), min_size=3, max_size=3)


class TestLaws:
    """True convolution is a commutative, associative and distributive product."""

    def arrays(self, sizes: list[int], axes: int) -> list[Tensor]:
        return [drawn(*[n] * axes, seed=i) for i, n in enumerate(sizes)]

    @settings(max_examples=30, deadline=None)
    @given(sizes, st.integers(1, 2))
    def test_commutative(self, sizes: list[int], axes: int) -> None:
        f, g, _ = self.arrays(sizes, axes)
        torch.testing.assert_close(convolve(f, g), convolve(g, f))

    @settings(max_examples=30, deadline=None)
    @given(sizes, st.integers(1, 2))
    def test_associative_and_so_are_the_matrices(self, sizes: list[int], axes: int) -> None:
        f, g, h = self.arrays(sizes, axes)
        both = convolve(f, g)
        torch.testing.assert_close(convolve(both, h), convolve(f, convolve(g, h)))
        inner = [a + b - 1 for a, b in zip(g.shape, h.shape)]
        torch.testing.assert_close(toeplitz(both, h.shape), toeplitz(f, inner) @ toeplitz(g, h.shape))

    @settings(max_examples=30, deadline=None)
    @given(sizes, st.integers(1, 2))
    def test_distributive_with_an_identity(self, sizes: list[int], axes: int) -> None:
        f, g, _ = self.arrays(sizes, axes)
        other = torch.randn_like(g)
        torch.testing.assert_close(convolve(f, 2 * g + other), 2 * convolve(f, g) + convolve(f, other))
        torch.testing.assert_close(convolve(torch.ones([1] * axes, dtype=torch.float64), g), g)

    def test_polynomials(self) -> None:
        """(1 + x)(1 + 2x + x²) = 1 + 3x + 3x² + x³."""
        assert convolve(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])).tolist() == [1, 3, 3, 1]

    def test_convolution_with_circular_shift_commutes(self) -> None:
        """A kernel of one tap aside is a shift, and shifting before or after convolving is the same."""
        f, shift = drawn(4), torch.tensor([0.0, 1.0], dtype=torch.float64)
        g = drawn(6, seed=1)
        torch.testing.assert_close(convolve(f, convolve(shift, g)), F.pad(convolve(f, g), (1, 0)))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_stacked_small_kernels_are_one_large_one(axes: int) -> None:
    first, second = drawn(3, 2, *[3] * axes), drawn(4, 3, *[2] * axes, seed=1)
    whole = compose(first, second)
    assert whole.shape == (4, 2, *[4] * axes)
    x = drawn(2, 2, *[6] * axes, seed=2)
    conv = CONVOLUTIONS[axes]
    torch.testing.assert_close(conv(conv(x, first), second), conv(x, whole))
    if axes == 2:
        product = convolution_matrix(second, (4, 4)) @ convolution_matrix(first, (6, 6))
        torch.testing.assert_close(product, convolution_matrix(whole, (6, 6)))


def test_two_threes_see_a_five_and_do_not_reach_them_all() -> None:
    """Any two 3×3 make a 5×5, but 17 numbers (18 less a common scale) cannot make all of its 25."""
    assert compose(drawn(1, 1, 3, 3), drawn(1, 1, 3, 3, seed=1)).shape == (1, 1, 5, 5)
    weights = torch.cat([drawn(9), drawn(9, seed=1)])
    jacobian = torch.autograd.functional.jacobian(
        lambda w: compose(w[:9].view(1, 1, 3, 3), w[9:].view(1, 1, 3, 3)).flatten(), weights
    )
    assert torch.linalg.matrix_rank(jacobian) == 17


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 100))
def test_separable_kernels(height: int, width: int, rank: int, seed: int) -> None:
    rank = min(rank, height, width)
    kernel = drawn(height, rank, seed=seed) @ drawn(rank, width, seed=seed + 1)
    columns, rows = separate(kernel)
    assert len(columns) == len(rows) <= rank
    torch.testing.assert_close(columns.T @ rows, kernel)
    x = drawn(1, 1, 8, 8, seed=seed + 2)
    passes = [
        F.conv2d(F.conv2d(x, column.view(1, 1, -1, 1)), row.view(1, 1, 1, -1)) for column, row in zip(columns, rows)
    ]
    torch.testing.assert_close(sum(passes), F.conv2d(x, kernel[None, None]))


def test_known_separable_kernels() -> None:
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    columns, rows = separate(sobel)
    assert len(columns) == 1
    torch.testing.assert_close(columns[0] / columns[0][0], torch.tensor([1.0, 2.0, 1.0]))
    torch.testing.assert_close(rows[0] / rows[0][0], torch.tensor([1.0, 0.0, -1.0]))
    assert len(separate(torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]))[0]) == 2


def test_the_matrix_is_differentiable_in_the_kernel() -> None:
    weight, x = drawn(2, 1, 2, 2).requires_grad_(), drawn(9, seed=1)
    (found,) = torch.autograd.grad((convolution_matrix(weight, (3, 3)) @ x).square().sum(), weight)
    (expected,) = torch.autograd.grad(F.conv2d(x.view(1, 1, 3, 3), weight).square().sum(), weight)
    torch.testing.assert_close(found, expected)


def test_mistakes() -> None:
    with pytest.raises(GradusError, match="needs as many sizes"):
        convolution_matrix(drawn(1, 1, 3, 3), (5,))
    with pytest.raises(GradusError, match="does not fit 2 pixels"):
        convolution_matrix(drawn(1, 1, 3), (2,))
    with pytest.raises(GradusError, match="needs more than 2 pixels"):
        convolution_matrix(drawn(1, 1, 3), (2,), padding=2, padding_mode="reflect")
    with pytest.raises(GradusError, match="3 groups do not divide"):
        convolution_matrix(drawn(4, 1, 3), (5,), groups=3)
