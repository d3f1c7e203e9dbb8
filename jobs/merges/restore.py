"""Putting the sources of merges back: merged files count no more, and their sources do again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from conf.digest import digest
from conf.environment import Environment
from jobs.backfill.claims import Wanted, claim, give_back, leases
from jobs.errors import NothingFound, UnitsHeld, WrongUse
from jobs.merges.catalogs import open_catalog
from pipelines.lake import Lake, LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Run
from pipelines.merging.confirm import confirm
from pipelines.merging.engines import Engine
from pipelines.merging.errors import NotRecovered
from pipelines.merging.generation import File, Place, carry, place_of
from pipelines.merging.layout import FRAGMENTS
from pipelines.merging.parts import MergedFile, SourceSaid
from pipelines.merging.publisher import MergePublisher, balance_of
from pipelines.merging.receipts import merged_file, read_receipt, receipt_key, sources_of
from pipelines.merging.recover import put_back, segments_of
from pipelines.merging.survey import Partition, survey, unit_name
from pipelines.storage import Storage
from schemas.registry import record_type


def restore(environment: Environment, receipts: Sequence[str], engine: Engine) -> Record:
    """Put back what receipts of one month name as sources; returns the record that says so.

    Fragments go back to where they were, from the archive or out of the merged files, and the next
    merge takes them again. Files of an earlier generation become files of a new one. Readers see
    the rows of fragments no more, as before their merge.

    Raises:
        NothingFound: there is no such receipt, or its merged file does not count any more.
        WrongUse: the receipts are of several months, or a source lies in other files too.
        NotRecovered: a source cannot be put together again; nothing has changed for readers.
        UnitsHeld: another run holds the month.
    """
    storage = Storage(environment.lake.root)
    said = []
    for receipt in receipts:
        if storage.look(receipt) is None:
            raise NothingFound(
                f"{storage.root}: expected a receipt '{receipt}' (below receipts/), found none"
            )
        said.append(read_receipt(storage, receipt))
    months = sorted({(each["recordType"], each["month"]) for each in said})
    if len(months) != 1:
        raise WrongUse(f"--receipt: expected receipts of one month and type, found {months}")
    catalog = open_catalog(environment, storage, engine)
    ledger = Ledger(storage)
    publisher = MergePublisher(storage, ledger, catalog)
    return _Restore(environment, storage, ledger, publisher, tuple(receipts), tuple(said)).run()


@dataclass
class _Restore:
    environment: Environment
    storage: Storage
    ledger: Ledger
    publisher: MergePublisher
    receipts: tuple[str, ...]
    said: tuple[dict[str, Any], ...]

    @property
    def _type(self) -> str:
        return str(self.said[0]["recordType"])

    @property
    def _month(self) -> str:
        return str(self.said[0]["month"])

    def run(self) -> Record:
        """Claim the month, and restore it."""
        unit = unit_name(self._type, self._month)
        named = ", ".join(self.receipts)
        with Run(self.ledger, self.environment.runs.lease_seconds) as run:
            last = self.ledger.last(unit)
            seq, attempts = (last.seq, last.attempt) if last else (0, 0)
            wanted = Wanted(unit, digest(["restore", named, seq]), attempts, f"restore {named}")
            claimed = claim(self.ledger, run.token, f"restore/{digest(named)[:12]}", [wanted])
            taken, lost = leases(self.ledger, claimed)
            if unit not in taken:
                raise UnitsHeld(lost.get(unit, unit))
            try:
                return self._restore(taken[unit])
            except BaseException:
                give_back(self.ledger, run.token, taken.values(), "the sources were not restored")
                raise

    def _restore(self, lease: Record) -> Record:
        if not lease.completed:
            self.publisher.finish(lease)
            raise NothingFound(
                f"{self._month}: an unfinished merge was completed just now; restore again"
            )
        files = self._files
        self._check_alone(files)
        sources = [source for said in self.said for source in sources_of(said)]
        merged = [s for s in sources if not s.key.startswith(f"{FRAGMENTS}/")]
        self._put_back(files, [s for s in sources if s.key.startswith(f"{FRAGMENTS}/")])
        gone = {file.key for file in files}
        rest = [file for file in self._partition.files if file.key not in gone]
        place = self._place(rest)
        record = self.publisher.consolidate(lease, place)
        made = [self._again(key, files, place) for key in sorted({s.key for s in merged})]
        carried = carry(self.storage, rest, place)
        details = {
            "kind": "restore",
            "days": [],
            "deferred": [],
            "bad": list(self._partition.details.get("bad", ())),
            "balance": balance_of(made),
            "inputBytes": sum(file.size for file in files),
            "seconds": 0.0,
        }
        published = self.publisher.publish(record, place, carried, made, (), details)
        return self.publisher.finish(published)

    @cached_property
    def _partition(self) -> Partition:
        found = survey(self.storage, self.ledger, self._type, [self._month])[self._month]
        lake = self.environment.lake
        settings = LakeSettings(lake.root, lake.codec, lake.sync_key)
        return replace(found, files=confirm(self.storage, settings, self._type, found.files))

    @cached_property
    def _files(self) -> tuple[MergedFile, ...]:
        """The files of the receipts as the current generation has them."""
        return tuple(map(self._current, self.receipts, self.said))

    def _current(self, receipt: str, said: dict[str, Any]) -> MergedFile:
        wanted = merged_file(said)
        for file in self._partition.files:
            if file.name == wanted.name and file.digest == wanted.digest:
                return file
        now = ", ".join(file.receipt for file in self._partition.files) or "no files"
        raise NothingFound(
            f"{receipt}: expected its file to count, found it replaced: {self._month} is at "
            f"generation {self._partition.generation}, of {now}"
        )

    def _check_alone(self, files: Sequence[MergedFile]) -> None:
        """Check that no row of what is restored stays in a file that goes on to count."""
        keys = {file.key for file in files}
        restored = {segment.fragment for file in files for segment in file.segments}
        for file in self._partition.files:
            shared = sorted(restored & {segment.fragment for segment in file.segments})
            if file.key not in keys and shared:
                raise WrongUse(
                    f"{shared[0]}: expected all of its rows in the files of --receipt, found some "
                    f"in {file.key}: name its receipt too ({file.receipt})"
                )

    def _header(self, file: MergedFile) -> bytes:
        lake = self.environment.lake
        settings = LakeSettings(lake.root, file.codec, lake.sync_key)
        return Lake(settings).encoder(record_type(self._type, file.version)).header

    def _put_back(self, files: Sequence[MergedFile], sources: Iterable[SourceSaid]) -> None:
        for key in sorted({source.key for source in sources}):
            held = segments_of(files, key)
            if held:
                put_back(self.storage, key, held, self._header(held[0][0]))

    def _place(self, rest: Sequence[MergedFile]) -> Place:
        said = {"restore": sorted(self.receipts)}
        number = self._partition.generation + 1
        return place_of(self._type, self._month, number, said, tuple(rest), ())

    def _again(self, key: str, files: Sequence[MergedFile], place: Place) -> File:
        """Make a file of an earlier generation one of the new one, as it was byte for byte."""
        said = read_receipt(self.storage, receipt_key(key))
        before = merged_file(said)
        target = f"{place.location}/{before.name}"
        found = self.storage.look(before.key)
        if found is not None and found.size == before.size:
            self.storage.copy(before.key, target)
        else:
            self._rebuild(before, files, target)
        copy = self.storage.look(target)
        assert copy is not None, "written just now"
        again = replace(before, key=target, etag=copy.etag, receipt=receipt_key(target))
        return again, sources_of(said)

    def _rebuild(self, before: MergedFile, files: Sequence[MergedFile], target: str) -> None:
        """Put a file that was cleaned together again, of the segments that replaced its own."""
        held = {(s.fragment, s.start): (f, s) for f in files for s in f.segments}
        with self.storage.writer(target) as writer:
            writer.write(self._header(before))
            for segment in before.segments:
                file, now = held.get((segment.fragment, segment.start), (None, None))
                if file is None or now is None or now.digest != segment.digest:
                    raise NotRecovered(
                        f"{before.key}: expected its blocks of {segment.fragment} in "
                        f"{', '.join(f.key for f in files)}, found others"
                    )
                writer.copy(file.key, now.offset, now.offset + now.length, file.etag)
