"""`check_series` passes every registered series that is on this machine, and rejects planted bugs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradus import canon
from gradus.data.series_sets import NamedSeries
from gradus.data.table_reading import RawTable
from gradus.errors import GradusError
from gradus.testing.series import check_series

NAMES = sorted(canon.names("series"))
EMBEDDED = {"seasons"}


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_series_keeps_the_contract(name: str) -> None:
    make = canon.find("series", name)
    try:
        make()
    except GradusError:
        if name in EMBEDDED:
            raise
        pytest.skip(f"{name} is not here")
    check_series(make)


def test_the_embedded_series_is_there() -> None:
    assert set(NAMES) >= EMBEDDED


def _series(values: list[str], **changes: Any) -> NamedSeries:
    raw = RawTable("good", ("t", "y"), [[str(i), value] for i, value in enumerate(values)])
    return replace(NamedSeries(raw, "y", 3, "f"), **changes)


GOOD = ["1", "2", "5"] * 4
_COUNT = iter(range(100))

TWINS: dict[str, tuple[Callable[[], NamedSeries], str]] = {
    "no fingerprint": (lambda: _series(GOOD, fingerprint=""), "no fingerprint"),
    "no target": (lambda: _series(GOOD, target="z"), "is no column"),
    "a word": (lambda: _series([*GOOD[:4], "?", *GOOD[5:]]), "row 5 has '\\?'"),
    "infinite": (lambda: _series([*GOOD[:4], "inf", *GOOD[5:]]), "not finite"),
    "flat": (lambda: _series(["1"] * 12), "all values are the same"),
    "short": (lambda: _series(GOOD[:8]), "fewer than three seasons"),
    "no season": (lambda: _series(GOOD, season=0), "is none"),
    "another season": (lambda: _series(GOOD, season=2), "forecasts worse"),
    "another each time": (lambda: _series([str(next(_COUNT)), *GOOD[1:]]), "two series"),
}


def test_the_good_one_passes() -> None:
    check_series(lambda: _series(GOOD))


@pytest.mark.parametrize("name", TWINS)
def test_planted_bugs_are_rejected(name: str) -> None:
    make, said = TWINS[name]
    with pytest.raises(AssertionError, match=said):
        check_series(make)
