"""What the tests of ``merge clean`` and ``athena doctor`` do with lakes of merged files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from jobs.merges.clean import clean
from jobs.merges.doctor import doctor
from pipelines.ledger.ledger import Clock, Ledger, now
from pipelines.ledger.record import Event, Record
from pipelines.merging.clean import Share
from pipelines.merging.engines import LocalEngine
from pipelines.merging.finding import Finding
from tests.properties.merges import File, MergedLake, day

TYPE, MONTH = "candidate", "2017-03"
MERGE = f"merge/{TYPE}/{MONTH}"


def later(days: float) -> Clock:
    """Return a clock that is ahead."""

    def clock() -> datetime:
        return now() + timedelta(days=days)

    return clock


def some(count: int = 3, **changes: Any) -> list[File]:
    """Return a fragment for each of the first days."""
    return [File(TYPE, day(n), "part", tuple(range(10 * n, 10 * n + 5)), **changes)
            for n in range(count)]  # fmt: skip


def published(lake: MergedLake, count: int = 3) -> list[str]:
    """Publish a fragment for each of the first days, as a run does; returns their keys."""
    return [
        receipt.key
        for n, file in enumerate(some(count))
        for receipt in lake.publish("reviews", day(n), [file])
    ]


def merge(lake: MergedLake, *kinds: Any, **options: Any) -> None:
    for kind in kinds:
        assert lake.merge(kind, TYPE, **options).exit_code == 0


def ledger_of(lake: MergedLake) -> Ledger:
    return Ledger(lake.storage)


def append(
    lake: MergedLake, *events: Event, unit: str = MERGE, run: str = "gone", **details: Any
) -> Record:
    """Add records of a run to a unit, each with the same details."""
    ledger = ledger_of(lake)
    last = ledger.last(unit)
    for event in events:
        last = ledger.append(
            last, event, unit=unit, run=run, fingerprint="f", plan="p", details=details
        )
    assert last is not None, "at least one event"
    return last


def cleaned(lake: MergedLake, days: float = 8, **options: Any) -> tuple[Share, ...]:
    """Clean a lake so many days from now; whatever goes, readers see the same rows."""
    before = lake.rows(TYPE)
    with LocalEngine(1) as engine:
        found = clean(lake.environment, (TYPE,), engine, clock=later(days), **options)
    assert lake.rows(TYPE) == before
    return found


def told(shares: Iterable[Share]) -> dict[tuple[str, str], tuple[int, str]]:
    """Return files and the reason by what and fate; there is one line of each in these tests."""
    lines = [line for share in shares for line in share.lines]
    found = {(line.what, line.fate): (line.files, line.why) for line in lines}
    assert len(found) == len(lines), lines
    return found


def examined(lake: MergedLake, days: float = 0) -> Sequence[Finding]:
    """Return what the doctor says of a lake; it changes nothing."""
    before = lake.tree()
    with LocalEngine(1) as engine:
        (report,) = doctor(lake.environment, (TYPE,), engine, later(days))
    assert lake.tree() == before
    return report.findings
