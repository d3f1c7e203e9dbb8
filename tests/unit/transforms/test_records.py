from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from conf.program import (
    AvroConnector,
    Bands,
    Channel,
    Experiment,
    ExpressionRule,
    FieldMappings,
    Filter,
    FilterChain,
    LinearModel,
    Program,
    Tier,
    Treatment,
)
from schemas.registry import record_type
from transforms.errors import MissingColumn, MissingValue
from transforms.kernel import REJECTION_SCHEMA, UnitContext, nothing_rejected
from transforms.records import candidate_table, rejection_table

LOGICAL = datetime(2017, 3, 1, 23, 59, 59, 999_000)
CONTEXT = UnitContext("reviews", "2017-03-01", "run-1", LOGICAL)
CREATED = LOGICAL.replace(tzinfo=UTC)
EVENT = datetime(2017, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
CONNECTOR = AvroConnector(
    connector_type="avro",
    path="{date}",
    source_id="shop",
    subject_type="product",
    marketplace="US",
    field_mappings=FieldMappings(customer_id="c", subject_id="s", event_date="t"),
)


def model(model_id: str) -> LinearModel:
    return LinearModel(type="linear", model_id=model_id, fallback_score=0.1, coefficients={"x": 1})


def experiment(experiment_id: str, *, enabled: bool = True) -> Experiment:
    arms = (Treatment(treatment_id="a", weight=1), Treatment(treatment_id="b", weight=1))
    return Experiment(experiment_id=experiment_id, salt="s", treatments=arms, enabled=enabled)


def program(**settings: Any) -> Program:
    sane = Filter(
        filter_id="sane",
        filter_type="TRUST",
        order=1,
        reason_code="INSANE",
        reason="not sane",
        parameters=ExpressionRule(expression="true"),
    )
    basics: dict[str, Any] = {
        "program_id": "reviews",
        "program_name": "Reviews",
        "enabled": True,
        "marketplaces": ("US", "CA"),
        "data_connectors": (CONNECTOR,),
        "scoring_models": (model("response"), model("value")),
        "bands": Bands(score="response", tiers=(Tier(name="low", at_least=0.0),)),
        "filter_chain": FilterChain(filters=(sane,)),
        "channels": (
            Channel(channel_id="email", channel_type="EMAIL"),
            Channel(channel_id="in-app", channel_type="IN_APP"),
        ),
        "candidate_ttl_days": 30,
    }
    return Program(**(basics | settings))


ROWS = pl.DataFrame(
    {
        "_row": pl.Series([0, 1], dtype=pl.UInt32),
        "customerId": ["h1", "h2"],
        "subjectType": ["product", "product"],
        "subjectId": ["p1", "p2"],
        "marketplace": ["US", "CA"],
        "eventDate": pl.Series([EVENT, EVENT + timedelta(hours=1)], dtype=pl.Datetime("ms", "UTC")),
        "orderValue": [1.5, None],
        "score.response": [0.25, 0.5],
        "confidence.response": [1.0, 0.0],
        "scoreSource.response": ["model", "fallback"],
        "score.value": [0.75, 1.0],
        "confidence.value": [0.5, 0.5],
        "scoreSource.value": ["model", "cache"],
        "band": ["low", None],
        "treatment.copy": ["a", "b"],
        "treatment.time": ["b", "b"],
        "channel.email": [True, False],
        "channel.in-app": [False, False],
    }
)


def score(model_id: str, value: float, confidence: float, source: str) -> tuple[str, Any]:
    return model_id, {
        "modelId": model_id,
        "value": value,
        "confidence": confidence,
        "timestamp": CREATED,
        "metadata": [("source", source)],
    }


def test_a_candidate_is_what_the_document_says() -> None:
    experiments = (experiment("copy"), experiment("off", enabled=False), experiment("time"))
    settings = program(experiments=experiments, timing_window_days=14)
    table = candidate_table(ROWS, CONTEXT, settings, CONNECTOR)
    assert table.schema.equals(record_type("candidate").arrow, check_metadata=True)
    table.validate(full=True)
    assert table.to_pylist()[1] == {
        "customerId": "h2",
        "context": [{"type": "marketplace", "id": "CA"}, {"type": "program", "id": "reviews"}],
        "subject": {"type": "product", "id": "p2", "metadata": None},
        "scores": [
            score("response", 0.5, 0.0, "fallback"),
            score("value", 1.0, 0.5, "cache"),
        ],
        "attributes": {
            "eventDate": EVENT + timedelta(hours=1),
            "deliveryDate": None,
            "timingWindow": "2017-03-01T13:00:00.500Z/2017-03-15T13:00:00.500Z",
            "orderValue": None,
            "mediaEligible": None,
            "channelEligibility": [("email", False), ("in-app", False)],
        },
        "metadata": {
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "expiresAt": CREATED + timedelta(days=30),
            "version": 1,
            "sourceConnectorId": "shop",
            "workflowExecutionId": "run-1",
            "band": None,
            "treatments": [("copy", "b"), ("time", "b")],
        },
        "rejectionHistory": None,
    }
    first = table.to_pylist()[0]
    assert first["metadata"]["band"] == "low"
    assert first["metadata"]["treatments"] == [("copy", "a"), ("time", "b")]
    assert first["attributes"]["channelEligibility"] == [("email", True), ("in-app", False)]
    assert first["attributes"]["orderValue"] == 1.5


def test_what_a_program_does_not_have_is_null() -> None:
    row = candidate_table(ROWS.drop("band"), CONTEXT, program(bands=None), CONNECTOR).to_pylist()[0]
    assert row["metadata"]["treatments"] is None
    assert row["metadata"]["band"] is None
    assert row["attributes"]["timingWindow"] is None
    by_chance = candidate_table(ROWS, CONTEXT, program(bands=None), CONNECTOR).to_pylist()[0]
    assert by_chance["metadata"]["band"] is None
    with pytest.raises(MissingColumn, match="'band'"):
        candidate_table(ROWS.drop("band"), CONTEXT, program(), CONNECTOR)


def test_cutting_frames_changes_nothing() -> None:
    settings = program(experiments=(experiment("copy"),))
    whole = candidate_table(ROWS, CONTEXT, settings, CONNECTOR)
    parts = [candidate_table(rows, CONTEXT, settings, CONNECTOR) for rows in (ROWS[:1], ROWS[1:])]
    assert pa.concat_tables(parts).to_pylist() == whole.to_pylist()


def test_no_rows() -> None:
    table = candidate_table(ROWS.clear(), CONTEXT, program(), CONNECTOR)
    assert (table.num_rows, table.schema) == (0, record_type("candidate").arrow)
    assert rejection_table(nothing_rejected(), CONTEXT, 0).num_rows == 0


@pytest.mark.parametrize(
    "column", ["customerId", "subjectType", "subjectId", "marketplace", "eventDate", "score.value"]
)
def test_a_required_value_is_never_left_out(column: str) -> None:
    gap = ROWS.with_columns(pl.when(pl.col("_row") == 0).then(column).alias(column))
    with pytest.raises(MissingValue, match=f"candidate.*'{column}'.*1 rows"):
        candidate_table(gap, CONTEXT, program(), CONNECTOR)
    with pytest.raises(MissingColumn, match=f"candidate.*'{column}'"):
        candidate_table(ROWS.drop(column), CONTEXT, program(), CONNECTOR)


REJECTED = pl.DataFrame(
    {
        "_row": [7],
        "customerId": ["h1"],
        "subjectType": ["product"],
        "subjectId": [None],
        "marketplace": [None],
        "filterId": ["sane"],
        "filterType": ["TRUST"],
        "reason": ["not sane"],
        "reasonCode": ["INSANE"],
    },
    schema=REJECTION_SCHEMA,
)


def test_a_rejection_says_which_row_by_which_filter_when_and_why() -> None:
    table = rejection_table(REJECTED, CONTEXT, split=3)
    assert table.schema.equals(record_type("rejection").arrow, check_metadata=True)
    table.validate(full=True)
    assert table.to_pylist() == [
        {
            "programId": "reviews",
            "marketplace": None,
            "customerId": "h1",
            "subjectType": "product",
            "subjectId": None,
            "sourceSplit": 3,
            "sourceRow": 7,
            "filterId": "sane",
            "filterType": "TRUST",
            "reason": "not sane",
            "reasonCode": "INSANE",
            "timestamp": CREATED,
            "workflowExecutionId": "run-1",
        }
    ]


def test_a_rejection_without_reason_is_refused() -> None:
    with pytest.raises(MissingValue, match=r"rejection.*'reason'"):
        rejection_table(REJECTED.with_columns(reason=pl.lit(None, pl.String)), CONTEXT, 0)
