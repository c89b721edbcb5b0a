"""`load_images`: names, folders, splits without leaks, files that are checked, and what users get wrong."""

import gzip
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus import canon
from gradus.data import classics, download
from gradus.data.registry import load_images
from gradus.data.splits import divide, thin
from gradus.errors import GradusError

Photos = Callable[..., Path]


@pytest.fixture(autouse=True)
def _nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GRADUS_DATA", raising=False)


def sizes(splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.val), len(splits.test)


def test_digits_equal_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    theirs = datasets.load_digits()
    ours = classics.digits()
    assert np.array_equal(ours.labels.numpy(), theirs.target)
    assert np.array_equal(ours.pixels.pixels[..., 0].numpy(), np.rint(theirs.images * 255 / 16))


def test_digits_are_split_in_proportion() -> None:
    splits = load_images("digits")
    assert sum(sizes(splits)) == 1797
    assert splits.classes == tuple("0123456789")
    for part, share in ((splits.val, 0.1), (splits.test, 0.2)):
        counts = torch.bincount(part.labels, minlength=10)
        assert (counts - share * 179.7).abs().max() <= 2
    rows = torch.cat([part.rows for part in (splits.train, splits.val, splits.test)])
    assert rows.sort().values.tolist() == list(range(1797))


def test_splits_are_a_function_of_the_seed() -> None:
    one, same, other = (load_images("digits", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.test.rows, same.test.rows)
    assert not torch.equal(one.test.rows, other.test.rows)
    assert one.fingerprint == other.fingerprint


def test_size_channels_and_limit_are_what_was_asked() -> None:
    splits = load_images("digits", image_size=12, channels=3, limit=50)
    assert sizes(splits) == (50, 50, 50)
    batch = next(splits.train.batches(7))
    assert batch.images.shape == (7, 3, 12, 12)
    assert torch.bincount(splits.train.labels, minlength=10).tolist() == [5] * 10
    assert load_images("digits", image_size=(8, 16), limit=10).train.image_size == (8, 16)


def test_mnist_is_the_official_one(data_dir: Path) -> None:
    splits = load_images("mnist", data_dir=data_dir)
    assert sum(sizes(splits)[:2]) == 60_000
    assert sizes(splits)[2] == 10_000
    assert abs(len(splits.val) - 6000) <= 5
    assert splits.test.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]
    mean = torch.cat([b.images.mean((1, 2, 3)) for s in (splits.train, splits.val) for b in s.batches(5000)]).mean()
    assert abs(float(mean) - 0.1307) < 1e-4


@pytest.mark.slow
def test_the_other_published_sets_load(data_dir: Path) -> None:
    fashion = load_images("fashion_mnist", data_dir=data_dir)
    assert fashion.classes[9] == "Ankle boot"
    assert fashion.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    photos = load_images("cifar10-jpeg", data_dir=data_dir)
    assert photos.train.pixels.shape == (3, 32, 32)
    mean = photos.train.pixels.pixels[:50_000].float().mean((0, 1, 2)) / 255
    assert torch.allclose(mean, torch.tensor([0.491, 0.482, 0.447]), atol=1e-3)


def test_cifar10_is_read_from_the_binary_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import tarfile

    records = np.random.default_rng(0).integers(0, 256, (6, 10, 3073), dtype=np.uint8)
    records[:, :, 0] %= 10
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for i, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records[i].size
            archive.addfile(member, io.BytesIO(records[i].tobytes()))
    checked = download.PublishedFile(path.name, f"sha256:{download.digest(path)}")
    monkeypatch.setattr(classics, "CIFAR10", checked)
    found = classics.cifar10(data_dir=tmp_path)
    flat = records.reshape(60, 3073)
    assert found.labels.tolist() == flat[:, 0].tolist()
    image = found.pixels.read(torch.tensor([37]))[0].permute(2, 0, 1).flatten()
    assert image.tolist() == flat[37, 1:].tolist()


def test_offline_says_where_to_put_the_file() -> None:
    with pytest.raises(GradusError, match=r"GRADUS_OFFLINE=1 forbids a download: put .*-ubyte\.gz into .*--data-dir"):
        load_images("mnist")


