"""Removing files of units that nobody holds, so that no run can be writing them.

An attempt that did not succeed is made again, and then writes the very keys that the first one
left. So its unit is held while they are removed, as a run holds it; the record of how the attempt
ended is written again behind that. Where the latest attempt succeeded, what it did not name is of
no use to the next either: there it is enough to look, before each batch, that none has begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.errors import Fenced
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.ledger.runs import Living
from pipelines.storage import Storage

_AT_ONCE, _BATCH = 16, 1000
#: What the record says that takes a unit, and under what it keeps how the latest attempt ended.
WHY, _ENDED = "merge clean", "ended"


@dataclass(frozen=True, slots=True)
class End:
    """How the latest attempt of a unit ended; its latest record may be one of a removal."""

    event: Event
    at: str
    details: Mapping[str, Any]


def end_of(last: Record) -> End:
    """Return how the latest attempt ended; one that nobody ended has failed."""
    said = last.details.get(_ENDED)
    if last.event == "planned" and said is not None:  # of a removal that died
        return End(**said)
    if last.event in ("failed", "cancelled"):
        return End(last.event, last.details.get("endedAt", last.at), last.details)
    if not last.held:
        return End(last.event, last.at, last.details)
    return End("failed", last.at, {"error": f"left by run {last.run}, which is gone"})


@contextmanager
def hold(ledger: Ledger, units: Sequence[Record], run: str) -> Iterator[tuple[Record, ...]]:
    """Hold units for ``run`` inside the block, where that is needed; yields their latest records.

    ``units`` are their latest records as they were when it was decided what goes.

    Raises:
        Fenced: another run wrote to one of them since.
    """
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_held(ledger, last, run)) for last in units)


@contextmanager
def _held(ledger: Ledger, last: Record, run: str) -> Iterator[Record]:
    if last.event == "succeeded":
        yield last
        return
    ended = end_of(last)
    mine = ledger.append(
        last,
        "planned",
        unit=last.unit,
        run=run,
        fingerprint=last.fingerprint,
        plan=last.plan,
        details={
            "why": WHY,
            _ENDED: asdict(ended),
        },
    )
    try:
        yield mine
    finally:
        if ledger.last(last.unit) == mine:
            ledger.go_on(mine, ended.event, {**ended.details, "endedAt": ended.at})


def unended(ledger: Ledger) -> list[Record]:
    """Return the latest records of units that a removal holds which died."""
    living = Living(ledger)
    return [
        last
        for last in ledger.latest().values()
        if last.event == "planned" and _ENDED in last.details and living[last.run] is None
    ]


def end(ledger: Ledger, last: Record, run: str) -> None:
    """Say again how a unit's latest attempt ended, for a removal that died."""
    with suppress(Fenced), hold(ledger, [last], run):
        pass  # whoever took it meanwhile goes on from there


def remove_all(
    storage: Storage, ledger: Ledger, units: Iterable[Record], keys: Sequence[str]
) -> None:
    """Remove objects; ``units`` are the latest records of the units whose files they are.

    Raises:
        Fenced: another run has written to one of the units.
    """
    expected = tuple(units)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for at in range(0, max(1, len(keys)), _BATCH):
            for record in expected:
                ledger.check_last(record, "removal")
            list(pool.map(lambda key: storage.delete([key]), keys[at : at + _BATCH]))
