"""The contract of a source, as checks that need no test framework: an AssertionError says what broke.

A source passes when it is endless and its own iterator; when its stream is a function of how it was made, not of the
global random state, which it leaves alone; when its state is plain data that brings any stream back to the same place
at any cut, in a fresh source as in one that has run on; and when a batch, once given, never changes. A source with
epochs also shows every item once in each, in a new order.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["check_source", "plain", "same"]

Make = Callable[[], Any]
Items = Callable[[Any], Sequence[Hashable]]


def check_source(
    make: Make,
    *,
    items: Items | None = None,
    count: int | None = None,
    batches_per_epoch: int | None = None,
    shuffled: bool = True,
    length: int = 12,
) -> None:
    """Run the whole contract on a source.

    Args:
        make: gives the source anew, always the same; called several times.
        items: names the items of a batch, for coverage; None compares the rows of its first tensor.
        count: how many items an epoch has; None for as many as the first epoch shows.
        batches_per_epoch: length of an epoch; None takes the source's attribute, and without one leaves epochs out.
        shuffled: whether the order of items must differ between epochs.
        length: batches to compare, for sources without epochs.

    Raises:
        AssertionError: for the first clause that fails.
    """
    epoch = batches_per_epoch or getattr(make(), "batches_per_epoch", None)
    length = max(length, 2 * epoch + 1) if epoch else length
    stream = _draw(make(), length)
    _endless(make())
    _repeats(make, stream)
    _keeps_to_itself(make, stream)
    _gives_batches_away(make, stream)
    _state_is_plain(make)
    _resumes(make, stream, epoch or length)
    if epoch:
        _covers(stream, epoch, items or _rows, count, shuffled)


def _draw(source: Any, count: int) -> list[Any]:
    """Return copies of the next batches."""
    return [_copy(next(source)) for _ in range(count)]


def _endless(source: Any) -> None:
    assert iter(source) is source, "iter(source) must be the source itself: another iterator has another state"
    for needed in ("__next__", "state_dict", "load_state_dict"):
        assert callable(getattr(source, needed, None)), f"the source has no {needed}"


def _repeats(make: Make, stream: Sequence[Any]) -> None:
    again = _draw(make(), len(stream))
    _equal(again, stream, "two sources made alike give different streams: something else than the seed decides")


def _keeps_to_itself(make: Make, stream: Sequence[Any]) -> None:
    held = _global_state()
    try:
        _scramble(1)
        source, before = make(), _global_state()
        first = _draw(source, 1)
        assert same(before, _global_state()), "drawing a batch changes the global random state"
        _scramble(2)
        rest = _draw(source, len(stream) - 1)
        _equal(first + rest, stream, "the stream depends on the global random state")
    finally:
        _restore(held)


def _gives_batches_away(make: Make, stream: Sequence[Any]) -> None:
    source = make()
    kept = [next(source) for _ in range(len(stream))]
    _equal(kept, stream, "a batch changes after it was given: later batches share its memory")
    source = make()
    for place, expected in enumerate(stream):
        batch = next(source)
        assert same(batch, expected), f"writing into batches already given changes batch {place}: they alias the data"
        _spoil(batch)


def _state_is_plain(make: Make) -> None:
    source = make()
    for _ in range(2):
        state = source.state_dict()
        assert isinstance(state, dict), f"state_dict gives {type(state).__name__}, not a dict"
        fault = plain(state)
        assert not fault, f"the state holds what neither JSON nor safetensors takes: {fault}"
        next(source)


def _resumes(make: Make, stream: Sequence[Any], epoch: int) -> None:
    cuts = sorted({0, 1, epoch // 2, epoch - 1, epoch, epoch + 1, len(stream) - 1} & set(range(len(stream))))
    for cut in cuts:
        source = make()
        for _ in range(cut):
            next(source)
        state = _stored(source.state_dict())
        fresh = make()
        fresh.load_state_dict(_stored(state))
        _equal(_draw(fresh, len(stream) - cut), stream[cut:], f"a fresh source resumed after {cut} batches goes astray")
        _equal(_draw(source, len(stream) - cut), stream[cut:], f"state_dict after {cut} batches disturbs the source")
        source.load_state_dict(_stored(state))
        _equal(_draw(source, len(stream) - cut), stream[cut:], f"a source set back to {cut} batches goes astray")


def _covers(stream: Sequence[Any], epoch: int, items: Items, count: int | None, shuffled: bool) -> None:
    orders = [[item for batch in stream[e * epoch : (e + 1) * epoch] for item in items(batch)] for e in (0, 1)]
    expected = count if count is not None else len(orders[0])
    for e, order in enumerate(orders):
        assert len(order) == expected, f"epoch {e} shows {len(order)} items of {expected}"
    assert Counter(orders[0]) == Counter(orders[1]), "two epochs show different items: some are left out or repeated"
    if count is not None and items is not _rows:
        assert len(set(orders[0])) == count, f"an epoch shows {len(set(orders[0]))} different items of {count}"
    if shuffled and len(set(orders[0])) > 3:
        assert orders[0] != orders[1], "two epochs have the same order"


def same(one: Any, other: Any) -> bool:
    """Return whether two trees of batches or states are equal bit for bit, types included."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def plain(state: Any, path: str = "state") -> str:
    """Return where a tree holds something that is not a tensor, an array or JSON; an empty string if nowhere."""
    if state is None or isinstance(state, bool | int | float | str | Tensor | np.ndarray):
        return ""
    if isinstance(state, dict):
        odd = [key for key in state if not isinstance(key, str | int)]
        faults = [f"{path} has the key {odd[0]!r}"] if odd else [plain(v, f"{path}[{k!r}]") for k, v in state.items()]
        return next(filter(None, faults), "")
    if isinstance(state, list | tuple):
        return next(filter(None, (plain(value, f"{path}[{i}]") for i, value in enumerate(state))), "")
    return f"{path} is a {type(state).__name__}"


def _stored(state: Any) -> Any:
    """Return a state as it comes back from disk: leaves rebuilt, nothing shared with what was saved."""
    if isinstance(state, dict):
        return {key: _stored(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(_stored, state))
    return json.loads(json.dumps(state)) if not isinstance(state, Tensor | np.ndarray) else _copy(state)


def _copy(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().clone(memory_format=torch.preserve_format)
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, Mapping):
        return {key: _copy(value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(_copy, tree))
    return type(tree)(map(_copy, tree)) if isinstance(tree, list | tuple) else tree


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        return [leaf for value in tree.values() for leaf in _leaves(value)]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in _leaves(value)]
    return [tree]


def _spoil(batch: Any) -> None:
    for leaf in _leaves(batch):
        if isinstance(leaf, Tensor):
            leaf.zero_()
        elif isinstance(leaf, np.ndarray):
            leaf[...] = 0


def _rows(batch: Any) -> list[Hashable]:
    tensor = next(leaf for leaf in _leaves(batch) if isinstance(leaf, Tensor | np.ndarray) and leaf.ndim > 0)
    return [np.ascontiguousarray(row).tobytes() for row in np.asarray(tensor)]


def _equal(found: Sequence[Any], expected: Sequence[Any], sentence: str) -> None:
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert same(one, other), f"{sentence} (batch {place})"


def _global_state() -> list[Any]:
    return [torch.get_rng_state(), _copy(np.random.get_state(legacy=False)), random.getstate()]  # noqa: NPY002


def _scramble(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the global state is what is tested)
    random.seed(seed)


def _restore(held: list[Any]) -> None:
    torch.set_rng_state(held[0])
    np.random.set_state(held[1])  # noqa: NPY002
    random.setstate(held[2])
