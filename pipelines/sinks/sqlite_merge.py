"""How a unit's candidates merge into the SQLite store: one upsert a candidate.

The rule is a join: what an item holds after some units does not depend on their order nor on
repeats, because the content of the greatest (``createdAt``, unit) stays and units are a set.
"""

from __future__ import annotations

import json
import sqlite3

import polars as pl

from pipelines.errors import UnitChanged
from pipelines.sinks.store import ApplyReceipt
from pipelines.sinks.store_entries import Entry, dumps
from pipelines.sinks.store_frame import newest, unit_digest

#: Columns that come with the content: replaced by a newer proposal.
_CONTENT_COLUMNS = ("content", "ttl", "date_pk", "date_sk", "created_at", "winner")

_NEWER = "(excluded.created_at, excluded.winner) > (candidates.created_at, candidates.winner)"
_LATER = "excluded.updated_at > candidates.updated_at"

#: Columns of a row of ``candidates``: those of ``Entry`` first.
COLUMNS = (
    "pk", "sk", "content", "created_at", "updated_at", "version", "ttl",
    "date_pk", "date_sk", "updated_pk", "winner", "proposals",
)  # fmt: skip

INSERT = f"INSERT INTO candidates ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"

_UPSERT = f"""{INSERT}
ON CONFLICT (pk, sk) DO UPDATE SET
    {", ".join(f"{c} = iif({_NEWER}, excluded.{c}, {c})" for c in _CONTENT_COLUMNS)},
    updated_at = iif({_LATER}, excluded.updated_at, updated_at),
    updated_pk = iif({_LATER}, excluded.updated_pk, updated_pk),
    version = version + 1,
    proposals = json_patch(proposals, excluded.proposals)
RETURNING id, version, winner
"""


def applied_before(connection: sqlite3.Connection, unit: str, entries: pl.DataFrame) -> bool:
    """Return whether ``unit`` was applied with this content; raises ``UnitChanged`` if another."""
    known = connection.execute("SELECT digest FROM units WHERE unit = ?", (unit,)).fetchone()
    if known is None:
        return False
    if known[0] != unit_digest(entries):
        difference = _difference(connection, unit, entries)
        raise UnitChanged(
            f"unit {unit} was applied before with other content: {difference}; nothing was changed"
        )
    return True


def merge(connection: sqlite3.Connection, unit: str, entries: pl.DataFrame) -> ApplyReceipt:
    """Merge a unit that was not applied before, within the caller's transaction."""
    written = refreshed = 0
    channels: list[tuple[str, str, int]] = []
    name = dumps(unit)
    for entry in newest(entries):
        row = row_of(entry, unit, f'{{{name}:"{entry.digest}"}}')
        candidate, version, winner = connection.execute(_UPSERT, row).fetchone()
        written += version == 1
        if winner != unit:
            continue
        if version > 1:
            refreshed += 1
            forget_channels(connection, candidate)
        channels += channel_rows(entry, candidate)
    # Sorted, so that the index grows page by page.
    index_channels(connection, sorted(channels))
    values = (unit, unit_digest(entries), entries.height)
    connection.execute("INSERT INTO units VALUES (?, ?, ?)", values)
    superseded = entries.height - written - refreshed
    return ApplyReceipt(written=written, refreshed=refreshed, superseded=superseded)


def row_of(entry: Entry, winner: str, proposals: str) -> tuple[str | int, ...]:
    """Return the values of ``COLUMNS``; ``proposals`` is a JSON object, unit to digest."""
    return (
        entry.pk, entry.sk, entry.content, entry.created_at, entry.updated_at, entry.version,
        entry.ttl, entry.date_pk, entry.date_sk, entry.updated_pk, winner, proposals,
    )  # fmt: skip


def channel_rows(entry: Entry, candidate: int) -> list[tuple[str, str, int]]:
    """Return one index row an eligible channel."""
    return [(entry.channel_prefix + each, entry.score_sk, candidate) for each in entry.channels]


def index_channels(connection: sqlite3.Connection, rows: list[tuple[str, str, int]]) -> None:
    """Add rows to the channel index."""
    connection.executemany("INSERT INTO candidate_channels VALUES (?, ?, ?)", rows)


def forget_channels(connection: sqlite3.Connection, candidate: int) -> None:
    """Remove the index rows of a candidate."""
    connection.execute("DELETE FROM candidate_channels WHERE candidate = ?", (candidate,))


def _difference(connection: sqlite3.Connection, unit: str, entries: pl.DataFrame) -> str:
    """Name one key whose proposal differs: the first in key order."""
    stored = _proposals(connection, unit)
    given = {(entry.pk, entry.sk): entry.digest for entry in newest(entries)}
    for key in sorted(stored.keys() | given.keys()):
        expected, found = stored.get(key, "no candidate"), given.get(key, "no candidate")
        if expected != found:
            return f"{' '.join(key)}: expected content {expected}, found {found}"
    return f"expected other repetitions of the same keys, found {entries.height} candidates"


def _proposals(connection: sqlite3.Connection, unit: str) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT pk, sk, proposals FROM candidates")
    digests = ((pk, sk, json.loads(proposals).get(unit)) for pk, sk, proposals in rows)
    return {(pk, sk): digest for pk, sk, digest in digests if digest is not None}
