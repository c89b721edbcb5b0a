"""Intervals: laws, edges, and that neither torch nor the machinery above is needed for them."""

import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradus.errors import GradusError
from gradus.metrics.intervals import paired, student, student_distribution, student_quantile, welch, wilson


def test_no_torch_is_imported():
    code = "import sys, gradus.metrics.intervals; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.floats(0.3, 1e4), st.floats(0.001, 0.999))
def test_the_quantile_inverts_the_distribution(freedom, probability):
    assert student_distribution(freedom, student_quantile(freedom, probability)) == pytest.approx(probability, abs=1e-9)


def test_known_quantiles():
    assert student_quantile(1, 0.75) == pytest.approx(1, rel=1e-12)  # Cauchy's quartile
    assert student_quantile(2, 0.975) == pytest.approx(0.95 / math.sqrt(2 * 0.975 * 0.025), rel=1e-12)
    assert student_quantile(math.inf) == pytest.approx(1.959963984540054, rel=1e-12)
    assert student_quantile(5, 0.5) == 0


@given(st.integers(1, 500), st.data())
def test_wilson_stays_within_0_and_1_and_mirrors(trials, data):
    hits = data.draw(st.integers(0, trials))
    found, mirrored = wilson(hits, trials), wilson(trials - hits, trials)
    assert 0 <= found.low <= found.share <= found.high <= 1
    assert found.low < found.high
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-12)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_bounds_are_where_the_score_test_just_accepts(trials, share):
    hits = round(share * trials)
    z = 1.959963984540054
    for bound in wilson(hits, trials)[1:]:
        assert abs(hits / trials - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / trials), abs=1e-7)


def test_wilson_covers_about_as_often_as_it_says():
    """Exact coverage: the binomial's mass on the counts whose interval holds the true share, averaged over shares."""
    n, coverage = 30, []
    bounds = [wilson(h, n) for h in range(n + 1)]
    for p in [i / 100 for i in range(2, 99)]:
        mass = (math.comb(n, h) * p**h * (1 - p) ** (n - h) for h, b in enumerate(bounds) if b.low <= p <= b.high)
        coverage.append(sum(mass))
    assert 0.94 < sum(coverage) / len(coverage) < 0.965


def test_student_covers_as_often_as_it_says():
    generator = random.Random(0)
    found = [student([generator.gauss(3, 2) for _ in range(4)], 0.8) for _ in range(800)]
    held = sum(abs(one.mean - 3) <= one.half_width for one in found) / 800
    assert abs(held - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 800)


def test_one_number_says_nothing_of_its_spread():
    assert student([2.0]) == (2.0, 0.0, math.inf, 1)


def test_constant_groups():
    assert not welch([1.0, 1.0], [1.0, 1.0]).excludes_zero
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1
    assert welch([1.0, 1.0], [2.0, 2.0]).excludes_zero
    assert paired([1.0, 2.0], [2.0, 3.0]) == (1.0, 0.0, 1, 0.0)


def test_pairing_finds_what_the_spread_between_seeds_hides():
    first = [0.70, 0.80, 0.90, 0.60]
    second = [v + 0.01 + 0.001 * (i % 2) for i, v in enumerate(first)]
    assert paired(first, second).excludes_zero
    assert not welch(first, second).excludes_zero


@pytest.mark.parametrize(
    "bad",
    [
        lambda: wilson(3, 2),
        lambda: wilson(0, 0),
        lambda: wilson(1, 2, level=95),
        lambda: student([]),
        lambda: student([1.0, math.nan]),
        lambda: welch([1.0], [1.0, 2.0]),
        lambda: paired([1.0, 2.0], [1.0]),
        lambda: student_quantile(0),
        lambda: student_quantile(3, 1.0),
    ],
)
def test_nonsense_is_refused(bad):
    with pytest.raises(GradusError):
        bad()
