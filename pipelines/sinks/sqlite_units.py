"""What the SQLite store notes of each unit: a digest of its candidates, and its attempt."""

from __future__ import annotations

import json
import sqlite3
from typing import NamedTuple

import polars as pl

from pipelines.errors import UnitChanged
from pipelines.sinks.store_frame import newest, unit_digest

_NOTE = """INSERT INTO units (unit, digest, candidates, attempt) VALUES (?, ?, ?, ?)
ON CONFLICT (unit) DO UPDATE SET
    digest = excluded.digest, candidates = excluded.candidates, attempt = excluded.attempt
WHERE excluded.attempt > attempt
"""


class Noted(NamedTuple):
    """What is noted of a unit."""

    digest: str
    attempt: int


def noted(connection: sqlite3.Connection, unit: str) -> Noted | None:
    """Return what is noted of ``unit``, none when it was never applied."""
    query = "SELECT digest, attempt FROM units WHERE unit = ?"
    found = connection.execute(query, (unit,)).fetchone()
    return None if found is None else Noted(*found)


def note(
    connection: sqlite3.Connection, unit: str, digest: str, candidates: int, attempt: int
) -> None:
    """Note a unit's content and attempt, unless that attempt is noted already."""
    connection.execute(_NOTE, (unit, digest, candidates, attempt))


def applied(connection: sqlite3.Connection, prefix: str) -> dict[str, int]:
    """Return the attempt of each unit whose name begins with ``prefix``."""
    # Text is compared byte by byte, and 0xFF is greater than every byte of UTF-8.
    end = prefix.encode() + b"\xff"
    query = "SELECT unit, attempt FROM units WHERE unit >= ? AND unit < CAST(? AS TEXT)"
    return dict(connection.execute(f"{query} ORDER BY unit", (prefix, end)).fetchall())


def check_noted(
    connection: sqlite3.Connection, unit: str, entries: pl.DataFrame, fault: str
) -> None:
    """Check that ``entries`` are what is noted of ``unit``, if anything is.

    Raises:
        UnitChanged: they are not; it tells ``fault`` and names one key that differs.
    """
    known = noted(connection, unit)
    if known is not None and known.digest != unit_digest(entries):
        difference = _difference(connection, unit, entries)
        raise UnitChanged(
            f"unit {unit} {fault} (attempt {known.attempt}): {difference}; nothing was changed"
        )


def _difference(connection: sqlite3.Connection, unit: str, entries: pl.DataFrame) -> str:
    """Name one key whose proposal differs: the first in key order of those proposed."""
    stored = _proposals(connection, unit)
    given = {(entry.pk, entry.sk): entry.digest for entry in newest(entries)}
    # What was deleted since looks like what was never proposed, so it is named last.
    for key in sorted(stored.keys() | given.keys(), key=lambda key: (key not in stored, key)):
        expected, found = stored.get(key, "no candidate"), given.get(key, "no candidate")
        if expected != found:
            return f"{' '.join(key)}: expected content {expected}, found {found}"
    return f"expected other repetitions of the same keys, found {entries.height} candidates"


def _proposals(connection: sqlite3.Connection, unit: str) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT pk, sk, proposals FROM candidates")
    found = ((pk, sk, json.loads(proposals).get(unit)) for pk, sk, proposals in rows)
    return {(pk, sk): proposal[1] for pk, sk, proposal in found if proposal is not None}
