"""Taking turns: several loops run in one thread, a chunk of steps each, round after round.

    ratio = median over rounds of t_theirs(r) / t_ours(r)

The speed of a machine drifts by a factor of two within an hour, and all loops of one round drift together: the ratio
of times within a round is steady where times are not. Nothing runs in threads of its own, because two thread pools
would wait for each other. A loop that cannot be interrupted (another library's `fit`) drives: a hook in its step calls
`tick`, and every so many ticks the others have their turn inside that call, off its clock.
"""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Advance", "Turns", "interleave", "paired"]

Advance = Callable[[int], None]
Times = dict[str, list[float]]


class Turns:
    """Times a driving loop and the loops that have their turn in between.

    Args:
        driver: name of the loop that calls `tick` after each of its steps.
        others: name to a function that makes a number of steps.
        chunk: steps of a turn.
        rounds: how many rounds are kept.
        warmup: rounds before those, which are not kept; the driver's first is never whole.
    """

    def __init__(self, driver: str, others: Mapping[str, Advance], *, chunk: int, rounds: int, warmup: int = 2) -> None:
        assert warmup >= 1, "the driver's clock starts within its first round"
        self.driver, self.others, self.chunk, self.rounds, self.warmup = driver, dict(others), chunk, rounds, warmup
        self.times: Times = {name: [] for name in (driver, *others)}
        self._ticks, self._round, self._since = 0, 0, time.perf_counter()

    @property
    def steps(self) -> int:
        """How many steps every loop makes in all."""
        return self.chunk * (self.rounds + self.warmup)

    @property
    def finished(self) -> bool:
        """Whether every round is over."""
        return self._round >= self.rounds + self.warmup

    def tick(self, *_: object) -> None:
        """Count a step of the driver; at the end of its turn, give the others theirs."""
        self._ticks += 1
        if self._ticks % self.chunk or self.finished:
            return
        self._note(self.driver, time.perf_counter() - self._since)
        names = list(self.others)
        shift = self._round % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            started = time.perf_counter()
            self.others[name](self.chunk)
            self._note(name, time.perf_counter() - started)
        self._round += 1
        self._since = time.perf_counter()

    def _note(self, name: str, seconds: float) -> None:
        if self._round >= self.warmup:
            self.times[name].append(seconds / self.chunk)


def interleave(sides: Mapping[str, Advance], *, chunk: int, rounds: int, warmup: int = 2) -> Times:
    """Return the seconds per step of every round, for loops that can all be advanced at will."""
    (first, advance), *rest = sides.items()
    turns = Turns(first, dict(rest), chunk=chunk, rounds=rounds, warmup=warmup)
    while not turns.finished:
        turns._since = time.perf_counter()
        advance(chunk)
        turns._ticks += chunk - 1
        turns.tick()
    return turns.times


def paired(times: Times, numerator: str, denominator: str, name: str = "ratio") -> dict[str, float]:
    """Return the median of the rounds' ratios with its quartiles, and the ratio of the total times.

    Args:
        times: seconds per step, by loop and round.
        numerator: whose time is divided.
        denominator: by whose.
        name: of the values: `name`, `name_low`, `name_high`, `name_of_totals`.
    """
    ratios = sorted(a / b for a, b in zip(times[numerator], times[denominator], strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    total = sum(times[numerator]) / sum(times[denominator])
    return {name: middle, f"{name}_low": low, f"{name}_high": high, f"{name}_of_totals": total}


def milliseconds(times: Times) -> dict[str, float]:
    """Return the median milliseconds of a step for every loop, as `<name>_ms`."""
    return {f"{name}_ms": 1e3 * statistics.median(seconds) for name, seconds in times.items()}
