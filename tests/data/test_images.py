"""Image sets: decoding, views, one pass over them, and what goes wrong."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradus.data.decode import common_shape, decode, header, image_files
from gradus.data.images import Files, ImageSet, Memory, as_images
from gradus.errors import GradusError

Photos = Callable[..., Path]


def test_the_package_imports_without_torch() -> None:
    code = "import sys, gradus.data; gradus.data.__all__; dir(gradus.data); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_offered_name_exists() -> None:
    import gradus.data

    assert sorted(gradus.data.__all__) == sorted(dir(gradus.data))
    assert all(getattr(gradus.data, name) for name in gradus.data.__all__)


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # white left half; orientation 6 means: turn clockwise to see it upright, white on top
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert header(tmp_path / "a.png")[:2] == (32, 16)
    seen = decode(tmp_path / "a.png", (3, 32, 16))
    assert (seen[:16] == 255).all()
    assert (seen[16:] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_becomes_bytes_of_the_right_grey(mode: str, tmp_path: Path) -> None:
    grey = 255 if mode == "1" else 128
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))
    elif mode == "F":
        image = Image.fromarray(np.full((8, 8), 128 / 255, np.float32))
    else:
        image = Image.new("L", (8, 8), grey).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "F") else "a.png")
    image.save(path)
    for channels in (1, 3):
        seen = decode(path, (channels, 8, 8))
        assert seen.shape == (8, 8, channels)
        assert np.abs(seen.astype(int) - grey).max() <= 1


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decode(tmp_path / "a.png", (3, 8, 8)) == 255).all()


def test_other_sizes_keep_their_aspect_and_lose_their_edges(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60), np.uint8)
    pixels[:, 20:40] = 255  # the central square is white
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", (1, 20, 20)).min() == 255
    assert decode(tmp_path / "a.png", (1, 10, 10))[:, 1:-1].min() == 255


def test_tensors_and_files_are_brought_to_a_shape_alike(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    store = Memory(torch.from_numpy(pixels)[None])
    for shape in ((1, 24, 36), (3, 12, 12), (1, 48, 30)):
        ours = store.shown(shape).read(torch.tensor([0]))[0].numpy().astype(int)
        assert np.abs(ours - decode(tmp_path / "a.png", shape)).max() <= 2


def test_common_shape_is_that_of_the_majority(photos: Photos) -> None:
    from gradus.data.decode import headers

    root = photos({"a": 3}, size=(20, 30))
    assert common_shape(headers(image_files(root)), None, None) == (3, 20, 30)
    photos({"b": 4}, size=(50, 70), mode="L")
    assert common_shape(headers(image_files(root)), None, None) == (1, 48, 48)  # medians of 20 and 50 round to 48
    photos({"c": 30}, size=(400, 500))
    assert common_shape(headers(image_files(root)), None, None) == (3, 224, 224)
    assert common_shape([], 1, (5, 6)) == (1, 5, 6)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_broken_file_is_named_with_the_remedy(damage: str, photos: Photos) -> None:
    root = photos({"a": 3}, size=(64, 64), kind="jpg")
    bad = root / "a" / "001.jpg"
    whole = bad.read_bytes()
    bad.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no image", "empty": b""}[damage])
    with pytest.raises(GradusError, match=r"001\.jpg is not a readable image .*gradus inspect") as caught:
        ImageSet.of_files(image_files(root))
    assert "\n" not in str(caught.value)
    lazy = ImageSet.of_files(image_files(root), channels=3, image_size=64, budget=0)
    next(iter(lazy.take([0, 2]).batches()))
    with pytest.raises(GradusError, match=r"001\.jpg"):
        list(lazy.batches())


def test_hidden_and_other_files_are_no_images(photos: Photos) -> None:
    root = photos({"a": 2, ".cache": 1, "__MACOSX": 1})
    (root / "a" / ".DS_Store").write_text("x")
    (root / "a" / "._000.png").write_text("x")
    (root / "a" / "notes.txt").write_text("x")
    assert [path.name for path in image_files(root)] == ["000.png", "001.png"]


def test_files_and_memory_give_the_same_images(photos: Photos) -> None:
    files = image_files(photos({"a": 5}))
    loaded, lazy = ImageSet.of_files(files), ImageSet.of_files(files, budget=0)
    assert loaded.in_memory
    assert isinstance(lazy.pixels, Files)
    assert loaded.names == lazy.names == [str(path) for path in files]
    for one, other in zip(loaded.batches(2), lazy.batches(2), strict=True):
        assert torch.equal(one.images, other.images)
        assert one.labels.tolist() == [-1] * len(one.images)


@given(st.lists(st.integers(0, 19), max_size=30), st.lists(st.integers(0, 100), max_size=10))
def test_taking_is_indexing(first: list[int], then: list[int]) -> None:
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
    whole = ImageSet.of_tensor(images, torch.arange(20))
    part = whole.take(first)
    chosen = [i % len(first) for i in then] if first else []
    assert part.labels.tolist() == first
    assert part.take(chosen).labels.tolist() == [first[i] for i in chosen]
    assert part.take(chosen).read(torch.arange(len(chosen))).flatten().tolist() == [first[i] for i in chosen]


def test_one_pass_shows_everything_in_order() -> None:
    images = torch.randint(0, 256, (23, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    held = ImageSet.of_tensor(images, torch.arange(23))
    batches = list(held.batches(5))
    assert torch.equal(torch.cat([batch.images for batch in batches]), images / 255)
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(23))
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in batches)
    assert next(iter(held.batches(5, channels_last=False))).images.is_contiguous()


def test_grey_batches_are_plainly_contiguous() -> None:
    images = as_images(torch.zeros((2, 4, 5, 1), dtype=torch.uint8))
    assert images.shape == (2, 1, 4, 5)
    assert images.stride() == (20, 20, 5, 1)


def test_preview_shows_the_classes_in_turn() -> None:
    labels = torch.tensor([0] * 10 + [1] * 3 + [2] * 10)
    held = ImageSet.of_tensor(torch.zeros((23, 1, 2, 2), dtype=torch.uint8), labels)
    assert held.preview(6).labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(held.preview(100).labels) == 23


def test_labels_out_of_range_are_refused() -> None:
    pixels = torch.zeros((2, 1, 2, 2), dtype=torch.uint8)
    with pytest.raises(GradusError, match="label 5 is out of range for 2 classes"):
        ImageSet.of_tensor(pixels, torch.tensor([0, 5]), ["a", "b"])
    with pytest.raises(GradusError, match="label -2"):
        ImageSet.of_tensor(pixels, torch.tensor([0, -2]), ["a", "b"])
    with pytest.raises(GradusError, match="1 labels for 2 images"):
        ImageSet.of_tensor(pixels, torch.tensor([0]), ["a"])
    with pytest.raises(GradusError, match=r"must lie in \[0, 1\]"):
        ImageSet.of_tensor(pixels.float() + 2, torch.tensor([0, 1]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_pass_over_many_images_takes_no_more_memory_than_a_batch() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    held = ImageSet.of_tensor(torch.zeros((60_000, 1, 28, 28), dtype=torch.uint8), torch.zeros(60_000).long(), ["a"])
    passes = held.batches(256)
    next(passes)
    before = resident()
    seen = sum(len(batch.labels) for batch in passes)
    assert seen == 60_000 - 256
    assert resident() - before < 20e6  # all at once would be 188 MB
