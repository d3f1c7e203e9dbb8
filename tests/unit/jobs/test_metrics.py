from __future__ import annotations

from jobs.metrics import STAGES, stage_metrics
from jobs.results import StageCount, UnitResult


def counts(unit: UnitResult) -> dict[str, tuple[int, ...]]:
    lines = stage_metrics([unit])
    return {stage: tuple(m["value"] for m in lines if m["stage"] == stage) for stage in STAGES}


def test_every_stage_counts_processed_passed_and_rejected() -> None:
    unit = UnitResult(
        "2017-03-05",
        "published",
        stages=(
            StageCount("first pass", 10, 10, 0, 0.1),
            StageCount("read", 10, 10, 0, 0.1),
            StageCount("conform", 10, 9, 1, 0.1),
            StageCount("filters", 9, 6, 3, 0.1),
            StageCount("dedupe", 6, 5, 1, 0.1),
            StageCount("score:response", 5, 5, 0, 0.1),
            StageCount("band", 5, 4, 1, 0.1),
            StageCount("customer-capacity", 4, 2, 2, 0.1),
            StageCount("write candidates", 2, 2, 0, 0.1),
            StageCount("write rejections", 8, 8, 0, 0.1),
            StageCount("publish", 2, 2, 0, 0.1),
        ),
    )
    assert counts(unit) == {
        "ETL": (10, 9, 1),
        "filtering": (9, 3, 6),
        "scoring": (5, 4, 1),
        "storage": (2, 2, 0),
    }
    assert [m["metric"] for m in stage_metrics([unit])[:3]] == ["processed", "passed", "rejected"]


def test_rejections_that_were_written_are_not_stored_candidates() -> None:
    stages = (StageCount("first pass", 0, 0, 0, 0.1), StageCount("write rejections", 8, 8, 0, 0.1))
    unit = UnitResult("2017-03-05", "published", stages=stages)
    assert set(counts(unit).values()) == {(0, 0, 0)}


def test_a_unit_that_failed_before_its_first_row_is_published_with_zeros() -> None:
    unit = UnitResult("2017-03-05", "failed", error="no such table")
    assert set(counts(unit).values()) == {(0, 0, 0)}


def test_units_keep_their_order() -> None:
    units = [UnitResult(day, "published") for day in ("2017-03-06", "2017-03-05")]
    assert [m["unit"] for m in stage_metrics(units)] == ["2017-03-06"] * 12 + ["2017-03-05"] * 12
