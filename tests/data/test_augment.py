"""Augmentation: what each step does, what it draws, and what users may write."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gradus import canon
from gradus.data import augment, geometry
from gradus.data.augment import Augment
from gradus.data.draws import Draws
from gradus.data.images import ImageBatch
from gradus.errors import GradusError

NAMES = sorted(canon.names("augmentation"))


def photos(count: int = 6, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    made = torch.rand((count, height, width, channels), generator=torch.Generator().manual_seed(count))
    return made.permute(0, 3, 1, 2)


def batch(**shape: int) -> ImageBatch:
    images = photos(**shape)
    return ImageBatch(images, torch.arange(len(images)) % 4)


def test_the_registry_has_every_step() -> None:
    assert {"flip", "vflip", "crop", "rotate", "shear", "scale", "translate", "colour", "noise", "erase"} <= set(NAMES)
    assert {"brightness", "contrast", "saturation", "hue", "mixup", "cutmix"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_step_keeps_shape_range_and_input_and_depends_on_its_draws_alone(name: str, channels: int) -> None:
    given_, step = batch(channels=channels), Augment(name)
    before = given_.images.clone()
    torch.manual_seed(1)
    one = step(given_, Draws(seed=1), 4)
    torch.manual_seed(2)
    again = step(given_, Draws(seed=1), 4)
    assert torch.equal(given_.images, before)
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.labels, again.labels)
    assert one.images.shape == before.shape
    assert one.images.dtype == torch.float32
    assert float(one.images.min()) >= 0
    assert float(one.images.max()) <= 1
    others = [step(given_, Draws(**where), 4).images for where in ({"seed": 2}, {"seed": 1, "epoch": 1})]
    if channels == 3 or name not in ("hue", "saturation"):
        assert all(not torch.equal(one.images, other) for other in others)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("noise", "mixup", "cutmix")])
def test_what_a_sample_gets_depends_on_its_position_alone(name: str) -> None:
    images = photos(count=9)
    labels = torch.zeros(9, dtype=torch.int64)
    step = Augment(name)
    whole = step(ImageBatch(images, labels), Draws(0, 2, batch=18, first=18), 1).images
    part = step(ImageBatch(images[4:7], labels[4:7]), Draws(0, 2, batch=18, first=22), 1).images
    assert torch.allclose(whole[4:7], part, atol=1e-6)


def test_uniform_numbers_are_uniform_and_independent() -> None:
    table = Draws(0).uniform("a", 20_000, 6).double()
    assert table.min() >= 0
    assert table.max() < 1
    assert (table.mean(0) - 0.5).abs().max() < 0.01
    assert (table.var(0) - 1 / 12).abs().max() < 0.002
    other = torch.cat([Draws(0).uniform("b", 20_000, 2), Draws(0, 1).uniform("a", 20_000, 2)], 1).double()
    together = np.corrcoef(torch.cat([table, other], 1).numpy().T) - np.eye(10)
    assert np.abs(together).max() < 0.03
    assert np.abs(np.corrcoef(table[1:, 0], table[:-1, 0])[0, 1]) < 0.03


@given(st.integers(0, 10_000), st.integers(0, 200), st.integers(1, 9))
def test_a_table_of_numbers_can_be_entered_anywhere(first: int, skipped: int, columns: int) -> None:
    whole = Draws(5, 1, first=first).uniform("x", skipped + 3, columns)
    assert torch.equal(Draws(5, 1, first=first + skipped).uniform("x", 3, columns), whole[skipped:])


def test_flips_and_crops_only_move_pixels() -> None:
    images = photos()
    seen = Augment("flip=1,vflip=1")(ImageBatch(images, torch.zeros(6).long()), Draws(0), 1).images
    assert torch.equal(seen, images.flip(2, 3))
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3))
    top, left = torch.tensor([0, 1, 2, 3, 5, 6]), torch.tensor([6, 0, 3, 3, 1, 2])
    expected = [p[:, t : t + 12, x : x + 16] for p, t, x in zip(padded, top, left, strict=True)]
    assert torch.equal(augment.crop(images, top, left, 3), torch.stack(expected))


def test_half_are_mirrored() -> None:
    images = torch.arange(2.0).view(1, 1, 1, 2).expand(4000, 1, 1, 2).contiguous()
    seen = Augment("flip")(ImageBatch(images, torch.zeros(4000).long()), Draws(0), 1).images
    assert abs(float(seen[:, 0, 0, 0].mean()) - 0.5) < 0.03


@pytest.mark.parametrize("spec", ["flip,crop=3,vflip", "crop=2,flip"])
def test_the_maps_of_exact_steps_say_where_they_move_pixels(spec: str) -> None:
    """A zero rotation forces the chain through its matrices; the result is what moving pixels gives."""
    given_ = batch()
    moved = Augment(spec)(given_, Draws(3), 4).images
    warped = Augment(f"{spec},rotate=0")(given_, Draws(3), 4).images
    assert torch.allclose(moved, warped, atol=1e-5)


def test_quarter_turns_are_exact_and_counter_clockwise() -> None:
    images = photos(height=9, width=9)
    assert torch.allclose(augment.rotate(images, 90), torch.rot90(images, 1, (2, 3)), atol=1e-5)
    turns = torch.tensor([0.0, 90, 180, 270, -90, 360])
    seen = augment.rotate(images, turns)
    for image, turned, k in zip(images, seen, (0, 1, 2, 3, -1, 0), strict=True):
        assert torch.allclose(turned, torch.rot90(image, k, (1, 2)), atol=1e-5)


def test_moves_are_pixels_right_and_down() -> None:
    images = photos()
    moved = augment.translate(images, 2, 1)
    assert torch.allclose(moved[:, :, 1:, 2:], images[:, :, :-1, :-2], atol=1e-5)
    assert float(moved[:, :, 0].abs().max()) < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(-40, 40), st.floats(0.5, 2), st.floats(-5, 5), st.floats(-5, 5), st.booleans())
def test_maps_say_where_content_goes(
    angle: float, tilt: float, factor: float, right: float, down: float, mirrored: bool
) -> None:
    """A soft spot at p is found at M p after the warp, whatever the chain and the aspect of the image."""
    height, width = 61, 81
    one = torch.ones(1)
    maps = (
        geometry.translation(right * one, down * one)
        @ geometry.rotation(angle * one)
        @ geometry.shearing(tilt * one)
        @ geometry.scaling(factor * one)
        @ geometry.flipping((1 - 2 * mirrored) * one, one)
    )
    y, x = torch.meshgrid(torch.arange(height) - 30.0, torch.arange(width) - 40.0, indexing="ij")
    spot = torch.tensor([4.0, -3.0])
    image = torch.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 8)[None, None]
    seen = geometry.warp(image, maps)[0, 0]
    centre = torch.stack([(seen * x).sum(), (seen * y).sum()]) / seen.sum()
    expected = (maps[0] @ torch.tensor([*spot, 1.0]))[:2]
    assert torch.allclose(centre, expected, atol=0.3)


def test_a_chain_of_maps_is_interpolated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    sample = torch.nn.functional.grid_sample
    monkeypatch.setattr(torch.nn.functional, "grid_sample", lambda *a, **k: calls.append(1) or sample(*a, **k))
    Augment("rotate=5,shear=3,scale=0.1,translate=0.1,flip,crop=2")(batch(), Draws(0), 4)
    assert len(calls) == 1
    Augment("rotate=5,noise,shear=5")(batch(), Draws(0), 4)
    assert len(calls) == 3


def test_mixup_mixes_labels_as_it_mixes_images() -> None:
    images = torch.eye(6).view(6, 6, 1, 1)[:, :, :, :]  # image i has 1 in channel i
    labels = torch.arange(6)
    mixed = Augment("mixup=1")(ImageBatch(images, labels), Draws(4), 6)
    assert torch.allclose(mixed.images.flatten(1), mixed.labels, atol=1e-6)
    assert torch.allclose(mixed.labels.sum(1), torch.ones(6))
    assert not torch.equal(mixed.labels, torch.eye(6))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(1, 20))
def test_cutmix_mixes_labels_by_area(seed: int, height: int, width: int) -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, height, width) / 5
    mixed = Augment("cutmix")(ImageBatch(images, torch.arange(5)), Draws(seed), 5)
    for i in range(5):
        own = float((mixed.images[i] == images[i]).float().mean())
        assert abs(float(mixed.labels[i, i]) - own) < 1e-5
        assert abs(float(mixed.labels[i, i - 1]) - (1 - own)) < 1e-5


def test_the_share_of_mixup_has_the_distribution_of_the_paper() -> None:
    pair = ImageBatch(torch.zeros((2, 1, 1, 1)), torch.arange(2))
    step = Augment("mixup=0.4")
    shares = torch.stack([step(pair, Draws(0, batch=i), 2).labels[0, 0] for i in range(2000)])
    variance = 1 / (4 * (2 * 0.4 + 1))  # of Beta(α, α)
    assert abs(float(shares.mean()) - 0.5) < 0.03
    assert abs(float(shares.var()) - variance) < 0.01


def test_mixing_may_be_rarer() -> None:
    pair = ImageBatch(photos(count=2), torch.arange(2))
    steps = [Augment("cutmix=1:0.25")(pair, Draws(0, batch=i), 2).images for i in range(400)]
    assert 60 < sum(not torch.equal(images, pair.images) for images in steps) < 140
    assert torch.equal(Augment("mixup=0")(pair, Draws(0), 2).images, pair.images)


def test_noise_is_normal_with_its_deviation() -> None:
    images = torch.full((16, 3, 32, 32), 0.5)
    added = Augment("noise=0.05")(ImageBatch(images, torch.zeros(16).long()), Draws(0), 1).images - 0.5
    assert abs(float(added.std()) - 0.05) < 0.001
    assert abs(float(added.mean())) < 0.001


def test_erasing_leaves_a_square_hole() -> None:
    images = torch.ones((500, 1, 20, 30))
    seen = Augment("erase=6")(ImageBatch(images, torch.zeros(500).long()), Draws(0), 1).images
    holes = (1 - seen).sum((1, 2, 3))
    assert holes.max() == 36
    assert holes.min() >= 9
    assert torch.equal(
        augment.erase(images[:1], torch.tensor([2]), torch.tensor([3]), 4)[0, 0, 2:6, 3:7], torch.zeros(4, 4)
    )


def test_the_empty_string_changes_nothing() -> None:
    given_ = batch()
    seen = Augment("")(given_, Draws(0), 4)
    assert torch.equal(seen.images, given_.images)
    assert seen.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("flop", "there is no augmentation 'flop'; did you mean 'flip'?"),
        ("rotate=fast", "'rotate=fast' is not understood: write rotate=degrees (float)"),
        ("crop=2.5", "'crop=2.5' is not understood: write crop=padding (int)"),
        ("crop=-1", "padding=-1 is out of range: 0 to 4096"),
        ("flip=2", "probability=2 is out of range: 0 to 1"),
        ("rotate=nan", "is out of range"),
        ("noise=0.1:3", "too many settings: write noise=deviation"),
        ("flip,rotate=3,flip", "'flip' is given twice"),
    ],
)
def test_wrong_strings_are_told(spec: str, sentence: str) -> None:
    with pytest.raises(GradusError) as caught:
        Augment(spec)
    assert sentence in str(caught.value)


def test_augmentations_may_be_given_as_objects() -> None:
    from gradus.data.moves import Crop, Flip

    given_ = batch()
    written = Augment("flip,crop=2")(given_, Draws(0), 4)
    assert torch.equal(Augment([Flip(), Crop(2)])(given_, Draws(0), 4).images, written.images)
    assert repr(Augment("flip,crop=2")) == "Augment('flip,crop=2')"
