from __future__ import annotations

from datetime import UTC, datetime, timedelta

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
    Program,
)
from transforms.kernel import UnitContext
from transforms.records import candidate_table

CONNECTOR = AvroConnector(
    connector_type="avro",
    path="{date}",
    source_id="shop",
    subject_type="product",
    marketplace="US",
    field_mappings=FieldMappings(customer_id="c", subject_id="s", event_date="t"),
)
ALL = Filter(
    filter_id="all",
    filter_type="TRUST",
    order=1,
    reason_code="NO",
    reason="no",
    parameters=ExpressionRule(expression="true"),
)
ROW = pl.DataFrame(
    {
        "customerId": "h",
        "subjectType": "product",
        "subjectId": "p",
        "marketplace": "US",
        "eventDate": pl.Series([datetime(2017, 3, 1)]).cast(pl.Datetime("ms", "UTC")),
        "orderValue": None,
        "score.m": 0.5,
        "confidence.m": 1.0,
        "scoreSource.m": "model",
        "channel.email": True,
    }
)


def program(ttl_days: int) -> Program:
    document = {
        "programId": "reviews",
        "programName": "Reviews",
        "enabled": True,
        "marketplaces": ["US"],
        "dataConnectors": [CONNECTOR],
        "scoringModels": [
            LinearModel(type="linear", model_id="m", fallback_score=0, coefficients={"x": 1})
        ],
        "filterChain": FilterChain(filters=(ALL,)),
        "channels": [Channel(channel_id="email", channel_type="EMAIL")],
        "candidateTTLDays": ttl_days,
    }
    return Program.model_validate(document)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3660),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
    st.integers(0, 5),
)
def test_a_candidate_expires_its_programs_days_after_its_creation(
    ttl_days: int, logical_time: datetime, rows: int
) -> None:
    """Feature: solicitation-platform, Property 51: TTL configuration"""
    to_the_millisecond = logical_time.replace(microsecond=logical_time.microsecond // 1000 * 1000)
    context = UnitContext("reviews", "unit", "run", to_the_millisecond)
    frame = pl.concat([ROW.clear(), *[ROW] * rows])
    made = candidate_table(frame, context, program(ttl_days), CONNECTOR).to_pylist()
    assert len(made) == rows
    for metadata in (candidate["metadata"] for candidate in made):
        assert metadata["createdAt"] == to_the_millisecond.replace(tzinfo=UTC)
        assert metadata["expiresAt"] - metadata["createdAt"] == timedelta(days=ttl_days)
