"""The data doctor finds what was planted, goes on after a bad file, and has nothing to say about good data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradus.data.inspect import inspect
from gradus.errors import GradusError

Photos = Callable[..., Path]


def smooth(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Return a picture with large shapes, which survives being saved anew."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def test_good_data_has_no_problems(photos: Photos) -> None:
    found = inspect(str(photos({"a": 6, "b": 7}, size=(20, 30))))
    assert found.problems == []
    assert found.images == {"train": 13}
    assert found.classes == {"train": {"a": 6, "b": 7}}
    assert found.sizes == {"20×30": 13}
    assert found.channels == {"colour": 13}
    assert json.loads(json.dumps(found.to_json()))["classes"]["train"]["b"] == 7


def test_a_registered_set_is_looked_over_too() -> None:
    found = inspect("digits")
    assert found.images == {"train": 1797}
    assert found.sizes == {"8×8": 1797}
    assert sum(found.classes["train"].values()) == 1797
    assert found.problems == []


@pytest.mark.slow
def test_the_official_splits_share_no_image(data_dir: Path) -> None:
    found = inspect("mnist", data_dir)
    assert found.images == {"train": 60_000, "test": 10_000}
    assert found.across_splits.groups == 0


def test_every_unreadable_file_is_named_and_the_rest_counted(photos: Photos) -> None:
    root = photos({"a": 6, "b": 6}, kind="jpg", size=(64, 64))
    for name in ("a/001.jpg", "b/004.jpg"):
        (root / name).write_bytes((root / name).read_bytes()[:300])
    (root / "b" / "005.jpg").write_text("no image")
    found = inspect(str(root))
    assert sorted(found.unreadable) == ["a/001.jpg", "b/004.jpg", "b/005.jpg"]
    assert found.classes == {"train": {"a": 5, "b": 4}}
    assert "truncated" in found.unreadable["a/001.jpg"].lower()
    assert any("3 files cannot be read" in problem and "b/004.jpg" in problem for problem in found.problems)


def test_equal_images_across_splits_and_classes_are_found(photos: Photos) -> None:
    photos({"a": 5, "b": 5}, split="train")
    root = photos({"a": 5, "b": 5}, split="test")
    shutil.copy(root / "train" / "a" / "002.png", root / "test" / "a" / "again.png")
    shutil.copy(root / "train" / "a" / "003.png", root / "train" / "b" / "again.png")
    shutil.copy(root / "train" / "a" / "004.png", root / "train" / "a" / "again.png")
    found = inspect(str(root))
    assert found.across_splits.examples == [["train/a/002.png", "test/a/again.png"]]
    assert found.across_classes.examples == [["train/a/003.png", "train/b/again.png"]]
    assert (found.duplicates.groups, found.duplicates.images) == (3, 6)
    assert any("more than one split" in problem for problem in found.problems)
    assert any("more than one class" in problem for problem in found.problems)


def test_near_duplicates_are_those_that_look_alike(photos: Photos) -> None:
    root = photos({"a": 3, "b": 3}, size=(64, 64))
    for seed in range(6):
        smooth(seed).save(root / "a" / f"s{seed}.png")
    smooth(2).save(root / "b" / "anew.jpg", quality=80)
    smooth(4, (50, 50)).save(root / "b" / "smaller.png")
    found = inspect(str(root))
    assert {tuple(sorted(group)) for group in found.near_duplicates.examples} == {
        ("a/s2.png", "b/anew.jpg"),
        ("a/s4.png", "b/smaller.png"),
    }
    assert found.duplicates.groups == 0


def test_odd_sizes_imbalance_and_other_files_are_told(photos: Photos) -> None:
    root = photos({"a": 40, "b": 3}, size=(48, 48))
    Image.new("RGB", (10, 12)).save(root / "b" / "tiny.png")
    Image.new("L", (400, 60)).save(root / "b" / "long.png")
    (root / "a" / "photo.heic").write_bytes(b"x")
    Image.new("RGB", (48, 48)).save(root / "stray.png")
    found = inspect(str(root))
    assert found.tiny == ["b/tiny.png"]
    assert found.elongated == ["b/long.png"]
    assert found.ignored == {".heic": 1}
    assert found.channels == {"colour": 44, "grey": 1}
    assert next(iter(found.sizes)) == "48×48"
    text = "; ".join(found.problems)
    for told in ("b/tiny.png", "b/long.png", "1 .heic", "outside of any class folder"):
        assert told in text
    assert "balanced" not in text
    photos({"a": 60})
    assert "far from balanced: 'a' has 60 images, 'b' 5" in "; ".join(inspect(str(root)).problems)


def test_gaps_between_the_classes_of_splits_are_told(photos: Photos) -> None:
    photos({"a": 3, "b": 3}, split="train")
    root = photos({"a": 3, "c": 3}, split="val")
    (root / "train" / "d").mkdir()
    text = "; ".join(inspect(str(root)).problems)
    for told in ("val lacks classes b, d", "val has c, unknown to train", "train has no readable images of d"):
        assert told in text


def test_what_cannot_be_trained_on_is_still_looked_over(photos: Photos, tmp_path: Path) -> None:
    assert any("only one class" in problem for problem in inspect(str(photos({"a": 2}))).problems)
    (tmp_path / "none").mkdir()
    assert any("holds no readable images" in problem for problem in inspect(str(tmp_path / "none")).problems)


@pytest.mark.parametrize(("data", "sentence"), [("minst", "did you mean 'mnist'"), ("./nowhere", "does not exist")])
def test_what_is_not_there_is_told(data: str, sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        inspect(data)
