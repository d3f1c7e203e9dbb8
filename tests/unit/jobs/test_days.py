from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.days import DateRange, days_before
from jobs.errors import WrongUse

DAYS = st.dates(date(1980, 1, 1), date(2090, 1, 1))


@given(DAYS, st.integers(0, 800))
def test_a_range_holds_every_day_once(first: date, length: int) -> None:
    last = date.fromordinal(first.toordinal() + length)
    units = DateRange(first, last).units
    assert [date.fromisoformat(unit).toordinal() for unit in units] == list(
        range(first.toordinal(), last.toordinal() + 1)
    )


@given(DAYS, st.integers(0, 400))
def test_the_days_before_end_the_day_before(first: date, days: int) -> None:
    before = days_before(first.isoformat(), days)
    expected = range(first.toordinal() - days, first.toordinal())
    assert [date.fromisoformat(day).toordinal() for day in before] == list(expected)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(WrongUse, match=r"--to: expected 2017-03-02 \(--from\) or later, found"):
        DateRange(date(2017, 3, 2), date(2017, 3, 1))
