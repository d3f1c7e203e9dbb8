"""Reading back from the ledger what became of units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf.program import Program
from jobs.results import Balance, Histogram, Rejected, StageCount, Status, UnitResult
from pipelines import tally
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.tally import Tally, tallies_of

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
    ledger: Ledger, names: Mapping[str, str], run: str, tiers: tuple[str, ...] = ()
) -> tuple[UnitResult, ...]:
    """Return what became of units, by the order of ``names`` (day to name).

    A unit that ``run`` published is ``published``, or ``unchanged`` when it is what was there; one
    that was made before is ``unchanged``. ``tiers`` gives the order in which bands are shown.
    """
    latest = ledger.latest_of(list(names.values())) if names else {}
    wanted = {
        name: ledger.key(name, last.publication)
        for name, last in latest.items()
        if last.publication
    }
    published = ledger.read(wanted)
    return tuple(
        _unit(day, latest.get(name), published.get(name), run, tiers) for day, name in names.items()
    )


def _unit(
    day: str, last: Record | None, published: Record | None, run: str, tiers: tuple[str, ...]
) -> UnitResult:
    if last is None:
        return UnitResult(day, "skipped", error="never made")
    if last.run == run and last.event != "succeeded":
        error = str(last.details.get("error", last.event))
        return _result(day, "failed", last, tiers, error)
    if published is None:
        error = str(last.details.get("error", f"{last.event} by run {last.run}"))
        return _result(day, "failed" if last.event == "failed" else "skipped", last, tiers, error)
    made_now = last.run == run and published.run == run and published.details["changed"]
    return _result(day, "published" if made_now else "unchanged", published, tiers, None, last)


def _result(
    day: str,
    status: Status,
    record: Record,
    tiers: tuple[str, ...],
    error: str | None,
    last: Record | None = None,
) -> UnitResult:
    details = record.details
    counted = tallies_of(details)
    if last is not None and last.event == "succeeded":
        rows = counted[tally.WRITTEN]
        counted += tally.of_stage("publish", rows, rows, 0, last.details["publishSeconds"])
    fragments = details.get("fragments", ())
    return UnitResult(
        day,
        status,
        _balance(details["balance"]) if "balance" in details else Balance(),
        _stages(counted),
        (*_scores(counted), *_labels(counted, tiers)),
        len(fragments),
        sum(fragment["size"] for fragment in fragments),
        error,
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
