from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import Program
from transforms.kernel import UnitContext
from transforms.linear import LinearProvider
from transforms.records import candidate_table
from transforms.scoring import Score

NOW = datetime(2017, 3, 2, 23, 59, 59, 999000, UTC)
CONTEXT = UnitContext("reviews", "2017-03-02", "run-1", NOW)
FEATURES = ("x", "y", "z")

coefficients = st.dictionaries(
    st.sampled_from(FEATURES), st.floats(-1, 1).map(lambda c: round(c, 3)), min_size=1
)
models = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("linear"),
            "coefficients": coefficients,
            "intercept": st.sampled_from([0.0, 0.25]),
            "confidence": st.sampled_from([0.5, 1.0]),
            "fallbackScore": st.sampled_from([0.0, 0.125]),
        }
    ),
    min_size=1,
    max_size=4,
).map(lambda found: [{"modelId": f"model-{i}", **model} for i, model in enumerate(found)])
numbers = st.none() | st.floats(-2, 2).map(lambda x: round(x, 3))
candidates = st.lists(st.fixed_dictionaries(dict.fromkeys(FEATURES, numbers)), max_size=8)


def program(models: list[dict[str, Any]]) -> Program:
    connector = {
        "sourceId": "orders",
        "connectorType": "avro",
        "path": "orders/{date}/*.avro",
        "subjectType": "product",
        "marketplace": "US",
        "fieldMappings": {"customerId": "c", "subjectId": "s", "eventDate": "t"},
    }
    rule = {
        "filterId": "all",
        "filterType": "TRUST",
        "order": 1,
        "reasonCode": "NONE",
        "reason": "none",
        "parameters": {"expression": "true"},
    }
    return Program.model_validate(
        {
            "programId": "reviews",
            "programName": "Reviews",
            "enabled": True,
            "marketplaces": ["US"],
            "dataConnectors": [connector],
            "scoringModels": models,
            "filterChain": {"filters": [rule]},
            "channels": [{"channelId": "email", "channelType": "EMAIL"}],
            "candidateTTLDays": 30,
        }
    )


def frame(rows: list[dict[str, float | None]]) -> pl.DataFrame:
    features = pl.DataFrame(rows, schema=dict.fromkeys(FEATURES, pl.Float64))
    number = pl.int_range(pl.len())
    return features.with_columns(
        number.cast(pl.UInt32).alias("_row"),
        pl.format("customer-{}", number).alias("customerId"),
        pl.lit("product").alias("subjectType"),
        pl.format("product-{}", number).alias("subjectId"),
        pl.lit("US").alias("marketplace"),
        pl.lit(NOW, pl.Datetime("ms", "UTC")).alias("eventDate"),
        pl.lit(None, pl.Float64).alias("orderValue"),
        pl.lit(True).alias("channel.email"),
    )


def by_hand(model: dict[str, Any], row: dict[str, float | None]) -> tuple[float, float]:
    """What the model says of a row by itself, when no other model exists."""
    terms = [(row[name], weight) for name, weight in model["coefficients"].items()]
    if any(value is None for value, _ in terms):
        return model["fallbackScore"], 0.0
    total = math.fsum(value * weight for value, weight in terms) + model["intercept"]
    return min(max(total, 0.0), 1.0), model["confidence"]


@settings(max_examples=100, deadline=None)
@given(models, candidates, st.randoms(use_true_random=False))
def test_each_model_scores_by_itself(
    models: list[dict[str, Any]], rows: list[dict[str, float | None]], shuffler: Any
) -> None:
    """Feature: solicitation-platform, Property 5: Multi-model scoring independence"""
    settings_of = program(models)
    kernels = [Score(LinearProvider(model), model) for model in settings_of.scoring_models]
    shuffler.shuffle(kernels)
    scored = frame(rows)
    for kernel in kernels:
        scored = kernel(scored, CONTEXT).passed
    table = candidate_table(scored, CONTEXT, settings_of, settings_of.data_connectors[0])
    for row, stored in zip(rows, table.column("scores").to_pylist(), strict=True):
        scores = dict(stored)
        assert sorted(scores) == sorted(model["modelId"] for model in models)
        for model in models:
            score = scores[model["modelId"]]
            value, confidence = by_hand(model, row)
            assert score["modelId"] == model["modelId"]
            assert math.isclose(score["value"], value, abs_tol=1e-6)
            assert score["confidence"] == confidence
            assert score["timestamp"] == NOW
