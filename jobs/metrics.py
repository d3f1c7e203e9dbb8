"""Counts of processed, passed and rejected rows at each stage of a unit (property 26)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypedDict

from jobs.results import StageCount, UnitResult

#: The document's stages in the order of the flow.
STAGES = ("ETL", "filtering", "scoring", "storage")

#: Which of them a step of the chain belongs to; steps that are not named here filter. Rows of the
#: first pass are read again, and rejections are no candidates: neither counts towards a stage.
STAGE_OF: Mapping[str, str | None] = MappingProxyType(
    {
        "first pass": None,
        "read": "ETL",
        "conform": "ETL",
        "features": "scoring",
        "score": "scoring",
        "band": "scoring",
        "treatment": "scoring",
        "channels": "scoring",
        "write candidates": "storage",
        "write rejections": None,
        "publish": "storage",
    }
)


class Metric(TypedDict):
    """One published number."""

    metric: str
    stage: str
    unit: str
    value: int


def stage_metrics(units: Iterable[UnitResult]) -> list[Metric]:
    """Return ``processed``, ``passed`` and ``rejected`` for each stage of each unit, in flow order.

    A stage that a unit never reached counts 0. ``processed`` is what came to the stage's first
    step, ``rejected`` what its steps turned away, ``passed`` the rest, also where steps of another
    stage lie between them: ``processed == passed + rejected``. Source: property 26.
    """
    return [
        Metric(metric=metric, stage=stage, unit=unit.partition, value=value)
        for unit in units
        for stage in STAGES
        for metric, value in _counts(_steps(unit, stage)).items()
    ]


def _steps(unit: UnitResult, stage: str) -> list[StageCount]:
    return [s for s in unit.stages if STAGE_OF.get(s.stage.split(":")[0], "filtering") == stage]


def _counts(steps: list[StageCount]) -> dict[str, int]:
    processed = steps[0].rows_in if steps else 0
    rejected = sum(step.rejected for step in steps)
    return {"processed": processed, "passed": processed - rejected, "rejected": rejected}
