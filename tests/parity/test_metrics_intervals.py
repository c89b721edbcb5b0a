"""The same intervals as scipy.stats."""

import random

import pytest

from gradus.metrics.intervals import paired, student, student_distribution, student_quantile, welch, wilson

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("freedom", [0.5, 1, 2, 2.7, 7, 30, 313.3, 1e5])
@pytest.mark.parametrize("probability", [0.01, 0.3, 0.6, 0.975, 0.9995])
def test_student_quantiles(freedom, probability):
    expected = stats.t.ppf(probability, freedom)
    assert student_quantile(freedom, probability) == pytest.approx(expected, rel=1e-8)
    for t in (-40.0, -1.0, 0.0, 0.3, 2.5, 12.0):
        assert student_distribution(freedom, t) == pytest.approx(stats.t.cdf(t, freedom), rel=1e-8, abs=1e-15)


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (1, 5), (5, 5), (37, 100), (9_990, 10_000)])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_wilson(hits, trials, level):
    expected = stats.binomtest(hits, trials).proportion_ci(level, method="wilson")
    found = wilson(hits, trials, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-13)


@pytest.mark.parametrize(("n", "m", "scale"), [(2, 2, 1.0), (3, 8, 5.0), (20, 5, 1e-7)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_means_and_differences(n, m, scale, level):
    generator = random.Random(n * m)
    first = [generator.gauss(0, 1) * scale for _ in range(n)]
    second = [generator.gauss(1, 3) * scale for _ in range(m)]
    one = student(first, level)
    low, high = stats.t.interval(level, n - 1, loc=one.mean, scale=stats.sem(first))
    assert (one.mean - one.half_width, one.mean + one.half_width) == pytest.approx((low, high), rel=1e-9)
    groups = [(welch(first, second, level), stats.ttest_ind(second, first, equal_var=False))]
    short = min(n, m)
    groups.append((paired(first[:short], second[:short], level), stats.ttest_rel(second[:short], first[:short])))
    for ours, theirs in groups:
        interval = theirs.confidence_interval(level)
        found = (ours.mean - ours.half_width, ours.mean + ours.half_width)
        assert found == pytest.approx((interval.low, interval.high), rel=1e-8)
        assert ours.p == pytest.approx(theirs.pvalue, rel=1e-8)
        assert ours.freedom == pytest.approx(theirs.df, rel=1e-9)
