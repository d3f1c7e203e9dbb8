from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import fastavro
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

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
from transforms.errors import MissingValue
from transforms.kernel import UnitContext
from transforms.records import candidate_table

LOGICAL = datetime(2017, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
CONTEXT = UnitContext("reviews", "2017-03-01", "run-1", LOGICAL)
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
REQUIRED = ("customerId", "subjectId", "marketplace")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    models = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    channels = draw(st.lists(st.sampled_from(["email", "in-app", "push"]), min_size=1, unique=True))
    arms = (Treatment(treatment_id="x", weight=1), Treatment(treatment_id="y", weight=1))
    experiments = draw(st.lists(st.sampled_from("ef"), unique=True))
    return Program(
        program_id="reviews",
        program_name="Reviews",
        enabled=True,
        marketplaces=("US",),
        data_connectors=(CONNECTOR,),
        scoring_models=[
            LinearModel(type="linear", model_id=m, fallback_score=0, coefficients={"x": 1})
            for m in models
        ],
        bands=draw(
            st.none() | st.just(Bands(score=models[0], tiers=(Tier(name="low", at_least=0),)))
        ),
        filter_chain=FilterChain(filters=(ALL,)),
        channels=[Channel(channel_id=c, channel_type="PUSH") for c in channels],
        experiments=[Experiment(experiment_id=e, salt="s", treatments=arms) for e in experiments],
        candidate_ttl_days=draw(st.integers(1, 400)),
        timing_window_days=draw(st.none() | st.integers(1, 60)),
    )


@st.composite
def frames(draw: st.DrawFn, program: Program) -> pl.DataFrame:
    rows = draw(st.integers(1, 4))

    def column(values: st.SearchStrategy[Any], dtype: Any) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

    ids = [st.none() | WORDS if draw(st.integers(0, 9)) == 0 else WORDS for _ in REQUIRED]
    columns = {
        **{name: column(v, pl.String) for name, v in zip(REQUIRED, ids, strict=True)},
        "subjectType": column(st.just("product"), pl.String),
        "eventDate": column(
            st.datetimes(datetime(2000, 1, 1), datetime(2017, 3, 1)), pl.Datetime("ms")
        ).dt.replace_time_zone("UTC"),
        "orderValue": column(st.none() | st.floats(0, 100), pl.Float64),
        "band": column(st.sampled_from([None, "low"]), pl.String),
    }
    for model in program.scoring_models:
        columns[f"score.{model.model_id}"] = column(st.floats(0, 1), pl.Float64)
        columns[f"confidence.{model.model_id}"] = column(st.floats(0, 1), pl.Float64)
        columns[f"scoreSource.{model.model_id}"] = column(st.just("model"), pl.String)
    for experiment in program.experiments:
        treatments = st.sampled_from(["x", "y"])
        columns[f"treatment.{experiment.experiment_id}"] = column(treatments, pl.String)
    for channel in program.channels:
        columns[f"channel.{channel.channel_id}"] = column(st.booleans(), pl.Boolean)
    return pl.DataFrame(columns)


def as_avro(candidate: dict[str, Any]) -> dict[str, Any]:
    """Turn Arrow's lists of map entries into the dictionaries that Avro readers use."""

    def scored(score: dict[str, Any]) -> dict[str, Any]:
        return score | {"metadata": dict(score["metadata"])}

    attributes, metadata = candidate["attributes"], candidate["metadata"]
    eligible, treatments = attributes["channelEligibility"], metadata["treatments"]
    return candidate | {
        "scores": {model: scored(score) for model, score in candidate["scores"]},
        "attributes": attributes | {"channelEligibility": dict(eligible)},
        "metadata": metadata | {"treatments": None if treatments is None else dict(treatments)},
    }


@settings(max_examples=150, deadline=None)
@given(programs().flatmap(lambda program: st.tuples(st.just(program), frames(program))))
def test_a_candidate_has_every_required_field_or_is_not_made(
    drawn: tuple[Program, pl.DataFrame],
) -> None:
    """Feature: solicitation-platform, Property 2: Candidate model completeness"""
    program, frame = drawn
    try:
        table = candidate_table(frame, CONTEXT, program, CONNECTOR)
    except MissingValue:
        assert sum(frame[name].null_count() for name in REQUIRED) > 0
        return
    table.validate(full=True)
    candidates = table.to_pylist()
    assert len(candidates) == frame.height
    for candidate, row in zip(candidates, frame.iter_rows(named=True), strict=True):
        assert fastavro.validate(as_avro(candidate), record_type("candidate").schema)
        assert candidate["customerId"] == row["customerId"] is not None
        assert candidate["context"] == [
            {"type": "marketplace", "id": row["marketplace"]},
            {"type": "program", "id": "reviews"},
        ]
        assert (candidate["subject"]["type"], candidate["subject"]["id"]) == (
            row["subjectType"],
            row["subjectId"],
        )
        metadata = candidate["metadata"]
        assert metadata["createdAt"] == metadata["updatedAt"] == LOGICAL < metadata["expiresAt"]
        assert metadata["version"] == 1
        assert {m: s["value"] for m, s in candidate["scores"]} == {
            m.model_id: row[f"score.{m.model_id}"] for m in program.scoring_models
        }
        assert dict(candidate["attributes"]["channelEligibility"]) == {
            c.channel_id: row[f"channel.{c.channel_id}"] for c in program.channels
        }
