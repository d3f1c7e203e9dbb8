"""Avro files on any object store, read in ranges that are cut at sync markers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

import polars as pl

from conf.program import AvroConnector
from pipelines.batch import Batch
from pipelines.errors import NothingToRead
from pipelines.sources.entry import Damaged, Entry, Part
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
        storage, entries = Storage(self.root), list[Entry]()
        for unit in sorted({*emit, *evidence}):
            pattern = self.connector.path.replace("{date}", unit)
            ranges = list(self._ranges(storage, pattern))
            if not ranges and unit in emit:
                ranges = [(pattern, 0, NO_FILE, 0)]
            for split, (key, start, end, size) in enumerate(ranges):
                part = Part(unit, split, unit in emit)
                entries.append(Entry(len(entries), key, (part,), start, end, size))
        return tuple(entries)

    def _ranges(self, storage: Storage, pattern: str) -> Iterator[tuple[str, int, int, int]]:
        for found in _matching(storage, pattern):
            for start in range(0, max(found.size, 1), self.split_bytes):
                yield found.key, start, min(start + self.split_bytes, found.size), found.size

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


def _matching(storage: Storage, pattern: str) -> Iterator[StoredObject]:
    """Yield the objects whose key matches a pattern; without a wildcard it names one object."""
    folder = pattern.split("*", 1)[0].rpartition("/")[0]
    return (found for found in storage.list(folder) if fnmatchcase(found.key, pattern))


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
        yield from self._rows(entry, self._range(entry, header))

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
