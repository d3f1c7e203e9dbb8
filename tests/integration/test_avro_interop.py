"""Files of Muster in the hands of two other implementations, and theirs in the hands of Muster."""

from __future__ import annotations

import datetime as dt
import io
import json
import uuid
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import avro.codecs
import avro.datafile
import avro.io
import avro.schema
import cramjam
import fastavro
import polars as pl
import pytest

from schemas.codec import decode_file, encode_file
from schemas.container import read_header, sync_marker
from schemas.registry import RecordType, define

pytestmark = pytest.mark.integration

CODECS = ["null", "deflate", "snappy", "zstandard"]
UTC = dt.UTC
Rows = list[dict[str, Any]]


def logical(base: str, name: str, **more: int) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def optional(kind: Any) -> list[Any]:
    return ["null", kind]


def record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    listed = [{"name": n, "type": t} for n, t in fields.items()]
    return {"type": "record", "name": name, "fields": listed}


def enum(name: str) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": ["B", "A", "C"]}


POINT = record("Point", {"x": "int", "label": optional("string")})
FIELDS: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "flag": ("boolean", lambda i: i % 2 == 0),
    "small": ("int", lambda i: i - 500),
    "large": ("long", lambda i: (i - 500) * 2**50),
    "single": ("float", lambda i: i / 4),
    "double": ("double", lambda i: i / 3),
    "text": ("string", lambda i: "ü✓" * (i % 4)),
    "raw": ("bytes", lambda i: bytes(range(i % 5))),
    "fixed": ({"type": "fixed", "name": "Three", "size": 3}, lambda i: bytes([i % 256, 0, 255])),
    "day": (logical("int", "date"), lambda i: dt.date(1950, 1, 1) + dt.timedelta(100 * i)),
    "clock": (logical("int", "time-millis"), lambda i: dt.time(23, 59, i % 60, 999000)),
    "micro_clock": (logical("long", "time-micros"), lambda i: dt.time(0, 0, i % 60, 1)),
    "millis": (
        logical("long", "timestamp-millis"),
        lambda i: dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC) + dt.timedelta(milliseconds=i),
    ),
    "micros": (
        logical("long", "timestamp-micros"),
        lambda i: dt.datetime(2038, 1, 19, tzinfo=UTC) + dt.timedelta(microseconds=i),
    ),
    "money": (
        logical("bytes", "decimal", precision=20, scale=3),
        lambda i: Decimal(i - 500) * Decimal("12345678.901"),
    ),
    "uid": (logical("string", "uuid"), lambda i: str(uuid.UUID(int=i**9))),
    "kind": (enum("Kind"), lambda i: "ABC"[i % 3]),
    "list": (
        {"type": "array", "items": optional("string")},
        lambda i: [None, "a", ""][: i % 4],
    ),
    "deep": (
        {"type": "array", "items": {"type": "array", "items": "int"}},
        lambda i: [[i, -i]] * (i % 3),
    ),
    "map": (
        {"type": "map", "values": optional("long")},
        lambda i: {"k": i, "n": None} if i % 3 else {},
    ),
    "point": (POINT, lambda i: {"x": i, "label": None if i % 2 else "even"}),
    "points": ({"type": "map", "values": "Point"}, lambda i: {f"p{i}": {"x": i, "label": "z"}}),
    "kinds": ({"type": "array", "items": "Kind"}, lambda i: ["A", "B"][: i % 3]),
    "nest": (
        record("Nest", {"inner": optional(record("Inner", {"kind": "Kind", "of": "bytes"}))}),
        lambda i: {"inner": None if i % 3 else {"kind": "C", "of": b"\x00"}},
    ),
}
REQUIRED = record("everything", {n: t for n, (t, _) in FIELDS.items()}) | {"namespace": "a.b"}


def nullable(null_first: bool) -> dict[str, Any]:
    order = (lambda t: ["null", t]) if null_first else (lambda t: [t, "null"])
    return record("everything", {n: order(t) for n, (t, _) in FIELDS.items()})


def rows(count: int, with_nulls: bool) -> Rows:
    def value(i: int, place: int, make: Callable[[int], Any]) -> Any:
        return None if with_nulls and (i + place) % 3 == 0 else make(i)

    return [
        {n: value(i, place, make) for place, (n, (_, make)) in enumerate(FIELDS.items())}
        for i in range(count)
    ]


def by_fastavro(data: bytes) -> Rows:
    return list(fastavro.reader(io.BytesIO(data)))  # type: ignore[arg-type]


def by_apache(data: bytes) -> Rows:
    with avro.datafile.DataFileReader(io.BytesIO(data), avro.io.DatumReader()) as reader:
        return list(reader)


def of_fastavro(schema: dict[str, Any], given: Rows, codec: str) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, given, codec=codec, sync_interval=4000)
    return out.getvalue()


def of_apache(schema: dict[str, Any], given: Rows, codec: str) -> bytes:
    out = io.BytesIO()
    parsed = avro.schema.parse(json.dumps(schema))
    writer = avro.datafile.DataFileWriter(out, avro.io.DatumWriter(), parsed, codec=codec)
    for each in given:
        writer.append(each)
    writer.flush()
    return out.getvalue()


