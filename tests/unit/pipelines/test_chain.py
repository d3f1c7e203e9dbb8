from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.program import Program
from pipelines.chain import Chain, Purpose, columns_needed, deciding_models
from pipelines.errors import WarehouseFailed
from pipelines.sources.warehouse import Warehouse

Make = Callable[..., Program]
TWO_MODELS = [
    {"modelId": "worth", "type": "linear", "coefficients": {"a": 0.1}, "fallbackScore": 0.5},
    {"modelId": "reply", "type": "linear", "coefficients": {"b": 0.1}, "fallbackScore": 0.5},
]
DEDUPE = {"windowHours": 24}
CAPACITY = {"perCustomer": 1, "score": "worth"}
BANDS = {"score": "reply", "tiers": [{"name": "all", "atLeast": 0.0}]}
EXPERIMENT = {
    "experimentId": "wording",
    "salt": "s",
    "treatments": [{"treatmentId": t, "weight": 1} for t in ("a", "b")],
}


def names(program: Program, purpose: Purpose, warehouse: Warehouse | None = None) -> list[str]:
    connector = program.data_connectors[0]
    here = warehouse or Warehouse("duckdb://", {})
    span = ("2017-03-01", "2017-03-02")
    return [kernel.name for kernel in Chain(program, connector, here, {}, span, purpose)()]


def test_a_small_program_runs_what_it_has(program: Make) -> None:
    assert names(program(), Purpose.OUTPUT) == ["conform", "filters", "score:worth", "channels"]


def test_a_full_program_runs_everything_in_order(program: Make) -> None:
    full = program(
        scoringModels=TWO_MODELS,
        dedupe=DEDUPE,
        capacity=CAPACITY,
        bands=BANDS,
        experiments=[EXPERIMENT],
    )
    assert names(full, Purpose.OUTPUT) == [
        *("conform", "filters", "dedupe", "score:worth", "score:reply"),
        *("band", "treatment", "channels"),
    ]
    assert names(full, Purpose.DECIDE) == [
        *("conform", "filters", "score:worth", "score:reply", "band"),
    ]
    assert names(full, Purpose.EVIDENCE) == ["conform", "filters"]


def test_without_a_capacity_nothing_is_scored_to_decide(program: Make) -> None:
    assert names(program(dedupe=DEDUPE, bands=None), Purpose.DECIDE) == ["conform", "filters"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"capacity": CAPACITY}, ["worth"]),
        ({"bands": BANDS}, ["reply"]),
        ({"bands": BANDS, "capacity": CAPACITY}, ["worth", "reply"]),
    ],
)
def test_only_models_that_decide_are_run_to_decide(
    program: Make, changes: dict[str, Any], expected: list[str]
) -> None:
    models = deciding_models(program(scoringModels=TWO_MODELS, **changes))
    assert [model.model_id for model in models] == expected


def test_the_columns_of_a_pass_are_what_anything_in_it_reads(program: Make) -> None:
    made = program(
        scoringModels=TWO_MODELS,
        capacity=CAPACITY,
        channels=[{"channelId": "email", "channelType": "EMAIL", "eligible": "mail = 'yes'"}],
    )
    connector = made.data_connectors[0].model_copy(update={"order_by": ("basket",)})
    fields = {"basket", "customer", "placed", "product", "value"}
    assert set(columns_needed(made, connector, Purpose.DECIDE)) == {*fields, "a"}
    output = columns_needed(made, connector, Purpose.OUTPUT)
    assert set(output) == {*fields, "a", "b", "mail"}
    assert list(output) == sorted(output)


def test_columns_that_only_an_override_reads_are_needed_too(program: Make) -> None:
    """Also in the first pass, and also its channels' and models'."""
    stricter = {
        "filters": [
            {
                "filterId": "fresh",
                "filterType": "QUALITY",
                "order": 2,
                "reasonCode": "STALE",
                "reason": "r",
                "parameters": {"expression": "freshness > 0"},
            }
        ]
    }
    made = program(
        marketplaces=["US", "DE"], marketplaceOverrides={"DE": {"filterChain": stricter}}
    )
    mappings = made.data_connectors[0].field_mappings.model_copy(update={"marketplace": "shop"})
    connector = made.data_connectors[0].model_copy(
        update={"marketplace": None, "field_mappings": mappings}
    )
    for purpose in Purpose:
        assert "freshness" in columns_needed(made, connector, purpose)


def lookup(table: str) -> dict[str, Any]:
    return {
        "filters": [
            {
                "filterId": "known",
                "filterType": "ELIGIBILITY",
                "order": 1,
                "reasonCode": "UNKNOWN",
                "reason": "r",
                "parameters": {"column": "product", "table": table, "key": "id"},
            }
        ]
    }


def test_a_lookup_is_loaded_from_the_warehouse(program: Make, tmp_path: Path) -> None:
    path = tmp_path / "known.parquet"
    pl.DataFrame({"id": [1, 2, 2]}).write_parquet(path)
    made = program(filterChain=lookup("known"))
    warehouse = Warehouse("duckdb://", {"known": str(path)})
    assert names(made, Purpose.EVIDENCE, warehouse) == ["conform", "filters"]


def test_a_lookup_that_is_missing_is_named(program: Make) -> None:
    with pytest.raises(WarehouseFailed, match=r"lookup 'nowhere\.id'"):
        names(program(filterChain=lookup("nowhere")), Purpose.OUTPUT)
