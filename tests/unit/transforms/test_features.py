from __future__ import annotations

import pickle
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from transforms.errors import ColumnTaken, DuplicateFeatures, FeatureNotNumeric, MissingFeature
from transforms.features import FeatureJoin
from transforms.kernel import UnitContext

CONTEXT = UnitContext("p", "2017-03-02", "x", datetime(2017, 3, 2, 23, 59, 59, 999000, UTC))
STORE = pl.DataFrame(
    [
        ("b", date(2017, 3, 3), 9, True),
        ("a", date(2017, 3, 2), 1, True),
        ("b", date(2017, 3, 2), 2, False),
        ("c", date(2017, 3, 2), None, True),
        ("a", date(2017, 3, 1), 7, False),
    ],
    schema={"customerId": pl.String, "date": pl.Date, "visits": pl.Int32, "member": pl.Boolean},
    orient="row",
)
JOIN = FeatureJoin(STORE, ("visits", "member"))


def customers(*ids: str) -> pl.DataFrame:
    rows = pl.int_range(len(ids), dtype=pl.UInt32, eager=True)
    return pl.DataFrame(
        {"_row": rows, "customerId": pl.Series(ids, dtype=pl.String), "kept": list(ids)},
        schema_overrides={"kept": pl.String},
    )


def test_joins_the_units_day_and_leaves_null_what_is_not_known() -> None:
    frame = customers("b", "unknown", "a", "b", "c")
    split = JOIN(frame, CONTEXT)
    expected = frame.with_columns(
        visits=pl.Series([2.0, None, 1.0, 2.0, None]),
        member=pl.Series([0.0, None, 1.0, 0.0, 1.0]),
    )
    assert_frame_equal(split.passed, expected)
    assert split.rejected.is_empty()


def test_a_day_without_features_gives_nulls() -> None:
    later = UnitContext("p", "2018-01-01", "x", datetime(2018, 1, 1, 23, 59, 59, tzinfo=UTC))
    passed = JOIN(customers("a", "b"), later).passed
    assert passed["visits"].to_list() == [None, None]
    assert passed.schema["visits"] == pl.Float64


def test_only_the_named_columns_are_joined() -> None:
    passed = FeatureJoin(STORE, ("visits",))(customers("a"), CONTEXT).passed
    assert passed.columns == ["_row", "customerId", "kept", "visits"]


def test_rows_of_the_store_without_a_customer_or_a_day_match_nothing() -> None:
    nowhere = [(None, None, 5, True), (None, date(2017, 3, 2), 5, True), ("a", None, 5, True)]
    blank = pl.DataFrame(nowhere, STORE.schema, orient="row")
    joined = FeatureJoin(pl.concat([STORE, blank, blank]), ("visits",))
    assert joined(customers("a"), CONTEXT).passed["visits"].to_list() == [1.0]


def test_an_empty_store_and_an_empty_frame() -> None:
    empty = FeatureJoin(STORE.clear(), ("visits",))
    assert empty(customers("a"), CONTEXT).passed["visits"].to_list() == [None]
    passed = JOIN(customers(), CONTEXT).passed
    assert passed.height == 0
    assert passed.schema["member"] == pl.Float64


def test_two_rows_for_a_customer_and_day_are_refused() -> None:
    with pytest.raises(DuplicateFeatures, match="customer 'b' on 2017-03-02, found 3"):
        FeatureJoin(pl.concat([STORE, *[STORE[2:3]] * 2]), ("visits",))


def test_a_column_that_the_store_lacks_is_refused() -> None:
    with pytest.raises(MissingFeature, match=r"expected feature columns \['spend'\]"):
        FeatureJoin(STORE, ("visits", "spend"))


def test_text_is_no_feature() -> None:
    with pytest.raises(FeatureNotNumeric, match="'visits', found String"):
        FeatureJoin(STORE.with_columns(pl.col("visits").cast(pl.String)), ("visits",))


def test_a_column_of_the_source_is_never_overwritten() -> None:
    with pytest.raises(ColumnTaken, match="visits"):
        JOIN(customers("a").with_columns(visits=1), CONTEXT)


def test_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(JOIN))
    frame = customers("b", "a")
    assert_frame_equal(copy(frame, CONTEXT).passed, JOIN(frame, CONTEXT).passed)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abcd"), max_size=20), st.integers(0, 20))
def test_is_indifferent_to_how_rows_are_cut(ids: list[str], cut: int) -> None:
    frame = customers(*ids)
    parts = [JOIN(frame[:cut], CONTEXT).passed, JOIN(frame[cut:], CONTEXT).passed]
    assert_frame_equal(JOIN(frame, CONTEXT).passed, pl.concat(parts))
