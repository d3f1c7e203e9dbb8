"""What of a lake is needed no more: archived sources, superseded generations, orphans.

Only what a record of the ledger accounts for is removed, and only by the ledger's times; a file of
which nobody knows whether it counts stays. Receipts and pointers stay too: they are the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipelines.catalogs.catalog import Catalog
from pipelines.errors import CatalogFailed, Fenced, ObjectNotFound
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Living
from pipelines.merging.holdings import (
    Folder,
    Generation,
    Holdings,
    Month,
    Objects,
    RunUnits,
    holdings,
)
from pipelines.merging.layout import ARCHIVE, FRAGMENTS, MERGED, RECEIPTS
from pipelines.merging.parts import Segment
from pipelines.merging.receipts import read_receipt, read_receipts, sources_of
from pipelines.merging.removal import end_of, hold, remove_all
from pipelines.storage import Storage

_READERS = 16

What = Literal["archived", "superseded", "orphan", "half-written", "unknown", "left alone"]
Fate = Literal["remove", "removed", "kept"]

_UNNAMED = "no record tells whether they count"
_ATTEMPT = "written by an attempt that died"


@dataclass(frozen=True, slots=True)
class Line:
    """Files of which the same is said; ``staged`` are local ones that are half-written."""

    what: What
    fate: Fate
    why: str
    keys: tuple[str, ...]
    size: int
    staged: tuple[Path, ...] = ()

    @property
    def files(self) -> int:
        """How many files they are."""
        return len(self.keys) + len(self.staged)


@dataclass(frozen=True, slots=True)
class Share:
    """What units of the ledger keep: a merge its month, runs their day.

    ``units`` are their latest records, as they were before the files were looked up.
    """

    record_type: str
    month: str
    units: tuple[Record, ...]
    lines: tuple[Line, ...]

    @property
    def removes(self) -> bool:
        """Whether anything of it is to go."""
        return any(line.fate == "remove" for line in self.lines)


def look(
    storage: Storage, ledger: Ledger, catalog: Catalog, record_type: str, cutoff: str
) -> list[Share]:
    """Return what there is of a record type that does not count, and whether it may go.

    ``cutoff`` is a time as the ledger writes it: what is not older stays.

    Raises:
        StorageFailed: the storage refused or broke.
    """
    return look_at(
        storage, ledger, catalog, holdings(storage, ledger, RunUnits(ledger), record_type), cutoff
    )


def look_at(
    storage: Storage, ledger: Ledger, catalog: Catalog, found: Holdings, cutoff: str
) -> list[Share]:
    """Return the same of what was looked up already."""
    looker = _Looker(storage, catalog, Living(ledger), cutoff, found)
    shares = [*map(looker.month, found.months), *looker.days(), looker.odd()]
    return [share for share in shares if share.lines]


@dataclass(frozen=True, slots=True)
class _Taken:
    """The merge that took a fragment last, once it was completed: when, and of what size."""

    at: str
    size: int


@dataclass(frozen=True, slots=True)
class _Looker:
    storage: Storage
    catalog: Catalog
    living: Living
    cutoff: str
    found: Holdings

    # --- months ---------------------------------------------------------------------------------

    def month(self, month: Month) -> Share:
        """Return what a month's merges left."""
        return Share(
            month.record_type,
            month.month,
            () if month.last is None else (month.last,),
            tuple(self._month_lines(month)),
        )

    def _month_lines(self, month: Month) -> Iterator[Line]:
        objects = _all_of(month)
        if not objects and not month.staged:
            return
        why = self._left_alone(month)
        if why is not None:
            yield _line("left alone", "kept", why, objects)
            return
        yield from self._generations(month)
        yield from self._archived(month)
        if month.loose:
            yield _line("unknown", "kept", _UNNAMED, month.loose)
        if month.staged:
            last = month.last
            why = _UNNAMED if last is None else self._age(end_of(last).at)
            size = sum(path.stat().st_size for path in month.staged if path.exists())
            fate: Fate = "kept" if why else "remove"
            yield Line("half-written", fate, why or _ATTEMPT, (), size, month.staged)

    def _left_alone(self, month: Month) -> str | None:
        """Say why nothing of a month may be touched."""
        last, current = month.last, month.current
        if last is None:
            return None
        holder = self.living[last.run] if last.held else None
        if holder is not None:
            return f"{holder} is at work on it"
        if not last.completed:
            return "published, not completed: merge it again first"
        if current is None:
            return None
        location = current.details["location"]
        try:
            pointed = self.catalog.current(month.record_type, month.month)
        except CatalogFailed as error:
            return str(error)
        if pointed != location:
            return f"the catalog sends readers to {pointed}, and not to {location}"
        return self._broken(month, current)

    def _broken(self, month: Month, current: Record) -> str | None:
        """Say what of the current generation is missing: its sources may be all there is."""
        sizes = {o.key: o.size for made in month.generations for o in made.objects}
        try:
            files = read_receipts(self.storage, current.details["receipts"])
        except ObjectNotFound as error:
            return str(error)
        for file in files:
            if file.key not in sizes:
                return f"{file.name} of the current generation is gone"
            if sizes[file.key] != file.size:
                return f"{file.name}: expected {file.size:,} bytes, found {sizes[file.key]:,}"
        return None

    def _generations(self, month: Month) -> Iterator[Line]:
        for each in month.generations:
            named = {_file(key) for key in each.said.get("receipts", ())}
            if each.standing == "attempted":
                named = {o.key for o in each.objects}
            ours = tuple(o for o in each.objects if o.key in named)
            others = tuple(o for o in each.objects if o.key not in named)
            if others:
                yield _line("unknown", "kept", _UNNAMED, others)
            if ours and each.standing == "attempted":
                # Its receipts tell of nothing that ever was.
                ours += tuple(self.storage.list(_receipts(each.location)))
                yield self._aged("orphan", each, _ATTEMPT, ours)
            elif ours and each.standing == "superseded":
                yield self._aged("superseded", each, "readers were sent on", ours)

    def _aged(self, what: What, made: Generation, why: str, objects: Objects) -> Line:
        young = self._age(made.since)
        return _line(what, "kept" if young else "remove", young or why, objects)

    def _age(self, since: str | None) -> str | None:
        """Say that something is too young, if it is."""
        if since is None:
            return _UNNAMED
        return self._young if since > self.cutoff else None

    @property
    def _young(self) -> str:
        return f"newer than {self.cutoff[:16].replace('T', ' ')}"

    # --- the archive ----------------------------------------------------------------------------

    def _archived(self, month: Month) -> Iterator[Line]:
        if not month.archived:
            return
        taken = _taken(self.storage, month)
        current = month.current
        files = read_receipts(self.storage, current.details["receipts"]) if current else ()
        held: dict[str, list[Segment]] = {}
        for file in files:
            for segment in file.segments:
                held.setdefault(segment.fragment, []).append(segment)
        groups: dict[tuple[Fate, str], list[int]] = {}
        for at, each in enumerate(month.archived):
            key = FRAGMENTS + each.key.removeprefix(ARCHIVE)
            said = self._archived_fate(key, each.size, taken.get(key), held.get(key, []))
            groups.setdefault(said, []).append(at)
        for (fate, why), places in sorted(groups.items(), reverse=True):
            what: What = "unknown" if why == _UNNAMED else "archived"
            yield _line(what, fate, why, tuple(month.archived[at] for at in places))

    def _archived_fate(
        self, key: str, size: int, taken: _Taken | None, held: list[Segment]
    ) -> tuple[Fate, str]:
        _, record_type, program, day, _ = key.split("/")
        folder = self.found.folders.get((program, day))
        if taken is None or taken.size != size:
            return "kept", _UNNAMED
        if taken.at > self.cutoff:
            return "kept", self._young
        gone = folder is not None and key not in folder.named
        if not held:
            if gone and folder is not None and folder.is_settled:
                return "remove", "their day was made anew since"
            return "kept", "no current file has their rows"
        if all(s.path == "whole" and s.sha256 is not None for s in held):
            return "remove", "current files have their rows, byte for byte"
        counts = folder is not None and not (gone and folder.is_settled)
        if counts and record_type == "candidate":
            # The candidate store reads them when their day is made anew.
            return "kept", "current files have their rows made anew, a store may need the files"
        return "remove", "current files have their rows; `merge restore` cannot make these again"

    # --- fragments ------------------------------------------------------------------------------

    def days(self) -> Iterator[Share]:
        """Yield what attempts of runs left in their folders; landed files are none of these."""
        for of, objects in sorted(self.found.fragments.items()):
            folder = self.found.folders.get(of)
            if folder is None:
                continue
            strays = tuple(o for o in objects if o.key not in folder.named)
            if strays:
                what, why = self._left_day(folder)
                line = _line(what, "kept" if why else "remove", why or _ATTEMPT, strays)
                yield Share(self.found.record_type, of[1][:7], folder.units, (line,))

    def _left_day(self, folder: Folder) -> tuple[What, str | None]:
        for record in folder.units:
            holder = self.living[record.run] if record.held else None
            if holder is not None:
                return "left alone", f"{holder} is at work on it"
            if not record.completed:
                return "left alone", "published, not completed: run it again first"
        return "orphan", self._age(max(end_of(record).at for record in folder.units))

    def odd(self) -> Share:
        """Return what lies where nothing of ours is written."""
        some = self.found.odd
        # What other programs leave beside folders of fragments is theirs.
        ours = tuple(o for o in some if not o.key.startswith(f"{FRAGMENTS}/"))
        lines = (_line("unknown", "kept", _UNNAMED, ours),) if ours else ()
        return Share(self.found.record_type, "", (), lines)