def plain(value: Any) -> Any:
    """Take away what implementations legitimately differ in: UUID objects, and zones of UTC."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, uuid.UUID):
        return str(value)
    return value.astimezone(UTC) if isinstance(value, dt.datetime) else value


class SnappyCodec(avro.codecs.Codec):
    """Apache's library has Snappy only beside python-snappy, which needs a compiler."""

    @staticmethod
    def compress(data: bytes) -> tuple[bytes, int]:
        packed = bytes(cramjam.snappy.compress_raw(data)) + zlib.crc32(data).to_bytes(4, "big")
        return packed, len(packed)

    @staticmethod
    def decompress(readers_decoder: avro.io.BinaryDecoder) -> avro.io.BinaryDecoder:
        packed = readers_decoder.read(readers_decoder.read_long())
        unpacked = bytes(cramjam.snappy.decompress_raw(packed[:-4]))
        assert zlib.crc32(unpacked).to_bytes(4, "big") == packed[-4:]
        return avro.io.BinaryDecoder(io.BytesIO(unpacked))


@pytest.fixture(autouse=True)
def _apache_knows_snappy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(avro.codecs.KNOWN_CODECS, "snappy", SnappyCodec)


def define_like(schema: dict[str, Any]) -> tuple[RecordType, bytes]:
    defined = define(schema)
    return defined, sync_marker(b"test", defined.fingerprint)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("other", [by_fastavro, by_apache])
@pytest.mark.parametrize(("schema", "with_nulls"), [(REQUIRED, False), (nullable(True), True)])
def test_ours_read_by_others(
    codec: str, other: Callable[[bytes], Rows], schema: dict[str, Any], with_nulls: bool
) -> None:
    given = rows(1000, with_nulls)
    defined, sync = define_like(schema)
    frame = decode_file(of_fastavro(schema, given, "null"))
    data = encode_file(frame.to_arrow(), defined, codec, sync=sync)
    assert read_header(data).codec == codec
    assert plain(other(data)) == plain(given)
    assert decode_file(data).equals(frame)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("other", [of_fastavro, of_apache])
@pytest.mark.parametrize(
    ("schema", "with_nulls"),
    [(REQUIRED, False), (nullable(True), True), (nullable(False), True)],
    ids=["required", "null first", "null last"],
)
def test_theirs_read_by_us(
    codec: str, other: Callable[..., bytes], schema: dict[str, Any], with_nulls: bool
) -> None:
    given = rows(1000, with_nulls)
    found = decode_file(other(schema, given, codec))
    assert plain(found.to_dicts()) == plain(given)
    few = other(schema, given[:50], codec)
    for name in FIELDS:
        assert decode_file(few, [name]).equals(found[:50].select(name))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [0, 1])
def test_files_of_none_and_of_one_row(codec: str, count: int) -> None:
    given = rows(count, False)
    defined, sync = define_like(REQUIRED)
    for theirs in (of_fastavro(REQUIRED, given, codec), of_apache(REQUIRED, given, codec)):
        found = decode_file(theirs)
        assert plain(found.to_dicts()) == plain(given)
        ours = encode_file(found.to_arrow(), defined, codec, sync=sync)
        assert plain(by_fastavro(ours)) == plain(by_apache(ours)) == plain(given)


@pytest.mark.parametrize("codec", CODECS)
def test_an_empty_block_of_theirs(codec: str) -> None:
    out = io.BytesIO()
    schema = record("r", {"n": "int"})
    writer = fastavro.write.Writer(out, schema, codec=codec)
    for value in (1, None, 2, None):
        if value is not None:
            writer.write({"n": value})
        writer.dump()
    writer.dump()
    data = out.getvalue()
    assert [b.num_records for b in fastavro.block_reader(io.BytesIO(data))] == [1, 0, 1, 0, 0]
    assert decode_file(data)["n"].to_list() == [1, 2]


def test_a_decimal_on_fixed_of_theirs() -> None:
    kind = {
        "type": "fixed",
        "name": "d",
        "size": 6,
        "logicalType": "decimal",
        "precision": 9,
        "scale": 2,
    }
    given = [{"d": Decimal("-1.25")}, {"d": Decimal("1234567.89")}]
    data = of_fastavro(record("r", {"d": kind}), given, "null")
    assert decode_file(data).to_dicts() == given


@pytest.mark.slow
def test_a_file_of_a_million_rows() -> None:
    schema = record(
        "r", {"id": "string", "n": optional("long"), "at": logical("long", "timestamp-millis")}
    )
    defined, sync = define_like(schema)
    frame = pl.select(i=pl.int_range(1_000_000)).select(
        id=pl.format("id-{}", pl.col("i")),
        n=pl.when(pl.col("i") % 3 > 0).then(pl.col("i")),
        at=(pl.col("i") * 1000).cast(pl.Datetime("ms", "UTC")),
    )
    data = encode_file((part.to_arrow() for part in frame.iter_slices(100_000)), defined, sync=sync)
    assert decode_file(data).equals(frame)
    count = total = 0
    for row in fastavro.reader(io.BytesIO(data)):
        assert isinstance(row, dict)
        assert row["id"] == f"id-{count}"
        count, total = count + 1, total + (row["n"] or 0)
    assert (count, total) == (frame.height, frame["n"].sum())
