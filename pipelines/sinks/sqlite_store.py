"""The candidate store in one SQLite file: what ``local`` runs write to (docs/decisions/0004)."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl

from pipelines.errors import AlreadyExists, VersionConflict
from pipelines.sinks import sqlite_file, sqlite_merge, sqlite_units
from pipelines.sinks.sqlite_apply import Offer, apply_offer
from pipelines.sinks.sqlite_merge import INSERT
from pipelines.sinks.sqlite_pages import ITEM_COLUMNS, Query, item_of_row, page
from pipelines.sinks.store import ApplyReceipt, Item, Others, Page, key_of
from pipelines.sinks.store_entries import dumps, entry_of_item
from pipelines.sinks.store_frame import entry_frame
from pipelines.sinks.store_keys import CandidateKey, channel_key, customer_prefix, date_key, escape


class SqliteStore:
    """A ``CandidateStore`` (its docstrings hold) in the file ``path``.

    Writers take turns, a transaction each, and wait ``patience`` seconds for theirs; readers are
    never blocked and see whole units only. ``ranked_by`` names the score of the channel index.
    """

    def __init__(
        self,
        path: Path,
        *,
        write: bool,
        ranked_by: str = "response",
        patience: float = sqlite_file.PATIENCE,
    ) -> None:
        self._path = path
        self._ranked_by = ranked_by
        opened = sqlite_file.open_writer(path, patience) if write else sqlite_file.open_reader(path)
        self._connection = opened

    def apply(
        self,
        unit: str,
        candidates: pl.DataFrame,
        *,
        attempt: int = 1,
        replaces: pl.DataFrame | None = None,
        others: Others | None = None,
    ) -> ApplyReceipt:
        """Make ``unit`` propose ``candidates``; about 1 KB of memory a candidate on top."""
        entries = entry_frame(candidates, self._ranked_by)
        offer = Offer(unit, attempt, entries, self._ranked_by, replaces, others)
        with self._transaction() as connection:
            return apply_offer(connection, offer)

    def applied(self, prefix: str) -> dict[str, int]:
        """Return the attempt noted of each unit whose name begins with ``prefix``."""
        with sqlite_file.translated(self._path):
            return sqlite_units.applied(self._connection, prefix)

    def get(self, key: CandidateKey, *, as_of: datetime | None = None) -> Item | None:
        """Return the item."""
        query = f"SELECT {ITEM_COLUMNS} FROM candidates c WHERE pk = ? AND sk = ? AND ttl > ?"
        with sqlite_file.translated(self._path):
            values = (key.pk, key.sk, _alive_after(as_of))
            row = self._connection.execute(query, values).fetchone()
        return None if row is None else item_of_row(row)

    def put(self, item: Item) -> None:
        """Add a new item."""
        self.put_batch([item])

    def put_batch(self, items: Iterable[Item]) -> int:
        """Add new items, all or none."""
        with self._transaction() as connection:
            return sum(self._insert(connection, item) for item in items)

    def update(self, item: Item, *, expected_version: int) -> Item:
        """Replace an item of that version."""
        entry, key = entry_of_item(item, self._ranked_by), key_of(item)
        with self._transaction() as connection:
            candidate, updated_at, winner, proposals = self._of_version(
                connection, key, expected_version
            )
            later = max(entry.updated_at, updated_at)
            entry = entry.updated(key.program_id, later, expected_version + 1)
            sqlite_merge.rewrite(connection, candidate, entry, winner, proposals)
            # Within the transaction: another writer's turn may come right after it.
            stored = self.get(key)
        assert stored is not None, "an item that was just written is there"
        return stored

    def delete(self, key: CandidateKey) -> bool:
        """Remove an item and say whether it was there."""
        with self._transaction() as connection:
            statement = "DELETE FROM candidates WHERE pk = ? AND sk = ?"
            return connection.execute(statement, (key.pk, key.sk)).rowcount > 0

    def purge_expired(self, now: datetime) -> int:
        """Remove every item with ``ttl <= now``."""
        with self._transaction() as connection:
            statement = "DELETE FROM candidates WHERE ttl <= ?"
            return connection.execute(statement, (_alive_after(now),)).rowcount

    def by_customer(
        self,
        customer_id: str,
        *,
        program: str | None = None,
        marketplace: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return a customer's items in the order of their keys."""
        start = customer_prefix(customer_id)
        start += "" if program is None else f"{escape(program)}#"
        end = "" if marketplace is None else f"#MARKETPLACE#{escape(marketplace)}"
        query = Query(
            name=f"by-customer {start}*{end}",
            source="candidates c",
            # Ids hold no '#', and '$' is the character after it: the keys that begin with start.
            where="pk >= ? AND pk < ? AND substr(pk, length(pk) - length(?) + 1) = ?",
            values=(start, f"{start[:-1]}$", end, end),
            order=("c.pk", "c.sk"),
        )
        return self._page(query, limit, cursor, as_of)

    def by_channel(
        self,
        program: str,
        channel: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return items eligible for a channel, best score first."""
        key = channel_key(program, channel)
        query = Query(
            name=f"by-channel {key}",
            source="candidate_channels x JOIN candidates c ON c.id = x.candidate",
            where="channel_pk = ?",
            values=(key,),
            order=("x.score_sk", "c.pk", "c.sk"),
            falling=True,
        )
        return self._page(query, limit, cursor, as_of)

    def by_date(
        self,
        program: str,
        day: date,
        *,
        limit: int = 100,
        cursor: str | None = None,
        as_of: datetime | None = None,
    ) -> Page:
        """Return items of a day of ``createdAt``, oldest first."""
        key = date_key(program, day.isoformat())
        query = Query(
            name=f"by-date {key}",
            source="candidates c",
            where="date_pk = ?",
            values=(key,),
            order=("c.date_sk", "c.pk", "c.sk"),
        )
        return self._page(query, limit, cursor, as_of)

    def export(self, program: str, day: date) -> Iterator[Item]:
        """Yield every item created or updated that day, as of the first one that is asked for."""
        key = date_key(program, day.isoformat())
        that_day = "date_pk = ? OR (updated_pk = ? AND updated_pk <> date_pk)"
        query = f"SELECT {ITEM_COLUMNS} FROM candidates c WHERE {that_day} ORDER BY pk, sk"
        with sqlite_file.translated(self._path):
            for row in self._connection.execute(query, (key, key)):
                yield item_of_row(row)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with sqlite_file.translated(self._path), sqlite_file.turn(self._connection):
            yield self._connection

    def _insert(self, connection: sqlite3.Connection, item: Item) -> int:
        entry = entry_of_item(item, self._ranked_by)
        units = sorted(item["units"])
        proposals = dumps({unit: [entry.created_at, ""] for unit in units})
        row = sqlite_merge.row_of(entry, max(units, default=""), proposals)
        inserted = connection.execute(
            f"{INSERT} ON CONFLICT DO NOTHING RETURNING id", row
        ).fetchone()
        if inserted is None:
            raise AlreadyExists(f"{self._path}: {key_of(item)}: expected no such item, found one")
        sqlite_merge.index_channels(connection, sqlite_merge.channel_rows(entry, inserted[0]))
        return 1

    def _of_version(
        self, connection: sqlite3.Connection, key: CandidateKey, expected: int
    ) -> tuple[int, str, str, str]:
        columns = "version, id, updated_at, winner, proposals"
        query = f"SELECT {columns} FROM candidates WHERE pk = ? AND sk = ?"
        found = connection.execute(query, (key.pk, key.sk)).fetchone()
        if found is None or found[0] != expected:
            version = "no such item" if found is None else f"version {found[0]}"
            raise VersionConflict(f"{key}: expected version {expected}, found {version}")
        return found[1], found[2], found[3], found[4]

    def _page(self, query: Query, limit: int, cursor: str | None, as_of: datetime | None) -> Page:
        with sqlite_file.translated(self._path):
            return page(self._connection, query, limit, cursor, _alive_after(as_of))


def _alive_after(as_of: datetime | None) -> int:
    """Return the greatest ``ttl`` that has expired by ``as_of``."""
    if as_of is None:
        return -(2**63)
    return math.floor(as_of.astimezone(UTC).timestamp())
