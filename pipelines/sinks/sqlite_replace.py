"""How a unit's new content takes the place of its old in the SQLite store, key by key.

Afterwards each item shows the greatest (``createdAt``, unit) of what is proposed, as if the old
content had never been; only ``version`` and ``updatedAt`` tell of it, for they never fall.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from pipelines.errors import UnitChanged
from pipelines.sinks.sqlite_merge import merge, rewrite
from pipelines.sinks.store import ApplyReceipt
from pipelines.sinks.store_entries import Entry, dumps
from pipelines.sinks.store_frame import difference, newest
from pipelines.sinks.store_keys import CandidateKey

_Key = tuple[str, str]

_ROW = """SELECT id, created_at, updated_at, version, winner, proposals
FROM candidates WHERE pk = ? AND sk = ?
"""


class _Row(NamedTuple):
    """What a replacement must know of an item; ``proposals`` as in ``sqlite_merge.row_of``."""

    candidate: int
    created_at: str
    updated_at: str
    version: int
    winner: str
    proposals: dict[str, list[str]]


def replace(
    connection: sqlite3.Connection,
    unit: str,
    old: pl.DataFrame,
    new: pl.DataFrame,
    other: Callable[[str], pl.DataFrame],
) -> ApplyReceipt:
    """Replace what ``unit`` proposes by ``new``, within the caller's transaction.

    ``old`` is what it proposes until now, ``other`` gives what another unit does; all are
    ``entry_frame``. Raises ``UnitChanged`` when a unit does not hold what must come back.
    """
    found = difference(old, new)
    replacement = _Replacement(connection, unit)
    shown = sum(map(replacement.change, newest(found.changed)))
    withdrawn = sum(map(replacement.withdraw, newest(found.withdrawn)))
    replacement.restore(other)
    added = merge(connection, unit, found.added)
    return ApplyReceipt(
        written=added.written,
        refreshed=added.refreshed + shown,
        unchanged=found.kept,
        superseded=new.height - found.kept - added.written - added.refreshed - shown,
        withdrawn=withdrawn,
    )


class _Replacement:
    """Changes a unit's proposals one by one, and brings back those of other units at the end."""

    def __init__(self, connection: sqlite3.Connection, unit: str) -> None:
        self._connection = connection
        self._unit = unit
        self._restores: dict[str, dict[_Key, _Row]] = {}

    def change(self, entry: Entry) -> bool:
        """Replace the unit's proposal at a key and say whether it is shown."""
        row = self._row(entry)
        if row is None:
            return False
        row.proposals[self._unit] = [entry.created_at, entry.digest]
        winner = self._winner(row, entry)
        if winner == self._unit:
            self._show(row, entry, winner)
        elif winner == row.winner:
            self._note(row, row.version)
        else:
            self._restores.setdefault(winner, {})[entry.pk, entry.sk] = row
        return winner == self._unit

    def withdraw(self, entry: Entry) -> bool:
        """Take the unit's proposal at a key back and say whether there was one."""
        row = self._row(entry)
        if row is None:
            return False
        del row.proposals[self._unit]
        if row.winner != self._unit:
            self._note(row, row.version + 1)
        elif row.proposals:
            self._restores.setdefault(_newest(row), {})[entry.pk, entry.sk] = row
        else:
            self._connection.execute("DELETE FROM candidates WHERE id = ?", (row.candidate,))
        return True

    def restore(self, other: Callable[[str], pl.DataFrame]) -> None:
        """Show the proposals that are the newest now, one unit's candidates in memory at a time."""
        for unit, rows in sorted(self._restores.items()):
            held = {(e.pk, e.sk): e for e in newest(other(unit)) if (e.pk, e.sk) in rows}
            for key, row in rows.items():
                if key not in held:
                    raise UnitChanged(
                        f"unit {unit}: {' '.join(key)}: expected a candidate to restore, "
                        "found none; nothing was changed"
                    )
                self._show(row, held[key], unit)

    def _row(self, entry: Entry) -> _Row | None:
        """Return the item that the unit proposes at a key; none when it was deleted since."""
        found = self._connection.execute(_ROW, (entry.pk, entry.sk)).fetchone()
        if found is None:
            return None
        row = _Row._make([*found[:-1], json.loads(found[-1])])
        return row if self._unit in row.proposals else None

    def _winner(self, row: _Row, entry: Entry) -> str:
        if row.winner == self._unit:
            return _newest(row)
        # Against the item, not the other proposals: an update may have changed its createdAt.
        return max((row.created_at, row.winner), (entry.created_at, self._unit))[1]

    def _show(self, row: _Row, entry: Entry, winner: str) -> None:
        program_id = CandidateKey.parse(entry.pk, entry.sk).program_id
        later = max(row.updated_at, entry.updated_at)
        entry = entry.updated(program_id, later, row.version + 1)
        rewrite(self._connection, row.candidate, entry, winner, dumps(row.proposals))

    def _note(self, row: _Row, version: int) -> None:
        statement = "UPDATE candidates SET proposals = ?, version = ? WHERE id = ?"
        self._connection.execute(statement, (dumps(row.proposals), version, row.candidate))


def _newest(row: _Row) -> str:
    """Return the unit of the newest proposal, by the rule of ``sqlite_merge``."""
    return max((created_at, unit) for unit, (created_at, _) in row.proposals.items())[1]
