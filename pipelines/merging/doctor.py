"""What is wrong with a lake, or about to be, in plain words: it is read, and never written to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.catalogs.catalog import Catalog
from pipelines.errors import CatalogFailed, ObjectNotFound
from pipelines.ledger.ledger import Ledger, stamp
from pipelines.ledger.runs import Living, RunInfo
from pipelines.merging.clean import Line, look_at
from pipelines.merging.finding import (
    Finding,
    Severity,
    merge_command,
    number,
    of_files,
    of_keys,
    of_objects,
    without_examples,
)
from pipelines.merging.holdings import Holdings, Month, RunUnits, holdings
from pipelines.merging.layout import FRAGMENTS, MERGED, table
from pipelines.merging.packing import parts
from pipelines.merging.parts import MergedFile, total
from pipelines.merging.survey import Partition, survey
from pipelines.merging.unmerged import lying, missing, waiting
from pipelines.storage import Storage
from schemas.registry import RecordType

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of a record type, the worst first, and how much its readers see."""

    record_type: str
    findings: tuple[Finding, ...]
    months: int
    files: int
    rows: int


@dataclass(frozen=True, slots=True)
class Norms:
    """What a lake is measured by; as ``conf.environment.Merges`` and ``Lake``.

    ``cutoff`` is the time before which what is superseded should have been removed.
    """

    target_bytes: int
    limit_bytes: int
    schema_policy: str
    codec: str
    cutoff: str


def examine(
    storage: Storage, ledger: Ledger, catalog: Catalog, record: RecordType, norms: Norms
) -> Report:
    """Return what is to be said of a record type's part of a lake.

    Raises:
        StorageFailed: the storage refused or broke.
    """
    found = holdings(storage, ledger, RunUnits(ledger), record.name)
    return _Doctor(storage, ledger, catalog, record, norms, found).report()


