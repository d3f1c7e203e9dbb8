from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import (
    AvroConnector,
    Channel,
    ExpressionRule,
    FieldMappings,
    Filter,
    FilterChain,
    LinearModel,
    LookupRule,
    Program,
)
from transforms.channels import ChannelEligibility
from transforms.conform import Conform
from transforms.filters import Filters
from transforms.kernel import UnitContext, concat_rejections
from transforms.records import candidate_table, rejection_table

LOGICAL = datetime(2017, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
CONTEXT = UnitContext("reviews", "2017-03-01", "run-1", LOGICAL)
CONNECTOR = AvroConnector(
    connector_type="avro",
    path="{date}",
    source_id="shop",
    subject_type="product",
    marketplace="US",
    field_mappings=FieldMappings(
        customer_id="who", subject_id="what", event_date="at", order_value="paid"
    ),
)
FILTERS = (
    ("paid-enough", "QUALITY", "TOO_LITTLE", ExpressionRule(expression="orderValue >= 1.0")),
    ("few", "TRUST", "TOO_MANY", ExpressionRule(expression="quantity BETWEEN 1 AND 50")),
    ("known", "ELIGIBILITY", "UNKNOWN", LookupRule(column="who", table="people", key="id")),
)
LOOKUPS = {("people", "id"): pl.Series(["h1", "h2"])}
PROGRAM = Program(
    program_id="reviews",
    program_name="Reviews",
    enabled=True,
    marketplaces=("US",),
    data_connectors=(CONNECTOR,),
    scoring_models=(
        LinearModel(type="linear", model_id="m", fallback_score=0, coefficients={"x": 1}),
    ),
    filter_chain=FilterChain(
        filters=[
            Filter(
                filter_id=filter_id,
                filter_type=filter_type,
                order=order,
                reason_code=code,
                reason=f"not {filter_id}",
                parameters=parameters,
            )
            for order, (filter_id, filter_type, code, parameters) in enumerate(FILTERS)
        ]
    ),
    channels=(Channel(channel_id="email", channel_type="EMAIL"),),
    candidate_ttl_days=30,
)
SCORE = {"score.m": pl.lit(0.5), "confidence.m": pl.lit(1.0), "scoreSource.m": pl.lit("model")}
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.sampled_from(["h1", "h2", "h3", ""]),
            "at": st.sampled_from(["2017-03-01", "2017-03-01", "soon"]),
            "paid": st.sampled_from([None, 0.99, 1.0, 5.0]),
            "quantity": st.sampled_from([None, 0, 1, 50, 51]),
        }
    ),
    min_size=1,
    max_size=20,
)


def reason(record: dict[str, Any]) -> tuple[str, str, str] | None:
    """Say which check turns a record away, in plain Python."""
    if not record["who"]:
        return "conform", "REQUIRED_FIELD_MISSING", "customerId is missing"
    if record["at"] == "soon":
        return "conform", "DATE_INVALID", "eventDate is not ISO 8601"
    if record["paid"] is None or record["paid"] < 1:
        return "paid-enough", "TOO_LITTLE", "not paid-enough"
    if record["quantity"] is None or not 1 <= record["quantity"] <= 50:
        return "few", "TOO_MANY", "not few"
    return ("known", "UNKNOWN", "not known") if record["who"] == "h3" else None


@settings(max_examples=150, deadline=None)
@given(RECORDS)
def test_every_rejection_is_recorded_and_none_is_a_candidate(records: list[dict[str, Any]]) -> None:
    """Feature: solicitation-platform, Property 10: Rejection tracking completeness"""
    types = {"who": pl.String, "at": pl.String, "paid": pl.Float64, "quantity": pl.Int64}
    frame = pl.DataFrame(records, schema=types).with_row_index("_row")
    frame = frame.with_columns(what=pl.format("p{}", "_row"))
    conformed = Conform(CONNECTOR, PROGRAM.marketplaces)(frame, CONTEXT)
    filtered = Filters(PROGRAM.filter_chain, LOOKUPS)(conformed.passed, CONTEXT)
    eligible = ChannelEligibility(PROGRAM.channels)(filtered.passed.with_columns(**SCORE), CONTEXT)
    stored = candidate_table(eligible.passed, CONTEXT, PROGRAM, CONNECTOR).to_pylist()
    rejected = concat_rejections([conformed.rejected, filtered.rejected])
    recorded = rejection_table(rejected, CONTEXT, split=0).to_pylist()

    reasons = {row: reason(record) for row, record in enumerate(records)}
    assert [
        (r["sourceRow"], (r["filterId"], r["reasonCode"], r["reason"]), r["timestamp"])
        for r in recorded
    ] == [(row, why, LOGICAL) for row, why in reasons.items() if why]
    assert [c["subject"]["id"] for c in stored] == [
        f"p{r}" for r, why in reasons.items() if not why
    ]
