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


def tiers_of(program: Program) -> tuple[str, ...]:
    """Name the program's bands from the lowest to the highest."""
    return tuple(tier.name for tier in program.bands.tiers) if program.bands else ()


def gather(
    folder: Path, units: tuple[str, ...], tiers: tuple[str, ...] = ()
) -> tuple[UnitResult, ...]:
    """Return the outcome of every unit, in order; one that left none has failed.

    ``tiers`` gives the order in which bands are shown.
    """
    return tuple(_unit(folder / f"{unit}.json", unit, tiers) for unit in units)


def forget(folder: Path, units: tuple[str, ...]) -> None:
    """Remove what an earlier run of the same name said of the units."""
    for unit in units:
        (folder / f"{unit}.json").unlink(missing_ok=True)


def _unit(path: Path, unit: str, tiers: tuple[str, ...]) -> UnitResult:
    if not path.is_file():
        return UnitResult(unit, "failed", error="the run ended before it came to this unit")
    said = json.loads(path.read_text())
    counted: Tally = Counter({tuple(key): count for *key, count in said["counted"]})
    return UnitResult(
        unit,
        said["status"],
        _balance(said["balance"]),
        _stages(counted),
        (*_scores(counted), *_labels(counted, tiers)),
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


def _labels(counted: Tally, tiers: tuple[str, ...]) -> list[Histogram]:
    columns = dict.fromkeys(key[1] for key in counted if key[0] == tally.LABEL)
    return [_histogram(counted, column, tiers if column == "band" else ()) for column in columns]


def _histogram(counted: Tally, column: str, order: tuple[str, ...]) -> Histogram:
    """Count the values of a column: those of ``order`` first, all of them, then any others."""
    counts = {key[2]: n for key, n in counted.items() if key[:2] == (tally.LABEL, column)}
    labels = dict.fromkeys((*order, *counts))
    return Histogram(column, tuple(labels), tuple(counts.get(label, 0) for label in labels))
