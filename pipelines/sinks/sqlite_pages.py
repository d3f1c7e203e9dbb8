"""Pages of a query over the SQLite store, continued by the sort columns of the last row."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from pipelines.sinks.store import Item, Page
from pipelines.sinks.store_entries import item_of
from pipelines.sinks.store_keys import decode_cursor, encode_cursor

#: What ``item_of_row`` reads, from ``candidates c``.
ITEM_COLUMNS = "c.pk, c.sk, c.content, c.updated_at, c.version, c.ttl, c.proposals"
_ITEM_WIDTH = ITEM_COLUMNS.count(",") + 1


@dataclass(frozen=True, slots=True)
class Query:
    """A question whose answer is totally ordered by the columns ``order``."""

    name: str
    source: str
    where: str
    values: tuple[str, ...]
    order: tuple[str, ...]
    falling: bool = False


def page(
    connection: sqlite3.Connection, query: Query, limit: int, cursor: str | None, dead: int
) -> Page:
    """Return up to ``limit`` items with ``ttl > dead`` that follow ``cursor``.

    Raises ``InvalidCursor`` for a cursor of another query, ``ValueError`` for a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"limit: expected at least 1, found {limit}")
    after = () if cursor is None else decode_cursor(query.name, cursor)
    rows = connection.execute(
        _statement(query, bool(after)), (*query.values, dead, *after, limit + 1)
    ).fetchall()
    shown = rows[:limit]
    more = len(rows) > limit
    return Page(
        items=[item_of_row(row[:_ITEM_WIDTH]) for row in shown],
        cursor=encode_cursor(query.name, shown[-1][_ITEM_WIDTH:]) if more else None,
    )


def item_of_row(row: tuple[Any, ...]) -> Item:
    """Return the item of the values of ``ITEM_COLUMNS``."""
    pk, sk, content, updated_at, version, ttl, proposals = row
    return item_of(pk, sk, content, updated_at, version, ttl, list(json.loads(proposals)))


def _statement(query: Query, continued: bool) -> str:
    direction, beyond = ("DESC", "<") if query.falling else ("ASC", ">")
    columns = ", ".join(query.order)
    after = f"AND ({columns}) {beyond} ({', '.join('?' * len(query.order))})" if continued else ""
    return (
        f"SELECT {ITEM_COLUMNS}, {columns} FROM {query.source} "
        f"WHERE {query.where} AND c.ttl > ? {after} "
        f"ORDER BY {', '.join(f'{column} {direction}' for column in query.order)} LIMIT ?"
    )
