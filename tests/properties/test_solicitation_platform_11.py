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
    Program,
)
from transforms.channels import ChannelEligibility
from transforms.filters import Filters
from transforms.kernel import UnitContext
from transforms.records import candidate_table, rejection_table

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
CONNECTOR = AvroConnector(
    connector_type="avro",
    path="{date}",
    source_id="shop",
    subject_type="product",
    marketplace="US",
    field_mappings=FieldMappings(customer_id="c", subject_id="s", event_date="t"),
)
COLUMNS = {
    "customerId": pl.lit("h"),
    "subjectType": pl.lit("product"),
    "subjectId": pl.format("p{}", "_row"),
    "marketplace": pl.lit("US"),
    "eventDate": pl.lit(datetime(2017, 3, 1, tzinfo=UTC)).cast(pl.Datetime("ms", "UTC")),
    "orderValue": pl.lit(1.0),
    "score.m": pl.lit(0.5),
    "confidence.m": pl.lit(1.0),
    "scoreSource.m": pl.lit("model"),
}


def at_least(bound: int, order: int) -> Filter:
    return Filter(
        filter_id=f"f{order}",
        filter_type="ELIGIBILITY",
        order=order,
        reason_code="LOW",
        reason="low",
        parameters=ExpressionRule(expression=f"v{order} >= {bound}"),
    )


def program(bounds: list[int]) -> Program:
    model = LinearModel(type="linear", model_id="m", fallback_score=0, coefficients={"x": 1})
    return Program(
        program_id="reviews",
        program_name="Reviews",
        enabled=True,
        marketplaces=("US",),
        data_connectors=(CONNECTOR,),
        scoring_models=(model,),
        filter_chain=FilterChain(filters=[at_least(b, i) for i, b in enumerate(bounds)]),
        channels=(Channel(channel_id="email", channel_type="EMAIL"),),
        candidate_ttl_days=30,
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=4).flatmap(
        lambda bounds: st.tuples(
            st.just(bounds),
            st.lists(
                st.lists(st.none() | st.integers(2, 9), min_size=len(bounds), max_size=len(bounds)),
                min_size=1,
                max_size=15,
            ),
        )
    )
)
def test_a_row_that_passes_every_filter_is_an_eligible_candidate(drawn: tuple[Any, Any]) -> None:
    """Feature: solicitation-platform, Property 11: Eligibility marking"""
    bounds, rows = drawn
    settings = program(bounds)
    schema = {f"v{i}": pl.Int64 for i in range(len(bounds))}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_row_index("_row")
    split = Filters(settings.filter_chain)(frame.with_columns(**COLUMNS), CONTEXT)
    marked = ChannelEligibility(settings.channels)(split.passed, CONTEXT).passed
    candidates = candidate_table(marked, CONTEXT, settings, CONNECTOR).to_pylist()
    recorded = rejection_table(split.rejected, CONTEXT, split=0).to_pylist()

    eligible = {
        f"p{row}"
        for row, values in enumerate(rows)
        if all(v is not None and v >= b for v, b in zip(values, bounds, strict=True))
    }
    assert {c["subject"]["id"] for c in candidates} == eligible
    assert not {r["subjectId"] for r in recorded} & eligible
    for candidate in candidates:
        assert candidate["rejectionHistory"] is None
        assert candidate["attributes"]["channelEligibility"] == [("email", True)]
