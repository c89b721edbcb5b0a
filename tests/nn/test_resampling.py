"""Resampling on small known maps, against torch, and as adjoints of each other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.resampling import (
    BedOfNails,
    average_pool,
    bed_of_nails,
    bilinear,
    bilinear_kernel,
    downsampling,
    global_average,
    max_pool,
    max_unpool,
    nearest,
    pixel_shuffle,
    pixel_unshuffle,
    transposed,
    upsampling,
)
from gradus.nn.summary import summary


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def grid(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows)[None, None]


FOUR = grid([[1.0, 2.0, 6.0, 3.0], [3.0, 5.0, 2.0, 1.0], [1.0, 2.0, 2.0, 1.0], [7.0, 3.0, 4.0, 8.0]])
TWO = grid([[1.0, 2.0], [3.0, 4.0]])


class TestKnownCases:
    def test_pooling_and_unpooling(self) -> None:
        largest, places = max_pool(FOUR)
        assert largest.tolist() == grid([[5, 6], [7, 8]]).tolist()
        assert places.tolist() == grid([[5, 2], [12, 15]]).tolist()
        back = max_unpool(TWO, places, (4, 4))
        assert back.tolist() == grid([[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]).tolist()
        assert average_pool(FOUR).tolist() == grid([[2.75, 3.0], [3.25, 3.75]]).tolist()
        assert global_average(FOUR).tolist() == [[3.1875]]

    def test_nearest_and_bed_of_nails(self) -> None:
        blocks = grid([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])
        nails = grid([[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])
        assert nearest(TWO).tolist() == blocks.tolist()
        assert bed_of_nails(TWO).tolist() == nails.tolist()
        assert BedOfNails()(TWO).tolist() == nails.tolist()

    def test_bilinear(self) -> None:
        """In between the centres a quarter of the way and three quarters; beyond them, as they are."""
        row = bilinear(grid([[0.0, 4.0]]))[0, 0, 0]
        assert row.tolist() == [0.0, 1.0, 3.0, 4.0]
        assert bilinear(TWO)[0, 0, 1, 1] == pytest.approx((9 * 1 + 3 * 2 + 3 * 3 + 4) / 16)

    def test_pixel_shuffle(self) -> None:
        channels = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
        assert pixel_shuffle(channels).tolist() == TWO.tolist()

    def test_transposed_convolution_stamps_its_kernel(self) -> None:
        layer = nn.ConvTranspose2d(1, 1, 3, stride=2, bias=False)
        layer.weight.data = torch.ones(1, 1, 3, 3)
        assert layer(grid([[1.0, 10.0]]))[0, 0].tolist() == [[1, 1, 11, 10, 10]] * 3


@pytest.mark.parametrize("factor", [2, 3])
class TestAgainstTorch:
    def test_all(self, factor: int) -> None:
        x = drawn(2, 9 * factor**2, 6, 12)
        for ours, theirs in (
            (average_pool(x, factor), F.avg_pool2d(x, factor)),
            (global_average(x), F.adaptive_avg_pool2d(x, 1).flatten(1)),
            (nearest(x, factor), x.repeat_interleave(factor, 2).repeat_interleave(factor, 3)),
            (bilinear(x, factor), F.interpolate(x, (6 * factor, 12 * factor), mode="bilinear")),
            (pixel_shuffle(x, factor), nn.PixelShuffle(factor)(x)),
            (pixel_unshuffle(x, factor), nn.PixelUnshuffle(factor)(x)),
        ):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        values, places = max_pool(x, factor)
        expected = F.max_unpool2d(*F.max_pool2d(x, factor, return_indices=True), factor)
        torch.testing.assert_close(max_unpool(values, places, (6, 12)), expected, rtol=0, atol=0)

    def test_overlapping_windows(self, factor: int) -> None:
        x = drawn(1, 2, 9, 9)
        values, places = max_pool(x, 3, factor)
        torch.testing.assert_close(values, x.unfold(2, 3, factor).unfold(3, 3, factor).amax((-1, -2)))
        back = max_unpool(values, places, (9, 9))
        kept = back != 0
        assert torch.equal(back[kept], x[kept])

    def test_bilinear_is_a_product_of_two_matrices_of_tents(self, factor: int) -> None:
        def matrix(size: int) -> Tensor:
            place = ((torch.arange(size * factor, dtype=torch.float64) + 0.5) / factor - 0.5).clamp(0, size - 1)
            return (1 - (place[:, None] - torch.arange(size)).abs()).clamp(min=0)

        x = drawn(2, 3, 4, 5)
        torch.testing.assert_close(bilinear(x, factor), matrix(4) @ x @ matrix(5).T)

    def test_shuffle_is_undone(self, factor: int) -> None:
        x = drawn(2, 2 * factor**2, 3, 4)
        assert torch.equal(pixel_unshuffle(pixel_shuffle(x, factor), factor), x)
        y = pixel_shuffle(x, factor)
        c, h, w, i, j = 1, 2, 3, 1, factor - 1
        assert torch.equal(y[:, c, h * factor + i, w * factor + j], x[:, (c * factor + i) * factor + j, h, w])


def inner(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_going_up_is_the_adjoint_of_going_down(factor: int) -> None:
    """⟨up(y), x⟩ = ⟨y, down(x)⟩."""
    y, x = drawn(2, 3, 4, 5), drawn(2, 3, 4 * factor, 5 * factor, seed=1)
    torch.testing.assert_close(inner(nearest(y, factor), x), factor**2 * inner(y, average_pool(x, factor)))
    torch.testing.assert_close(inner(bed_of_nails(y, factor), x), inner(y, x[:, :, ::factor, ::factor]))
    _, places = max_pool(x, factor)
    torch.testing.assert_close(inner(max_unpool(y, places, x.shape[2:]), x), inner(y, max_pool(x, factor)[0]))
    up = transposed(3, 3, factor, bias=False).double()
    down = F.conv2d(x, up.weight, stride=factor, padding=up.padding)
    torch.testing.assert_close(inner(up(y), x), inner(y, down))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_fresh_transposed_convolution_interpolates(factor: int) -> None:
    """Bilinear everywhere but at the border, where interpolation repeats and convolution sees zeros."""
    x = drawn(2, 3, 6, 6)
    layer = transposed(3, 3, factor).double()
    with torch.no_grad():
        layer.bias.zero_()
    found, expected = layer(x), bilinear(x, factor)
    assert found.shape == expected.shape
    torch.testing.assert_close(
        found[..., factor:-factor, factor:-factor], expected[..., factor:-factor, factor:-factor]
    )
    # The stamps sum to one everywhere: a constant map stays constant, without a checkerboard.
    ones = layer(torch.ones_like(x))[..., factor:-factor, factor:-factor]
    torch.testing.assert_close(ones, torch.ones_like(ones))
    assert bilinear_kernel(factor).sum() == pytest.approx(factor**2)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("name", ["transposed", "nearest", "bilinear", "bed_of_nails", "pixel_shuffle"])
def test_larger_by_name(name: str, factor: int) -> None:
    assert summary(upsampling(name, 3, 5, factor), (2, 3, 4, 6)).rows[0].output_shape == (2, 5, 4 * factor, 6 * factor)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("name", ["strided", "max", "average", "pixel_unshuffle"])
def test_smaller_by_name(name: str, factor: int) -> None:
    model = downsampling(name, 3, 5, factor)
    assert summary(model, (2, 3, 4 * factor, 6 * factor)).rows[0].output_shape == (2, 5, 4, 6)


def test_mistakes() -> None:
    with pytest.raises(GradusError, match="a multiple of 4 channels, not 3"):
        pixel_shuffle(drawn(1, 3, 2, 2))
    with pytest.raises(GradusError, match="multiples of it, not 3×4"):
        pixel_unshuffle(drawn(1, 3, 3, 4))
    with pytest.raises(GradusError, match="did you mean 'bilinear'"):
        upsampling("bilinea", 3, 3)
    with pytest.raises(GradusError, match="did you mean 'average'"):
        downsampling("averge", 3, 3)
