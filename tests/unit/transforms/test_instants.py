from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.instants import INSTANT, format_iso_8601, parse_iso_8601, utc


def parsed(*texts: str | None) -> list[datetime | None]:
    frame = pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)})
    instants = frame.select(parse_iso_8601(pl.col("t"))).to_series()
    assert instants.dtype == INSTANT
    return instants.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2017-03-01", datetime(2017, 3, 1)),
        ("2017-03-01T12:30", datetime(2017, 3, 1, 12, 30)),
        ("2017-03-01T12:30:59", datetime(2017, 3, 1, 12, 30, 59)),
        ("2017-03-01T12:30:59Z", datetime(2017, 3, 1, 12, 30, 59)),
        ("2017-03-01T12:30Z", datetime(2017, 3, 1, 12, 30)),
        ("2017-03-01T12:30:59.5", datetime(2017, 3, 1, 12, 30, 59, 500_000)),
        ("2017-03-01T12:30:59,25Z", datetime(2017, 3, 1, 12, 30, 59, 250_000)),
        ("2017-03-01T12:30:59.123999999Z", datetime(2017, 3, 1, 12, 30, 59, 123_000)),
        ("2017-03-01T01:30:00+02:00", datetime(2017, 2, 28, 23, 30)),
        ("2017-03-01T01:30+0200", datetime(2017, 2, 28, 23, 30)),
        ("2017-03-01T01:30:00.5-05", datetime(2017, 3, 1, 6, 30, 0, 500_000)),
        ("2017-03-01T01:30:00-05:45", datetime(2017, 3, 1, 7, 15)),
        ("2016-02-29", datetime(2016, 2, 29)),
        ("1969-12-31T23:59:59.999Z", datetime(1969, 12, 31, 23, 59, 59, 999_000)),
    ],
)
def test_extended_calendar_forms_are_read(text: str, expected: datetime) -> None:
    assert parsed(text) == [expected.replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2017-02-29",
        "2017-13-01",
        "2017-00-10",
        "2017-04-31T00:00:00Z",
        "2017-3-1",
        "17-03-01",
        "20170301",
        "01/03/2017",
        "2017-03-01 12:30:59",
        "2017-03-01T",
        "2017-03-01T12",
        "2017-03-01T24:00:00",
        "2017-03-01T12:60:00",
        "2017-03-01T12:30:60",
        "2017-03-01T12:30:59.",
        "2017-03-01T12:30:59X",
        "2017-03-01T12:30:59+24:00",
        "2017-03-01T12:30:59+1:00",
        "2017-03-01Z",
        "2017-03-01T12:30:59Z ",
        "2017-03-01T12:30:59Z\n",
        "２０１７-03-01",
        "1488371459",
    ],
)
def test_anything_else_is_null(text: str) -> None:
    assert parsed(text) == [None]


def test_forms_may_be_mixed_and_null() -> None:
    day = datetime(2017, 3, 1, tzinfo=UTC)
    assert parsed("2017-03-01", None, "2017-03-01T01:00+01:00", "no") == [day, None, day, None]


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_agrees_with_the_standard_library(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = zoned.astimezone(UTC)
    cut = expected.replace(microsecond=expected.microsecond // 1000 * 1000)
    assert parsed(zoned.isoformat()) == [cut]


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_what_is_formatted_is_read_back(moment: datetime) -> None:
    instant = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    text = pl.select(format_iso_8601(pl.lit(instant).cast(INSTANT))).item()
    assert parsed(text) == [instant]
    assert datetime.fromisoformat(text) == instant


def test_a_moment_without_a_zone_is_utc() -> None:
    assert utc(datetime(2017, 3, 1)) == datetime(2017, 3, 1, tzinfo=UTC)
    paris = timezone(timedelta(hours=1))
    assert utc(datetime(2017, 3, 1, tzinfo=paris)).isoformat() == "2017-02-28T23:00:00+00:00"
