"""The contract of registered series: rows in the order of time, with a column of numbers to forecast.

`check_series` needs no test framework; it raises an AssertionError that says what was broken.
"""

import math
from collections.abc import Callable

from gradus.data.series_sets import NamedSeries

__all__ = ["check_series"]


def check_series(make: Callable[[], NamedSeries]) -> None:
    """Assert the contract of a registered series.

    The target is a column, all of its values are finite numbers and not all the same; there are three seasons at least;
    repeating the season before forecasts better than the mean does; a second reading gives the same.

    Args:
        make: returns the series.

    Raises:
        AssertionError: naming what was broken.
    """
    found = make()
    raw = found.raw
    assert found.fingerprint, "it has no fingerprint"
    assert len(set(raw.names)) == len(raw.names), "two columns have one name"
    assert found.target in raw.names, f"the target {found.target!r} is no column"
    values = []
    for row, text in enumerate(raw.column(found.target)):
        try:
            values.append(float(text))
        except ValueError:
            raise AssertionError(f"row {row + 1} has {text!r}, which is no number") from None
        assert math.isfinite(values[-1]), f"row {row + 1} has {text!r}, which is not finite"
    assert len(set(values)) > 1, "all values are the same"
    season = found.season
    assert season >= 1, f"a season of {season} steps is none"
    assert len(values) >= 3 * season, f"{len(values)} steps are fewer than three seasons of {season}"
    mean = sum(values) / len(values)
    flat = sum(abs(value - mean) for value in values[season:]) / (len(values) - season)
    naive = sum(abs(b - a) for a, b in zip(values, values[season:], strict=False)) / (len(values) - season)
    assert naive < flat, f"the season of {season} steps forecasts worse ({naive:.3g}) than the mean ({flat:.3g})"
    again = make()
    assert again.fingerprint == found.fingerprint, "reading it twice gives two fingerprints"
    assert again.raw.rows == raw.rows, "reading it twice gives two series"
