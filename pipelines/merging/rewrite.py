"""Blocks that cannot stand as they are: compressed anew, or decoded and encoded anew.

Whatever is made anew is taken apart again at once and compared with what it was made from, before
it goes anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.merging import bitmap
from pipelines.merging.errors import Unmergeable
from pipelines.merging.fragment import Target, Written
from schemas.codec import Decoder, Encoder
from schemas.compression import Undecodable, pack, unpack
from schemas.container import (
    SYNC_SIZE,
    Block,
    Buffer,
    Damage,
    Header,
    put_long,
    read_header,
    scan,
)
from schemas.errors import CorruptBlock, SchemaMismatch
from schemas.resolve import Resolver

#: A block of more bytes is not made anew: it would be held several times over. Writers make blocks
#: of some 64 kB, and ours of less than 1 MB.
MOST_OF_BLOCK = 16 << 20


@dataclass(frozen=True, slots=True)
class Made:
    """Blocks made of one block: ``rows`` are those that they hold, ``dropped`` were left out."""

    data: bytes
    rows: int
    dropped: int


class WholeBlocks:
    """Puts the bytes of a file, cut anywhere, together to whole blocks."""

    def __init__(self, header: Header, base: int) -> None:
        self._header, self._base = header, base
        self._kept = b""

    def feed(self, chunk: Buffer) -> Iterator[tuple[Block, memoryview]]:
        """Take the next bytes; yield each block with its payload.

        Raises:
            CorruptBlock: a block is damaged.
            Unmergeable: a block is too large to be held.
        """
        data = memoryview(self._kept + chunk if self._kept else chunk)
        at = self._base
        for each in scan(data, self._header, self._base):
            if isinstance(each, Damage):
                if not each.truncated:
                    raise CorruptBlock(each.offset, each.error)
                break
            self._check_size(each.offset, each.size)
            start = each.start - self._base
            yield each, data[start : start + each.size]
            at = each.end
        self._kept = bytes(data[at - self._base :])
        self._base = at
        self._check_size(at, len(self._kept) - SYNC_SIZE)

    @staticmethod
    def _check_size(offset: int, size: int) -> None:
        if size > MOST_OF_BLOCK:
            what = f"expected blocks of at most {MOST_OF_BLOCK:,} bytes where they are made anew"
            raise Unmergeable(f"block at byte {offset}: {what}, found a larger one")

    def end(self) -> None:
        """Check that nothing is left; raises CorruptBlock."""
        if self._kept:
            raise CorruptBlock(self._base, "the file ends within the block")


class Rewriter:
    """Makes blocks of the target's schema, codec and sync marker of those of one file.

    ``dropped`` are rows, counted from the first, as ``Piece.dropped``.
    """

    def __init__(
        self, header: Header, written: Written, target: Target, dropped: bytes = b""
    ) -> None:
        self._header, self._written, self._target = header, written, target
        self._dropped = dropped
        self._row = 0
        self.sync = target.sync
        self._encoder = Encoder(target.record, target.codec, sync=target.sync)
        self._reader = Decoder(read_header(self._encoder.header))
        self._decoder: Decoder | None = None
        self._resolver: Resolver | None = None

    def block(self, block: Block, payload: memoryview) -> Made:
        """Return what a block becomes.

        Raises:
            Unmergeable: it cannot be decoded, or its rows do not fit the schema.
            CorruptBlock: what was made of it is not what it was made from.
        """
        positions = self._positions(block.rows)
        try:
            if self._written.same and not len(positions):
                return self._repacked(block, payload)
            return self._encoded(block, payload, positions)
        except (Undecodable, SchemaMismatch) as error:
            raise Unmergeable(f"block at byte {block.offset}: {error}") from error

    def _positions(self, rows: int) -> npt.NDArray[np.intp]:
        """Return which rows of the next block are dropped, counted from its first row."""
        found = bitmap.within(self._dropped, self._row, rows)
        self._row += rows
        return found

    def _repacked(self, block: Block, payload: memoryview) -> Made:
        packed: Buffer = payload
        if self._header.codec != self._target.codec:
            plain = unpack(payload, self._header.codec)
            packed = pack(plain, self._target.codec)
            if bytes(unpack(packed, self._target.codec)) != bytes(plain):
                raise CorruptBlock(block.offset, "compressed anew, it does not unpack to the same")
        numbers = put_long(block.rows) + put_long(len(packed))
        return Made(b"".join([numbers, packed, self._target.sync]), block.rows, 0)

    def _encoded(
        self,
        block: Block,
        payload: memoryview,
        positions: npt.NDArray[np.intp],
    ) -> Made:
        frame = self._decoded(block, payload)
        if len(positions):
            frame = frame.with_row_index("_row").filter(~pl.col("_row").is_in(positions.tolist()))
            frame = frame.drop("_row")
        data = self._encoder.encode(frame.to_arrow())
        again = self._reader.decode(data)
        same = record_sum(again) == record_sum(frame)
        if not same or self._encoder.encode(again.to_arrow()) != data:
            raise CorruptBlock(block.offset, "encoded anew, it does not decode to the same rows")
        return Made(data, frame.height, len(positions))

    def _decoded(self, block: Block, payload: memoryview) -> pl.DataFrame:
        if self._decoder is None:
            self._decoder = Decoder(self._header)
            if not self._written.same:
                self._resolver = Resolver(self._written.schema, self._target.record)
        whole = b"".join([put_long(block.rows), put_long(len(payload)), payload, self._header.sync])
        try:
            frame = self._decoder.decode(whole, base=block.offset)
        except CorruptBlock as error:
            raise Unmergeable(str(error)) from error
        if self._resolver is None:
            return frame
        return self._resolver.apply(frame.select(self._resolver.needs))


def record_sum(frame: pl.DataFrame) -> int:
    """Return a multiset hash of records: the same for the same rows in any order.

    It is comparable within a run only, because polars may change its hash.
    """
    hashes = frame.select(pl.struct(pl.all()).hash()).to_series().to_numpy()
    return int(np.sum(hashes, dtype=np.uint64))
