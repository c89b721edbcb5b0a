"""Sources of batches: the contract, resuming, sharding, weights, workers."""

import gc
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.images import ImageSet
from gradus.data.sampler import EpochSampler
from gradus.data.sources import ImageSource, TensorSource
from gradus.errors import GradusError
from gradus.testing.sources import check_source, same

Photos = Callable[..., Path]
EVERYTHING = "flip,crop=2,rotate=10,colour=0.2,noise=0.05,erase=2,mixup=0.4,cutmix=1:0.5"


def numbered(count: int, channels: int = 1) -> ImageSet:
    """Return images that hold their own number, in every pixel."""
    return ImageSet.of_tensor(
        torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, channels, 4, 5).contiguous(),
        torch.arange(count) % 3,
        ["a", "b", "c"],
    )


def numbers(batch) -> list[int]:
    return (batch.images[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("channels", [1, 3])
def test_image_sources_keep_the_contract(channels: int) -> None:
    held = numbered(23, channels)
    check_source(lambda: ImageSource(held, batch_size=5, seed=7), items=numbers, count=23)
    check_source(lambda: ImageSource(held, batch_size=5, shuffle=False), items=numbers, count=23, shuffled=False)
    check_source(lambda: ImageSource(held, batch_size=5, drop_last=True), items=lambda batch: [0] * 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_augmented_sources_keep_the_contract(channels: int) -> None:
    check_source(
        lambda: ImageSource(numbered(23, channels), batch_size=5, seed=7, augment=EVERYTHING),
        items=lambda batch: [0] * len(batch.labels),  # no pixel and no label is what it was
    )


def test_a_view_of_a_larger_store_keeps_the_contract() -> None:
    part = numbered(40).take(torch.arange(1, 40, 2))
    check_source(lambda: ImageSource(part, batch_size=6), items=numbers, count=20)
    assert set(numbers(next(ImageSource(part, batch_size=20)))) == set(range(1, 40, 2))


@pytest.mark.parametrize("form", ["dict", "tuple", "tensor"])
def test_tensor_sources_keep_the_contract(form: str) -> None:
    x, y = torch.randn(17, 2, generator=torch.Generator().manual_seed(0)), torch.arange(17)
    tensors = {"dict": {"y": y, "x": x}, "tuple": (y, x), "tensor": y}[form]
    column = {"dict": lambda b: b["y"].tolist(), "tuple": lambda b: b[0].tolist(), "tensor": lambda b: b.tolist()}
    check_source(lambda: TensorSource(tensors, batch_size=4, seed=1), items=column[form], count=17)


def test_files_keep_the_contract(photos: Photos) -> None:
    from gradus.data.decode import image_files

    files = image_files(photos({"a": 7}))
    held = ImageSet.of_files(files, torch.arange(7), list("abcdefg"), budget=0)
    check_source(lambda: ImageSource(held, batch_size=3, augment="flip"), items=lambda b: b.labels.tolist(), count=7)


def test_workers_give_the_same_stream_and_do_not_count_what_they_prefetch(photos: Photos) -> None:
    from gradus.data.decode import image_files

    files = image_files(photos({"a": 11}))
    held = ImageSet.of_files(files, torch.arange(11), list("abcdefghijk"), budget=0)
    alone = ImageSource(held, batch_size=4, seed=3)
    expected = [next(alone) for _ in range(10)]
    helped = ImageSource(held, batch_size=4, seed=3, workers=2)
    before = torch.get_rng_state()
    assert same([next(helped) for _ in range(4)], expected[:4])
    assert torch.equal(before, torch.get_rng_state())
    state = helped.state_dict()
    assert state == {"epoch": 1, "cursor": 4, "size": 11}
    assert same([next(helped) for _ in range(3)], expected[4:7])
    helped.load_state_dict(state)
    assert same([next(helped) for _ in range(3)], expected[4:7])
    workers = [child for child in psutil.Process().children() if child.is_running()]
    assert workers
    del helped
    gc.collect()
    psutil.wait_procs(workers, timeout=10)
    assert not any(child.is_running() for child in workers)


@pytest.mark.slow
def test_workers_start_by_spawning_too(photos: Photos) -> None:
    from gradus.data.decode import image_files

    held = ImageSet.of_files(image_files(photos({"a": 5})), budget=0)
    source = ImageSource(held, batch_size=2, workers=1, start_method="spawn")
    alone = ImageSource(held, batch_size=2)
    assert same([next(source) for _ in range(4)], [next(alone) for _ in range(4)])
    source.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_breaks_is_named_and_the_batch_not_consumed(workers: int, photos: Photos) -> None:
    from gradus.data.decode import image_files

    root = photos({"a": 4}, kind="jpg")
    held = ImageSet.of_files(image_files(root), channels=3, image_size=24, budget=0)
    bad = root / "a" / "002.jpg"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:100])
    source = ImageSource(held, batch_size=2, shuffle=False, workers=workers)
    next(source)
    with pytest.raises(GradusError, match=r"^[^\n]*002\.jpg is not a readable image[^\n]*$"):
        next(source)
    bad.write_bytes(whole)
    assert source.state_dict()["cursor"] == 2
    assert source.epoch == 0
    assert len(next(source).labels) == 2
    source.close()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3), st.integers(0, 100), st.booleans())