@dataclass(frozen=True, slots=True)
class _Doctor:
    storage: Storage
    ledger: Ledger
    catalog: Catalog
    record: RecordType
    norms: Norms
    found: Holdings

    def report(self) -> Report:
        known = {month.month: month for month in self.found.months}
        names = sorted({*known, *(day[:7] for _, day in self.found.fragments)})
        findings = [*self._former(), *self._uncounted()]
        partitions, broken = self._surveyed(names)
        findings += broken
        living = Living(self.ledger)
        for name, partition in partitions.items():
            month = known.get(name) or Month(self.record.name, name, (), (), (), (), ())
            last = month.last
            holder = living[last.run] if last is not None and last.held else None
            some = [_busy(holder)] if holder else self._month(month, partition)
            findings += (replace(each, month=name) for each in some)
        findings.sort(key=lambda each: (_ORDER.index(each.severity), each.month or ""))
        files = [file for partition in partitions.values() for file in partition.files]
        return Report(
            self.record.name,
            tuple(findings),
            sum(bool(partition.files) for partition in partitions.values()),
            len(files),
            sum(file.records for file in files),
        )

    def _surveyed(self, names: Sequence[str]) -> tuple[dict[str, Partition], list[Finding]]:
        """Return what there is of months, and what is to be said of those without receipts."""
        try:
            return survey(self.storage, self.ledger, self.record.name, names), []
        except ObjectNotFound as error:
            if len(names) == 1:
                return {}, [replace(_receipt_gone(error), month=names[0])]
        partitions: dict[str, Partition] = {}
        broken: list[Finding] = []
        for name in names:
            some, told = self._surveyed([name])
            partitions |= some
            broken += told
        return partitions, broken

    def _month(self, month: Month, partition: Partition) -> Iterator[Finding]:
        yield from self._pointer(month)
        yield from self._strangers(month, partition)
        yield from _twice(partition.files)
        yield from self._lost(month, partition)
        yield from self._sizes(partition)
        yield from self._versions(partition)
        yield from missing(partition, month.archived)
        norms = self.norms
        yield from waiting(self.storage, partition, self.record, norms.codec, norms.schema_policy)
        yield from lying(partition, self.found.fragments, self.found.folders)

    # --- what readers count -----------------------------------------------------------------------

    def _pointer(self, month: Month) -> Iterator[Finding]:
        """Compare what the catalog says with the ledger."""
        current = month.current
        if month.last is not None and not month.last.completed and current is not None:
            yield Finding(
                "warning",
                "a merge is published and not completed: readers may see the former generation, "
                "and sources may lie unarchived",
                "merge it again, that completes it",
                self._merge(str(current.details["kind"]), month.month),
            )
            return
        location = current.details["location"] if current else None
        try:
            pointed = self.catalog.current(self.record.name, month.month)
        except CatalogFailed as error:
            yield Finding("error", f"the catalog cannot be asked: {error}")
            return
        if pointed != location:
            yield Finding(
                "error",
                f"the catalog sends readers to {pointed or 'nothing'}, "
                f"the current generation is {location or 'none'}",
                f"point the month to {location}" if location else "drop the partition",
            )

    def _strangers(self, month: Month, partition: Partition) -> Iterator[Finding]:
        """Say what lies in the current location and is in no receipt."""
        named = {file.key for file in partition.files}
        here = (g for g in month.generations if g.location == partition.location)
        some = [o for g in here for o in g.objects if o.key not in named and _is_seen(o.key)]
        if some:
            told = (
                f"{number(some, 'file')} in the partition's location, {partition.location}, that "
                "no receipt names: Athena and Hive read every file there, so rows count twice"
            )
            yield of_objects(Finding("error", told, "move them out of there"), some)

    def _former(self) -> Iterator[Finding]:
        """Say what a table over all generations would count more than once."""
        former = [g for m in self.found.months for g in m.generations if g.standing == "superseded"]
        if not former:
            return
        overdue = any(g.since is not None and g.since <= self.norms.cutoff for g in former)
        rows = sum(int(g.said["records"]) for g in former)
        objects = [o for g in former for o in g.objects]
        told = (
            f"{number(former, 'superseded generation')} with {number(objects, 'file')}: a table "
            f"over {table(self.record.name)}/ without our partitions, or a crawler, would count "
            f"{rows:,} rows again"
        )
        due = "older than merges.archiveDays" if overdue else "once older than merges.archiveDays"
        finding = Finding(
            "warning" if overdue else "note", told, f"{due}, they can go", self._clean, rows=rows
        )
        yield without_examples(of_objects(finding, objects))

    # --- merged files -----------------------------------------------------------------------------

    def _lost(self, month: Month, partition: Partition) -> Iterator[Finding]:
        sizes = {o.key: o.size for g in month.generations for o in g.objects}
        wrong = [file for file in partition.files if sizes.get(file.key) != file.size]
        if wrong:
            found = sizes.get(wrong[0].key)
            rows = sum(file.records for file in wrong)
            told = (
                f"{number(wrong, 'merged file')} with {rows:,} rows missing or cut: expected "
                f"{wrong[0].size:,} bytes, found {'none' if found is None else f'{found:,}'}"
            )
            then = "bring them back from a copy; merge clean leaves the month alone until then"
            yield of_files(Finding("error", told, then, rows=rows), wrong)

    def _sizes(self, partition: Partition) -> Iterator[Finding]:
        norms = self.norms
        files = [file for file in partition.files if file.version == self.record.version]
        wanted = parts(total(files), norms.target_bytes)
        if len(files) > wanted and any(file.kind == "daily" for file in files):
            over = partition.month < stamp(self.ledger.clock())[:7]
            told = f"{number(files, 'file')} where {wanted:,} would do"
            then = "" if over else "once the month is over"
            command = self._merge("monthly", partition.month)
            finding = Finding("warning" if over else "note", told, then, command)
            yield without_examples(of_files(finding, files))
        large = [file for file in partition.files if file.size > norms.limit_bytes]
        if large:
            told = f"{number(large, 'file')} over the limit of {norms.limit_bytes:,} bytes"
            then = "put the sources back and merge them again, then they are split"
            yield of_files(Finding("warning", told, then, _restore(large)), large)

    def _versions(self, partition: Partition) -> Iterator[Finding]:
        latest = self.record.version
        old = [file for file in partition.files if file.version != latest]
        if old:
            versions = ", ".join(f"v{version}" for version in sorted({f.version for f in old}))
            told = f"{number(old, 'merged file')} of schema {versions}, the current is v{latest}"
            then = "with merges.schemaPolicy: resolve they are rewritten by"
            command = self._merge("monthly", partition.month)
            yield of_files(Finding("warning", told, then, command), old)

    # --- what counts nowhere ----------------------------------------------------------------------

    def _uncounted(self) -> Iterator[Finding]:
        """Say what lies in the lake and is part of nothing."""
        now = stamp(self.ledger.clock())
        groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
        for share in look_at(self.storage, self.ledger, self.catalog, self.found, now):
            for line in share.lines:
                groups[share.month, line.what].append(line)
        for (month, what), lines in groups.items():
            keys = [key for line in lines for key in (*line.keys, *map(str, line.staged))]
            # What lies among merged files is told by itself, also where a month is left alone.
            if what == "unknown":
                keys = [key for key in keys if not key.startswith(f"{MERGED}/")]
            finding = _UNCOUNTED.get(what)
            if finding is not None and keys:
                yield replace(
                    of_keys(finding, keys),
                    what=f"{number(keys, 'file')} {finding.what}",
                    command="" if what == "unknown" else self._clean,
                    month=month or None,
                    size=sum(line.size for line in lines if line.keys or line.staged),
                )
        yield from self._outside()

    def _outside(self) -> Iterator[Finding]:
        """Say what lies where nothing of ours is written."""
        for month in self.found.months:
            unknown = (g for g in month.generations if g.standing == "unknown")
            some = [*(o for g in unknown for o in g.objects), *month.loose]
            if some:
                told = f"{number(some, 'file')} {_UNCOUNTED['unknown'].what}"
                finding = replace(_UNCOUNTED["unknown"], what=told, month=month.month)
                yield of_objects(finding, some)
        outside = [o for o in self.found.odd if o.key.startswith(f"{FRAGMENTS}/")]
        if outside:
            told = f"{number(outside, 'file')} outside of <program>/<day>/: no merge takes them"
            yield of_objects(Finding("warning", told, "move them to a program's day"), outside)

    def _merge(self, kind: str, month: str) -> str:
        return merge_command(kind, self.record.name, month)

    @property
    def _clean(self) -> str:
        return f"muster merge clean --type {self.record.name}"


