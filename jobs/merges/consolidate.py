"""One month's next generation, from what was promised of it to what is published."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.lake import LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.bitmap import union
from pipelines.merging.confirm import confirm
from pipelines.merging.cut import cut
from pipelines.merging.dedupe import FindDuplicates, passes
from pipelines.merging.engines import Engine
from pipelines.merging.errors import GenerationMoved, NothingLeft, NotVerified
from pipelines.merging.generation import File, Place, carry, place_of
from pipelines.merging.layout import FRAGMENTS, MERGED
from pipelines.merging.parts import Fragment, Merged, Output, Problem
from pipelines.merging.plan import MergePlan, Rules, plan
from pipelines.merging.publisher import MergePublisher, balance_of
from pipelines.merging.survey import Partition, day_of
from pipelines.merging.whole import CheckWhole
from pipelines.merging.write import WriteMerged
from pipelines.publisher import Promise
from pipelines.storage import Storage

#: What a plan says of a merged fragment that counts no more.
GONE = "gone"


@dataclass(frozen=True, slots=True)
class Consolidation:
    """What the merges of all months of a run have in common."""

    lake: LakeSettings
    storage: Storage
    ledger: Ledger
    publisher: MergePublisher
    engine: Engine
    rules: Rules
    settings: Mapping[str, Any]
    days: tuple[str, ...]


def consolidate(
    work: Consolidation,
    partition: Partition,
    lease: Record,
    promise: Promise,
    about: Mapping[str, Any],
    started: float,
) -> Record:
    """Write and publish the next generation of a month; returns its ``published`` record.

    What was promised and is not there any more, or is another file by now, is left out and named.

    Raises:
        GenerationMoved: the month's current generation is not the one that was planned with.
        NothingLeft: every source is bad.
        NotVerified: what was written is not what was read.
        Fenced: another run has taken the month over.
        PipelineError: the storage, the engine or the catalog failed.
    """
    return _Month(work, partition, promise).publish(lease, about, started)


@dataclass
class _Month:
    work: Consolidation
    partition: Partition
    promise: Promise
    problems: dict[str, Problem] = field(default_factory=dict)

    def publish(self, lease: Record, about: Mapping[str, Any], started: float) -> Record:
        work = self.work
        self._check_generation()
        of = self.partition
        files = confirm(work.storage, work.lake, of.record_type, of.files)
        self.partition = replace(of, files=files)
        kept = self._whole(self._kept())
        made = self._planned(kept)
        place = self._place(made)
        record = work.publisher.consolidate(lease, place)
        merged, made, place = self._written(made, place, kept)
        written = [file for each in merged for file in each.files]
        if not written and made.carried == self.partition.files:
            raise NothingLeft(tuple(self.problems.values()))
        carried = carry(work.storage, made.carried, place)
        self._check(written, made)
        balance = balance_of(written)
        details = {
            **about,
            "kind": work.rules.kind,
            "days": [asdict(day) for day in made.days if day.state == "merge"],
            "bad": self._bad(),
            "deferred": sorted(self._deferred(made)),
            "balance": balance,
            "inputBytes": made.size,
            "moved": sum(each.moved for each in merged),
            "seconds": round(time.perf_counter() - started, 3),
            "duplicates": balance["deduplicated"],
        }
        return work.publisher.publish(
            record, place, carried, written, tuple(self.problems.values()), details
        )

    def _kept(self) -> tuple[Fragment, ...]:
        """Return the fragments that are as they were promised; the others become problems."""
        promised = {
            key: said[0]
            for key, said in self.promise.inputs.items()
            if key.startswith(f"{FRAGMENTS}/") and said[0] != GONE
        }
        now = {fragment.key: fragment for fragment in self.partition.fragments}
        self.problems |= {
            problem.key: problem
            for problem in self.partition.problems
            if day_of(problem.key) in self.work.days
        }
        for key, version in promised.items():
            known = None if version is None else str(version)
            if key not in now:
                what = "expected a file, found none: it vanished since it was planned"
                self.problems.setdefault(key, Problem(key, known, what))
            elif now[key].version != version:
                what = f"expected version {version}, found {now[key].version}: it was replaced"
                self.problems[key] = Problem(key, known, what)
        return tuple(now[k] for k in sorted(promised) if k in now and k not in self.problems)

    def _whole(self, kept: tuple[Fragment, ...]) -> tuple[Fragment, ...]:
        """Return the fragments without those large ones whose bytes are not the ledger's."""
        large = [fragment for fragment in kept if self._is_cut(fragment)]
        found = self.work.engine.map(CheckWhole(self.work.lake.root), large)
        bad = {problem.key: problem for problem in found if problem is not None}
        self.problems |= bad
        return tuple(fragment for fragment in kept if fragment.key not in bad)

    def _is_cut(self, fragment: Fragment) -> bool:
        return 2 * fragment.size > 3 * self.work.rules.target_bytes

    def _planned(self, kept: Sequence[Fragment]) -> MergePlan:
        """Plan again with what was promised: all of it is due, and nothing else is."""
        gone = {key for key, said in self.promise.inputs.items() if said[0] == GONE}
        known = replace(
            self.partition, fragments=tuple(kept), gone=self.partition.gone & frozenset(gone)
        )
        rules = replace(self.work.rules, force=True, most_bytes=None, most_files=None)
        large = [fragment for fragment in kept if self._is_cut(fragment)]
        cuts = {f.key: cut(self.work.storage, f, rules.target_bytes) for f in large}
        made = plan(known, rules, self.work.days, cuts)
        if not made.makes:
            raise NothingLeft(tuple(self.problems.values()))
        return made

    def _check_generation(self) -> None:
        promised = {
            key: said[0]
            for key, said in self.promise.inputs.items()
            if key.startswith(f"{MERGED}/")
        }
        found = {file.key: file.digest for file in self.partition.files}
        if promised != found:
            raise GenerationMoved(self.partition.month, sorted(promised), sorted(found))

    def _place(self, made: MergePlan) -> Place:
        return place_of(
            self.partition.record_type,
            self.partition.month,
            self.partition.generation + 1,
            self.work.settings,
            made.carried,
            made.outputs,
        )

    def _written(
        self, made: MergePlan, place: Place, kept: Sequence[Fragment]
    ) -> tuple[list[Merged], MergePlan, Place]:
        """Write all outputs; a source that turns out bad can mean to begin anew, at another place.

        With dedupe, rows may have been left out as duplicates of those of the bad source. Of a
        large one, other outputs may hold other parts. A task of the first round that was given up
        and goes on writes nothing to the place of the second.
        """
        rules = self.work.rules
        while True:
            outputs = self._without_duplicates(made.outputs) if rules.dedupe else made.outputs
            merged = list(self.work.engine.map(self._writer(place), outputs))
            for each in merged:
                if each.error is not None:
                    raise each.error
            bad = {problem.key: problem for each in merged for problem in each.problems}
            bad |= _incomplete(merged, [f for f in made.taken if f.key not in self.problems | bad])
            self.problems |= bad
            if not bad or not (rules.dedupe or bad.keys() & _in_parts(outputs)):
                return merged, made, place
            kept = [fragment for fragment in kept if fragment.key not in self.problems]
            made = self._planned(kept)
            left = [found.key for found in self.work.storage.list(place.location)]
            self.work.storage.delete(left)
            place = self._place(made)

    def _writer(self, place: Place) -> WriteMerged:
        rules = self.work.rules
        return WriteMerged(
            self.work.lake,
            self.partition.record_type,
            place.location,
            rules.codec,
            rules.schema_policy,
            rules.limit_bytes,
            rules.check_crc,
        )

    def _without_duplicates(self, outputs: Sequence[Output]) -> tuple[Output, ...]:
        """Return the outputs with the rows to leave out; bad sources are left out whole."""
        rules = self.work.rules
        pieces = sorted((p for o in outputs for p in o.pieces), key=lambda piece: piece.order)
        count = passes(pieces)
        while True:
            find = FindDuplicates(
                self.work.lake,
                self.partition.record_type,
                rules.codec,
                rules.schema_policy,
                tuple(pieces),
                count,
            )
            dropped: dict[int, bytes] = {}
            bad: dict[str, Problem] = {}
            too_many = False
            for found in self.work.engine.map(find, range(count)):
                bad |= {problem.key: problem for problem in found.problems}
                too_many |= found.too_many
                for place, rows in found.dropped.items():
                    dropped[place] = union(dropped.get(place, b""), rows)
            if not bad and not too_many:
                break
            self.problems |= bad
            pieces = [piece for piece in pieces if piece.key not in bad]
            count = 2 * count if too_many else count
        left = {
            piece.order: replace(piece, dropped=dropped.get(place, b""))
            for place, piece in enumerate(pieces)
        }
        return tuple(
            replace(o, pieces=tuple(left[p.order] for p in o.pieces if p.order in left))
            for o in outputs
        )

    def _check(self, files: Sequence[File], made: MergePlan) -> None:
        """Check that every source that was taken is in a file, or among the problems."""
        said = {source.key for _, sources in files for source in sources}
        for fragment in made.taken:
            if fragment.key not in said and fragment.key not in self.problems:
                raise NotVerified(fragment.key, "found it in no merged file")

    def _bad(self) -> list[dict[str, Any]]:
        """Return every source of the month that is known to be bad, as it still is."""
        there = {fragment.key: fragment.version for fragment in self.partition.fragments}
        before = [
            said
            for said in self.partition.details.get("bad", ())
            if there.get(said["key"]) == said["version"] and said["key"] not in self.promise.inputs
        ]
        return sorted(
            [*before, *map(asdict, self.problems.values())], key=lambda said: str(said["key"])
        )

    def _deferred(self, made: MergePlan) -> set[str]:
        """Return merged days of which something is left because a run was bounded.

        Either this run left it, or an earlier one did and this one did not come to the day.
        """
        merged = {day.day for day in made.days if day.state == "merge"}
        before = set(self.partition.details.get("deferred", ()))
        rules = self.work.rules
        if rules.most_bytes is None and rules.most_files is None:
            return before - merged
        bad = {said["key"] for said in self._bad()}
        left = (f for f in self.partition.fragments if f.key not in self.promise.inputs)
        return (before - merged) | {f.day for f in left if f.day in merged and f.key not in bad}


def _in_parts(outputs: Sequence[Output]) -> set[str]:
    """Return the fragments that are too large for one file."""
    return {p.key for o in outputs for p in o.pieces if p.start is not None}


def _incomplete(merged: Sequence[Merged], taken: Sequence[Fragment]) -> dict[str, Problem]:
    """Return the fragments of which other rows were read than the ledger knows.

    A file that is read as a whole was compared before it was written, one that is in parts was not.
    """
    read: dict[str, int] = defaultdict(int)
    for each in merged:
        for _, sources in each.files:
            for source in sources:
                read[source.key] += source.records
    return {
        f.key: Problem(f.key, f.version, f"expected {f.records:,} rows, found {read[f.key]:,}")
        for f in taken
        if f.records is not None and f.key in read and read[f.key] != f.records
    }
