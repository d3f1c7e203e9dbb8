"""Avro files on any object store, read in ranges that are cut at sync markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from fnmatch import translate
from os.path import commonprefix

import polars as pl

from conf.program import AvroConnector
from pipelines.batch import Batch
from pipelines.errors import InputMoved, NothingToRead
from pipelines.sources.entry import Damaged, Entry, Part
from pipelines.sources.inputs import Input
from pipelines.storage import Storage, StoredObject
from pipelines.workers import map_ahead
from schemas.codec import Decoder
from schemas.container import SYNC_SIZE, Block, Damage, Header, find_sync, read_header, scan
from schemas.errors import NotAnAvroFile, TruncatedHeader
from schemas.registry import RecordType, record_type
from schemas.resolve import resolve
from transforms.kernel import ROW

#: How much is read behind a range at first, to complete its last block.
_LOOKAHEAD = 1 << 20
_HEADER = 1 << 16
#: Numbers of rows stay below this, whatever damaged blocks declare: there is room for real ones.
_MOST_ROWS = 1 << 31

#: End of an entry for a unit that has no file.
NO_FILE = -1


@dataclass(frozen=True, slots=True)
class AvroSource:
    """A connector's files below ``root``, one unit a date in their path.

    ``columns`` are the columns that anything downstream reads; others are not decoded. None means
    all of them.
    """

    root: str
    connector: AvroConnector
    columns: tuple[str, ...] | None
    frame_rows: int
    split_bytes: int
    threads: int

    def plan(self, emit: Sequence[str], evidence: Sequence[str]) -> tuple[Entry, ...]:
        """List the ranges of every file of every unit, in the order of unit, file and position.

        A unit to emit without any file gets an entry that says so, and fails when it is read.
        """
        entries = list[Entry]()
        for unit, files in self._files({*emit, *evidence}).items():
            ranges = list(self._ranges(files))
            if not ranges and unit in emit:
                ranges = [(StoredObject(self._pattern(unit), 0, None), 0, NO_FILE)]
            for split, (file, start, end) in enumerate(ranges):
                part = Part(unit, split, unit in emit)
                place = (file.key, (part,), start, end, file.size, file.etag)
                entries.append(Entry(len(entries), *place))
        return tuple(entries)

    def witness(self, days: Sequence[str]) -> dict[str, tuple[Input, ...]]:
        """Return the files of each day; a day without any has none."""
        return {
            day: tuple(Input(file.key, file.etag, size=file.size) for file in files)
            for day, files in self._files(set(days)).items()
        }

    def _files(self, days: set[str]) -> dict[str, list[StoredObject]]:
        """Return the files of every day, from one listing of the folder that holds them all."""
        found: dict[str, list[StoredObject]] = {day: [] for day in sorted(days)}
        patterns = [self._pattern(day) for day in found]
        common = re.split(r"[*?\[]", commonprefix(patterns))[0]  # noqa: RUF071 (keys, not paths)
        place = _place(self.connector.path)
        for file in Storage(self.root).list(common.rpartition("/")[0]):
            match = place.match(file.key)
            if match and match["date"] in found:
                found[match["date"]].append(file)
        return found

    def _pattern(self, day: str) -> str:
        return self.connector.path.replace("{date}", day)

    def _ranges(self, files: Iterable[StoredObject]) -> Iterator[tuple[StoredObject, int, int]]:
        for file in files:
            for start in range(0, max(file.size, 1), self.split_bytes):
                yield file, start, min(start + self.split_bytes, file.size)

    def open(self) -> AvroReader:
        """Open the storage and the decoding threads."""
        return AvroReader(self, Storage(self.root), ThreadPoolExecutor(self.threads))

    def preview(self, entries: Sequence[Entry]) -> pl.DataFrame | None:
        """Read the header of the first file that has a good one."""
        with closing(self.open()) as reader:
            for entry in entries:
                with suppress(NotAnAvroFile, NothingToRead):
                    return reader.preview(entry)
        return None


def _place(path: str) -> re.Pattern[str]:
    """Return what matches the keys of a connector's files and finds their date.

    >>> _place("in/{date}/*.avro").match("in/2017-03-01/part-0.avro")["date"]
    '2017-03-01'
    """
    before, *between = (translate(part)[4:-3] for part in path.split("{date}"))
    day = r"(?P<date>\d{4}-\d{2}-\d{2})"
    rest = "(?P=date)".join(between)
    return re.compile(rf"(?s:{before}{day}{rest})\Z")


@dataclass(frozen=True, slots=True)
class _Range:
    """The bytes of a range, from its first block on, and what is in them."""

    header: Header
    buffer: memoryview
    base: int
    found: tuple[Block | Damage, ...]


@dataclass(frozen=True, slots=True)
class AvroReader:
    """An open :class:`AvroSource`."""

    source: AvroSource
    storage: Storage
    pool: ThreadPoolExecutor

    def read(self, entry: Entry) -> Iterator[Batch | Damaged]:
        """Yield a range's rows in order, decoded ahead, and each stretch that cannot be read.

        Raises:
            NothingToRead: there is no such file.
            SchemaError: the file's schema cannot be carried, or not brought to the current one.
            InputMoved: the file is no longer the one that was planned.
        """
        if entry.end == NO_FILE:
            raise NothingToRead(
                self.source.connector.source_id,
                entry.parts[0].unit,
                f"files like {self.source.root}/{entry.location}",
            )
        try:
            header = self._header(entry)
        except NotAnAvroFile as error:
            damage = Damage(entry.start, entry.end - entry.start, 1, str(error))
            yield self._damaged(entry, damage, self._bytes(entry, entry.start, entry.end))
            return
        span = self._range(entry, header)
        self._check_unmoved(entry)
        yield from self._rows(entry, span)

    def _check_unmoved(self, entry: Entry) -> None:
        """Look at the file once its bytes are here: then they are all of the planned version."""
        found = self.storage.look(entry.location)
        if entry.etag is not None and (found is None or found.etag != entry.etag):
            what = f"{self.source.root}/{entry.location}"
            now = "none" if found is None else f"version {found.etag}"
            raise InputMoved(entry.parts[0].unit, what, f"version {entry.etag}", now)

    def preview(self, entry: Entry) -> pl.DataFrame:
        """Return the columns that the entry's rows will have, without rows."""
        if entry.end == NO_FILE:
            raise NothingToRead(self.source.connector.source_id, entry.parts[0].unit, "a file")
        decoder = Decoder(self._header(entry))
        fit = self._fit(decoder)
        return _batch(entry, fit(decoder.empty(fit.columns)), 0, last=True).frame

    def _bytes(self, entry: Entry, start: int, end: int) -> memoryview:
        nothing = memoryview(b"")
        return self.storage.read_range(entry.location, start, end) if end > start else nothing

    def _header(self, entry: Entry) -> Header:
        length = _HEADER
        while True:
            head = self._bytes(entry, 0, min(length, entry.size))
            try:
                return read_header(head)
            except TruncatedHeader:
                if length >= entry.size:
                    raise
                length *= 4

    def _range(self, entry: Entry, header: Header) -> _Range:
        """Read the range, and as much behind it as its last block needs."""
        behind = _LOOKAHEAD
        while True:
            stop = min(entry.end + behind, entry.size)
            buffer = self._bytes(entry, entry.start, stop)
            first = header.length if entry.start == 0 else _first_block(buffer, header, entry.start)
            if first is None or first >= stop:
                return _Range(header, buffer, entry.start, ())
            body = buffer[first - entry.start :]
            found = tuple(scan(body, header, first, entry.end))
            # Damage up to the end of what was read may be mended, or must be followed, by more.
            if stop == entry.size or not (found and _is_damaged_up_to(found[-1], stop)):
                return _Range(header, body, first, found)
            behind *= 4

    def _rows(self, entry: Entry, span: _Range) -> Iterator[Batch | Damaged]:
        decoder = Decoder(span.header)
        fit = self._fit(decoder)

        def decode(group: list[Block | Damage]) -> list[pl.DataFrame | Damage]:
            frames = decoder.decode_blocks(span.buffer, group, fit.columns, span.base)
            return [each if isinstance(each, Damage) else fit(each) for each in frames]

        groups = _groups(span.found, self.source.frame_rows)
        row = 0
        for decoded in map_ahead(self.pool, decode, groups, self.source.threads):
            for each in decoded:
                if isinstance(each, Damage):
                    start = each.offset - span.base
                    yield self._damaged(entry, each, span.buffer[start : start + each.length])
                    row = _behind(row, each)
                else:
                    yield _batch(entry, each, row, last=False)
                    row += each.height
        yield _batch(entry, fit(decoder.empty(fit.columns)), row, last=True)

    def _fit(self, decoder: Decoder) -> _Fit:
        connector, wanted = self.source.connector, self.source.columns
        if connector.record_schema is not None:
            return _Fit(None, decoder, record_type(connector.record_schema))
        names = decoder.arrow.names
        return _Fit(None if wanted is None else [n for n in names if n in wanted], decoder, None)

    def _damaged(self, entry: Entry, damage: Damage, content: memoryview) -> Damaged:
        part = entry.parts[0]
        source = f"{self.source.root}/{entry.location}"
        return Damaged(part.unit, part.split, part.emit, source, damage, bytes(content))

    def close(self) -> None:
        """Stop the decoding threads."""
        self.pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Which columns to decode, and how frames become those of the current schema."""

    columns: list[str] | None
    decoder: Decoder
    reader: RecordType | None

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame if self.reader is None else resolve(frame, self.decoder.schema, self.reader)


def _is_damaged_up_to(found: Block | Damage, position: int) -> bool:
    return isinstance(found, Damage) and found.offset + found.length == position


def _behind(row: int, damage: Damage) -> int:
    """Return the number of the row behind a damaged stretch that begins with ``row``.

    Damage may lie in a column that only one of two passes decodes; numbers must agree all the same.
    """
    return row + damage.rows if row + damage.rows < _MOST_ROWS else row


def _first_block(buffer: memoryview, header: Header, start: int) -> int | None:
    """Return where the first block behind a sync marker that begins at or after ``start`` is."""
    found = find_sync(buffer, header.sync)
    return None if found < 0 else start + found + SYNC_SIZE


def _groups(found: Sequence[Block | Damage], rows: int) -> Iterator[list[Block | Damage]]:
    """Group consecutive blocks until they hold ``rows`` rows: one group is decoded at a time."""
    group: list[Block | Damage] = []
    held = 0
    for each in found:
        group.append(each)
        held += each.rows
        if held >= rows:
            yield group
            group, held = [], 0
    if group:
        yield group


def _batch(entry: Entry, frame: pl.DataFrame, first: int, *, last: bool) -> Batch:
    part = entry.parts[0]
    numbers = pl.int_range(first, first + frame.height, dtype=pl.UInt32, eager=True)
    numbered = frame.with_columns(numbers.alias(ROW))
    return Batch(part.unit, part.split, part.emit, last, numbered)
