"""Which fragments are merged into which files: decided from what there is, without reading any.

A generation is a set of merged files. A daily merge rewrites the file of the days that it is asked
for, a monthly merge all files of the month; every other file is carried into the new generation as
it is. Pieces keep one order, by day and by fragment, so that the way to a generation does not show
in the bytes of a month that was merged as a whole.

Source: campaign-workers, "Data Consolidation Rules"; trap 8.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.merging.packing import pack
from pipelines.merging.parts import Fragment, Kind, MergedFile, Output, Piece, total
from pipelines.merging.survey import Partition

_NUMBER = re.compile(r"-\d{3}$")
State = Literal["merge", "done", "waits", "deferred", "refused", "bad", "nothing"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a merge is made; as ``conf.environment.Merges``, with what the command asks for.

    ``version`` is that of the current schema, ``codec`` the merged files'; ``recodec`` writes those
    of another codec anew. ``force`` merges late fragments however few, and tries again those that
    were found bad; ``dedupe`` leaves out rows whose ``dedupeHash`` came before. ``most_bytes`` and
    ``most_files`` bound what is read of fragments. ``header_bytes`` is the length of the header of
    the lake's own files.
    """

    kind: Kind
    version: int
    codec: str
    target_bytes: int
    limit_bytes: int
    oversize: Literal["split", "reject"] = "split"
    schema_policy: Literal["current-only", "resolve"] = "current-only"
    late_ratio: float = 0.0
    force: bool = False
    recodec: bool = False
    dedupe: bool = False
    check_crc: bool = False
    most_bytes: int | None = None
    most_files: int | None = None
    header_bytes: int = 0


@dataclass(frozen=True, slots=True)
class DayPlan:
    """What becomes of a day: its unmerged fragments that count, and why."""

    day: str
    state: State
    why: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class MergePlan:
    """A month's next generation: files that are carried, files that are written; or nothing.

    ``bad`` are fragments that an earlier merge found to be bad and that are not tried again;
    ``deferred`` are days that bounds left something of.
    """

    month: str
    days: tuple[DayPlan, ...]
    carried: tuple[MergedFile, ...]
    outputs: tuple[Output, ...]
    taken: tuple[Fragment, ...]
    bad: Mapping[str, str]
    deferred: tuple[str, ...] = ()

    @property
    def makes(self) -> bool:
        """Whether there is a new generation to make."""
        return any(day.state == "merge" for day in self.days)

    @property
    def size(self) -> int:
        """Bytes of all fragments that are taken."""
        return total(self.taken)


Cuts = Mapping[str, Sequence[Piece]]


def plan(
    partition: Partition, rules: Rules, days: Sequence[str], cuts: Cuts | None = None
) -> MergePlan:
    """Return the next generation of a month; ``days`` are those asked for (all, if monthly).

    ``cuts`` are the pieces of fragments that are too large for one file.
    """
    return _Planner(partition, rules, days, cuts or {}).plan()


def stem(record_type: str, period: str) -> str:
    """Return how the names of a period's merged files begin.

    >>> stem("registration", "2024-01-15")
    'registration_2024_01_15'
    """
    return f"{record_type}_{period.replace('-', '_')}"


@dataclass(frozen=True, slots=True)
class _Weighed:
    piece: Piece
    size: int


