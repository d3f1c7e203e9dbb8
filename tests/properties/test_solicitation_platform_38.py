from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.kernel import REJECTION_SCHEMA
from transforms.tallies import tally, tally_by_period

KEYS = ("filterType", "filterId", "reasonCode")
REASONS = st.tuples(
    st.sampled_from(["TRUST", "QUALITY"]),
    st.sampled_from(["conform", "sane", "known"]),
    st.sampled_from(["DATE_INVALID", "UNKNOWN", "OUT_OF_RANGE"]),
)
DAYS = st.dates(date(2016, 12, 1), date(2018, 2, 1))
PERIODS = {
    "1d": lambda day: day,
    "1mo": lambda day: day.replace(day=1),
    "1y": lambda day: day.replace(month=1, day=1),
    "1w": lambda day: date.fromordinal(day.toordinal() - day.weekday()),
}


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(DAYS, st.lists(REASONS, max_size=12), max_size=8),
    st.sampled_from(sorted(PERIODS)),
)
def test_reasons_are_counted_by_period_filter_type_and_code(
    days: dict[date, list[Any]], every: str
) -> None:
    """Feature: solicitation-platform, Property 38: Rejection reason aggregation"""
    tallies = {
        day: tally(
            pl.DataFrame(
                [dict(zip(KEYS, r, strict=True)) for r in reasons], schema=REJECTION_SCHEMA
            )
        )
        for day, reasons in days.items()
    }
    expected = Counter(
        (PERIODS[every](day), *reason) for day, reasons in days.items() for reason in reasons
    )
    found = tally_by_period(tallies, every)
    assert found.columns == ["period", *KEYS, "count"]
    assert found.rows() == [(*key, count) for key, count in sorted(expected.items())]