def test_an_altered_file_is_refused(data_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(data_dir / "mnist", tmp_path / "mnist")
    bad = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    bad.chmod(0o644)
    bad.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(GradusError, match=r"t10k-labels.* is not the published file of mnist"):
        load_images("mnist", data_dir=tmp_path)


def test_files_are_found_directly_in_gradus_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADUS_DATA", str(data_dir / "mnist"))
    assert len(load_images("mnist", limit=10).train) == 10


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> download.PublishedFile:
    """A file that a `file://` address serves, while downloads are allowed."""
    monkeypatch.delenv("GRADUS_OFFLINE")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "a.bin").write_bytes(b"content" * 1000)
    address = (tmp_path / "server" / "a.bin").as_uri()
    expected = hashlib.sha256(b"content" * 1000).hexdigest()
    return download.PublishedFile("a.bin", f"sha256:{expected}", ((tmp_path / "absent").as_uri(), address))


def test_a_download_tries_the_mirrors_and_is_kept(served: download.PublishedFile, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    (path,) = download.obtain(["set"], [served], progress=lambda *call: calls.append(call))
    assert path == tmp_path / "cache" / "gradus" / "set" / "a.bin"
    assert path.read_bytes() == b"content" * 1000
    assert calls[-1] == ("a.bin", 7000, 7000)
    (tmp_path / "server" / "a.bin").unlink()
    assert download.obtain(["set"], [served]) == [path]


def test_a_wrong_download_leaves_nothing(served: download.PublishedFile, tmp_path: Path) -> None:
    (tmp_path / "server" / "a.bin").write_bytes(b"truncated")
    with pytest.raises(GradusError, match=r"could not be downloaded .*sum differs.*: put a\.bin into"):
        download.obtain(["set"], [served])
    assert list((tmp_path / "cache" / "gradus" / "set").iterdir()) == []


def test_a_folder_of_classes(photos: Photos) -> None:
    root = photos({"dog": 20, "cat": 30})
    splits = load_images(str(root))
    assert splits.classes == ("cat", "dog")
    assert sizes(splits) == (35, 5, 10)
    everything = [name for part in (splits.train, splits.val, splits.test) for name in part.names]
    assert len(set(everything)) == 50
    for part in (splits.train, splits.val, splits.test):
        for name, label in zip(part.names, part.labels.tolist(), strict=True):
            assert Path(name).parent.name == splits.classes[label]


def test_a_folder_with_splits_keeps_them(photos: Photos) -> None:
    for split, count in (("train", 10), ("valid", 3), ("test", 4)):
        root = photos({"a": count, "b": count}, split=split)
    splits = load_images(str(root))
    assert sizes(splits) == (20, 6, 8)
    assert all("valid" in name for name in splits.val.names)
    shutil.rmtree(root / "valid")
    assert sizes(load_images(str(root), val_fraction=0.2)) == (16, 4, 8)


def test_the_order_of_the_file_system_does_not_matter(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    root = photos({"a": 12, "b": 12})
    before = load_images(str(root))
    walk, iterdir = os.walk, Path.iterdir
    monkeypatch.setattr(os, "walk", lambda top: ((p, d[::-1], f[::-1]) for p, d, f in walk(top)))
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(list(iterdir(self))[::-1]))
    after = load_images(str(root))
    assert before.test.names == after.test.names
    assert before.fingerprint == after.fingerprint


def test_the_fingerprint_tells_contents_apart(photos: Photos, tmp_path: Path) -> None:
    root = photos({"a": 5, "b": 5})
    before = load_images(str(root)).fingerprint
    moved = tmp_path / "elsewhere"
    shutil.copytree(root, moved)
    assert load_images(str(moved)).fingerprint == before
    shutil.copy(moved / "a" / "001.png", moved / "a" / "002.png")
    assert load_images(str(moved)).fingerprint != before


def test_equal_files_never_cross_splits(photos: Photos) -> None:
    root = photos({"a": 30, "b": 30})
    for i in range(0, 30, 2):
        for copy in range(3):
            shutil.copy(root / "a" / f"{i:03}.png", root / "a" / f"copy{copy}-{i:03}.png")
    for seed in range(5):
        splits = load_images(str(root), seed=seed)
        seen = [{Path(n).read_bytes() for n in part.names} for part in (splits.train, splits.val, splits.test)]
        assert all(seen)
        assert not (seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=30, max_size=200),
    st.floats(0, 0.3),
    st.floats(0.01, 0.4),
    st.integers(0, 5),
)
def test_dividing_is_a_partition_without_leaks(rows: list[tuple[int, int]], val: float, test: float, seed: int) -> None:
    labels = torch.tensor([label for label, _ in rows] + [i % 3 for i in range(12)])
    contents = [f"{label}/{content}" for label, content in rows] + [f"own {i}" for i in range(12)]
    parts = divide(labels, contents, {"val": val, "test": test}, seed, "abc")
    assert sorted(row for part in parts.values() for row in part.tolist()) == list(range(len(labels)))
    side = {}
    for part, members in parts.items():
        for row in members.tolist():
            assert side.setdefault(contents[row], part) == part
    counts = Counter(labels.tolist())
    for part, share in (("val", val), ("test", test)):
        own = Counter(labels[parts[part]].tolist())
        for label, total in counts.items():
            assert own[label] >= (1 if share else 0)
            assert own[label] <= max(1, round(share * total)) or min(map(contents.count, contents)) > 1