def _taken(storage: Storage, month: Month) -> Mapping[str, _Taken]:
    """Return which merge took each fragment last; merges that were not completed say nothing."""
    done = {r.publication: r.at for r in month.history if r.event == "succeeded"}
    receipts = [
        (done[record.seq], key)
        for record in month.published
        if record.seq in done
        for key in record.details["made"]
    ]

    def read(key: str) -> dict[str, int]:
        try:
            said = read_receipt(storage, key)
        except ObjectNotFound:
            return {}  # so nobody knows of its sources
        return {source.key: source.size for source in sources_of(said)}

    with ThreadPoolExecutor(_READERS) as pool:
        sources = list(pool.map(read, [key for _, key in receipts]))
    return {
        key: _Taken(at, size)
        for (at, _), some in zip(receipts, sources, strict=True)
        for key, size in some.items()
    }


def _all_of(month: Month) -> Objects:
    """Return all files of a month but those of the current generation's folder."""
    others = (o for g in month.generations if g.standing != "current" for o in g.objects)
    strangers = (
        o
        for g in month.generations
        if g.standing == "current"
        for o in g.objects
        if o.key not in {_file(key) for key in g.said["receipts"]}
    )
    return (*month.archived, *month.loose, *others, *strangers)


def _line(what: What, fate: Fate, why: str, objects: Objects) -> Line:
    return Line(what, fate, why, tuple(o.key for o in objects), sum(o.size for o in objects))


