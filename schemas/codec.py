"""Frames from and to Avro: decoding and encoding of blocks, outside the interpreter's lock."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import polars as pl
import pyarrow as pa
from polars_avro import AvroWriter

from schemas.arrow import arrow_schema, frame_types
from schemas.compression import CODECS, Undecodable, pack, unpack
from schemas.container import (
    Block,
    Buffer,
    Damage,
    Header,
    credible,
    header_bytes,
    put_long,
    read_header,
    scan,
)
from schemas.errors import (
    CorruptBlock,
    InvalidSchema,
    SchemaMismatch,
    UnsupportedCodec,
    UnsupportedSchema,
)
from schemas.fit import fit
from schemas.plain import reduce
from schemas.registry import RecordType
from schemas.rows import RowDecoder

#: Rows of a block that is written: what one flipped bit can cost, and the grain of split reads.
BLOCK_ROWS = 8192


def _known(codec: str) -> str:
    if codec not in CODECS:
        raise UnsupportedCodec(f"codec: expected one of {', '.join(CODECS)}, found '{codec}'")
    return codec


@dataclass(frozen=True, slots=True)
class _ArrowFrame:
    """An Arrow table as the writer takes it: by the one method of a frame that it calls."""

    table: pa.Table

    def to_arrow(self) -> pa.Table:
        return self.table


class Encoder:
    """Tables of one record type to the blocks of one file; the same table gives the same bytes.

    ``header`` and any number of results of ``encode``, in this order, are a whole file. Raises
    UnsupportedCodec, and UnsupportedSchema for what can be read but not written.
    """

    def __init__(
        self,
        record_type: RecordType,
        codec: str = "snappy",
        *,
        sync: bytes,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        unwritable = reduce(record_type.schema).unwritable
        if unwritable:
            raise UnsupportedSchema(record_type.name, unwritable)
        self.record_type = record_type
        self.sync = sync
        self.header = header_bytes(record_type.text, codec, sync)
        self._codec = _known(codec)
        self._block_rows = block_rows

    def encode(self, table: pa.Table) -> bytes:
        """Return whole blocks of ``block_rows`` rows each (the last may be shorter), in row order.

        No rows give no bytes. Raises SchemaMismatch as ``fit`` does.
        """
        if table.num_rows == 0 and table.num_columns == 0:
            table = self.record_type.arrow.empty_table()
        fitted = fit(table, self.record_type.arrow, self.record_type.name)
        if fitted.num_rows == 0:
            return b""
        batches = fitted.to_batches(max_chunksize=self._block_rows)
        written = BytesIO()
        with AvroWriter(written, codec=None) as writer:
            writer.write(_ArrowFrame(pa.Table.from_batches(batches)))  # type: ignore[arg-type]
        return self._packed(written.getvalue())

    def _packed(self, file: bytes) -> bytes:
        """Compress each block, and put our sync marker behind it.

        The writer's own compression is not used: Arrow's is twice as fast on the same payload.
        """
        header = read_header(file)
        parts: list[Buffer] = []
        body = memoryview(file)[header.length :]
        for block in scan(body, header, 0):
            if isinstance(block, Damage):
                raise CorruptBlock(block.offset, f"written wrong: {block.error}")
            payload = pack(body[block.start : block.start + block.size], self._codec)
            parts += [put_long(block.rows), put_long(len(payload)), payload, self.sync]
        return b"".join(parts)


class Decoder:
    """Blocks of one file to frames with the types of the file's own schema; enums become strings.

    Raises UnsupportedCodec, InvalidSchema and UnsupportedSchema when made: never while decoding.
    """

    def __init__(self, header: Header) -> None:
        _known(header.codec)
        try:
            schema = json.loads(header.schema_text)
        except ValueError as error:
            raise InvalidSchema(f"the header's schema is not JSON: {error}") from error
        self.header = header
        self.schema = schema
        self.arrow = arrow_schema(schema)
        self._rows = RowDecoder(reduce(schema).schema)
        self._types = frame_types(self.arrow)

    def decode(
        self, payload: Buffer, columns: Sequence[str] | None = None, base: int = 0
    ) -> pl.DataFrame:
        """Return the rows of whole blocks, in order; ``base`` is where the first of them begins.

        ``columns`` are names in the order wanted, at least one. Raises CorruptBlock for the first
        block that cannot be read, SchemaMismatch for columns that the file does not have.
        """
        frames = []
        for each in self.decode_blocks(payload, scan(payload, self.header, base), columns, base):
            if isinstance(each, Damage):
                raise CorruptBlock(each.offset, each.error)
            frames.append(each)
        return pl.concat(frames) if frames else self.empty(columns)

    def decode_blocks(
        self,
        buffer: Buffer,
        blocks: Iterable[Block | Damage],
        columns: Sequence[str] | None = None,
        base: int = 0,
    ) -> Iterator[pl.DataFrame | Damage]:
        """Yield the rows of ``blocks`` in order: one frame between any two damages.

        ``buffer`` holds the bytes from the absolute position ``base``. A block of right framing
        that cannot be decoded becomes Damage with the rows that it declares. Raises SchemaMismatch
        for columns that the file does not have.
        """
        self._check(columns)
        run: list[Block] = []
        for each in blocks:
            if isinstance(each, Block):
                run.append(each)
                continue
            yield from self._decode_run(buffer, run, columns, base)
            run = []
            yield each
        yield from self._decode_run(buffer, run, columns, base)

    def empty(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return a frame without rows, of the types that ``decode`` gives."""
        names = list(columns) if columns is not None else list(self._types)
        return pl.DataFrame(schema={name: self._types[name] for name in names})

    def _check(self, columns: Sequence[str] | None) -> None:
        if columns is None:
            return
        unknown = [f"{name}: not in the file" for name in columns if name not in self._types]
        if unknown or not columns:
            raise SchemaMismatch(self.schema["name"], unknown or ["no columns asked for"])

    def _decode_run(
        self, buffer: Buffer, run: Sequence[Block], columns: Sequence[str] | None, base: int
    ) -> Iterator[pl.DataFrame | Damage]:
        """Try all blocks at once; on failure one by one, so that only the bad ones are lost."""
        if not run:
            return
        try:
            yield self._decode(buffer, run, columns, base)
        except CorruptBlock as error:
            if len(run) == 1:
                block = run[0]
                length = block.end - block.offset
                yield Damage(block.offset, length, credible(block.rows, length), error.error)
                return
            middle = len(run) // 2
            yield from self._decode_run(buffer, run[:middle], columns, base)
            yield from self._decode_run(buffer, run[middle:], columns, base)

    def _decode(
        self, buffer: Buffer, run: Sequence[Block], columns: Sequence[str] | None, base: int
    ) -> pl.DataFrame:
        view = memoryview(buffer)
        try:
            payloads = [
                unpack(view[b.start - base : b.start - base + b.size], self.header.codec)
                for b in run
            ]
            frame = self._rows.decode(payloads, sum(b.rows for b in run), columns)
        except Undecodable as error:
            raise CorruptBlock(run[0].offset, str(error)) from error
        found = frame.schema
        return frame.cast({n: self._types[n] for n in found if found[n] != self._types[n]})


def decode_file(data: Buffer, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the rows of a whole file in order; raises as ``read_header`` and ``Decoder`` do."""
    header = read_header(data)
    body = memoryview(data)[header.length :]
    return Decoder(header).decode(body, columns, base=header.length)


def encode_file(
    tables: pa.Table | Iterable[pa.Table],
    record_type: RecordType,
    codec: str = "snappy",
    *,
    sync: bytes,
) -> bytes:
    """Return a whole file of the tables' rows in order; raises as ``Encoder`` does."""
    encoder = Encoder(record_type, codec, sync=sync)
    each = [tables] if isinstance(tables, pa.Table) else tables
    return b"".join([encoder.header, *(encoder.encode(table) for table in each)])