def test_an_epoch_is_a_permutation_and_any_cut_resumes(size: int, batch: int, seed: int, cut: int, drop: bool) -> None:
    drop = drop and size >= batch
    made = [EpochSampler(size, batch, seed=seed, drop_last=drop) for _ in range(2)]
    for epoch in range(3):
        dealt = [next(made[0]) for _ in range(made[0].batches_per_epoch)]
        indices = torch.cat([deal.indices for deal in dealt]).tolist()
        assert len(set(indices)) == len(indices) == (size - size % batch if drop else size)
        assert {deal.epoch for deal in dealt} == {epoch}
    assert made[0].epoch == 3
    one = EpochSampler(size, batch, seed=seed, drop_last=drop)
    for _ in range(cut):
        next(one)
    made[1].load_state_dict(one.state_dict())
    for _ in range(5):
        ours, theirs = next(one), next(made[1])
        assert torch.equal(ours.indices, theirs.indices)
        assert ours[1:] == theirs[1:]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 5), st.integers(1, 4))
def test_processes_share_every_batch_evenly(size: int, share: int, world: int) -> None:
    whole = EpochSampler(size, share * world)
    ranks = [EpochSampler(size, share * world, rank=rank, world=world) for rank in range(world)]
    for _ in range(2 * whole.batches_per_epoch):
        joint, parts = next(whole).indices, [next(sampler).indices for sampler in ranks]
        assert len({len(part) for part in parts}) == 1
        together = torch.cat(parts).tolist()
        assert together[: len(joint)] == joint.tolist()
        assert len(together) - len(joint) < world


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_columns_are_dealt_with_the_samples(size: int, share: int, world: int, seed: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    rows, labels = torch.randperm(100, generator=numbers)[:size], torch.randint(0, 9, (size,), generator=numbers)
    for rank in range(world):
        options = {"seed": seed, "rank": rank, "world": world}
        plain = EpochSampler(size, share * world, **options)
        sampler = EpochSampler(size, share * world, rows=rows, columns=[labels, -labels], **options)
        for _ in range(2 * plain.batches_per_epoch + 1):
            expected, dealt = next(plain), next(sampler)
            assert torch.equal(dealt.indices, rows[expected.indices])
            assert torch.equal(dealt.columns[0], labels[expected.indices])
            assert torch.equal(dealt.columns[1], -labels[expected.indices])
            assert dealt[1:4] == expected[1:4]


def test_augmentation_of_a_sample_does_not_depend_on_the_number_of_processes() -> None:
    made = [ImageSource(numbered(24, 3), batch_size=8, augment="flip,crop=2,rotate=30,colour")]
    made += [
        ImageSource(numbered(24, 3), batch_size=8, augment="flip,crop=2,rotate=30,colour", rank=rank, world=2)
        for rank in range(2)
    ]
    for _ in range(5):
        whole, left, right = (next(source).images for source in made)
        assert torch.allclose(whole, torch.cat([left, right]), atol=1e-6)


def test_weights_are_frequencies() -> None:
    weights = torch.tensor([0.0, 1.0, 3.0])
    source = TensorSource(torch.arange(3).repeat(4000), batch_size=12000, weights=weights.repeat(4000))
    counts = torch.bincount(next(source), minlength=3)
    assert counts[0] == 0
    assert abs(float(counts[2] / counts[1]) - 3) < 0.2
    check_source(
        lambda: TensorSource(torch.arange(9), batch_size=4, weights=torch.ones(9)),
        items=lambda batch: [None] * len(batch),
        shuffled=False,
    )


def test_resuming_with_another_batch_size_goes_on_at_the_same_sample() -> None:
    small, large = (ImageSource(numbered(20), batch_size=b, seed=5) for b in (3, 4))
    for _ in range(4):
        next(small)
    large.load_state_dict(small.state_dict())
    assert numbers(next(large))[:3] == numbers(next(small))


def test_colour_is_channels_last_and_labels_are_hard_until_mixed() -> None:
    batch = next(ImageSource(numbered(20, 3), batch_size=8))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.dtype == torch.int64
    assert next(ImageSource(numbered(20, 3), batch_size=8, channels_last=False)).images.is_contiguous()
    mixed = next(ImageSource(numbered(20, 3), batch_size=8, augment="mixup,cutmix,rotate"))
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(mixed.labels.sum(1), torch.ones(8))


@pytest.mark.parametrize(
    ("settings_", "sentence"),
    [
        ({"batch_size": 0}, "batch size 0 is not positive"),
        ({"batch_size": 5, "world": 2}, "does not divide among 2 processes"),
        ({"batch_size": 50, "drop_last": True}, "20 samples do not fill one batch of 50"),
        ({"batch_size": 4, "weights": torch.ones(3)}, "3 weights for 20 samples"),
        ({"batch_size": 4, "weights": -torch.ones(20)}, "must be finite, not negative"),
        ({"batch_size": 4, "augment": "flipp"}, "did you mean 'flip'"),
    ],
)
def test_wrong_settings_are_told(settings_: dict, sentence: str) -> None:
    with pytest.raises(GradusError, match=sentence):
        ImageSource(numbered(20), **settings_)


def test_wrong_data_is_told() -> None:
    with pytest.raises(GradusError, match="different lengths"):
        TensorSource((torch.ones(3), torch.ones(4)), batch_size=2)
    with pytest.raises(GradusError, match="data set is empty"):
        ImageSource(numbered(20).take([]), batch_size=2)
    with pytest.raises(GradusError, match="the data has 20 samples but the checkpoint was made with 21"):
        ImageSource(numbered(20), batch_size=2).load_state_dict({"epoch": 0, "cursor": 4, "size": 21})
