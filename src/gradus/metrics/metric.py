"""The ground of all metrics: a statistic of fixed size, summed over samples.

    S = Σₙ s(xₙ, yₙ) ,    metric = g(S) ,    S(A ∪ B) = S(A) + S(B)

Everything streaming follows from the sum: batches of any size give the same answer, parts merge by addition (an
all-reduce of `sums` merges processes), memory does not grow. Updates only enqueue work on the device.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["Metric", "check_known", "hard_labels", "wide"]


class Metric(ABC):
    """A sum over samples, and what is read off it.

    Args:
        sums: the statistics at zero samples, by name.
        settings: what makes two metrics of a class comparable.
    """

    def __init__(self, sums: dict[str, Tensor], **settings: Any) -> None:
        self.sums = sums
        self.settings = settings

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""

    @abstractmethod
    def compute(self) -> Any:
        """Return the metric of everything seen since the last reset; of nothing, NaN."""

    def reset(self) -> None:
        """Forget everything seen."""
        for total in self.sums.values():
            total.zero_()

    def merge(self, other: "Metric") -> None:
        """Add what another metric of the same settings has seen.

        Raises:
            GradusError: if the two are not comparable.
        """
        if type(other) is not type(self) or other.settings != self.settings:
            raise GradusError(f"{self!r} cannot merge {other!r}; both must be made with the same settings")
        self._add(**other.sums)

    def state_dict(self) -> dict[str, Any]:
        """Return settings and a copy of the sums."""
        return {
            "settings": dict(self.settings),
            "sums": {name: total.detach().clone() for name, total in self.sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state's sums.

        Raises:
            GradusError: if the state is of a metric with other settings.
        """
        if state["settings"] != self.settings or set(state["sums"]) != set(self.sums):
            raise GradusError(f"{self!r} cannot load the state of a metric with settings {state['settings']}")
        for name, total in self.sums.items():
            total.copy_(state["sums"][name])

    def _add(self, **statistics: Tensor) -> None:
        for name, statistic in statistics.items():
            total = self.sums[name]
            if total.device != statistic.device:
                dtype = wide(statistic.device) if total.is_floating_point() else total.dtype
                total = self.sums[name] = total.to(statistic.device, dtype)
            total += statistic.detach()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"


def wide(device: torch.device) -> torch.dtype:
    """Return the widest floating type of a device: sums over millions of samples need more than float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def hard_labels(
    labels: Int[Tensor, " batch"] | Float[Tensor, "batch classes"],
) -> Int[Tensor, " batch"]:
    """Return class indices; soft labels count as their most probable class."""
    return labels.argmax(1) if labels.dim() == 2 else labels.long()


def check_known(unknown: Int[Tensor, ""], classes: int) -> None:
    """Raise a GradusError if labels outside the classes were counted; it waits for the device."""
    if int(unknown):
        raise GradusError(f"{int(unknown)} labels or predictions are outside the {classes} classes, 0 to {classes - 1}")
