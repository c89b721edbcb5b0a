"""Is the difference real? Intervals of the difference of two means of few numbers each.

Welch, independent groups:   d ± t_ν √(s₁²/n₁ + s₂²/n₂),   ν = (v₁ + v₂)² / (v₁²/(n₁−1) + v₂²/(n₂−1)),   vᵢ = sᵢ²/nᵢ
paired, the same seeds:      mean(dᵢ) ± t_{n−1} s_d / √n

t is Student's 97.5 % quantile; for a ν that is no whole number it is found from the distribution itself.

References:
    Welch 1947, The generalization of Student's problem when several different population variances are involved.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gradus.engine.group import interval

__all__ = ["Difference", "paired", "student_quantile", "welch"]


class Difference(NamedTuple):
    """The second mean less the first.

    Attributes:
        mean: of the difference.
        half_width: of its 95 % interval.
    """

    mean: float
    half_width: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return abs(self.mean) > self.half_width


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the difference of two independent groups of at least two numbers each."""
    one, two = interval(first), interval(second)
    mean = two["mean"] - one["mean"]
    variances = [found["std"] ** 2 / found["count"] for found in (one, two)]
    total = sum(variances)
    if total == 0:
        return Difference(mean, 0.0)
    freedom = total**2 / sum(v**2 / (n - 1) for v, n in zip(variances, (len(first), len(second)), strict=True))
    return Difference(mean, student_quantile(freedom) * math.sqrt(total))


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return the mean difference of two groups whose members belong together one by one, at least two of each."""
    found = interval([b - a for a, b in zip(first, second, strict=True)])
    return Difference(found["mean"], found["half_width"])


def student_quantile(freedom: float, probability: float = 0.975) -> float:
    """Return t with P(T ≤ t) = p for Student's distribution, p above one half.

    With t = √ν tan θ the distribution is an integral over a finite angle: P(0 < T ≤ t) = c ∫₀^θ cos^{ν−1} φ dφ.

    Args:
        freedom: ν > 0, any real number.
        probability: p.
    """
    constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)

    def mass(angle: float, pieces: int = 400) -> float:
        width = angle / pieces
        weights = [1, *((4, 2) * (pieces // 2))[: pieces - 1], 1]
        return constant * width / 3 * sum(w * math.cos(i * width) ** (freedom - 1) for i, w in enumerate(weights))

    low, high = 0.0, math.pi / 2 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) < probability - 0.5 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)
