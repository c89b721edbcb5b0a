"""The receptive field equals the support of the gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradus.errors import GradusError
from gradus.nn.convolution import convolution, depthwise_separable, spatially_separable
from gradus.nn.dense import dense_block, transition
from gradus.nn.inception import Inception, Widths
from gradus.nn.receptive_field import receptive_field
from gradus.nn.residual import BASIC, BOTTLENECK, residual
from gradus.vision.models import build

Box = tuple[int, int, int, int]


def support(model: nn.Module, shape: tuple[int, ...], row: int, column: int) -> Box | None:
    """Return the box of the pixels that the output at a position has a gradient to, weights made positive; or None."""
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0, :, row, column].sum(), x)
    seen = gradient[0].abs().sum(0) > 0
    if not seen.any():
        return None
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


LAYERS = st.tuples(
    st.sampled_from(["conv", "mean"]), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LAYERS, min_size=1, max_size=4), st.data())
def test_stacks_of_convolutions_and_averages(layers: list[tuple[str, int, int, int, int]], data: st.DataObject) -> None:
    modules: list[nn.Module] = []
    for kind, kernel, stride, padding, dilation in layers:
        if kind == "conv":
            modules.append(nn.Conv2d(1, 1, kernel, stride, min(padding, kernel - 1), dilation, bias=False))
        else:
            modules.append(nn.AvgPool2d(kernel, stride, min(padding, kernel // 2)))
    model, shape = nn.Sequential(*modules), (1, 1, 67, 71)
    try:
        height, width = model(torch.zeros(shape)).shape[-2:]
    except RuntimeError:
        return
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    field = receptive_field(model, shape)
    # At the border a window lies partly in padding, which may stand where strides have dropped pixels, and may see
    # nothing; and a kernel with holes, or one that is stepped over, may miss the first or last pixel.
    whole = all(
        start + index * stride >= 0 and start + index * stride + size <= length
        for length, size, stride, start, index in zip(
            shape[2:], field.size, field.stride, field.start, (row, column), strict=True
        )
    )
    if any(layer[4] > 1 or layer[2] > layer[1] for layer in layers) or not whole:
        box, inner = field.box(row, column), support(model, shape, row, column)
        if inner is not None:
            assert all(a <= b for a, b in zip(box[:2], inner[:2], strict=True))
            assert all(a >= b for a, b in zip(box[2:], inner[2:], strict=True))
    else:
        assert support(model, shape, row, column) == field.box(row, column)


BRANCHING = {
    "residual": lambda: nn.Sequential(residual(1, 2, BASIC, stride=2), residual(2, 2, BASIC)),
    "zero-padded": lambda: nn.Sequential(residual(1, 2, BASIC, stride=2, shortcut="A"), residual(2, 2, BASIC)),
    "pre-activated": lambda: residual(1, 2, BOTTLENECK, stride=2, preactivated=True),
    "dense": lambda: nn.Sequential(dense_block(1, 3, 2), transition(7, 3), dense_block(3, 2, 2)),
    "dilated": lambda: nn.Sequential(convolution(1, 2, 3), convolution(2, 2, 3, dilation=2), convolution(2, 1, 1)),
    "grouped": lambda: nn.Sequential(convolution(1, 4, 3, stride=2), convolution(4, 4, 5, groups=2)),
    "depthwise separable": lambda: nn.Sequential(depthwise_separable(1, 3, 5), depthwise_separable(3, 2, stride=2)),
    "spatially separable": lambda: nn.Sequential(spatially_separable(1, 2, 5), spatially_separable(2, 2, 3)),
    "inception": lambda: nn.Sequential(nn.Conv2d(1, 2, 3, 2), Inception(2, Widths(1, 1, 1, 1, 1, 1))),
}


@pytest.mark.parametrize("name", BRANCHING)
def test_branches(name: str) -> None:
    model = BRANCHING[name]()
    shape = (1, 1, 48, 52)
    field = receptive_field(model, shape)
    for row, column in ((0, 0), (7, 9), (12, 3)):
        assert support(model, shape, row, column) == field.box(row, column)


@pytest.mark.parametrize(
    "name, size, stride",
    [("vgg16", 196, 16), ("resnet18", 435, 32), ("resnet50", 427, 32), ("alexnet", 163, 16), ("lenet", 14, 2)],
)
def test_known_networks(name: str, size: int, stride: int) -> None:
    """The last map's field; published for VGG-16's conv5_3 (196) and, with strides on the 3×3, ResNets."""
    with torch.device("meta"):
        model = build(name, classes=10)
    field = receptive_field(model, (1, 3, 224, 224), model.feature_map)
    assert field.size == (size, size)
    assert field.stride == (stride, stride)


def test_rectangles() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, (3, 5), (1, 2), (0, 2), bias=False), nn.MaxPool2d((2, 1), (2, 1)))
    field = receptive_field(model, (1, 1, 20, 20))
    assert (field.size, field.stride, field.start) == ((4, 5), (2, 2), (0, -2))


def test_what_mixes_all_positions_sees_everything() -> None:
    with torch.device("meta"):
        model = build("seresnet20", classes=10)
    field = receptive_field(model, (1, 3, 32, 32), model.feature_map)
    assert field.box(0, 0) == (0, 0, 32, 32)
    assert field.size == (float("inf"), float("inf"))


class Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (1, 0, 2, 0))[:, :, 1::3]


class LastRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, -4:, 2:9:2]


def test_padding_and_slicing() -> None:
    field = receptive_field(Shifted(), (1, 1, 12, 12))
    assert (field.size, field.stride, field.start) == ((1, 1), (3, 1), (-1, -1))
    field = receptive_field(LastRows(), (1, 1, 12, 12))
    assert (field.size, field.stride, field.start) == ((1, 1), (1, 2), (8, 2))


def test_a_layer_without_a_map_is_refused() -> None:
    model = build("lenet", classes=10)
    with pytest.raises(GradusError, match="batch, channels, height, width"):
        receptive_field(model, (1, 3, 28, 28))
    with pytest.raises(GradusError, match="is called"):
        receptive_field(model, (1, 3, 28, 28), nn.Identity())
