"""The container format of Avro files: header, blocks, sync markers. Nothing is decompressed here.

A block is a count of rows, a size in bytes, that many bytes, and the sync marker of the file.
Source: the Avro specification, "Object Container Files".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.errors import CorruptBlock, NotAnAvroFile, TruncatedHeader

MAGIC = b"Obj\x01"
SYNC_SIZE = 16

#: No codec packs rows more tightly than this: more rows than that in a damaged stretch are a lie.
MOST_ROWS_A_BYTE = 1100

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself; ``length`` is where its first block begins."""

    schema_text: str
    codec: str
    sync: bytes
    metadata: Mapping[str, bytes]
    length: int


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of rows by absolute byte positions.

    It begins at ``offset``; its payload is ``size`` bytes from ``start``; ``end`` is after its
    sync marker, where the next block begins.
    """

    offset: int
    rows: int
    start: int
    size: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch that cannot be read: ``length`` bytes from the absolute position ``offset``.

    ``rows`` is what its block declares where that is credible, else 1. ``truncated`` says that
    the bytes ended before the block did, so that more bytes might mend it.
    """

    offset: int
    length: int
    rows: int
    error: str
    truncated: bool = False


class _EndOfBuffer(Exception):
    pass


class _BadNumber(Exception):
    pass


