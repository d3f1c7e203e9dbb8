from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import AvroConnector, FieldMappings
from transforms.conform import Conform
from transforms.kernel import UnitContext
from transforms.records import rejection_table

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
REQUIRED = {"who": "customerId", "what": "subjectId", "when": "eventDate", "where": "marketplace"}
CONNECTOR = AvroConnector(
    connector_type="avro",
    path="{date}",
    source_id="shop",
    subject_type="product",
    field_mappings=FieldMappings(
        customer_id="who", subject_id="what", event_date="when", marketplace="where"
    ),
)
BLANK = st.sampled_from([None, "", " ", "\t\n", "\u00a0"])
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "who": BLANK | st.sampled_from(["h1", " h2 "]),
            "what": BLANK | st.just("p1"),
            "when": BLANK | st.just("2017-03-01"),
            "where": BLANK | st.just("US"),
        }
    ),
    min_size=1,
    max_size=20,
)


def first_missing(record: dict[str, Any]) -> str | None:
    return next((f for c, f in REQUIRED.items() if not (record[c] or "").strip()), None)


@settings(max_examples=200, deadline=None)
@given(RECORDS)
def test_a_record_without_a_required_field_is_rejected_by_name(
    records: list[dict[str, Any]],
) -> None:
    """Feature: solicitation-platform, Property 49: Required field validation"""
    frame = pl.DataFrame(records, schema=dict.fromkeys(REQUIRED, pl.String)).with_row_index("_row")
    split = Conform(CONNECTOR, ("US",))(frame, CONTEXT)
    missing = {row: first_missing(record) for row, record in enumerate(records)}
    assert split.passed["_row"].to_list() == [row for row, field in missing.items() if not field]
    found = rejection_table(split.rejected, CONTEXT, 0).to_pylist()
    assert [(r["sourceRow"], r["reasonCode"], r["reason"]) for r in found] == [
        (row, "REQUIRED_FIELD_MISSING", f"{field} is missing")
        for row, field in missing.items()
        if field
    ]
