"""Rows of different lengths: taken, padded and dealt in batches of alike length, the same at every resume."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradus.data.ragged import Ragged, SequenceSource, in_batches, padded
from gradus.errors import GradusError
from gradus.testing.sources import check_source

LISTS = st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=8)


def _lists(count: int, seed: int = 0, longest: int = 40) -> list[list[int]]:
    numbers = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=numbers).tolist()
    return [torch.randint(1, 100, (length,), generator=numbers).tolist() for length in lengths]


@given(LISTS, st.data())
def test_rows_are_what_was_put_in(lists: list[list[int]], data: st.DataObject) -> None:
    rows = Ragged.of(lists)
    assert len(rows) == len(lists)
    assert rows.lengths.tolist() == [len(row) for row in lists]
    assert [rows.row(i).tolist() for i in range(len(rows))] == lists
    assert rows.row(-1).tolist() == lists[-1]
    some = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=6))
    taken = rows.take(torch.tensor(some, dtype=torch.int64))
    assert [taken.row(i).tolist() for i in range(len(taken))] == [lists[i] for i in some]


@given(LISTS, st.integers(-1, 3), st.one_of(st.none(), st.integers(1, 4)))
def test_padding_by_hand(lists: list[list[int]], pad: int, longest: int | None) -> None:
    found, lengths = padded(Ragged.of(lists), torch.arange(len(lists)), pad, longest)
    cut = [row[:longest] for row in lists]
    width = max(1, *map(len, cut)) if cut else 1
    assert found.tolist() == [row + [pad] * (width - len(row)) for row in cut]
    assert lengths.tolist() == [len(row) for row in cut]
    assert found.dtype == lengths.dtype == torch.int64


def test_small_integers_become_int64_and_floats_stay() -> None:
    rows = Ragged(torch.tensor([1, 2, 3], dtype=torch.int32), torch.tensor([0, 1, 3]))
    assert padded(rows, torch.tensor([1, 0]))[0].tolist() == [[2, 3], [1, 0]]
    series = Ragged.of([[0.5], [1.0, 2.0]])
    found, _ = padded(series, torch.tensor([0, 1]))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5, 0.0], [1.0, 2.0]]


def test_a_row_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="row 2 of 2"):
        Ragged.of([[1], [2]]).row(2)


@pytest.mark.parametrize("count, batch_size", [(40, 8), (43, 8), (5, 8), (450, 4)])
def test_the_source_keeps_the_contract(count: int, batch_size: int) -> None:
    columns = {"text": Ragged.of(_lists(count)), "label": torch.arange(count)}
    check_source(
        lambda: SequenceSource(columns, batch_size=batch_size, seed=3),
        items=lambda batch: batch["rows"].tolist(),
        count=count,
    )


def test_batches_hold_what_their_rows_say() -> None:
    lists = _lists(30)
    other = [[*row[::-1], 7] for row in lists]
    source = SequenceSource(
        {"a": Ragged.of(lists), "b": Ragged.of(other), "label": torch.arange(30)},
        batch_size=4,
        pad={"b": -1},
        longest=20,
    )
    for _ in range(source.batches_per_epoch):
        batch = next(source)
        assert list(batch) == ["a", "a_lengths", "b", "b_lengths", "label", "rows"]
        assert torch.equal(batch["rows"], batch["label"])
        for i, row in enumerate(batch["rows"].tolist()):
            for name, lists_, pad in (("a", lists, 0), ("b", other, -1)):
                length = int(batch[f"{name}_lengths"][i])
                assert batch[name][i, :length].tolist() == lists_[row][:20]
                assert (batch[name][i, length:] == pad).all()


def test_sequences_of_alike_length_share_a_batch() -> None:
    lists = _lists(2000, longest=200)
    columns = {"text": Ragged.of(lists)}
    source = SequenceSource(columns, batch_size=20, seed=1)
    batches = [next(source) for _ in range(source.batches_per_epoch)]
    used = sum(int(batch["text_lengths"].sum()) for batch in batches) / sum(batch["text"].numel() for batch in batches)
    shuffled = torch.randperm(2000, generator=torch.Generator().manual_seed(0)).split(20)
    plain = sum(map(len, lists)) / sum(20 * max(len(lists[i]) for i in rows.tolist()) for rows in shuffled)
    assert used > 0.95 > 0.6 > plain
    longest = torch.tensor([float(batch["text_lengths"].max()) for batch in batches])
    order = torch.corrcoef(torch.stack([longest, torch.arange(len(batches)).float()]))[0, 1]
    assert abs(float(order)) < 0.3, "batches come in the order of their lengths"


def test_by_names_the_column_that_decides() -> None:
    numbers = {"a": Ragged.of(_lists(200, 1)), "b": Ragged.of(_lists(200, 2))}
    for name in "ab":
        source = SequenceSource(numbers, batch_size=10, by=name)
        spread = {
            other: sum(float(batch[f"{other}_lengths"].float().std()) for batch in (next(source) for _ in range(20)))
            for other in "ab"
        }
        assert spread[name] < 0.2 * max(spread.values())


def test_processes_share_a_batch() -> None:
    columns = {"text": Ragged.of(_lists(26))}
    whole = SequenceSource(columns, batch_size=8, seed=5)
    shares = [SequenceSource(columns, batch_size=8, seed=5, rank=rank, world=2) for rank in range(2)]
    for _ in range(3):
        assert next(whole)["rows"].tolist() == [row for share in shares for row in next(share)["rows"].tolist()]


def test_one_pass_in_order() -> None:
    columns = {"text": Ragged.of(_lists(11)), "label": torch.arange(11)}
    batches = list(in_batches(columns, batch_size=4, longest=9))
    assert [batch["rows"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert max(batch["text"].shape[1] for batch in batches) == 9
    with pytest.raises(GradusError, match=r"different lengths \(text 11, label 10\)"):
        list(in_batches({**columns, "label": torch.arange(10)}, batch_size=4))


def test_mistakes_are_told() -> None:
    columns = {"text": Ragged.of(_lists(11)), "label": torch.arange(10)}
    with pytest.raises(GradusError, match=r"different lengths \(text 11, label 10\)"):
        SequenceSource(columns, batch_size=4)
    with pytest.raises(GradusError, match="nothing to sample from"):
        SequenceSource({"text": Ragged.of([])}, batch_size=4)
    source = SequenceSource({"text": Ragged.of(_lists(11))}, batch_size=4)
    with pytest.raises(GradusError, match="restore the data"):
        source.load_state_dict({"epoch": 0, "cursor": 4, "size": 12})
