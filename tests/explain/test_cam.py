"""Grad-CAM against hand computation, on maps and on tokens."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gradus.errors import GradusError
from gradus.explain import grad_cam
from gradus.explain.cam import maps_of
from gradus.testing.explainers import SmallNet, untouched

TARGETS = torch.tensor([0, 1, 2, 1])


def images() -> torch.Tensor:
    return torch.rand(4, 2, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_by_hand():
    model, inputs = SmallNet(), images()
    maps = model.feature_map(inputs).detach()
    weights = model.head[1].weight.detach()[TARGETS].view(4, 4, 4, 4)
    expected = torch.stack([sum(weights[b, k].mean() * maps[b, k] for k in range(4)) for b in range(4)])[:, None]
    signed = grad_cam(model, inputs, target=TARGETS, layer=model.feature_map, relu=False, upsample=False)
    torch.testing.assert_close(signed, expected, rtol=1e-12, atol=1e-14)
    assert bool((signed < 0).any())
    shown = grad_cam(model, inputs, target=TARGETS, layer=model.feature_map)
    torch.testing.assert_close(shown, F.interpolate(expected.relu(), (8, 8), mode="bilinear"), rtol=1e-12, atol=1e-14)


def test_it_is_cam_on_a_model_with_global_average_pooling():
    """The theorem of the paper: with f = w · GAP(A), the weights are w / Z, so the map is CAM's over the places."""
    torch.manual_seed(0)
    trunk, head = nn.Conv2d(2, 6, 3).double(), nn.Linear(6, 3).double()
    model = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    found = grad_cam(model, images(), target=TARGETS, layer=trunk, relu=False, upsample=False)
    cam = torch.einsum("bk,bkhw->bhw", head.weight[TARGETS], trunk(images())) / 36
    torch.testing.assert_close(found[:, 0], cam.detach(), rtol=1e-12, atol=1e-14)


class Tokens(nn.Module):
    """Patches of two pixels as tokens after some leading ones, one linear layer, mean over the tokens."""

    def __init__(self, leading: int, height: int = 8, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(2, 5, 2, stride=2).double()
        self.leading = nn.Parameter(torch.randn(1, leading, 5, dtype=torch.float64))
        self.mix = nn.Linear(5, 5).double()
        self.head = nn.Linear(5, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.leading.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.mix(tokens).tanh().mean(1))


@pytest.mark.parametrize("leading", [0, 1, 5])
@pytest.mark.parametrize("size", [(8, 8), (12, 6)])
def test_tokens_are_maps_once_the_leading_ones_are_dropped(leading, size):
    model = Tokens(leading)
    inputs = torch.rand(4, 2, *size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = grad_cam(model, inputs, target=TARGETS, layer=model.mix, relu=False, upsample=False)
    maps = F.conv2d(model.patches(inputs), model.mix.weight[:, :, None, None], model.mix.bias)
    slopes = (1 - maps.tanh() ** 2) * model.head.weight[TARGETS][:, :, None, None] / (leading + maps[0, 0].numel())
    expected = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).detach()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (197, (224, 224), (14, 14)),
        (201, (224, 224), (14, 14)),
        (50, (224, 224), (7, 7)),
        (65, (28, 28), (8, 8)),
        (64, (32, 32), (8, 8)),
        (17, (8, 8), (4, 4)),
        (99, (224, 112), (14, 7)),
        (61, (100, 240), (5, 12)),
        (2, (28, 28), (1, 1)),
    ],
)
def test_the_grid_of_tokens_is_inferred(tokens, size, grid):
    assert maps_of(torch.zeros(1, tokens, 3), size).shape == (1, 3, *grid)


def test_the_grid_of_tokens_can_be_said():
    tokens = torch.arange(13.0).view(1, 13, 1)
    assert maps_of(tokens, (8, 8), (2, 6))[0, 0].tolist() == [list(range(1, 7)), list(range(7, 13))]


def test_layers_that_make_no_sense_are_refused():
    model, inputs, stranger = SmallNet(), images(), nn.Linear(2, 2)

    def passes_by(x: torch.Tensor) -> torch.Tensor:
        model.feature_map(x)
        return x.mean((2, 3)) @ model.head[1].weight[:2, :3]

    for fn, layer, complaint in (
        (model, stranger, "Linear did not run"),
        (model, model.head[1], "maps .* or tokens"),
        (passes_by, model.feature_map, "no gradient of the output of the layer Sequential"),
    ):
        with untouched(model), pytest.raises(GradusError, match=complaint):
            grad_cam(fn, inputs, target=0, layer=layer)
    with pytest.raises(GradusError, match="holds no grid of 3 × 9"):
        maps_of(torch.zeros(1, 17, 3), (8, 8), (3, 9))
