"""Learning-rate schedules: pure functions from the step t = 0, 1, … to a multiplier of the learning rate.

With T steps in all, a decaying schedule starts at 1, reaches its final value at t = T and stays there. A warm-up of W
steps rises linearly, (t + 1) / (W + 1), meets the schedule's start at t = W, and the schedule has the other T − W
steps. A schedule keeps no state, so resuming needs nothing but the step; the one exception, which must be shown values
of the loss, is `gradus.optim.plateau`.

References:
    Robbins and Monro 1951 (1/(1 + βt)); Loshchilov and Hutter 2017 (cosine); Goyal et al. 2017 (warm-up);
    Vaswani et al. 2017 (noam); Smith and Topin 2018 (one-cycle); Hu et al. 2024, MiniCPM (warm-up, stable, decay).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradus import canon as registry
from gradus.canon import canon
from gradus.errors import GradusError
from gradus.optim.settings import accept, inside

__all__ = [
    "Schedule",
    "Warmup",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "linear",
    "make",
    "noam",
    "one_cycle",
    "restarted",
    "step",
    "warmup",
    "wsd",
]

Schedule = Callable[[int], float]


def make(name: str, *, total_steps: int, warmup_steps: int = 0, **settings: Any) -> Schedule:
    """Return the schedule that a user's name means, after a warm-up.

    Args:
        name: as registered.
        total_steps: T, the warm-up included.
        warmup_steps: W; a run no longer than its warm-up is all warm-up.
        settings: the schedule's own.

    Raises:
        GradusError: for an unknown name or setting, with the nearest known one, or a value out of range.
    """
    entry = registry.lookup("schedule", name)
    accept(entry, settings, reserved=("total_steps",))
    inside(name, "total_steps", total_steps, 1)
    inside(name, "warmup_steps", warmup_steps, 0)
    return warmup(registry.load(entry)(max(1, total_steps - warmup_steps), **settings), warmup_steps)


def warmup(after: Schedule, steps: int) -> Schedule:
    """Rise linearly, (t + 1) / (W + 1), for `steps` = W steps, in proportion to where `after` starts; then follow it.

    Args:
        after: the schedule of the steps from W on.
        steps: W.
    """
    return after if steps == 0 else Warmup(after, steps)


@dataclass(frozen=True)
class Warmup:
    """A schedule that rises linearly before it follows another; what `warmup` gives.

    Attributes:
        after: the schedule of the steps from W on.
        steps: W.
    """

    after: Schedule
    steps: int

    def __call__(self, t: int) -> float:
        """Return the multiplier at step t."""
        if t < self.steps:
            return self.after(0) * (t + 1) / (self.steps + 1)
        return self.after(t - self.steps)


def restarted(each: Schedule, length: int) -> Schedule:
    """Follow a schedule again and again, for `length` steps each time: warm restarts.

    Args:
        each: the schedule of one cycle.
        length: steps of a cycle.
    """
    inside("restarted", "length", length, 1)
    return lambda t: each(t % length)


@canon("optim/constant", kind="schedule", paper="Robbins and Monro 1951, A stochastic approximation method")
def constant(total_steps: int) -> Schedule:
    """Keep the learning rate: 1."""
    return lambda t: 1.0


@canon(
    "optim/linear", kind="schedule", paper="Devlin et al. 2019, BERT: pre-training of deep bidirectional transformers"
)
def linear(total_steps: int, final: float = 0.0) -> Schedule:
    """Fall along a line: 1 − (1 − f) t / T.

    Args:
        total_steps: T.
        final: f in [0, 1].
    """
    inside("linear", "final", final, 0, 1)
    return lambda t: _mix(_share(t, total_steps), 1.0, final)


@canon(
    "optim/cosine",
    kind="schedule",
    paper="Loshchilov and Hutter 2017, SGDR: stochastic gradient descent with warm restarts",
)
def cosine(total_steps: int, final: float = 0.0) -> Schedule:
    """Fall along half a cosine: f + (1 − f) (1 + cos(π t / T)) / 2.

    Args:
        total_steps: T.
        final: f in [0, 1].
    """
    inside("cosine", "final", final, 0, 1)
    return lambda t: _arc(_share(t, total_steps), 1.0, final)


@canon("optim/step", kind="schedule", paper="He et al. 2016, Deep residual learning for image recognition")
def step(
    total_steps: int, gamma: float = 0.1, milestones: tuple[float, ...] = (0.5, 0.75), every: int | None = None
) -> Schedule:
    """Fall by a factor at milestones: γ^(number of milestones passed).

    Args:
        total_steps: T.
        gamma: γ in [0, 1].
        milestones: where to fall, as fractions of T.
        every: fall every so many steps instead.
    """
    inside("step", "gamma", gamma, 0, 1)
    if every is not None:
        period = int(inside("step", "every", every, 1))
        return lambda t: gamma ** (t // period)
    at = [inside("step", "milestones", mark, 0, 1) * total_steps for mark in milestones]
    return lambda t: gamma ** sum(t >= mark for mark in at)


@canon(
    "optim/exponential",
    kind="schedule",
    paper="Li and Arora 2020, An exponential learning rate schedule for deep learning",
)
def exponential(
    total_steps: int, final: float = 0.01, gamma: float | None = None, rate: float | None = None
) -> Schedule:
    """Fall by the same factor at every step: γ^t or e^{−kt}, for ever where γ or k is given, else to f at t = T.

    Args:
        total_steps: T.
        final: f in (0, 1], which sets γ = f^(1/T).
        gamma: γ in [0, 1] itself.
        rate: k ≥ 0, so that γ = e^{−k}.
    """
    if gamma is not None and rate is not None:
        raise GradusError("exponential: gamma and rate both set the factor of a step; give one of them")
    if rate is not None:
        gamma = math.exp(-inside("exponential", "rate", rate, 0))
    if gamma is not None:
        each = inside("exponential", "gamma", gamma, 0, 1)
        return lambda t: each**t
    _positive("exponential", final)
    return lambda t: final ** _share(t, total_steps)


@canon("optim/inverse_time", kind="schedule", paper="Robbins and Monro 1951, A stochastic approximation method")
def inverse_time(total_steps: int, final: float = 0.1, beta: float | None = None) -> Schedule:
    """Fall as one over time: 1 / (1 + β t), for ever where β is given, else to f at t = T.

    Args:
        total_steps: T.
        final: f in (0, 1], which sets β = (1/f − 1) / T.
        beta: β ≥ 0 itself.
    """
    if beta is not None:
        rate = inside("inverse_time", "beta", beta, 0)
        return lambda t: 1 / (1 + rate * t)
    _positive("inverse_time", final)
    return lambda t: 1 / (1 + (1 / final - 1) * _share(t, total_steps))


@canon(
    "optim/one_cycle",
    kind="schedule",
    paper="Smith and Topin 2018, Super-convergence: very fast training using large learning rates",
)
def one_cycle(total_steps: int, start: float = 0.04, final: float = 4e-6, peak: float = 0.3) -> Schedule:
    """Rise from `start` to 1, then fall to `final`, each along half a cosine.

    Args:
        total_steps: T.
        start: multiplier at t = 0, in [0, 1].
        final: f in [0, 1].
        peak: where the multiplier is 1, as a fraction of T, in [0, 1].
    """
    for name, value in (("start", start), ("final", final), ("peak", peak)):
        inside("one_cycle", name, value, 0, 1)

    def multiplier(t: int) -> float:
        done = _share(t, total_steps)
        if done < peak:
            return _arc(done / peak, start, 1.0)
        return _arc((done - peak) / (1 - peak), 1.0, final) if peak < 1 else 1.0

    return multiplier


@canon("optim/noam", kind="schedule", paper="Vaswani et al. 2017, Attention is all you need")
def noam(total_steps: int, peak: float = 0.1, warmup: int | None = None) -> Schedule:
    """Rise along a line to 1 at W steps, then fall as the inverse square root: √W min(s^(−1/2), s W^(−3/2)), s = t + 1.

    Args:
        total_steps: T; from s = T on the multiplier stays.
        peak: W as a fraction of T, in (0, 1].
        warmup: W itself, in steps.

    Deviations:
        The paper's peak is (d W)^(−1/2); here it is 1, and the learning rate is that of the peak.
    """
    _positive("noam", peak, "peak")
    top = peak * total_steps if warmup is None else inside("noam", "warmup", warmup, 1)

    def multiplier(t: int) -> float:
        s = min(max(t, 0) + 1, total_steps)
        return min(math.sqrt(top / s), s / top)

    return multiplier


@canon("optim/wsd", kind="schedule", paper="Hu et al. 2024, MiniCPM: unveiling the potential of small language models")
def wsd(total_steps: int, final: float = 0.0, decay: float = 0.2) -> Schedule:
    """Stay at 1, then fall along a line in the last part of the run: warm-up, stable, decay.

    Args:
        total_steps: T.
        final: f in [0, 1].
        decay: the falling part, as a fraction of T, in (0, 1].
    """
    inside("wsd", "final", final, 0, 1)
    _positive("wsd", decay, "decay")
    return lambda t: _mix(max(0.0, (_share(t, total_steps) - (1 - decay)) / decay), 1.0, final)


def _share(t: int, total: int) -> float:
    """Return how much of the run is done, in [0, 1]: past the end a schedule stays where it ended."""
    return min(max(t, 0) / total, 1.0)


def _mix(share: float, start: float, end: float) -> float:
    return (1 - share) * start + share * end


def _arc(share: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _positive(owner: str, value: float, name: str = "final") -> None:
    inside(owner, name, value, 0, 1)
    if value == 0:
        raise GradusError(f"{owner}: {name}=0 is never reached; give a number in (0, 1]")