class _Planner:
    def __init__(self, partition: Partition, rules: Rules, days: Sequence[str], cuts: Cuts) -> None:
        self._of, self._rules, self._cuts = partition, rules, cuts
        self._days = sorted({d for d in days if d[:7] == partition.month})
        self._bad = {} if rules.force else _known_bad(partition)
        self._new: dict[str, list[Fragment]] = defaultdict(list)
        for fragment in partition.fragments:
            if fragment.key not in self._bad:
                self._new[fragment.day].append(fragment)
        self._merged: dict[str, int] = defaultdict(int)
        self._gone: dict[str, int] = defaultdict(int)
        for file in partition.files:
            for segment in file.segments:
                self._merged[segment.day] += segment.length
                self._gone[segment.day] += segment.fragment in partition.gone
        self._bytes, self._files = rules.most_bytes, rules.most_files
        self._used = False
        self._carried: list[MergedFile] = []

    def plan(self) -> MergePlan:
        monthly = self._rules.kind == "monthly"
        if monthly:
            self._days = sorted({*self._days, *self._new, *self._merged})
        lines = [self._day(day) for day in self._days]
        due = {line.day for line, _ in lines if line.state == "merge"}
        if monthly and (due or any(self._is_daily(file) for file in self._of.files)):
            # The month is written anew anyway: nothing needs to wait.
            lines = [
                (line, some) if line.state == "merge" else self._as_due(line)
                for line, some in lines
            ]
            due = set(self._days)
        taken = [f for line, some in lines if line.state == "merge" for f in some]
        self._carried, rewritten = self._dissolve(due, monthly=monthly)
        made = MergePlan(
            self._of.month,
            tuple(line for line, _ in lines),
            tuple(self._carried),
            tuple(self._outputs(rewritten, taken, monthly=monthly)),
            tuple(taken),
            self._bad,
            tuple(line.day for line, some in lines if self._is_deferred(line, some)),
        )
        return self._checked(made)

    def _may_recode(self, file: MergedFile, day: str) -> bool:
        """Say whether a file of the day is of another codec, and this merge writes its kind."""
        mine = self._rules.kind == "monthly" or self._is_daily(file)
        return mine and day in file.days and file.codec != self._rules.codec

    def _is_deferred(self, line: DayPlan, some: Sequence[Fragment]) -> bool:
        """Say whether bounds left something of a day for the next run."""
        partly = line.state == "merge" and len(some) < len(self._new[line.day])
        return line.state == "deferred" or partly

    def _day(self, day: str) -> tuple[DayPlan, list[Fragment]]:
        """Return what becomes of a day, and the fragments that are taken of it."""
        new = sorted(self._new[day], key=lambda fragment: fragment.key)
        state, why = self._verdict(day, new)
        if state != "merge" or not new:
            return DayPlan(day, state, why, len(new), total(new)), []
        return self._taken(day, why, new)

    def _as_due(self, line: DayPlan) -> tuple[DayPlan, list[Fragment]]:
        """Return what becomes of a day that was not due, in a month that is written anew."""
        if line.state == "done":
            return DayPlan(line.day, "merge", "merged by day", 0, 0), []
        if line.state == "waits":
            new = sorted(self._new[line.day], key=lambda fragment: fragment.key)
            return self._taken(line.day, "late, and the month is merged anyway", new)
        return line, []

    def _taken(self, day: str, why: str, new: Sequence[Fragment]) -> tuple[DayPlan, list[Fragment]]:
        """Return a day that is merged, with those of its fragments that bounds allow."""
        some = self._within_bounds(new)
        if not some:
            return DayPlan(
                day, "deferred", "over --max-bytes or --max-files", len(new), total(new)
            ), []
        if len(some) < len(new):
            why += f"; {len(new) - len(some):,} files are left for the next run"
        return DayPlan(day, "merge", why, len(some), total(some)), some

    def _verdict(self, day: str, new: Sequence[Fragment]) -> tuple[State, str]:
        size, merged = total(new), self._merged.get(day, 0)
        if self._rules.recodec and any(self._may_recode(file, day) for file in self._of.files):
            return "merge", f"asked for in codec {self._rules.codec}"
        if self._gone[day]:
            return "merge", f"made anew: {self._gone[day]:,} merged fragments count no more"
        if not new:
            bad = [key for key in self._bad if f"/{day}/" in key]
            if bad:
                return "bad", f"{len(bad):,} files were found bad: {self._bad[bad[0]]}"
            known = day in self._merged  # whose files may have had no rows
            return ("done", "merged") if known else ("nothing", "no fragments")
        if not merged:
            return "merge", "not merged yet"
        share = size / merged
        if self._rules.force or share >= self._rules.late_ratio:
            return "merge", f"late: {share:.1%} of the day's bytes"
        if day in self._of.details.get("deferred", ()):
            return "merge", "left by a run that was bounded"
        ratio = f"{self._rules.late_ratio:.1%}"
        return "waits", f"late: {share:.1%} of the day's bytes, below {ratio} (--force merges them)"

    def _within_bounds(self, new: Sequence[Fragment]) -> list[Fragment]:
        """Return the first fragments that the run may still read; at least one of the run's."""
        found: list[Fragment] = []
        for fragment in new:
            if self._files is not None and self._files < 1:
                break
            if self._bytes is not None and self._bytes < fragment.size and self._used:
                break
            found.append(fragment)
            self._used = True
            self._files = None if self._files is None else self._files - 1
            self._bytes = None if self._bytes is None else self._bytes - fragment.size
        return found

    def _dissolve(
        self, due: set[str], *, monthly: bool
    ) -> tuple[list[MergedFile], dict[tuple[Kind, str], list[Piece]]]:
        """Return the files that are carried, and what is kept of the others, by period."""
        carried: list[MergedFile] = []
        kept: dict[tuple[Kind, str], list[Piece]] = {}
        for file in self._of.files:
            spoilt = any(s.day in due and s.fragment in self._of.gone for s in file.segments)
            whole = bool(due) if monthly else file.kind == "daily" and file.days <= due
            if not spoilt and (not whole or self._is_outdated(file)):
                carried.append(file)
                continue
            kind: Kind = "monthly" if monthly else file.kind
            period = self._of.month if kind == "monthly" else min(file.days)
            kept.setdefault((kind, period), []).extend(
                Piece(file=file, segment=segment, same=self._is_same(file))
                for segment in file.segments
                if not (segment.day in due and segment.fragment in self._of.gone)
            )
        return carried, kept

    def _is_daily(self, file: MergedFile) -> bool:
        """Say whether a file is to become one of the month's."""
        return file.kind == "daily" and not self._is_outdated(file)

    def _is_outdated(self, file: MergedFile) -> bool:
        """Say whether a file stays beside those of the current schema."""
        current_only = self._rules.schema_policy == "current-only"
        return current_only and file.version != self._rules.version

    def _body(self, piece: Piece) -> int:
        """Return a piece's bytes in a merged file: so it weighs the same before and after a merge.

        That is exact for a fragment whose header is the lake's own.
        """
        whole = piece.fragment is not None and piece.start is None
        return max(1, piece.size - self._rules.header_bytes) if whole else piece.size

    def _is_same(self, file: MergedFile) -> bool:
        """Say whether the blocks of a merged file may be copied as they are."""
        return (file.version, file.codec) == (self._rules.version, self._rules.codec)

    def _outputs(
        self,
        kept: Mapping[tuple[Kind, str], list[Piece]],
        taken: Iterable[Fragment],
        *,
        monthly: bool,
    ) -> Iterable[Output]:
        wanted: dict[tuple[Kind, str], list[Piece]] = {
            key: list(some) for key, some in kept.items()
        }
        for fragment in taken:
            of: tuple[Kind, str] = (
                ("monthly", self._of.month) if monthly else ("daily", fragment.day)
            )
            pieces = self._cuts.get(fragment.key) or (Piece(fragment=fragment),)
            wanted.setdefault(of, []).extend(pieces)
        for (kind, period), some in sorted(wanted.items()):
            some.sort(key=lambda piece: piece.order)
            weighed = [_Weighed(piece, self._body(piece)) for piece in some]
            packed = pack(weighed, self._rules.target_bytes)
            runs = [[each.piece for each in run] for run in packed]
            for name, run in zip(self._names(period, len(runs)), runs, strict=True):
                yield Output(name, kind, tuple(run))

    def _names(self, period: str, count: int) -> list[str]:
        """Return names for a period's files: those of files that are carried are taken.

        Behind a dot is what a file that outgrew the limit was continued as.
        """
        taken = {file.name.partition(".")[0] for file in self._carried}
        base = stem(self._of.record_type, period)
        numbered = (f"{base}-{n:03d}" for n in range(count + len(taken)))
        names = [base, *numbered] if count == 1 else list(numbered)
        return [name for name in names if name not in taken][:count]

    def _checked(self, made: MergePlan) -> MergePlan:
        """Refuse what would be too large, where that is asked for."""
        if self._rules.oversize == "split":
            return made
        sizes: dict[str, int] = defaultdict(int)
        for output in made.outputs:
            if output.kind != self._rules.kind:  # a month's file, without what counts no more
                continue
            sizes[_NUMBER.sub("", output.stem)] += output.size
        large = {name: size for name, size in sizes.items() if size > self._rules.limit_bytes}
        if not large:
            return made
        return self._without(made, large)

    def _without(self, made: MergePlan, large: Mapping[str, int]) -> MergePlan:
        """Plan again without the days whose file would be too large (all days, if monthly)."""
        limit = self._rules.limit_bytes
        refused: dict[str, str] = {}
        for day in made.days:
            period = self._of.month if self._rules.kind == "monthly" else day.day
            size = large.get(stem(self._of.record_type, period))
            if day.state == "merge" and size is not None:
                refused[day.day] = (
                    f"would have {size:,} bytes, the limit is {limit:,} (oversize: reject)"
                )
        rest = [day for day in self._days if day not in refused]
        if self._rules.kind == "monthly" or not refused:
            again = MergePlan(made.month, made.days, self._of.files, (), (), made.bad)
        else:
            again = _Planner(self._of, self._rules, rest, self._cuts).plan()
        lines = {day.day: day for day in again.days}
        lines |= {
            day.day: DayPlan(day.day, "refused", refused[day.day], day.files, day.size)
            for day in made.days
            if day.day in refused
        }
        return MergePlan(
            made.month,
            tuple(lines[day] for day in sorted(lines)),
            again.carried,
            again.outputs,
            again.taken,
            again.bad,
            again.deferred,
        )


def _known_bad(partition: Partition) -> dict[str, str]:
    """Return the fragments that merges found to be bad, as they still are."""
    said = {p["key"]: p for p in partition.details.get("bad", ())}
    return {
        f.key: said[f.key]["what"]
        for f in partition.fragments
        if f.key in said and said[f.key]["version"] == f.version
    }
