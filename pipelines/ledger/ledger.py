"""The ledger of a lake: append-only records through create-only puts, the same on files and S3.

```
_ledger/units/<job>/<program>/<unit>/<number>.json    one record (pipelines/ledger/record.py)
_ledger/runs/<run>.json                               a run's sign of life, renewed while it works
_ledger/settings/<fingerprint>.json                   settings that units ran under
_ledger/code/<fingerprint>.json                       code that units ran under, hashes by module
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import Fenced
from pipelines.ledger.record import Event, Record, follow
from pipelines.storage import Storage

_UNITS = "_ledger/units"
_KEY = re.compile(rf"^{_UNITS}/(?P<unit>.+)/(?P<seq>\d{{6}})\.json$")
_READERS = 16

Clock = Callable[[], datetime]


def now() -> datetime:
    """Return the wall clock in UTC: it reaches the ledger and no other output."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """Return a time as the ledger writes it.

    >>> stamp(datetime(2017, 3, 1, tzinfo=UTC))
    '2017-03-01T00:00:00.000Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Ledger:
    """Reads and adds records; it keeps nothing, so that every look is at what is there now."""

    def __init__(self, storage: Storage, clock: Clock = now) -> None:
        self.storage = storage
        self.clock = clock

    def go_on(self, last: Record, event: Event, details: Mapping[str, Any] | None = None) -> Record:
        """Add the next record of the same run, plan and fingerprint; raises as ``append``."""
        return self.append(
            last,
            event,
            unit=last.unit,
            run=last.run,
            fingerprint=last.fingerprint,
            plan=last.plan,
            details=details,
        )

    def append(
        self,
        last: Record | None,
        event: Event,
        *,
        unit: str,
        run: str,
        fingerprint: str,
        plan: str,
        details: Mapping[str, Any] | None = None,
    ) -> Record:
        """Add the record that follows ``last``, and return it.

        A put whose answer was lost, and the same step of another worker of the attempt, find their
        record there: that one is returned.

        Raises:
            Fenced: another run wrote the next record.
            NotMyUnit: the step is not allowed after ``last``.
        """
        record = follow(
            last,
            event,
            unit=unit,
            run=run,
            at=stamp(self.clock()),
            fingerprint=fingerprint,
            plan=plan,
            details=details,
        )
        if self.storage.create(self.key(unit, record.seq), record.to_json()):
            return record
        there = self.record(unit, record.seq)
        if (there.run, there.event, there.attempt) == (run, event, record.attempt):
            return there
        raise Fenced(unit, event, f"'{there.event}' of run {there.run} at {there.at}")

    @staticmethod
    def key(unit: str, seq: int) -> str:
        """Return where a record is."""
        return f"{_UNITS}/{unit}/{seq:06d}.json"

    def record(self, unit: str, seq: int) -> Record:
        """Return one record of a unit."""
        return Record.from_json(self.storage.read(self.key(unit, seq)))

    def last(self, unit: str) -> Record | None:
        """Return the latest record of a unit; None where it has none."""
        return self.latest(unit).get(unit)

    def check_last(self, record: Record, what: str) -> None:
        """Check that nothing was written to a unit after ``record``.

        Raises:
            Fenced: something was; ``what`` is what could not be done.
        """
        last = self.last(record.unit)
        if last != record:
            found = f"'{last.event}' of run {last.run}" if last else "nothing"
            raise Fenced(record.unit, what, found)

    def history(self, unit: str) -> tuple[Record, ...]:
        """Return all records of a unit in order."""
        keys = (found.key for found in self.storage.list(f"{_UNITS}/{unit}"))
        return tuple(Record.from_json(self.storage.read(key)) for key in keys if _KEY.match(key))

    def latest(self, prefix: str = "", units: Collection[str] | None = None) -> dict[str, Record]:
        """Return the latest record of every unit below ``prefix``, by unit, sorted.

        ``prefix`` is a job, ``job/program`` or a unit; ``units`` keeps those only.
        """
        wanted = None if units is None else frozenset(units)
        keys = self.newest(prefix)
        return self.read({u: keys[u] for u in keys if wanted is None or u in wanted})

    def latest_of(self, units: Collection[str]) -> dict[str, Record]:
        """Return the latest record of each of ``units`` that has one."""
        if len(units) == 1:
            return self.latest(next(iter(units)))
        parents = sorted({unit.rpartition("/")[0] for unit in units})
        return {u: r for parent in parents for u, r in self.latest(parent, units).items()}

    def newest(self, prefix: str = "") -> dict[str, str]:
        """Return the key of every unit's latest record, by unit, sorted, reading none of them."""
        keys: dict[str, str] = {}
        for found in self.storage.list(f"{_UNITS}/{prefix}".rstrip("/")):
            match = _KEY.match(found.key)
            if match:
                keys[match["unit"]] = found.key  # keys come in order
        return dict(sorted(keys.items()))

    def read(self, keys: Mapping[str, str]) -> dict[str, Record]:
        """Return the records of ``keys``, by unit; many are read at a time."""
        with ThreadPoolExecutor(_READERS) as pool:
            records = map(Record.from_json, pool.map(self.storage.read, keys.values()))
            return dict(zip(keys, records, strict=True))

    def publication(self, record: Record) -> Record | None:
        """Return the ``published`` record that is visible as of ``record``."""
        if record.publication is None:
            return None
        return (
            record if record.event == "published" else self.record(record.unit, record.publication)
        )

    def publications(self, latest: Mapping[str, Record]) -> dict[str, Record]:
        """Return what says which output of each unit is visible: its latest record, if that does.

        Else it is the ``published`` one. Units of which nothing is visible are left out.
        """
        visible = {unit: record for unit, record in latest.items() if record.publication}
        says = {u: r for u, r in visible.items() if r.event in ("published", "succeeded")}
        older = {u: self.key(u, r.publication or 0) for u, r in visible.items() if u not in says}
        return {**says, **self.read(older)}

    def keep(self, kind: str, fingerprint: str, document: Mapping[str, Any]) -> None:
        """Keep what a fingerprint stands for, once: ``settings`` or ``code``."""
        text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        self.storage.create(f"_ledger/{kind}/{fingerprint}.json", text.encode())

    def kept(self, kind: str, fingerprint: str) -> dict[str, Any] | None:
        """Return what a fingerprint stands for, if it was kept."""
        key = f"_ledger/{kind}/{fingerprint}.json"
        if self.storage.look(key) is None:
            return None
        found: dict[str, Any] = json.loads(self.storage.read(key))
        return found
