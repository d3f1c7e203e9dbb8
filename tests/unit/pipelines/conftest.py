"""A small program and what a run of it needs, for every test of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from apache_beam.testing.test_pipeline import TestPipeline

from conf.program import Program
from pipelines.context import RunContext
from pipelines.lake import LakeSettings
from transforms.kernel import REJECTION_SCHEMA, ROW, UnitContext

SYNC_KEY = "00" * 16


def _program(**changes: Any) -> Program:
    said = {
        "programId": "reviews",
        "programName": "Reviews",
        "enabled": True,
        "marketplaces": ["US"],
        "dataConnectors": [
            {
                "sourceId": "orders",
                "connectorType": "warehouse",
                "tableName": "orders",
                "subjectType": "product",
                "marketplace": "US",
                "query": "SELECT * FROM orders WHERE placed >= $1 AND placed < $2 ORDER BY placed",
                "partition": {"column": "placed"},
                "fieldMappings": {
                    "customerId": "customer",
                    "subjectId": "product",
                    "eventDate": "placed",
                    "orderValue": "value",
                },
            }
        ],
        "scoringModels": [
            {
                "modelId": "worth",
                "type": "linear",
                "coefficients": {"orderValue": 0.01},
                "fallbackScore": 0.5,
            }
        ],
        "filterChain": {
            "filters": [
                {
                    "filterId": "worth-it",
                    "filterType": "QUALITY",
                    "order": 1,
                    "reasonCode": "TOO_CHEAP",
                    "reason": "value is below 1",
                    "parameters": {"expression": "value >= 1"},
                }
            ]
        },
        "channels": [{"channelId": "email", "channelType": "EMAIL"}],
        "candidateTTLDays": 30,
    }
    return Program.model_validate({**said, **changes})


@pytest.fixture(scope="session")
def program() -> Callable[..., Program]:
    """Return a function that makes the small program, with changes."""
    return _program


@pytest.fixture(scope="session")
def context() -> RunContext:
    return RunContext("solicit", "reviews", "f" * 64, "1.2.3")


@pytest.fixture(scope="session")
def unit_context(context: RunContext) -> UnitContext:
    return context.unit("2017-03-01")


@pytest.fixture
def lake(tmp_path: Path) -> LakeSettings:
    return LakeSettings(str(tmp_path / "lake"), "null", SYNC_KEY)


@pytest.fixture
def pipeline() -> Iterator[TestPipeline]:
    """A pipeline of the runner that local runs use; it runs when the test is over."""
    with TestPipeline(runner="FnApiRunner") as made:
        yield made


def _rejected(rows: list[tuple[int, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                **dict.fromkeys(REJECTION_SCHEMA, "x"),
                ROW: row,
                "filterType": "QUALITY",
                "filterId": "worth-it",
                "reasonCode": code,
            }
            for row, code in rows
        ],
        schema=REJECTION_SCHEMA,
    )


@pytest.fixture(scope="session")
def rejected() -> Callable[[list[tuple[int, str]]], pl.DataFrame]:
    """Return a function that makes a rejection frame of rows and reason codes."""
    return _rejected