def _long(buffer: Buffer, at: int) -> tuple[int, int]:
    """Return a zigzag number and the position after it."""
    number = shift = 0
    for position in range(at, min(at + 10, len(buffer))):
        byte = buffer[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position + 1
        shift += 7
    if at + 10 <= len(buffer):
        raise _BadNumber
    raise _EndOfBuffer


def put_long(number: int) -> bytes:
    """Return a count as the zigzag number of the wire."""
    zigzag = number << 1
    encoded = bytearray()
    while zigzag >= 0x80:
        encoded.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    encoded.append(zigzag)
    return bytes(encoded)


def _bytes(buffer: Buffer, at: int) -> tuple[bytes, int]:
    size, start = _long(buffer, at)
    if size < 0:
        raise _BadNumber
    if start + size > len(buffer):
        raise _EndOfBuffer
    return bytes(buffer[start : start + size]), start + size


def _metadata(buffer: Buffer, at: int) -> tuple[dict[str, bytes], int]:
    entries: dict[str, bytes] = {}
    while True:
        count, at = _long(buffer, at)
        if count == 0:
            return entries, at
        if count < 0:
            _, at = _long(buffer, at)
        for _ in range(abs(count)):
            key, at = _bytes(buffer, at)
            entries[key.decode()], at = _bytes(buffer, at)


def read_header(buffer: Buffer) -> Header:
    """Read the header at the start of ``buffer``, which may end anywhere after it.

    Raises NotAnAvroFile, and TruncatedHeader when ``buffer`` ends before the header does.
    """
    if bytes(buffer[:4]) != MAGIC:
        if MAGIC.startswith(bytes(buffer[:4])):
            raise TruncatedHeader(f"only {len(buffer)} bytes")
        raise NotAnAvroFile(f"expected to begin with {MAGIC!r}, found {bytes(buffer[:4])!r}")
    try:
        metadata, at = _metadata(buffer, 4)
        if at + SYNC_SIZE > len(buffer):
            raise _EndOfBuffer
        schema_text = metadata["avro.schema"].decode()
        codec = metadata.get("avro.codec", b"null").decode() or "null"
    except _EndOfBuffer:
        raise TruncatedHeader(f"{len(buffer)} bytes end within the header") from None
    except KeyError:
        raise NotAnAvroFile("the header has no 'avro.schema'") from None
    except (_BadNumber, UnicodeDecodeError) as error:
        raise NotAnAvroFile("the header's metadata cannot be read") from error
    length = at + SYNC_SIZE
    return Header(schema_text, codec, bytes(buffer[at:length]), metadata, length)


def header_bytes(
    schema_text: str, codec: str, sync: bytes, metadata: Mapping[str, bytes] | None = None
) -> bytes:
    """Return a file's header; extra metadata follows the schema and the codec by key."""
    if len(sync) != SYNC_SIZE:
        raise ValueError(f"a sync marker is {SYNC_SIZE} bytes, found {len(sync)}")
    entries = {"avro.schema": schema_text.encode(), "avro.codec": codec.encode()}
    entries |= {k: v for k, v in sorted((metadata or {}).items()) if k not in entries}
    parts = [MAGIC, put_long(len(entries))]
    for key, value in entries.items():
        parts += [put_long(len(key.encode())), key.encode(), put_long(len(value)), value]
    return b"".join([*parts, b"\x00", sync])


def sync_marker(key: bytes, fingerprint: str) -> bytes:
    """Return the sync marker that all files of one lake and schema share.

    A hash keyed with the lake's random ``key``, so that no data can be made to contain it.
    """
    return hashlib.blake2b(fingerprint.encode(), key=key, digest_size=SYNC_SIZE).digest()


def find_sync(buffer: Buffer, sync: bytes, start: int = 0) -> int:
    """Return the position in ``buffer`` of the first sync marker at or after ``start``, or -1."""
    if not isinstance(buffer, memoryview):
        return buffer.find(sync, start)
    found = re.compile(re.escape(sync), re.DOTALL).search(buffer, start)
    return found.start() if found else -1


def scan(
    buffer: Buffer, header: Header, base: int, stop: int | None = None
) -> Iterator[Block | Damage]:
    """Walk the blocks of ``buffer``, which begins with a block at the absolute position ``base``.

    Yields blocks and damage in order and without gaps. Damage is skipped up to the next block:
    the one that begins right behind it, else the one after the next sync marker. Blocks whose
    preceding sync marker begins at or after the absolute position ``stop`` are left to the range
    that begins there; a block behind a spoilt marker is not, for no range could find it. Raises
    nothing.
    """
    at = 0
    while at < len(buffer) and not (_is_left(base + at, stop) and _is_marked(buffer, header, at)):
        try:
            block = _block(buffer, header.sync, at, base)
        except CorruptBlock as error:
            damage = _damage(buffer, header.sync, at, base, error.error)
            at += damage.length
            yield damage
        else:
            at = block.end - base
            yield block


def _is_left(position: int, stop: int | None) -> bool:
    return stop is not None and position - SYNC_SIZE >= stop


def _is_marked(buffer: Buffer, header: Header, at: int) -> bool:
    return at == 0 or bytes(buffer[at - SYNC_SIZE : at]) == header.sync


def _block(buffer: Buffer, sync: bytes, at: int, base: int) -> Block:
    try:
        rows, after = _long(buffer, at)
        size, start = _long(buffer, after)
    except _BadNumber:
        raise CorruptBlock(base + at, "its count or size is not a number") from None
    except _EndOfBuffer:
        raise CorruptBlock(base + at, "cut off within its count or size") from None
    if rows < 0 or size < 0:
        raise CorruptBlock(base + at, f"declares {rows} rows in {size} bytes")
    end = start + size + SYNC_SIZE
    if end > len(buffer):
        raise CorruptBlock(
            base + at, f"declares {size} bytes, {max(len(buffer) - start, 0)} are there"
        )
    if buffer[end - SYNC_SIZE : end] != sync:
        raise CorruptBlock(base + at, f"no sync marker after its {size} bytes")
    return Block(base + at, rows, base + start, size, base + end)


def _damage(buffer: Buffer, sync: bytes, at: int, base: int, error: str) -> Damage:
    rows, expected_end = _declared(buffer, at)
    end = _next_block(buffer, sync, at, expected_end)
    truncated = end is None and (expected_end is None or expected_end > len(buffer))
    length = (len(buffer) if end is None else end) - at
    return Damage(base + at, length, credible(rows, length), error, truncated)


def credible(rows: int, length: int) -> int:
    """Return the rows that a damaged stretch of so many bytes declares, 1 where that cannot be."""
    return rows if 0 < rows <= length * MOST_ROWS_A_BYTE else 1


def _declared(buffer: Buffer, at: int) -> tuple[int, int | None]:
    """Return the rows and the end that a damaged block declares, as far as they can be read."""
    rows = 1
    try:
        rows, after = _long(buffer, at)
        size, start = _long(buffer, after)
    except (_BadNumber, _EndOfBuffer):
        return rows, None
    return rows, start + size + SYNC_SIZE if size >= 0 else None


def _next_block(buffer: Buffer, sync: bytes, at: int, expected_end: int | None) -> int | None:
    """Return where reading can go on after the damaged block at ``at``; None for nowhere."""
    if expected_end is not None and expected_end < len(buffer):
        # Only the marker itself may be spoilt: then the next block is right where it should be.
        try:
            _block(buffer, sync, expected_end, 0)
        except CorruptBlock:
            pass
        else:
            return expected_end
    found = find_sync(buffer, sync, at)
    return None if found < 0 else found + SYNC_SIZE
