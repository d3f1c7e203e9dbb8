"""Reading back what pipelines said of their units."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from conf.program import Program
from jobs.results import Balance, Histogram, Rejected, StageCount, UnitResult
from pipelines import tally
from pipelines.tally import Tally

#: Stages in the order in which rows meet them; ``score`` stands for every model's stage.
_ORDER = (
    tally.FIRST_PASS,
    "read",
    "conform",
    "filters",
    "dedupe",
    "features",
    "score",
    "band",
    "treatment",
    "channels",
    "marketplaces",
    "write candidates",
    "write rejections",
    "publish",
)
_EDGES = tuple(i / tally.SCORE_BINS for i in range(tally.SCORE_BINS + 1))


def chain_of(program: Program) -> tuple[str, ...]:
    """Name every step that can turn rows away, in the order in which rows meet them."""
    steps = ["conform", *(f.filter_id for f in program.filter_chain.active)]
    if program.dedupe:
        steps.append("dedupe")
    if program.capacity:
        steps.append(program.capacity.filter_id)
    if program.bands:
        steps.append("band")
    return tuple(steps)


def gather(folder: Path, units: tuple[str, ...]) -> tuple[UnitResult, ...]:
    """Return the outcome of every unit, in order; one that left none has failed."""
    return tuple(_unit(folder / f"{unit}.json", unit) for unit in units)


def _unit(path: Path, unit: str) -> UnitResult:
    if not path.is_file():
        return UnitResult(unit, "failed", error="the run ended before it came to this unit")
    said = json.loads(path.read_text())
    counted: Tally = Counter({tuple(key): count for *key, count in said["counted"]})
    return UnitResult(
        unit,
        said["status"],
        _balance(said["balance"]),
        _stages(counted),
        (*_scores(counted), *_labels(counted)),
        said["fragments"],
        said["bytes"],
        said["error"],
    )


def _balance(said: dict[str, Any]) -> Balance:
    rejected = tuple(
        Rejected(line["filterType"], line["filterId"], line["reasonCode"], line["count"])
        for line in said["rejected"]
    )
    return Balance(
        said["read"], said["written"], said["deduplicated"], said["quarantined"], rejected
    )


def _stages(counted: Tally) -> tuple[StageCount, ...]:
    found = dict.fromkeys(key[1] for key in counted if key[0] == tally.STAGE)
    names = sorted(found, key=lambda name: _ORDER.index(name.partition(":")[0]))

    def count(stage: str, what: str) -> int:
        return counted[tally.STAGE, stage, what]

    return tuple(
        StageCount(
            name,
            count(name, "in"),
            count(name, "passed"),
            count(name, "rejected"),
            count(name, "microseconds") / 1e6,
        )
        for name in names
    )


def _scores(counted: Tally) -> list[Histogram]:
    models = dict.fromkeys(key[1] for key in counted if key[0] == tally.SCORE)
    return [
        Histogram.between(
            f"score.{model}",
            _EDGES,
            [counted[tally.SCORE, model, str(i)] for i in range(tally.SCORE_BINS)],
        )
        for model in models
    ]


def _labels(counted: Tally) -> list[Histogram]:
    columns = dict.fromkeys(key[1] for key in counted if key[0] == tally.LABEL)
    return [Histogram(column, *zip(*_values(counted, column), strict=True)) for column in columns]


def _values(counted: Tally, column: str) -> list[tuple[str, int]]:
    return [(key[2], n) for key, n in counted.items() if key[:2] == (tally.LABEL, column)]
