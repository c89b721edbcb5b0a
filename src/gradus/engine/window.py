"""Metrics since the last log entry, unread, so that the device is waited for once an entry and not at every step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradus.engine.device import Ranks
from gradus.engine.learner import Metrics
from gradus.engine.state import State

__all__ = ["Window"]


class Window:
    """What the steps of a logging interval gave: tensors pile up for their mean, numbers replace the last."""

    def __init__(self) -> None:
        self._tensors: dict[str, list[Tensor]] = {}
        self._numbers: dict[str, float] = {}

    def add(self, metrics: Metrics) -> None:
        """Keep a step's metrics."""
        for name, value in metrics.items():
            if isinstance(value, Tensor):
                held = self._tensors.get(name)
                if held is None:
                    self._tensors[name] = held = []
                held.append(value.detach() if value.requires_grad else value)
            else:
                self._numbers[name] = value

    def read(self, ranks: Ranks, device: torch.device) -> dict[str, float]:
        """Return the metrics by their names in the log, averaged over steps and ranks."""
        means = [_one_a_step(values).to(_wide(device)).mean().to(device) for values in self._tensors.values()]
        read = ranks.average(torch.stack(means)).tolist() if means else []
        values = dict(zip(self._tensors, read, strict=True)) | {name: float(v) for name, v in self._numbers.items()}
        return {name if "/" in name else f"train/{name}": value for name, value in values.items()}

    def clear(self) -> None:
        """Begin the next interval."""
        self._tensors, self._numbers = {}, {}

    def state_dict(self) -> State:
        """Return what has not been read yet."""
        return {
            "tensors": {name: _one_a_step(values) for name, values in self._tensors.items()},
            "numbers": self._numbers,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put it back."""
        self._tensors = {name: list(values.unbind()) for name, values in state["tensors"].items()}
        self._numbers = dict(state["numbers"])


def _one_a_step(values: list[Tensor]) -> Tensor:
    """Return a metric's values in one tensor, hits of unequally large batches by their share of each."""
    if len({value.shape for value in values}) > 1:
        values = [value.to(_wide(value.device)).mean() for value in values]
    return torch.stack(values)


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
