from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf.load import load_program
from jobs.outcomes import chain_of, gather
from jobs.results import Balance, Rejected, UnitResult
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.storage import Storage

BALANCE: dict[str, Any] = {
    "read": 4,
    "written": 2,
    "deduplicated": 1,
    "quarantined": 0,
    "rejected": [{"filterType": "TRUST", "filterId": "sane", "reasonCode": "ODD", "count": 1}],
}
COUNTED: list[list[Any]] = [
    ["written", 2],
    ["label", "band", "high", 2],
    ["score", "response", "19", 2],
    ["stage", "score:response", "microseconds", 1_500_000],
    *(["stage", "score:response", what, 2] for what in ("in", "passed")),
    ["stage", "conform", "in", 4],
    ["stage", "conform", "passed", 3],
    ["stage", "conform", "rejected", 1],
    ["stage", "first pass", "microseconds", 10],
]
PUBLISHED: dict[str, Any] = {
    "balance": BALANCE,
    "counted": COUNTED,
    "changed": True,
    "fragments": [{"size": 90}, {"size": 9}],
}
DONE: dict[str, Any] = {"publishSeconds": 0.25}
STEPS: list[tuple[Event, dict[str, Any]]] = [
    ("planned", {}),
    ("leased", {}),
    ("published", PUBLISHED),
    ("succeeded", DONE),
]
DAY, NAME = "2017-03-01", "solicit/reviews/2017-03-01"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage(str(tmp_path / "lake")))


def write(
    ledger: Ledger,
    steps: list[tuple[Event, dict[str, Any]]],
    last: Record | None = None,
    run: str = "mine",
) -> Record:
    for event, details in steps:
        said: Any = {"unit": NAME, "run": run, "fingerprint": "f", "plan": "p"}
        last = ledger.append(last, event, **said, details=details)
    assert last is not None
    return last


def found(ledger: Ledger, run: str = "mine") -> UnitResult:
    (unit,) = gather(ledger, {DAY: NAME}, run)
    return unit


def test_what_was_said_of_a_unit_is_read_back(ledger: Ledger) -> None:
    write(ledger, STEPS)
    unit = found(ledger)
    assert (unit.partition, unit.status, unit.error) == (DAY, "published", None)
    assert unit.balance == Balance(4, 2, 1, 0, (Rejected("TRUST", "sane", "ODD", 1),))
    assert unit.balance.balanced
    assert (unit.fragments, unit.bytes_written) == (2, 99)
    stages = [stage.stage for stage in unit.stages]
    assert stages == ["first pass", "conform", "score:response", "publish"]
    conform = unit.stages[1]
    assert (conform.rows_in, conform.passed, conform.rejected) == (4, 3, 1)
    assert unit.stages[2].seconds == 1.5
    assert (unit.stages[3].rows_in, unit.stages[3].seconds) == (2, 0.25)
    assert [histogram.name for histogram in unit.histograms] == ["score.response", "band"]


def test_a_unit_that_was_made_before_is_unchanged(ledger: Ledger) -> None:
    write(ledger, STEPS, run="another")
    assert found(ledger).status == "unchanged"
    assert found(ledger).balance.read == 4


def test_a_unit_made_again_with_the_same_content_is_unchanged(ledger: Ledger) -> None:
    last = write(ledger, STEPS, run="another")
    same: list[tuple[Event, dict[str, Any]]] = [
        *STEPS[:2],
        ("published", {**PUBLISHED, "changed": False}),
        STEPS[3],
    ]
    write(ledger, same, last)
    assert found(ledger).status == "unchanged"


def test_a_unit_that_failed_says_why_and_keeps_its_counts(ledger: Ledger) -> None:
    failed = {"error": "no such table", "transient": False, "balance": BALANCE, "counted": []}
    write(ledger, [*STEPS[:2], ("failed", failed)])
    assert (found(ledger).status, found(ledger).error) == ("failed", "no such table")
    assert found(ledger).balance.read == 4


def test_a_unit_that_failed_anew_has_failed_though_its_output_stands(ledger: Ledger) -> None:
    last = write(ledger, STEPS, run="another")
    write(ledger, [*STEPS[:2], ("failed", {"error": "broke"})], last)
    assert (found(ledger).status, found(ledger).error) == ("failed", "broke")


def test_a_unit_without_a_record_was_never_made(ledger: Ledger) -> None:
    assert (found(ledger).status, found(ledger).error) == ("skipped", "never made")


@pytest.mark.parametrize(
    "stage",
    [
        *("read", "filters", "dedupe", "features", "band", "treatment", "channels"),
        *("marketplaces", "write candidates", "write rejections"),
    ],
)
def test_every_stage_has_its_place(ledger: Ledger, stage: str) -> None:
    counted = [["stage", stage, "in", 1], ["stage", stage, "passed", 1]]
    write(ledger, [*STEPS[:2], ("published", {**PUBLISHED, "counted": counted}), STEPS[3]])
    assert [each.stage for each in found(ledger).stages] == [stage, "publish"]


def test_the_steps_that_turn_rows_away_are_named_in_order() -> None:
    chain = chain_of(load_program("product-reviews"))
    assert chain[0] == "conform"
    assert chain[-3:] == ("dedupe", "customer-capacity", "band")
    assert "quantity-sane" in chain