def test_thinning_keeps_the_proportions() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [2] * 100)
    kept = thin(labels, torch.arange(1000), 100, seed=0)
    assert torch.bincount(labels[kept]).tolist() == [60, 30, 10]
    assert thin(labels, torch.arange(1000), 1000, seed=0).tolist() == list(range(1000))


def folder_mistakes(root: Path, photos: Photos) -> dict[str, tuple[str, str]]:
    """Return, by kind of mistake, what a user names and what he is told."""
    (root / "empty").mkdir()
    (root / "text").mkdir()
    (root / "text" / "a.txt").write_text("x")
    (root / "file.csv").write_text("x")
    return {
        "unknown": ("minst", "no data set, file or folder 'minst'; did you mean 'mnist'?"),
        "missing": ("./nowhere", "nowhere does not exist"),
        "empty": (str(root / "empty"), "is empty: it should have one folder"),
        "text": (str(root / "text"), "is not a folder of images"),
        "file": (str(root / "file.csv"), "is not a folder: name a folder"),
    }


@pytest.mark.parametrize("kind", ["unknown", "missing", "empty", "text", "file"])
def test_wrong_names_are_told(kind: str, tmp_path: Path, photos: Photos) -> None:
    data, sentence = folder_mistakes(tmp_path, photos)[kind]
    with pytest.raises(GradusError) as caught:
        load_images(data)
    assert sentence in str(caught.value)


def test_wrong_folders_are_told(photos: Photos) -> None:
    root = photos({"a": 5})
    with pytest.raises(GradusError, match="only the class 'a': classification needs at least two"):
        load_images(str(root))
    photos({"b": 2})
    with pytest.raises(GradusError, match=r"too few images of class 'b' \(2 different\) to divide into 3 parts"):
        load_images(str(root))
    (root / "c").mkdir()
    with pytest.raises(GradusError, match=r"class folder .*c holds no images"):
        load_images(str(root))
    shutil.rmtree(root / "c")
    for path in image_paths(root):
        path.rename(root / f"{path.parent.name}-{path.name}")
    with pytest.raises(GradusError, match="not sorted by class"):
        load_images(str(root))


def test_a_class_unknown_to_train_is_told(photos: Photos) -> None:
    photos({"a": 5, "b": 5}, split="train")
    root = photos({"a": 5, "c": 5}, split="test")
    with pytest.raises(GradusError, match="the class 'c' of test has no folder in train"):
        load_images(str(root))


def test_a_corrupt_photo_is_named_when_loading(photos: Photos) -> None:
    root = photos({"a": 8, "b": 8}, kind="jpg")
    (root / "b" / "004.jpg").write_bytes((root / "b" / "004.jpg").read_bytes()[:200])
    with pytest.raises(GradusError, match=r"004\.jpg is not a readable image"):
        load_images(str(root))


@pytest.mark.parametrize(
    ("settings_", "sentence"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"val_fraction": -0.1}, "leave nothing to train on"),
        ({"channels": 2}, "2 channels are not supported"),
        ({"image_size": 0}, "image size 0 is not positive"),
        ({"limit": 0}, "a limit of 0"),
    ],
)
def test_wrong_settings_are_told(settings_: dict, sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        load_images("digits", **settings_)


def test_the_registry_knows_the_data_sets_without_torch() -> None:
    assert {"digits", "mnist", "fashion-mnist", "cifar10", "cifar10-jpeg"} <= set(canon.names("dataset"))


def test_an_idx_file_of_something_else_is_told(tmp_path: Path) -> None:
    for content in (b"", b"\0\0\x08\x01\0\0\0\x09only", gzip.compress(b"\0\0\x08\x01\0\0\0\x09only"), b"nothing"):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(GradusError, match="is not a gzipped IDX file"):
            classics.read_idx(tmp_path / "a.gz")


def image_paths(root: Path) -> list[Path]:
    from gradus.data.decode import image_files

    return image_files(root)
