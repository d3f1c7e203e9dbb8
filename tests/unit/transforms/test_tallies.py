from __future__ import annotations

from datetime import date

import polars as pl
from polars.testing import assert_frame_equal

from transforms.kernel import REJECTION_SCHEMA, nothing_rejected
from transforms.tallies import TALLY_SCHEMA, merge_tallies, tally, tally_by_period


def rejected(*keys: tuple[str, str, str]) -> pl.DataFrame:
    rows = [{"filterType": t, "filterId": f, "reasonCode": c} for t, f, c in keys]
    return pl.DataFrame(rows, schema=REJECTION_SCHEMA)


SANE = ("TRUST", "sane", "OUT_OF_RANGE")
DATE = ("QUALITY", "conform", "DATE_INVALID")
TYPE = ("QUALITY", "conform", "TYPE_MISMATCH")


def test_counts_by_type_filter_and_code_sorted() -> None:
    found = tally(rejected(SANE, TYPE, SANE, DATE))
    assert found.schema == TALLY_SCHEMA
    assert found.rows() == [(*DATE, 1), (*TYPE, 1), (*SANE, 2)]


def test_nothing_rejected_is_an_empty_tally() -> None:
    assert_frame_equal(tally(nothing_rejected()), TALLY_SCHEMA.to_frame())
    assert_frame_equal(merge_tallies([]), TALLY_SCHEMA.to_frame())


def test_tallies_add_up_in_any_order() -> None:
    parts = [tally(rejected(SANE, TYPE)), tally(rejected(SANE)), tally(nothing_rejected())]
    expected = tally(rejected(SANE, TYPE, SANE))
    assert_frame_equal(merge_tallies(parts), expected)
    assert_frame_equal(merge_tallies(reversed(parts)), expected)


def test_days_add_up_to_periods() -> None:
    days = {
        date(2017, 3, 31): tally(rejected(SANE)),
        date(2017, 4, 1): tally(rejected(SANE, DATE)),
        date(2017, 3, 1): tally(rejected(SANE)),
        date(2017, 5, 1): tally(nothing_rejected()),
    }
    assert tally_by_period(days).rows() == [
        (date(2017, 3, 1), *SANE, 2),
        (date(2017, 4, 1), *DATE, 1),
        (date(2017, 4, 1), *SANE, 1),
    ]
    assert tally_by_period(days, "1d")["period"].to_list()[0] == date(2017, 3, 1)
    assert tally_by_period(days, "1y").rows() == [
        (date(2017, 1, 1), *DATE, 1),
        (date(2017, 1, 1), *SANE, 3),
    ]
    assert tally_by_period({}).is_empty()
