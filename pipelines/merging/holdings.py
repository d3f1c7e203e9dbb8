"""What lies in a record type's folders, and what the ledger says of it: nothing is changed here.

The ledger is read before the folders. So whoever finds the same latest record later knows that all
that was listed was written by attempts that this record, or one before it, tells of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.layout import ARCHIVE, FRAGMENTS, MERGED
from pipelines.merging.survey import JOB
from pipelines.storage import Storage, StoredObject

#: ``attempted``: an attempt wrote there and published nothing; ``unknown``: no record names it.
Standing = Literal["current", "superseded", "attempted", "unknown"]
#: The program and the day of a folder of fragments.
Of = tuple[str, str]
Objects = tuple[StoredObject, ...]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Generation:
    """A folder of merged files.

    ``since`` is when it came to its standing, by the ledger's clock; ``said`` is what the record
    says that published it.
    """

    location: str
    standing: Standing
    since: str | None
    said: Mapping[str, Any]
    objects: Objects

    @property
    def size(self) -> int:
        """Bytes of all that lies there."""
        return sum(each.size for each in self.objects)


@dataclass(frozen=True, slots=True)
class Month:
    """A record type's month: its merges and what they left.

    ``history`` are all records of its unit. ``loose`` are files among its generations that are in
    none, ``staged`` half-written files of merged and archived ones.
    """

    record_type: str
    month: str
    history: tuple[Record, ...]
    generations: tuple[Generation, ...]
    loose: Objects
    archived: Objects
    staged: tuple[Path, ...]

    @property
    def last(self) -> Record | None:
        """The latest record of its unit."""
        return self.history[-1] if self.history else None

    @property
    def published(self) -> tuple[Record, ...]:
        """The records that made generations, in order; the last of them is the current one."""
        return tuple(record for record in self.history if record.event == "published")

    @property
    def current(self) -> Record | None:
        """The record that made the current generation."""
        return next(reversed(self.published), None)


@dataclass(frozen=True, slots=True)
class Folder:
    """What units of the ledger have of a program's day; several jobs may have one each.

    ``units`` are their latest records, ``named`` the fragments that their publications name.
    """

    units: tuple[Record, ...]
    named: frozenset[str]

    @property
    def is_settled(self) -> bool:
        """Whether nobody holds it, and nothing is left to be done for what is published."""
        return all(record.completed and not record.held for record in self.units)


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that lies in a lake of a record type; ``odd`` are keys that no rule of the layout made.

    ``fragments`` are those in ``fragments/`` by their folder, ``folders`` what the ledger says of
    the folders; what is in none of them was put there by another program.
    """

    record_type: str
    months: tuple[Month, ...]
    fragments: Mapping[Of, Objects]
    folders: Mapping[Of, Folder]
    odd: Objects