def _file(receipt: str) -> str:
    """Return the merged file that a receipt is of."""
    return f"{MERGED}{receipt.removeprefix(RECEIPTS).removesuffix('.json')}.avro"


def _receipts(location: str) -> str:
    return RECEIPTS + location.removeprefix(MERGED)


def remove(storage: Storage, ledger: Ledger, shares: Sequence[Share], run: str) -> list[Share]:
    """Remove what is to go of shares; returns them with what became of each line.

    Nothing goes once another run has written to the ledger of any of a share's units. ``run`` is
    the token of a run that gives signs of life.

    Raises:
        StorageFailed: the storage refused or broke; what is left can go later.
    """
    together: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for at, share in enumerate(shares):
        if share.removes:
            # A day's files of all record types are one unit's, and it is held but once.
            units = tuple((record.unit, record.seq) for record in share.units)
            together.setdefault(units, []).append(at)
    done = list(shares)
    for places in together.values():
        fate, why = _remove(storage, ledger, [shares[at] for at in places], run)
        for at in places:
            done[at] = _ended(shares[at], fate, why)
    return done


def _remove(
    storage: Storage, ledger: Ledger, shares: Sequence[Share], run: str
) -> tuple[Fate, str | None]:
    lines = [line for share in shares for line in share.lines if line.fate == "remove"]
    try:
        with hold(ledger, shares[0].units, run) as held:
            remove_all(storage, ledger, held, [key for line in lines for key in line.keys])
            for path in (path for line in lines for path in line.staged):
                path.unlink(missing_ok=True)
    except Fenced as fenced:
        return "kept", str(fenced)
    return "removed", None


def _ended(share: Share, fate: Fate, why: str | None) -> Share:
    lines = (
        replace(line, fate=fate, why=why or line.why) if line.fate == "remove" else line
        for line in share.lines
    )
    return replace(share, lines=tuple(lines))
