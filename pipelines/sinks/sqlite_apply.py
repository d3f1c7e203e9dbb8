"""What becomes of a unit that is offered to the SQLite store: merged, replaced or refused."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import polars as pl

from pipelines.errors import Superseded, UnitChanged
from pipelines.sinks import sqlite_units
from pipelines.sinks.sqlite_merge import merge
from pipelines.sinks.sqlite_replace import replace
from pipelines.sinks.store import ApplyReceipt, Others
from pipelines.sinks.store_frame import entry_frame, unit_digest


@dataclass(frozen=True, slots=True)
class Offer:
    """What ``CandidateStore.apply`` was given; ``entries`` are made of the candidates."""

    unit: str
    attempt: int
    entries: pl.DataFrame
    ranked_by: str
    replaces: pl.DataFrame | None
    others: Others | None


def apply_offer(connection: sqlite3.Connection, offer: Offer) -> ApplyReceipt:
    """Apply a unit within the caller's transaction; raises as ``CandidateStore.apply``."""
    known = sqlite_units.noted(connection, offer.unit)
    digest = unit_digest(offer.entries)
    if known is None:
        receipt = merge(connection, offer.unit, offer.entries)
    elif offer.attempt < known.attempt:
        raise Superseded(offer.unit, known.attempt, offer.attempt)
    elif known.digest == digest:
        receipt = ApplyReceipt(unchanged=offer.entries.height)
    else:
        old = _replaced(connection, offer, known.attempt)
        receipt = replace(
            connection, offer.unit, old, offer.entries, lambda unit: _other(connection, offer, unit)
        )
    sqlite_units.note(connection, offer.unit, digest, offer.entries.height, offer.attempt)
    return receipt


def _replaced(connection: sqlite3.Connection, offer: Offer, attempt: int) -> pl.DataFrame:
    """Return the entries that the unit proposes until now, if this attempt may replace them."""
    if offer.replaces is None or offer.attempt == attempt:
        fault = "was applied before with other content"
        sqlite_units.check_noted(connection, offer.unit, offer.entries, fault)
    assert offer.replaces is not None, "other content than noted was refused"
    old = entry_frame(offer.replaces, offer.ranked_by)
    fault = "proposes other candidates than those to be replaced"
    sqlite_units.check_noted(connection, offer.unit, old, fault)
    return old


def _other(connection: sqlite3.Connection, offer: Offer, unit: str) -> pl.DataFrame:
    """Return the entries of another unit whose proposals come back."""
    if offer.others is None:
        raise UnitChanged(
            f"unit {offer.unit}: where its candidates go, those of unit {unit} come back: "
            "expected a way to read them, found none; nothing was changed"
        )
    entries = entry_frame(offer.others(unit), offer.ranked_by)
    fault = "proposes other candidates than those to be restored"
    sqlite_units.check_noted(connection, unit, entries, fault)
    return entries