#: What is said of files by what ``merge clean`` calls them.
_UNCOUNTED: Mapping[str, Finding] = {
    "orphan": Finding("warning", "of attempts that died: they count nowhere"),
    "half-written": Finding("warning", "half-written, by a process that died"),
    "unknown": Finding(
        "warning",
        "of which no record of the ledger tells whether they count",
        "look at them: Muster never removes such files",
    ),
}


def _busy(holder: RunInfo) -> Finding:
    return Finding("note", f"{holder} is at work on it", "look again when it has ended")


def _receipt_gone(error: ObjectNotFound) -> Finding:
    told = f"nobody knows what the current generation is made of: {error}"
    return Finding("error", told, "bring the receipt back from a copy")


def _twice(files: Sequence[MergedFile]) -> Iterator[Finding]:
    """Say which fragments' rows are in a generation more than once."""
    times = Counter((s.fragment, s.start) for f in files for s in f.segments if s.records)
    twice = sorted({key for (key, _), count in times.items() if count > 1})
    if not twice:
        return
    holding = [f for f in files if any(s.fragment in twice for s in f.segments)]
    told = f"{number(twice, 'fragment')} more than once in one generation: their rows count twice"
    finding = Finding("error", told, "put the sources back and merge them again", _restore(holding))
    yield replace(of_files(finding, holding), examples=tuple(twice[:3]))


def _restore(files: Sequence[MergedFile]) -> str:
    return " ".join(["muster merge restore", *(f"--receipt {file.receipt}" for file in files)])


def _is_seen(key: str) -> bool:
    """Say whether Athena and Hive read a file: not those that begin so."""
    return not key.rpartition("/")[2].startswith(("_", "."))