class RunUnits:
    """The units of all jobs but merges, by program and day; each is read once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._keys: dict[Of, dict[str, str]] = defaultdict(dict)
        self._known: dict[Of, Folder] = {}
        for unit, key in ledger.newest().items():
            job, _, rest = unit.partition("/")
            program, _, day = rest.partition("/")
            if job != JOB:
                self._keys[program, day][unit] = key

    def folders(self, wanted: Collection[Of]) -> dict[Of, Folder]:
        """Return those of ``wanted`` that belong to units."""
        new = [of for of in wanted if of in self._keys and of not in self._known]
        latest = self._ledger.read({u: k for of in new for u, k in self._keys[of].items()})
        visible = self._ledger.publications(latest)
        named = {u: [f["key"] for f in r.details["fragments"]] for u, r in visible.items()}
        for of in new:
            keys = frozenset(key for unit in self._keys[of] for key in named.get(unit, ()))
            self._known[of] = Folder(tuple(latest[unit] for unit in self._keys[of]), keys)
        return {of: self._known[of] for of in wanted if of in self._known}


def holdings(storage: Storage, ledger: Ledger, units: RunUnits, record_type: str) -> Holdings:
    """Return what lies in a record type's folders; raises StorageFailed.

    ``units`` are to be read anew whenever it is asked.
    """
    latest = ledger.latest(f"{JOB}/{record_type}")
    histories = {
        record.unit.rpartition("/")[2]: _history(ledger, record) for record in latest.values()
    }
    merged, loose = _merged(storage, record_type)
    archived, odd_archived = _by_folder(storage, ARCHIVE, record_type)
    fragments, odd_fragments = _by_folder(storage, FRAGMENTS, record_type)
    staged = _staged(storage, record_type)
    by_month: dict[str, list[StoredObject]] = defaultdict(list)
    for (_, day), objects in archived.items():
        by_month[day[:7]] += objects
    months = sorted({*histories, *merged, *loose, *by_month, *staged} - {""})
    found = tuple(
        Month(
            record_type,
            month,
            histories.get(month, ()),
            tuple(_generations(histories.get(month, ()), merged.get(month, {}))),
            tuple(loose.get(month, ())),
            tuple(by_month.get(month, ())),
            tuple(staged.get(month, ())),
        )
        for month in months
    )
    folders = units.folders({*archived, *fragments})
    odd = (*loose.get("", ()), *odd_archived, *odd_fragments)
    return Holdings(record_type, found, fragments, folders, odd)


def _history(ledger: Ledger, last: Record) -> tuple[Record, ...]:
    keys = {f"{seq:06d}": ledger.key(last.unit, seq) for seq in range(1, last.seq)}
    return (*ledger.read(keys).values(), last)


def _merged(
    storage: Storage, record_type: str
) -> tuple[dict[str, dict[str, list[StoredObject]]], dict[str, list[StoredObject]]]:
    """Return merged files by month and location, and files in no generation's folder by month."""
    merged: dict[str, dict[str, list[StoredObject]]] = defaultdict(lambda: defaultdict(list))
    loose: dict[str, list[StoredObject]] = defaultdict(list)
    for each in storage.list(f"{MERGED}/{record_type}"):
        parts = each.key.split("/")
        if len(parts) > 4:
            merged[parts[2]]["/".join(parts[:4])].append(each)
        else:
            loose[parts[2] if len(parts) == 4 else ""].append(each)
    return merged, loose


def _by_folder(storage: Storage, top: str, record_type: str) -> tuple[dict[Of, Objects], Objects]:
    """Return the files of programs' days, and those that are in none."""
    found: dict[Of, list[StoredObject]] = defaultdict(list)
    odd: list[StoredObject] = []
    for each in storage.list(f"{top}/{record_type}"):
        parts = each.key.split("/")
        if len(parts) == 5 and _DAY.fullmatch(parts[3]):
            found[parts[2], parts[3]].append(each)
        else:
            odd.append(each)
    return {of: tuple(objects) for of, objects in found.items()}, tuple(odd)


def _staged(storage: Storage, record_type: str) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for top, at in ((MERGED, 2), (ARCHIVE, 3)):
        for path in storage.staged(f"{top}/{record_type}"):
            parts = path.relative_to(storage.root).parts
            found[parts[at][:7]].append(path)
    return found


def _generations(
    history: Sequence[Record], merged: Mapping[str, Iterable[StoredObject]]
) -> Iterator[Generation]:
    known = {made.location: made for made in _places(history)}
    for location, objects in sorted(merged.items()):
        made = known.get(location, Generation(location, "unknown", None, {}, ()))
        yield replace(made, objects=tuple(objects))


def _places(history: Sequence[Record]) -> Iterator[Generation]:
    """Yield every place that a record names; of one that is named again, the last counts.

    Those that were published come last.
    """
    published = [record for record in history if record.event == "published"]
    for record, following in zip_longest(history, history[1:]):
        place = record.details.get("location")
        if record.event == "progressed" and place is not None:
            # What takes over an attempt that died says nothing of when that was.
            ended = following is not None and following.run == record.run
            since = following.at if following is not None and ended else record.at
            yield Generation(place, "attempted", since, {}, ())
    for record, successor in zip_longest(published, published[1:]):
        standing: Standing = "current" if successor is None else "superseded"
        since = record.at if successor is None else successor.at
        yield Generation(record.details["location"], standing, since, record.details, ())
