"""The contract of metrics: streaming, mergeable, bounded, and never waiting for the device.

`check_metric` needs no test framework; it raises an AssertionError that says what was broken.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gradus.metrics.metric import Metric

__all__ = ["check_metric", "same", "stream"]


def stream(metric: Metric, batches: int = 6) -> list[tuple[Tensor, ...]]:
    """Return batches that fit a metric's `update`: values, sentences, boxes, or scores of three classes with labels."""
    generator = torch.Generator().manual_seed(11)
    sizes = [1 + 5 * (batch % 3) for batch in range(batches)]
    names = inspect.signature(metric.update).parameters
    if "hypotheses" in names:
        return [_sentences(size, generator) for size in sizes]
    if "true_boxes" in names:
        return [_scenes(size, generator) for size in sizes]
    if "values" in names:
        return [(torch.randn(size, generator=generator),) for size in sizes]
    return [
        (torch.randn(size, 3, generator=generator), torch.randint(3, (size,), generator=generator)) for size in sizes
    ]


def _sentences(size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return sentences of up to eight token numbers, padded, and two references of each."""
    words = torch.randint(3, (size, 3, 8), generator=generator)
    words[torch.arange(8) >= torch.randint(1, 9, (size, 3, 1), generator=generator)] = -1
    return words[:, 0], words[:, 1:]


def _scenes(size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return true boxes of three classes, and before them detections: the same, moved a little."""
    corner, extent = torch.rand(2, size, 4, 2, generator=generator)
    true, labels = torch.cat([corner, corner + extent + 0.1], dim=2), torch.randint(3, (size, 4), generator=generator)
    found = true + 0.03 * torch.randn(true.shape, generator=generator)
    return found, torch.rand(size, 4, generator=generator), labels, true, labels


def same(left: Any, right: Any, tolerance: float = 1e-12) -> bool:
    """Return whether two computed values agree: tensors, or tuples of them; NaN equals NaN."""
    if isinstance(left, tuple):
        return len(left) == len(right) and all(same(a, b, tolerance) for a, b in zip(left, right, strict=True))
    left, right = torch.as_tensor(left).double(), torch.as_tensor(right).double()
    return left.shape == right.shape and torch.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)


def check_metric(make: Callable[[], Metric], batches: Sequence[tuple[Tensor, ...]] | None = None) -> None:
    """Assert the contract of a metric.

    Parts merge to the whole, and batches of any size and order give the same answer; `compute` may be asked at any
    time and changes nothing; `reset` forgets; the state round-trips into a fresh metric and shares no memory with it;
    memory does not grow; `update` neither waits for the device nor keeps or changes what it was given.

    Args:
        make: gives a fresh metric, always with the same settings.
        batches: arguments of `update`, at least three, of two rows or more together; by default fitting ones.

    Raises:
        AssertionError: naming what was broken.
    """
    batches = list(batches or stream(make()))
    _check_cost(make, batches)
    _check_life(make, batches)
    _check_sums(make, batches)


def _after(make: Callable[[], Metric], batches: Sequence[tuple[Tensor, ...]]) -> Metric:
    metric = make()
    for batch in batches:
        metric.update(*batch)
    return metric


def _check_sums(make: Callable[[], Metric], batches: list[tuple[Tensor, ...]]) -> None:
    whole = _after(make, batches).compute()
    joined = tuple(torch.cat(column) for column in zip(*batches, strict=True))
    assert same(whole, _after(make, [joined]).compute()), "one large batch gives another answer than many small ones"
    assert same(whole, _after(make, batches[::-1]).compute()), "the order of the batches matters"
    for cut in range(len(batches) + 1):
        left, right = _after(make, batches[:cut]), _after(make, batches[cut:])
        kept = right.compute()
        left.merge(right)
        assert same(left.compute(), whole), f"parts merged after {cut} batches are not the whole"
        assert same(right.compute(), kept), "merging changed the metric merged from"
    # One merge hides a wrong weighting of the two sides; a chain of them does not.
    chained = make()
    for batch in batches:
        chained.merge(_after(make, [batch]))
    assert same(chained.compute(), whole), "parts merged one after another are not the whole"


def _check_life(make: Callable[[], Metric], batches: list[tuple[Tensor, ...]]) -> None:
    nothing = make().compute()
    metric = _after(make, batches[:2])
    found = metric.compute()
    assert same(found, metric.compute()), "asking twice gives two answers"
    assert not same(found, nothing), "updates make no difference"
    saved = metric.state_dict()
    restored = make()
    restored.load_state_dict(saved)
    assert same(restored.compute(), found), "the state does not round-trip"
    metric.update(*batches[2])
    restored.update(*batches[2])
    assert same(restored.compute(), metric.compute()), "a restored metric goes on differently"
    again = make()
    again.load_state_dict(saved)
    assert same(again.compute(), found), "a saved state changes with the metric it came from"
    metric.reset()
    assert same(metric.compute(), nothing), "reset does not forget"
    assert same(again.compute(), found), "resetting one metric changed another"
    for batch in batches[:2]:
        metric.update(*batch)
    assert same(metric.compute(), found), "after a reset the same stream gives another answer"


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _check_cost(make: Callable[[], Metric], batches: list[tuple[Tensor, ...]]) -> None:
    metric = _after(make, batches[:1])
    sizes = [tensor.shape for tensor in _tensors(metric.state_dict())]
    entries = sum(len(value) for value in vars(metric).values() if hasattr(value, "__len__"))
    for batch in batches * 5:
        given = [part.clone() for part in batch]
        metric.update(*batch)
        assert all(map(torch.equal, given, batch)), "update changed what it was given"
    assert sizes == [tensor.shape for tensor in _tensors(metric.state_dict())], "the state grows with the stream"
    grown = sum(len(value) for value in vars(metric).values() if hasattr(value, "__len__"))
    assert grown == entries, "the metric keeps what it is given"
    # A tensor on the meta device has no values: whoever asks for one, or for a shape that hangs on one, fails.
    try:
        make().update(*(part.to("meta") for part in batches[0]))
    except (RuntimeError, NotImplementedError) as stop:
        raise AssertionError(f"update waits for the device: {str(stop).splitlines()[0]}") from stop
