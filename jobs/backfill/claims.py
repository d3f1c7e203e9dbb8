"""Taking units for a run, and giving them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs.errors import UnitsHeld
from pipelines.errors import Fenced
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Living, RunInfo


@dataclass(frozen=True, slots=True)
class Wanted:
    """A unit that a run is to take: what it will make, and how many attempts there had been."""

    unit: str
    fingerprint: str
    attempts: int
    why: str


def claim(ledger: Ledger, run: str, plan: str, wanted: Iterable[Wanted]) -> dict[str, Record]:
    """Take every unit, or none; returns their ``planned`` records by unit.

    Units that were made since they were planned, to the same fingerprint, are left out. They are
    taken in the order of their names, so that of two runs that want the same units one gets the
    first of them, and the other nothing.

    Raises:
        UnitsHeld: a living run holds one; what was taken before it is given back.
    """
    claimed: dict[str, Record] = {}
    found = sorted(wanted, key=lambda each: each.unit)
    latest = ledger.latest_of([each.unit for each in found])
    for each in found:
        try:
            record = _claim_one(ledger, run, plan, each, latest.get(each.unit))
        except BaseException:
            give_back(ledger, run, claimed.values(), "not all units could be taken")
            raise
        if record is not None:
            claimed[each.unit] = record
    return claimed


def made_since(last: Record | None, wanted: Wanted) -> bool:
    """Say whether a unit was made after it was planned, of what was planned."""
    return (
        last is not None
        and last.event == "succeeded"
        and last.attempt > wanted.attempts
        and last.fingerprint == wanted.fingerprint
    )


def _claim_one(
    ledger: Ledger, run: str, plan: str, wanted: Wanted, last: Record | None
) -> Record | None:
    while not made_since(last, wanted):
        holder = Living(ledger)[last.run] if last is not None and last.held else None
        if holder is not None and last is not None and last.run != run:
            raise held(wanted.unit, holder)
        try:
            return ledger.append(
                last,
                "planned",
                unit=wanted.unit,
                run=run,
                fingerprint=wanted.fingerprint,
                plan=plan,
                details={"why": wanted.why},
            )
        except Fenced:
            last = ledger.last(wanted.unit)
    return None


def held(unit: str, holder: RunInfo) -> UnitsHeld:
    """Return what to say when a living run holds a unit."""
    return UnitsHeld(
        f"unit {unit}: expected nobody at work on it, found {holder}, which holds it until "
        f"{holder.expires} and longer while it works; wait for it (--wait), or stop it"
    )


def give_back(ledger: Ledger, run: str, records: Iterable[Record], why: str) -> None:
    """Let go of every unit that the run still holds; ``records`` name them."""
    units = [record.unit for record in records]
    for last in ledger.latest_of(units).values():
        if last.run == run and last.held:
            try:
                ledger.go_on(last, "cancelled", {"error": why})
            except Fenced:
                continue  # a worker of ours, or another run, went on meanwhile


def leases(
    ledger: Ledger, records: Mapping[str, Record]
) -> tuple[dict[str, Record], dict[str, str]]:
    """Lease units by key; returns the leases, and the reason for each that another run took."""
    found: dict[str, Record] = {}
    lost: dict[str, str] = {}
    for key, record in records.items():
        try:
            found[key] = ledger.go_on(record, "leased")
        except Fenced as fenced:
            lost[key] = str(fenced)
    return found, lost
