"""Intervals of few numbers: of a share, of a mean, and of the difference of two means. No torch.

    Wilson, h hits of n:     (p̂ + z²/2n ± z √(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n) ,   p̂ = h/n
    Student, n numbers:      x̄ ± t_{n−1} s/√n
    Welch, two groups:       d ± t_ν √(v₁ + v₂) ,   ν = (v₁ + v₂)² / (v₁²/(n₁−1) + v₂²/(n₂−1)) ,   vᵢ = sᵢ²/nᵢ
    paired:                  Student's interval of the differences

z and t are quantiles of the normal and of Student's distribution at (1 + level)/2.

References:
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    Student 1908, The probable error of a mean.
    Welch 1947, The generalization of Student's problem when several different population variances are involved.
    Lentz 1976, Generating Bessel functions in Mie scattering calculations using continued fractions.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from gradus.errors import GradusError

__all__ = [
    "Difference",
    "Interval",
    "Share",
    "paired",
    "student",
    "student_distribution",
    "student_quantile",
    "welch",
    "wilson",
]


class Share(NamedTuple):
    """A share and its interval, which is not symmetric.

    Attributes:
        share: hits of the trials.
        low: lower end.
        high: upper end.
    """

    share: float
    low: float
    high: float


class Interval(NamedTuple):
    """The mean of independent numbers and its interval.

    Attributes:
        mean: of the numbers.
        std: their standard deviation (over n − 1); 0 for one number.
        half_width: of the interval of the mean; infinite for one number, which says nothing of its spread.
        size: how many.
    """

    mean: float
    std: float
    half_width: float
    size: int


class Difference(NamedTuple):
    """The second mean less the first.

    Attributes:
        mean: of the difference.
        half_width: of its interval.
        freedom: Student's degrees of freedom.
        p: two-sided, that means alike would differ as much.
    """

    mean: float
    half_width: float
    freedom: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return abs(self.mean) > self.half_width


def wilson(hits: int, trials: int, level: float = 0.95) -> Share:
    """Return a share with Wilson's interval, which stays within 0 and 1 and does not vanish at either.

    Raises:
        GradusError: if the hits are not 0 to trials of at least one, or the level is not between 0 and 1.
    """
    if not (trials >= 1 and 0 <= hits <= trials):
        raise GradusError(f"a share needs 0 to n hits of n ≥ 1 trials, not {hits} of {trials}")
    z = NormalDist().inv_cdf(_upper(level))
    p, square = hits / trials, z * z / trials
    middle = (p + square / 2) / (1 + square)
    half = z * math.sqrt(p * (1 - p) / trials + square / (4 * trials)) / (1 + square)
    # The ends at no hit and at no miss are 0 and 1 themselves, which rounding would miss.
    return Share(p, middle - half if hits else 0.0, middle + half if hits < trials else 1.0)


def student(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of independent numbers with Student's interval.

    x̄ ± t_{n−1} s/√n

    Raises:
        GradusError: if there is none, one is not finite, or the level is not between 0 and 1.
    """
    upper, n = _upper(level), len(values)
    if not n or not all(math.isfinite(v) for v in values):
        raise GradusError(f"an interval needs finite numbers, at least one, not {list(values)[:5]}")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, 0.0, math.inf, 1)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return Interval(mean, std, student_quantile(n - 1, upper) * std / math.sqrt(n), n)


def welch(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """Return the difference of the means of two independent groups, of unlike spreads perhaps.

    Raises:
        GradusError: if a group has fewer than two numbers, or `student` refuses it.
    """
    groups = [student(group, level) for group in (first, second)]
    if min(group.size for group in groups) < 2:
        raise GradusError("the difference of two groups needs at least two numbers in each; add runs")
    parts = [group.std**2 / group.size for group in groups]
    total = sum(parts)
    # Scaled by the total first: squares of small variances would vanish.
    freedom = (
        1 / sum((v / total) ** 2 / (group.size - 1) for v, group in zip(parts, groups, strict=True))
        if total
        else math.inf
    )
    return _difference(groups[1].mean - groups[0].mean, math.sqrt(total), freedom, level)


def paired(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Difference:
    """Return the mean difference of two groups whose members belong together one by one, such as by seed.

    Raises:
        GradusError: if the groups are not of one length of at least two, or `student` refuses the differences.
    """
    if len(first) != len(second) or len(first) < 2:
        raise GradusError(f"pairs need two groups of one length of at least 2, not {len(first)} and {len(second)}")
    found = student([b - a for a, b in zip(first, second, strict=True)], level)
    return _difference(found.mean, found.std / math.sqrt(found.size), found.size - 1, level)


def student_quantile(freedom: float, probability: float = 0.975) -> float:
    """Return t with P(T ≤ t) = p for Student's distribution.

    Args:
        freedom: ν > 0, any real number; infinite for the normal's.
        probability: p between 0 and 1.

    Raises:
        GradusError: if either is out of range.
    """
    if not 0 < probability < 1:
        raise GradusError(f"a quantile needs a probability between 0 and 1, not {probability}")
    if probability <= 0.5:
        return -student_quantile(freedom, 1 - probability) if probability < 0.5 else 0.0
    tail, high = 1 - probability, 1.0
    while _tail(freedom, high) > tail:
        high *= 2
    low = 0.0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        low, high = (middle, high) if _tail(freedom, middle) > tail else (low, middle)


def student_distribution(freedom: float, t: float) -> float:
    """Return P(T ≤ t) for Student's distribution of ν > 0 degrees of freedom, infinite for the normal's."""
    return 1 - _tail(freedom, t) if t > 0 else _tail(freedom, -t)


def _difference(mean: float, error: float, freedom: float, level: float) -> Difference:
    half_width = student_quantile(freedom, _upper(level)) * error
    if not error:
        return Difference(mean, 0.0, freedom, 0.0 if mean else 1.0)
    return Difference(mean, half_width, freedom, 2 * _tail(freedom, abs(mean) / error))


def _upper(level: float) -> float:
    if not 0 < level < 1:
        raise GradusError(f"the level of an interval lies between 0 and 1, such as 0.95, not {level}")
    return (1 + level) / 2


def _tail(freedom: float, t: float) -> float:
    """Return P(T > t) for t ≥ 0: half the regularised incomplete beta function I_{ν/(ν+t²)}(ν/2, 1/2)."""
    if not freedom > 0:
        raise GradusError(f"Student's distribution needs more than 0 degrees of freedom, not {freedom}")
    if math.isinf(freedom):
        return math.erfc(t / math.sqrt(2)) / 2
    a, b, x, rest = freedom / 2, 0.5, freedom / (freedom + t * t), t * t / (freedom + t * t)
    if rest == 0:
        return 0.5
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = (
        math.exp(scale + a * (math.log1p(-rest) if rest < 0.5 else math.log(x)) + b * math.log(rest)) if x > 0 else 0.0
    )
    # The fraction converges fast on one side of the distribution's middle; the other side follows by symmetry.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a / 2
    return (1 - front * _fraction(b, a, rest) / b) / 2


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function by Lentz's method."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / (1 + term * d), 1 + term / c
            found *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return found
