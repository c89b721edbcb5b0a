"""The plain functions of augmentation give what torchvision gives."""

import pytest
import torch
from torch import Tensor

from gradus.data import augment

functional = pytest.importorskip("torchvision.transforms.functional")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand((4, 3, 21, 30), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("degrees", [-75.0, -10.0, 3.0, 45.0])
def test_rotation(images: Tensor, degrees: float) -> None:
    theirs = functional.rotate(images, degrees, interpolation=functional.InterpolationMode.BILINEAR)
    assert torch.allclose(augment.rotate(images, degrees), theirs, atol=1e-4)


def test_scale_and_translation(images: Tensor) -> None:
    bilinear = functional.InterpolationMode.BILINEAR
    theirs = functional.affine(images, 0, [3, -2], 1.0, [0.0], interpolation=bilinear)
    assert torch.allclose(augment.translate(images, 3, -2), theirs, atol=1e-4)
    theirs = functional.affine(images, 0, [0, 0], 1.3, [0.0], interpolation=bilinear)
    assert torch.allclose(augment.scale(images, 1.3), theirs, atol=1e-4)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.7])
def test_brightness_contrast_and_saturation(images: Tensor, factor: float) -> None:
    # Theirs weighs red by 0.2989 where the standard has 0.299.
    for name in ("brightness", "contrast", "saturation"):
        ours, theirs = getattr(augment, name), getattr(functional, f"adjust_{name}")
        assert torch.allclose(ours(images, factor), theirs(images, factor), atol=2e-4), name


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 0.4])
def test_hue(images: Tensor, turn: float) -> None:
    flat = torch.cat([images, torch.full((1, 3, 21, 30), 0.4), torch.zeros((1, 3, 21, 30))])
    assert torch.allclose(augment.hue(flat, turn), functional.adjust_hue(flat, turn), atol=1e-4)
