"""How a unit's candidates merge into the SQLite store: one upsert a candidate.

The rule is a join: what an item holds after some units does not depend on their order nor on
repeats, because the content of the greatest (``createdAt``, unit) stays and units are a set.
"""

from __future__ import annotations

import sqlite3

import polars as pl

from pipelines.sinks.store import ApplyReceipt
from pipelines.sinks.store_entries import Entry, dumps
from pipelines.sinks.store_frame import newest

#: Columns that come with the content: replaced by a newer proposal.
_CONTENT_COLUMNS = ("content", "ttl", "date_pk", "date_sk", "created_at", "winner")

#: Equal is a unit whose name an item was put with before the unit came: its own content stands.
_NEWER = "(excluded.created_at, excluded.winner) >= (candidates.created_at, candidates.winner)"
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
RETURNING id, version, created_at, winner
"""


def merge(connection: sqlite3.Connection, unit: str, entries: pl.DataFrame) -> ApplyReceipt:
    """Merge what a unit did not propose before, within the caller's transaction."""
    written = refreshed = 0
    channels: list[tuple[str, str, int]] = []
    name = dumps(unit)
    for entry in newest(entries):
        row = row_of(entry, unit, f'{{{name}:["{entry.created_at}","{entry.digest}"]}}')
        candidate, version, *shown = connection.execute(_UPSERT, row).fetchone()
        written += version == 1
        if shown != [entry.created_at, unit]:
            continue
        if version > 1:
            refreshed += 1
            forget_channels(connection, candidate)
        channels += channel_rows(entry, candidate)
    # Sorted, so that the index grows page by page.
    index_channels(connection, sorted(channels))
    superseded = entries.height - written - refreshed
    return ApplyReceipt(written=written, refreshed=refreshed, superseded=superseded)


def row_of(entry: Entry, winner: str, proposals: str) -> tuple[str | int, ...]:
    """Return the values of ``COLUMNS``.

    ``proposals`` is a JSON object, unit to ``createdAt`` and digest of what it proposed; the
    digest is empty when the item was put by hand.
    """
    return (
        entry.pk, entry.sk, entry.content, entry.created_at, entry.updated_at, entry.version,
        entry.ttl, entry.date_pk, entry.date_sk, entry.updated_pk, winner, proposals,
    )  # fmt: skip


def rewrite(
    connection: sqlite3.Connection, candidate: int, entry: Entry, winner: str, proposals: str
) -> None:
    """Replace all that is stored of a candidate, its index rows too."""
    assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
    row = row_of(entry, winner, proposals)
    connection.execute(f"UPDATE candidates SET {assignments} WHERE id = ?", (*row, candidate))
    forget_channels(connection, candidate)
    index_channels(connection, channel_rows(entry, candidate))


def channel_rows(entry: Entry, candidate: int) -> list[tuple[str, str, int]]:
    """Return one index row an eligible channel."""
    return [(entry.channel_prefix + each, entry.score_sk, candidate) for each in entry.channels]


def index_channels(connection: sqlite3.Connection, rows: list[tuple[str, str, int]]) -> None:
    """Add rows to the channel index."""
    connection.executemany("INSERT INTO candidate_channels VALUES (?, ?, ?)", rows)


def forget_channels(connection: sqlite3.Connection, candidate: int) -> None:
    """Remove the index rows of a candidate."""
    connection.execute("DELETE FROM candidate_channels WHERE candidate = ?", (candidate,))
