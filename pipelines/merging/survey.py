"""What there is of a month: fragments that count and are not merged, and the current generation.

Which fragments count is for the ledger to say: those that the latest published record of their unit
names. Files in a folder that belongs to no unit of the ledger were put there by another program,
and all of them count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.layout import FRAGMENTS
from pipelines.merging.parts import Fragment, MergedFile, Problem
from pipelines.merging.receipts import read_receipts
from pipelines.storage import Storage, StoredObject

#: The job of merges in the ledger; its units are <record type>/<month>.
JOB = "merge"

_KEY = re.compile(
    r"^fragments/[^/]+/(?P<program>[^/]+)/(?P<day>\d{4}-\d{2}-\d{2})/(?P<name>[^/]+)$"
)


@dataclass(frozen=True, slots=True)
class Partition:
    """A record type's month as it is now.

    ``fragments`` count and are not merged, ``merged`` are those of ``files``, the current
    generation. ``gone`` are merged fragments that count no more, because their unit was made anew.
    ``strays`` are files in the fragments' folders that do not count; nobody touches them here.
    ``problems`` are fragments that the ledger names and that are nowhere, or cannot be told from
    others of the same name.
    """

    record_type: str
    month: str
    fragments: tuple[Fragment, ...] = ()
    files: tuple[MergedFile, ...] = ()
    generation: int = 0
    location: str | None = None
    gone: frozenset[str] = frozenset()
    strays: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: What the record of the current generation says of the merge that made it.
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def merged(self) -> frozenset[str]:
        """The fragments whose rows the current generation holds."""
        return frozenset(s.fragment for file in self.files for s in file.segments)


def unit_name(record_type: str, month: str) -> str:
    """Return the name of a partition in the ledger."""
    return f"{JOB}/{record_type}/{month}"


def survey(
    storage: Storage, ledger: Ledger, record_type: str, months: Iterable[str]
) -> dict[str, Partition]:
    """Return what there is of some months of a record type; raises StorageFailed."""
    wanted = sorted(set(months))
    counted = _Counted(ledger, record_type, wanted)
    found = _by_month(storage, record_type, wanted)
    return {month: _partition(storage, ledger, counted, found[month], month) for month in wanted}


def day_of(fragment: str) -> str:
    """Return the day of a fragment, by its key.

    >>> day_of("fragments/candidate/product-reviews/2017-03-01/00000-000-ab.avro")
    '2017-03-01'
    """
    return fragment.split("/")[3]


def months_of(storage: Storage, record_type: str) -> tuple[str, ...]:
    """Return the months that unmerged fragments are of, in order."""
    keys = (_KEY.match(found.key) for found in storage.list(f"{FRAGMENTS}/{record_type}"))
    return tuple(sorted({match["day"][:7] for match in keys if match}))


def published(ledger: Ledger, record_type: str, month: str) -> Record | None:
    """Return the record that made the current generation; None where there is none."""
    last = ledger.last(unit_name(record_type, month))
    return None if last is None else ledger.publication(last)


class _Counted:
    """What the ledger says of fragments, by program and day."""

    def __init__(self, ledger: Ledger, record_type: str, months: Sequence[str]) -> None:
        self.record_type = record_type
        newest = {
            unit: key
            for unit, key in ledger.newest().items()
            if unit.rpartition("/")[2][:7] in months and not unit.startswith(f"{JOB}/")
        }
        visible = ledger.publications(ledger.read(newest))
        #: Program and day of every unit, with what its publication says of its fragments.
        self.units: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
        for unit in newest:
            _, program, day = unit.split("/")
            named = self.units[program, day]
            if unit in visible:
                named |= {f["key"]: f for f in visible[unit].details["fragments"]}

    def said(self, program: str, day: str, key: str) -> dict[str, Any] | None:
        """Return what the ledger says of a fragment; None where it does not count."""
        if (program, day) not in self.units:
            return {}
        return self.units[program, day].get(key)

    def named(self, month: str) -> Iterable[tuple[str, dict[str, Any]]]:
        """Yield every fragment of the month that the ledger names, with its day."""
        for (_, day), named in sorted(self.units.items()):
            if day[:7] == month:
                yield from (
                    (day, f) for f in named.values() if f["record_type"] == self.record_type
                )


def _by_month(
    storage: Storage, record_type: str, months: Sequence[str]
) -> dict[str, list[tuple[re.Match[str], StoredObject]]]:
    found: dict[str, list[tuple[re.Match[str], StoredObject]]] = {month: [] for month in months}
    for each in storage.list(f"{FRAGMENTS}/{record_type}"):
        match = _KEY.match(each.key)
        if match and match["day"][:7] in found:
            found[match["day"][:7]].append((match, each))
    return found


def _partition(
    storage: Storage,
    ledger: Ledger,
    counted: _Counted,
    found: list[tuple[re.Match[str], StoredObject]],
    month: str,
) -> Partition:
    record = published(ledger, counted.record_type, month)
    details = record.details if record else {}
    files = read_receipts(storage, details["receipts"]) if record else ()
    merged = {s.fragment: s for file in files for s in file.segments}
    fragments: list[Fragment] = []
    strays: list[str] = []
    problems: list[Problem] = []
    for match, each in found:
        said = counted.said(match["program"], match["day"], each.key)
        if said is None or not _is_data(match["name"]):
            strays.append(each.key)
        elif each.key not in merged:
            fragments.append(_fragment(match, each, said))
        elif not said and not _is_same(each, merged[each.key].size, merged[each.key].etag):
            what = (
                f"expected a new name, found that of a file of {merged[each.key].size:,} bytes "
                "that was merged before; rename it"
            )
            problems.append(Problem(each.key, each.etag, what))
    present = {each.key for _, each in found} | merged.keys()
    for _, named in counted.named(month):
        if named["key"] not in present:
            problems.append(
                Problem(named["key"], named["sha256"], "expected by the ledger, found nowhere")
            )
    gone = frozenset(
        key
        for key in merged
        if (of := _KEY.match(key)) and counted.said(of["program"], of["day"], key) is None
    )
    return Partition(
        counted.record_type,
        month,
        tuple(fragments),
        files,
        int(details.get("generation", 0)),
        details.get("location"),
        gone,
        tuple(strays),
        tuple(problems),
        details,
    )


def _is_data(name: str) -> bool:
    """Say whether a name is that of a whole file: others are at work on, or none of ours."""
    return name.endswith(".avro") and not name.startswith((".", "_"))


def _is_same(found: StoredObject, size: int, etag: str | None) -> bool:
    return found.size == size and found.etag == etag


def _fragment(match: re.Match[str], found: StoredObject, said: Mapping[str, Any]) -> Fragment:
    return Fragment(
        found.key,
        match["program"],
        match["day"],
        found.size,
        found.etag,
        said.get("sha256"),
        said.get("rows"),
    )
