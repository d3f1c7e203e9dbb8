from __future__ import annotations

import pickle
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conf.program import AvroConnector, DateRange, FieldMappings
from transforms.conform import Conform
from transforms.errors import ColumnTaken, MissingColumn, UnmappableColumn
from transforms.kernel import UnitContext
from transforms.mapping import CANONICAL

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
NOON = datetime(2017, 3, 1, 12)


def connector(**settings: Any) -> AvroConnector:
    return AvroConnector(
        connector_type="avro",
        path="{date}",
        source_id="shop",
        subject_type="product",
        field_mappings=FieldMappings(
            customer_id="household",
            subject_id="item",
            event_date="at",
            order_value="paid",
            marketplace="market",
        ),
        **settings,
    )


CONFORM = Conform(connector(), ("US", "CA"))


def source(**columns: Any) -> pl.DataFrame:
    given = {"household": ["h"], "item": ["i"], "at": [NOON], "paid": [1.5], "market": ["US"]}
    return pl.DataFrame(given | columns).with_row_index("_row")


def one(**columns: Any) -> dict[str, Any]:
    split = CONFORM(source(**columns), CONTEXT)
    assert split.rejected.is_empty(), split.rejected.rows()
    return split.passed.row(0, named=True)


def rejection(**columns: Any) -> tuple[str, str]:
    split = CONFORM(source(**columns), CONTEXT)
    assert split.passed.is_empty()
    row = split.rejected.row(0, named=True)
    assert (row["filterId"], row["filterType"]) == ("conform", "QUALITY")
    return row["reasonCode"], row["reason"]


def test_maps_trims_and_keeps_every_column() -> None:
    rows = source(household=["  h1\t"], note=[" kept\u00a0"], count=[3])
    split = CONFORM(rows, CONTEXT)
    assert split.passed.row(0, named=True) == {
        "_row": 0,
        "household": "h1",
        "item": "i",
        "at": NOON,
        "paid": 1.5,
        "market": "US",
        "note": "kept",
        "count": 3,
        "customerId": "h1",
        "subjectType": "product",
        "subjectId": "i",
        "marketplace": "US",
        "eventDate": NOON.replace(tzinfo=UTC),
        "orderValue": 1.5,
    }
    assert {name: split.passed.schema[name] for name in CANONICAL} == dict(CANONICAL)


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (pl.Series([7], dtype=pl.Int32), "7"),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), "18446744073709551615"),
        (pl.Series([-3.0]), "-3"),
        (pl.Series([Decimal("12.00")], dtype=pl.Decimal(10, 2)), "12"),
        (pl.Series([" c "], dtype=pl.Categorical), "c"),
        (pl.Series(["007"]), "007"),
    ],
)
def test_ids_become_text(ids: pl.Series, text: str) -> None:
    assert one(household=ids, item=ids)["customerId"] == text
    assert one(household=ids, item=ids)["subjectId"] == text


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (pl.Series([date(2017, 3, 1)]), datetime(2017, 3, 1, tzinfo=UTC)),
        (pl.Series([NOON], dtype=pl.Datetime("ns")), NOON.replace(tzinfo=UTC)),
        (
            pl.Series([NOON], dtype=pl.Datetime("us")).dt.replace_time_zone("America/New_York"),
            datetime(2017, 3, 1, 17, tzinfo=UTC),
        ),
        (
            pl.Series([datetime(2017, 3, 1, 1, 2, 3, 456_789)]),
            datetime(2017, 3, 1, 1, 2, 3, 456_000, tzinfo=UTC),
        ),
        (pl.Series([" 2017-03-01T14:00:00+02:00 "]), NOON.replace(tzinfo=UTC)),
    ],
)
def test_event_dates_become_instants(at: pl.Series, expected: datetime) -> None:
    assert one(at=at)["eventDate"] == expected


@pytest.mark.parametrize(
    ("paid", "expected"),
    [
        (pl.Series([3], dtype=pl.Int8), 3.0),
        (pl.Series([Decimal("9.99")]), 9.99),
        (pl.Series([" 1e2 "]), 100.0),
        (pl.Series([""]), None),
        (pl.Series([None], dtype=pl.Null), None),
        (pl.Series([None], dtype=pl.Float32), None),
    ],
)
def test_order_values_become_numbers_or_stay_missing(paid: pl.Series, expected: Any) -> None:
    assert one(paid=paid)["orderValue"] == expected


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [
        ({"household": [None]}, "REQUIRED_FIELD_MISSING", "customerId"),
        ({"household": ["  "]}, "REQUIRED_FIELD_MISSING", "customerId"),
        ({"item": pl.Series([None], dtype=pl.Int64)}, "REQUIRED_FIELD_MISSING", "subjectId"),
        ({"at": pl.Series([None], dtype=pl.Date)}, "REQUIRED_FIELD_MISSING", "eventDate"),
        ({"at": [" "]}, "REQUIRED_FIELD_MISSING", "eventDate"),
        ({"market": [""]}, "REQUIRED_FIELD_MISSING", "marketplace"),
        ({"at": ["1 March"]}, "DATE_INVALID", "ISO 8601"),
        ({"at": [datetime(1999, 12, 31, 23, 59)]}, "DATE_OUT_OF_RANGE", "2000-01-01"),
        ({"at": ["2017-03-02"]}, "DATE_OUT_OF_RANGE", "0 days after"),
        ({"household": [1.5]}, "TYPE_MISMATCH", "customerId"),
        ({"item": [float("nan")]}, "TYPE_MISMATCH", "subjectId"),
        ({"market": [0.5]}, "TYPE_MISMATCH", "marketplace"),
        ({"paid": ["a lot"]}, "TYPE_MISMATCH", "orderValue"),
        ({"paid": [float("nan")]}, "TYPE_MISMATCH", "orderValue"),
        ({"paid": [float("inf")]}, "TYPE_MISMATCH", "orderValue"),
        ({"market": ["FR"]}, "MARKETPLACE_NOT_ENABLED", "marketplace"),
        # several faults: the first check in the documented order names the reason
        ({"market": ["FR"], "paid": ["x"], "at": ["x"]}, "DATE_INVALID", "eventDate"),
        ({"at": ["x"], "market": [None]}, "REQUIRED_FIELD_MISSING", "marketplace"),
    ],
)
def test_rejects_with_the_first_reason(columns: dict[str, Any], code: str, words: str) -> None:
    found = rejection(**columns)
    assert found[0] == code
    assert words in found[1]


