from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import Program
from transforms.kernel import UnitContext
from transforms.records import candidate_table
from transforms.treatments import AssignTreatment, treatment_of

NOW = datetime(2017, 3, 2, 23, 59, 59, 999000, UTC)
CONTEXT = UnitContext("reviews", "2017-03-02", "run-1", NOW)

experiments = st.lists(
    st.fixed_dictionaries(
        {
            "enabled": st.booleans(),
            "salt": st.text(min_size=1, max_size=5),
            "treatments": st.integers(2, 4).map(
                lambda arms: [{"treatmentId": f"t{i}", "weight": i + 1} for i in range(arms)]
            ),
        }
    ),
    max_size=3,
).map(lambda found: [{"experimentId": f"experiment-{i}", **e} for i, e in enumerate(found)])


def program(experiments: list[dict[str, Any]]) -> Program:
    connector = {
        "sourceId": "orders",
        "connectorType": "avro",
        "path": "orders/{date}/*.avro",
        "subjectType": "product",
        "marketplace": "US",
        "fieldMappings": {"customerId": "c", "subjectId": "s", "eventDate": "t"},
    }
    model = {
        "modelId": "value",
        "type": "linear",
        "coefficients": {"x": 1.0},
        "fallbackScore": 0.0,
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
            "scoringModels": [model],
            "filterChain": {"filters": [rule]},
            "channels": [{"channelId": "email", "channelType": "EMAIL"}],
            "experiments": experiments,
            "candidateTTLDays": 30,
        }
    )


def frame(customers: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"customerId": pl.Series(customers, dtype=pl.String)}).with_columns(
        pl.lit("product").alias("subjectType"),
        pl.lit("p-1").alias("subjectId"),
        pl.lit("US").alias("marketplace"),
        pl.lit(NOW, pl.Datetime("ms", "UTC")).alias("eventDate"),
        pl.lit(None, pl.Float64).alias("orderValue"),
        pl.lit(0.5).alias("score.value"),
        pl.lit(1.0).alias("confidence.value"),
        pl.lit("model").alias("scoreSource.value"),
        pl.lit(True).alias("channel.email"),
    )


@settings(max_examples=100, deadline=None)
@given(experiments, st.lists(st.text(min_size=1, max_size=6), max_size=8))
def test_every_candidate_says_its_treatments(
    experiments: list[dict[str, Any]], customers: list[str]
) -> None:
    """Feature: solicitation-platform, Property 35: Treatment recording"""
    settings_of = program(experiments)
    treated = AssignTreatment(settings_of.experiments)(frame(customers), CONTEXT).passed
    table = candidate_table(treated, CONTEXT, settings_of, settings_of.data_connectors[0])
    active = [experiment for experiment in settings_of.experiments if experiment.enabled]
    for customer, metadata in zip(customers, table.column("metadata").to_pylist(), strict=True):
        # Each by itself, so that neighbours in the frame cannot have been mixed up.
        alone = {
            experiment.experiment_id: treatment_of(pl.Series([customer]), experiment)[0]
            for experiment in active
        }
        assert dict(metadata["treatments"] or []) == alone
        assert all(alone.values())
