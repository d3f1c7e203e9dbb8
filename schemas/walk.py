"""Blocks checked and summed while their bytes stream by: nothing is decoded, nothing is kept.

Bytes are handed in as they come, cut anywhere. Every block's length and sync marker is checked; the
rows that blocks declare are counted; and the blocks are summed up in a hash that does not depend on
their order, so that a file and the parts that it was made of can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from schemas.container import SYNC_SIZE, Buffer
from schemas.errors import CorruptBlock

_MODULUS = 1 << 128
#: A number of the wire has at most so many bytes.
_LONGEST = 10


@dataclass(frozen=True, slots=True)
class BlockSum:
    """Rows, blocks and the multiset hash of some blocks; sums of disjoint blocks can be added.

    ``digest`` is the sum, modulo 2**128, of each block's XXH3-128 over its count of rows (8 bytes,
    big-endian) and its payload as it is stored.
    """

    records: int = 0
    blocks: int = 0
    digest: int = 0

    def __add__(self, other: BlockSum) -> BlockSum:
        return BlockSum(
            self.records + other.records,
            self.blocks + other.blocks,
            (self.digest + other.digest) % _MODULUS,
        )

    @classmethod
    def of(cls, digest: str) -> BlockSum:
        """Return a sum of which only the digest is known, as ``hex`` gives it."""
        return cls(digest=int(digest, 16))

    @property
    def hex(self) -> str:
        """The digest as 32 hexadecimal digits."""
        return f"{self.digest:032x}"


def block_digest(rows: int, payload: Buffer) -> int:
    """Return one block's share of a digest."""
    hasher = xxhash.xxh3_128(rows.to_bytes(8, "big"))
    hasher.update(payload)
    return hasher.intdigest()


class BlockWalk:
    """Walks the blocks of one file from ``offset``, where a block begins, chunk by chunk."""

    def __init__(self, sync: bytes, offset: int, sync_as: bytes | None = None) -> None:
        """``sync_as`` is the marker that ``through`` puts in the place of the file's own."""
        self._sync, self._sync_as = sync, sync_as or sync
        self.offset = offset
        self.sum = BlockSum()
        self._head = bytearray()  # the count and the size of a block, as far as they were seen
        self._digits = 0  # bytes of the number that is being read
        self._left = 0  # bytes of payload, then of sync marker, still to come
        self._hasher: xxhash.xxh3_128 | None = None
        self._rows = 0
        self._tail = b""  # a sync marker, as far as it was seen
        self._began = offset

    def through(self, chunk: Buffer) -> Iterator[Buffer]:
        """Take the next bytes of the file and yield them again, with the wanted sync markers.

        Raises:
            CorruptBlock: a block's count, size or marker is not what it must be.
        """
        same = self._sync_as == self._sync
        view = memoryview(chunk)
        at = 0
        while at < len(view):
            taken, is_sync = self._take(view[at:])
            if not same:
                yield self._replaced(taken) if is_sync else view[at : at + taken]
            at += taken
        self.offset += len(view)
        if same:
            yield view

    def _replaced(self, taken: int) -> bytes:
        """Return the bytes of the wanted marker that stand where ``taken`` were just seen."""
        end = len(self._tail) or SYNC_SIZE
        return self._sync_as[end - taken : end]

    def feed(self, chunk: Buffer) -> None:
        """Take the next bytes of the file; raises as ``through``."""
        view = memoryview(chunk)
        at = 0
        while at < len(view):
            at += self._take(view[at:])[0]
        self.offset += len(view)

    def end(self) -> BlockSum:
        """Return the sum of all blocks.

        Raises:
            CorruptBlock: the file ended within a block.
        """
        if self._head or self._hasher is not None:
            raise CorruptBlock(self._began, "the file ends within the block")
        return self.sum

    def _take(self, view: memoryview) -> tuple[int, bool]:
        """Take some bytes from the front; return how many, and whether they are of a marker."""
        if self._hasher is None:
            return self._take_head(view), False
        if self._left:
            taken = min(self._left, len(view))
            self._hasher.update(view[:taken])
            self._left -= taken
            return taken, False
        return self._take_sync(view), True

    def _take_head(self, view: memoryview) -> int:
        """Take bytes of the count and the size; both are small, and read byte by byte."""
        for taken, byte in enumerate(view, 1):
            self._head.append(byte)
            self._digits += 1
            if byte < 0x80:
                self._digits = 0
                numbers = _numbers(self._head)
                if len(numbers) == 2:
                    self._begin(*numbers)
                    return taken
            elif self._digits == _LONGEST:
                raise CorruptBlock(self._began, "its count or size is not a number")
        return len(view)

    def _begin(self, rows: int, size: int) -> None:
        if not (0 <= rows < 1 << 63 and 0 <= size < 1 << 63):
            raise CorruptBlock(self._began, f"declares {rows} rows in {size} bytes")
        self._rows, self._left = rows, size
        self._hasher = xxhash.xxh3_128(rows.to_bytes(8, "big"))
        self._length = len(self._head) + size + SYNC_SIZE
        self._head.clear()

    def _take_sync(self, view: memoryview) -> int:
        taken = min(SYNC_SIZE - len(self._tail), len(view))
        self._tail += bytes(view[:taken])
        if not self._sync.startswith(self._tail):
            raise CorruptBlock(self._began, "no sync marker after the bytes that it declares")
        if len(self._tail) == SYNC_SIZE:
            self._finish()
        return taken

    def _finish(self) -> None:
        assert self._hasher is not None, "a marker follows a payload"
        self.sum += BlockSum(self._rows, 1, self._hasher.intdigest())
        self._hasher, self._tail = None, b""
        self._began += self._length


def _numbers(head: bytearray) -> list[int]:
    """Return the zigzag numbers that are whole in ``head``.

    >>> _numbers(bytearray(b"\\x02\\x80\\x01"))
    [1, 64]
    """
    found: list[int] = []
    number = shift = 0
    for byte in head:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append((number >> 1) ^ -(number & 1))
            number = shift = 0
    return found
