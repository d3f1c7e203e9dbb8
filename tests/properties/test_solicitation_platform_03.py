from __future__ import annotations

import io
from datetime import UTC, datetime

import fastavro
import polars as pl
import pyarrow as pa
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
from schemas.codec import decode_file, encode_file
from schemas.registry import record_type
from transforms.kernel import UnitContext
from transforms.records import candidate_table

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
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
PROGRAM = Program(
    program_id="reviews",
    program_name="Reviews",
    enabled=True,
    marketplaces=("US",),
    data_connectors=(CONNECTOR,),
    scoring_models=(
        LinearModel(type="linear", model_id="m", fallback_score=0, coefficients={"x": 1}),
    ),
    filter_chain=FilterChain(filters=(ALL,)),
    channels=(Channel(channel_id="email", channel_type="EMAIL"),),
    candidate_ttl_days=30,
)
ROW = pl.DataFrame(
    {
        "customerId": "h",
        "subjectType": "product",
        "subjectId": "p",
        "marketplace": "US",
        "eventDate": pl.Series([datetime(2017, 3, 1, tzinfo=UTC)]).cast(pl.Datetime("ms", "UTC")),
        "orderValue": 1.0,
        "score.m": 0.5,
        "confidence.m": 1.0,
        "scoreSource.m": "model",
        "channel.email": True,
    }
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CONTEXTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["marketplace", "program", "vertical"]) | WORDS, "id": WORDS}
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(CONTEXTS, min_size=1, max_size=4), WORDS)
def test_any_context_is_stored_without_loss(
    contexts: list[list[dict[str, str]]], marketplace: str
) -> None:
    """Feature: solicitation-platform, Property 3: Context extensibility"""
    candidate = record_type("candidate")
    frame = pl.concat([ROW.with_columns(marketplace=pl.lit(marketplace))] * len(contexts))
    table = candidate_table(frame, CONTEXT, PROGRAM, CONNECTOR)
    assert table["context"].to_pylist() == [
        [{"type": "marketplace", "id": marketplace}, {"type": "program", "id": "reviews"}]
    ] * len(contexts)
    field = candidate.arrow.field("context")
    index = candidate.arrow.get_field_index("context")
    extended = table.set_column(index, field, pa.array(contexts, field.type))
    file = encode_file(extended, candidate, sync=bytes(16))
    assert decode_file(file)["context"].to_list() == contexts
    assert [record["context"] for record in fastavro.reader(io.BytesIO(file))] == contexts