def test_the_range_includes_both_ends_and_days_ahead() -> None:
    ahead = Conform(
        connector(date_range=DateRange(earliest=date(2017, 2, 1), latest_days_ahead=2)), ("US",)
    )
    ends = [datetime(2017, 2, 1), datetime(2017, 3, 3, 23, 59, 59, 999_000)]
    beyond = [datetime(2017, 1, 31, 23, 59, 59, 999_000), datetime(2017, 3, 4)]
    rows = pl.concat([source(at=[at]) for at in [*ends, *beyond]])
    split = ahead(rows, CONTEXT)
    assert split.passed["at"].to_list() == ends
    assert split.rejected["reasonCode"].unique().to_list() == ["DATE_OUT_OF_RANGE"]


def test_a_constant_marketplace_and_no_order_value() -> None:
    mappings = FieldMappings(customer_id="household", subject_id="item", event_date="at")
    plain = connector().model_copy(update={"field_mappings": mappings, "marketplace": "US"})
    row = Conform(plain, ("US",))(source(), CONTEXT).passed.row(0, named=True)
    assert (row["marketplace"], row["orderValue"]) == ("US", None)
    assert Conform(plain, ("CA",))(source(), CONTEXT).rejected["reasonCode"].to_list() == [
        "MARKETPLACE_NOT_ENABLED"
    ]


def test_source_columns_may_have_their_fields_names() -> None:
    names = {"household": "customerId", "item": "subjectId", "at": "eventDate"}
    mappings = FieldMappings(
        customer_id="customerId",
        subject_id="subjectId",
        event_date="eventDate",
        marketplace="market",
    )
    same = connector().model_copy(update={"field_mappings": mappings})
    rows = pl.concat([source(at=["2017-03-01"]), source(at=["never"])]).rename(names)
    split = Conform(same, ("US",))(rows, CONTEXT)
    assert split.passed["eventDate"].to_list() == [datetime(2017, 3, 1, tzinfo=UTC)]
    assert split.rejected["reasonCode"].to_list() == ["DATE_INVALID"]


def test_a_missing_column_is_named_with_what_was_found() -> None:
    with pytest.raises(MissingColumn, match=r"source 'shop'.*'paid'.*\['_row', 'household'"):
        CONFORM(source().drop("paid"), CONTEXT)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"household": [True]}, "customerId"),
        ({"item": [b"bytes"]}, "subjectId"),
        ({"at": [1488371459]}, "eventDate"),
        ({"paid": [True]}, "orderValue"),
        ({"market": [date(2017, 3, 1)]}, "marketplace"),
    ],
)
def test_a_type_that_cannot_become_the_field_is_refused(
    columns: dict[str, Any], field: str
) -> None:
    with pytest.raises(UnmappableColumn, match=f"source 'shop'.*cannot become {field}"):
        CONFORM(source(**columns), CONTEXT)


def test_a_canonical_name_by_chance_is_refused() -> None:
    with pytest.raises(ColumnTaken, match="subjectType"):
        CONFORM(source(subjectType=["x"]), CONTEXT)


def test_no_rows() -> None:
    split = CONFORM(source().clear(), CONTEXT)
    assert (split.passed.height, split.rejected.height) == (0, 0)
    assert set(CANONICAL) <= set(split.passed.columns)


SOURCE_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["h1", " h2 ", "", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from(["2017-03-01", "2017-03-01T23:00-05:00", "x", "1999-01-01", None]),
        st.sampled_from(["1.5", "free", "", None]),
        st.sampled_from(["US", "CA", "FR", None]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(SOURCE_ROWS, st.integers(0, 12))
def test_cutting_frames_changes_nothing_and_no_row_is_lost(
    rows: list[tuple[Any, ...]], cut: int
) -> None:
    types = {"household": pl.String, "item": pl.Int64, "at": pl.String, "paid": pl.String}
    frame = pl.DataFrame(rows, schema=types | {"market": pl.String}, orient="row")
    frame = frame.with_row_index("_row")
    whole = CONFORM(frame, CONTEXT)
    kernel = pickle.loads(pickle.dumps(CONFORM))
    parts = [kernel(frame[:cut], CONTEXT), kernel(frame[cut:], CONTEXT)]
    assert_frame_equal(whole.passed, pl.concat([p.passed for p in parts]))
    assert_frame_equal(whole.rejected, pl.concat([p.rejected for p in parts]))
    kept, turned = whole.passed["_row"].to_list(), whole.rejected["_row"].to_list()
    assert kept == sorted(kept)
    assert turned == sorted(turned)
    assert sorted(kept + turned) == list(range(len(rows)))
