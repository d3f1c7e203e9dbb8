from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conf.load import load_program
from jobs.outcomes import chain_of, gather
from jobs.results import Balance, Rejected

SAID: dict[str, Any] = {
    "unit": "2017-03-01",
    "status": "published",
    "error": None,
    "balance": {
        "read": 4,
        "written": 2,
        "deduplicated": 1,
        "quarantined": 0,
        "rejected": [{"filterType": "TRUST", "filterId": "sane", "reasonCode": "ODD", "count": 1}],
    },
    "counted": [
        ["label", "band", "high", 2],
        ["score", "response", "19", 2],
        *(["stage", "publish", what, 2] for what in ("in", "passed")),
        ["stage", "score:response", "microseconds", 1_500_000],
        *(["stage", "score:response", what, 2] for what in ("in", "passed")),
        ["stage", "conform", "in", 4],
        ["stage", "conform", "passed", 3],
        ["stage", "conform", "rejected", 1],
        ["stage", "first pass", "microseconds", 10],
    ],
    "fragments": 2,
    "bytes": 99,
}


def test_what_was_said_of_a_unit_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "2017-03-01.json").write_text(json.dumps(SAID))
    (unit,) = gather(tmp_path, ("2017-03-01",))
    assert (unit.partition, unit.status, unit.error) == ("2017-03-01", "published", None)
    assert unit.balance == Balance(4, 2, 1, 0, (Rejected("TRUST", "sane", "ODD", 1),))
    assert unit.balance.balanced
    stages = [stage.stage for stage in unit.stages]
    assert stages == ["first pass", "conform", "score:response", "publish"]
    conform = unit.stages[1]
    assert (conform.rows_in, conform.passed, conform.rejected) == (4, 3, 1)
    assert unit.stages[2].seconds == 1.5
    assert [histogram.name for histogram in unit.histograms] == ["score.response", "band"]


def test_a_unit_that_left_nothing_has_failed(tmp_path: Path) -> None:
    (tmp_path / "2017-03-01.json").write_text(json.dumps(SAID))
    found = gather(tmp_path, ("2017-02-28", "2017-03-01"))
    assert [(unit.partition, unit.status) for unit in found] == [
        ("2017-02-28", "failed"),
        ("2017-03-01", "published"),
    ]
    assert "ended before" in str(found[0].error)


@pytest.mark.parametrize(
    "stage",
    [
        *("read", "filters", "dedupe", "features", "band", "treatment", "channels"),
        *("marketplaces", "write candidates", "write rejections"),
    ],
)
def test_every_stage_has_its_place(tmp_path: Path, stage: str) -> None:
    counted = [["stage", stage, "in", 1], ["stage", stage, "passed", 1]]
    (tmp_path / "d.json").write_text(json.dumps({**SAID, "counted": counted}))
    assert [each.stage for each in gather(tmp_path, ("d",))[0].stages] == [stage]


def test_the_steps_that_turn_rows_away_are_named_in_order() -> None:
    chain = chain_of(load_program("product-reviews"))
    assert chain[0] == "conform"
    assert chain[-3:] == ("dedupe", "customer-capacity", "band")
    assert "quantity-sane" in chain
