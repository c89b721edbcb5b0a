"""Plateau: a multiplier that falls whenever a watched value has stopped improving; the one schedule that has a state.

    improved:  ℓ < ℓ* − τ |ℓ*|               ℓ* the best value so far
    f ← max(γ f, f_min)                      after more than `patience` observations without improvement

It is called like any schedule, with the step, which it does not need: whoever evaluates calls `observe(value)`, and
checkpoints `state_dict()` beside that evaluation. `watched` finds it behind a warm-up.

References:
    Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks (by hand).
"""

import math
from typing import Any

from gradus.canon import canon
from gradus.optim.schedules import Schedule, Warmup
from gradus.optim.settings import inside

__all__ = ["Plateau", "plateau", "watched"]


class Plateau:
    """A multiplier of the learning rate that starts at 1 and falls when values stop improving; less is better.

    Args:
        factor: γ in [0, 1).
        patience: observations without improvement that are borne.
        threshold: τ, the part of the best value by which another must be below it to count as better.
        cooldown: observations after a fall that are not counted.
        final: f_min in [0, 1].

    Raises:
        GradusError: for a setting out of range.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        final: float = 0.0,
    ) -> None:
        self.factor = inside("plateau", "factor", factor, 0, 1, open=True)
        self.patience = inside("plateau", "patience", patience, 0)
        self.threshold = inside("plateau", "threshold", threshold, 0, 1, open=True)
        self.cooldown = int(inside("plateau", "cooldown", cooldown, 0))
        self.final = inside("plateau", "final", final, 0, 1)
        self.multiplier = 1.0
        self.best: float | None = None
        self.waited = self.resting = 0

    def __repr__(self) -> str:
        return f"Plateau(factor={self.factor}, patience={self.patience}, multiplier={self.multiplier:g})"

    def __call__(self, t: int) -> float:
        """Return the multiplier, whatever the step."""
        return self.multiplier

    def observe(self, value: float) -> bool:
        """Take note of a value and return whether the multiplier fell; a value that is not finite is no improvement.

        Args:
            value: what was watched, less being better; give the negative of an accuracy.
        """
        if math.isfinite(value) and (self.best is None or value < self.best - self.threshold * abs(self.best)):
            self.best, self.waited = float(value), 0
        else:
            self.waited += 1
        if self.resting:
            self.resting, self.waited = self.resting - 1, 0
        if self.waited <= self.patience:
            return False
        before, self.multiplier = self.multiplier, max(self.multiplier * self.factor, self.final)
        self.waited, self.resting = 0, self.cooldown
        return self.multiplier < before

    def state_dict(self) -> dict[str, Any]:
        """Return the multiplier, the best value, and how long it has stood."""
        return {"multiplier": self.multiplier, "best": self.best, "waited": self.waited, "resting": self.resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned."""
        self.multiplier, self.best = state["multiplier"], state["best"]
        self.waited, self.resting = state["waited"], state["resting"]


@canon(
    "optim/plateau",
    kind="schedule",
    paper="Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks",
)
def plateau(
    total_steps: int,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    final: float = 0.0,
) -> Plateau:
    """Fall by a factor whenever the watched value has stopped improving.

    Args:
        total_steps: T, which plays no part.
        factor: γ in [0, 1).
        patience: observations without improvement that are borne.
        threshold: τ, the part of the best value by which another must be below it to count as better.
        cooldown: observations after a fall that are not counted.
        final: f_min in [0, 1].
    """
    return Plateau(factor, patience, threshold, cooldown, final)


def watched(schedule: Schedule | None) -> Plateau | None:
    """Return the part of a schedule that wants to see values, where it has one."""
    while isinstance(schedule, Warmup):
        schedule = schedule.after
    return schedule if isinstance(schedule, Plateau) else None
