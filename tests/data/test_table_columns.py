"""Kinds of columns, and what their text becomes."""

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradus.data.table_columns import Column, convert, infer, parse_date
from gradus.errors import GradusError


def where(row):
    return f"t.csv, row {row + 1}"


def kind(*texts):
    column = infer("x", texts, where)
    return column.kind if not column.left_out else column.left_out


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("1", "2.5", "-3e4"), "number"),
        (("1", "", "?", "NA", "nan", "2"), "number"),
        (("0", "1"), "number"),
        (("yes", "no", ""), "boolean"),
        (("True", "FALSE"), "boolean"),
        (("red", "blue"), "category"),
        (("1", "2", "red"), "category"),
        (("1_000", "2_000"), "category"),
        (("2011-01-01", "2012-12-31"), "date"),
        (("1/2/2011", "12/31/2011"), "date"),
        (("31.12.2011", "1.1.2012"), "date"),
        (("5 January 2011", "6 Feb 2012"), "date"),
        (("Jan 5, 2011", "March 6 2012"), "date"),
        (("7", "7", ""), "constant"),
        (("", "?"), "empty"),
    ],
)
def test_kinds_are_found_out(texts, expected):
    assert kind(*texts) == expected


def test_a_stray_among_numbers_is_named():
    texts = [str(i) for i in range(20)] + ["12O"]
    with pytest.raises(GradusError, match=r"t.csv, row 21, column 'x': '12O' is not a number.*--categorical x"):
        infer("x", texts, where)
    assert infer("x", texts, where, as_category=True).kind == "category"
    dates = [f"2011-01-{i:02d}" for i in range(1, 21)] + ["2011-02-30"]
    with pytest.raises(GradusError, match=r"row 21.*'2011-02-30' is not a date"):
        infer("when", dates, where)


def test_days_and_months_are_told_apart():
    assert infer("x", ["31/1/2011", "1/2/2011"], where).form == "dmy"
    assert infer("x", ["1/31/2011", "1/2/2011"], where).form == "mdy"
    assert infer("x", ["1.2.2011", "3.4.2011"], where).form == "dmy"


@settings(deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0)),
    st.sampled_from(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %I:%M:%S %p"]),
)
def test_dates_are_the_calendars(moment, written):
    known = datetime.strptime(moment.strftime(written), written).replace(tzinfo=UTC)
    days, year, month, day, weekday, hour = parse_date(moment.strftime(written), "ymd")
    assert (year, month, day, weekday) == (known.year, known.month, known.day, known.weekday())
    seconds = (known - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    assert days * 86400 == pytest.approx(seconds, abs=1e-2)
    assert hour == pytest.approx(known.hour + known.minute / 60 + known.second / 3600)


@settings(deadline=None)
@given(st.integers(-14, 14))
def test_zones_are_taken_off(offset):
    zone = timezone(timedelta(hours=offset))
    local = datetime(2011, 1, 1, 12, tzinfo=zone)
    days = parse_date(local.isoformat(), "ymd")[0]
    assert days * 86400 == pytest.approx(local.timestamp(), abs=1e-2)


def test_impossible_dates_are_none():
    for text in ("2011-13-01", "2011-00-10", "2011-1-1 25:00", "2011-1/1", "20110101", "2011-01-01x"):
        assert parse_date(text, "ymd") is None, text


def test_missing_is_nan_and_unseen_is_minus_one():
    column = Column("c", "category", ("blue", "red"))
    with pytest.warns(UserWarning, match="column 'c': 'green' .*row 3.*and 1 other"):
        found = convert(column, ["red", "", "green", "pink", "blue"], where)[:, 0]
    assert found[[0, 2, 3, 4]].tolist() == [1, -1, -1, 0]
    assert math.isnan(found[1])


def test_text_among_numbers_is_named_at_prediction():
    with pytest.raises(GradusError, match=r"t\.csv, row 2, column 'n': 'abc' is not a number"):
        convert(Column("n", "number"), ["1", "abc"], where)
    with pytest.raises(GradusError, match="row 1, column 'n': '1e999' is not a number"):
        convert(Column("n", "number"), ["1e999"], where)
    with pytest.raises(GradusError, match="row 1, column 'b': 'perhaps' is not yes or no"):
        convert(Column("b", "boolean"), ["perhaps"], where)


def test_a_date_becomes_its_parts():
    column = infer("when", ["2011-01-01 06:00", "2012-02-29 18:30"], where)
    assert column.features == (
        "when (days)",
        "when (year)",
        "when (month)",
        "when (day)",
        "when (weekday)",
        "when (hour)",
    )
    found = convert(column, ["2012-02-29 18:30", ""], where)
    assert found[0].tolist() == [15399 + 18.5 / 24, 2012, 2, 29, 2, 18.5]
    assert np.isnan(found[1]).all()
