"""Our architectures against timm's, where torchvision has none: the same random weights give the same numbers."""

from functools import partial

import pytest
import torch

from parity.random_weights import twins

timm = pytest.importorskip("timm")

SMALL = {"img_size": 64}, {"image_size": 64, "patch": 16}
CASES = {
    "seresnet50": ("seresnet50", {}, {}),
    "resnet18v2": ("resnetv2_18", {}, {}),
    "resnet50v2": ("resnetv2_50", {}, {}),
    "separable": ("mobilenetv1_100", {}, {}),
    "vit_ti": ("vit_tiny_patch16_224", *SMALL),
    "vit_s": ("vit_small_patch16_224", *SMALL),
    "vit_b": ("vit_base_patch16_224", *SMALL),
}


def compare(name: str, peer: str, theirs: dict[str, object], settings: dict[str, object]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference, ours = twins(lambda: timm.create_model(peer, num_classes=10, **theirs), name, **settings)
        x = torch.rand(2, 3, *((64, 64) if theirs == SMALL[0] else (32, 48)), dtype=torch.float64)
    with torch.no_grad():
        expected, actual = reference(x), ours(x)
    assert 1e-2 < expected.std() < 1e2
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_same_weights_same_logits(name: str) -> None:
    compare(name, *CASES[name])


def test_small_excitations() -> None:
    """timm rounds the hidden units up to multiples of eight; without the rounding the networks are the same."""
    from timm.layers import SEModule

    layer = partial(SEModule, rd_divisor=1)
    compare("seresnet18", "seresnet18", {"block_args": {"attn_layer": layer}}, {})


@pytest.mark.parametrize("size", [96, (64, 128)])
def test_positions_are_interpolated_alike(size: int | tuple[int, int]) -> None:
    from timm.layers.pos_embed import resample_abs_pos_embed

    from gradus.vision.vit import interpolate_positions

    rows, columns = (size // 16, size // 16) if isinstance(size, int) else (size[0] // 16, size[1] // 16)
    positions = torch.randn(1, 1 + 14 * 14, 8)
    expected = resample_abs_pos_embed(positions, [rows, columns], old_size=[14, 14])
    torch.testing.assert_close(interpolate_positions(positions, (14, 14), (rows, columns)), expected)
