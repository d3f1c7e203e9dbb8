from __future__ import annotations

import datetime as dt
import io
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import CODECS, Decoder, Encoder, decode_file, encode_file
from schemas.container import (
    Block,
    Damage,
    header_bytes,
    put_long,
    read_header,
    scan,
    sync_marker,
)
from schemas.errors import (
    CorruptBlock,
    InvalidSchema,
    SchemaMismatch,
    UnsupportedCodec,
    UnsupportedSchema,
)
from schemas.registry import define, record_type

SYNC = bytes(range(16))
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "r",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "s", "type": ["null", "string"]},
        {"name": "l", "type": {"type": "array", "items": "int"}},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B", "C"]}},
    ],
}
TYPE = define(SCHEMA)
FRAME_SCHEMA = {"n": pl.Int64, "s": pl.String, "l": pl.List(pl.Int32), "e": pl.String}


def frame(rows: int) -> pl.DataFrame:
    values = [
        (i * 1000, None if i % 3 == 0 else f"t{i}", [i] * (i % 3), "CAB"[i % 3])
        for i in range(rows)
    ]
    return pl.DataFrame(values, FRAME_SCHEMA, orient="row")


def file(rows: int = 20, codec: str = "null", block_rows: int = 6) -> bytes:
    encoder = Encoder(TYPE, codec, sync=SYNC, block_rows=block_rows)
    return encoder.header + encoder.encode(frame(rows).to_arrow())


def read(data: bytes, columns: list[str] | None = None) -> list[pl.DataFrame | Damage]:
    header = read_header(data)
    found = scan(memoryview(data)[header.length :], header, header.length)
    return list(Decoder(header).decode_blocks(data, found, columns))


def rows_of(parts: list[pl.DataFrame | Damage]) -> pl.DataFrame:
    return pl.concat([frame(0), *(p for p in parts if isinstance(p, pl.DataFrame))])


@pytest.mark.parametrize("codec", CODECS)
def test_what_is_written_is_read(codec: str) -> None:
    data = file(codec=codec)
    assert decode_file(data).equals(frame(20))
    assert decode_file(data).schema == FRAME_SCHEMA
    header = read_header(data)
    assert (header.schema_text, header.codec, header.sync) == (TYPE.text, codec, SYNC)
    blocks = list(scan(data[header.length :], header, header.length))
    assert [b.rows for b in blocks] == [6, 6, 6, 2]


@pytest.mark.parametrize("codec", CODECS)
def test_the_same_rows_give_the_same_bytes(codec: str) -> None:
    table = frame(50).to_arrow()
    chunks = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    one = Encoder(TYPE, codec, sync=SYNC)
    assert one.encode(table) == one.encode(chunks) == Encoder(TYPE, codec, sync=SYNC).encode(table)


def test_a_whole_file_of_several_tables() -> None:
    tables = [frame(5).to_arrow(), frame(0).to_arrow(), frame(3).to_arrow()]
    data = encode_file(tables, TYPE, "zstandard", sync=SYNC)
    assert decode_file(data).equals(pl.concat([frame(5), frame(3)]))


def test_no_rows_give_no_blocks() -> None:
    data = encode_file([], TYPE, sync=SYNC)
    assert data == encode_file(frame(0).to_arrow(), TYPE, sync=SYNC)
    assert decode_file(data).equals(frame(0))
    assert decode_file(data, ["s"]).schema == {"s": pl.String}


@pytest.mark.parametrize("codec", CODECS)
def test_empty_blocks_are_read(codec: str) -> None:
    encoder = Encoder(TYPE, codec, sync=SYNC)
    empty = b"\x00\x00" + SYNC
    body = encoder.encode(frame(7).to_arrow())
    assert decode_file(encoder.header + empty + body + empty).equals(frame(7))
    assert decode_file(encoder.header + empty).equals(frame(0))


def test_columns_come_in_the_order_asked_for() -> None:
    assert decode_file(file(), ["e", "n"]).equals(frame(20).select("e", "n"))
    assert decode_file(file(), ["s"]).equals(frame(20).select("s"))


@pytest.mark.parametrize("columns", [["n", "zz"], []])
def test_columns_that_are_not_there_are_refused(columns: list[str]) -> None:
    with pytest.raises(SchemaMismatch):
        decode_file(file(), columns)


def test_a_column_is_read_without_the_one_that_defines_its_type() -> None:
    point = {"type": "record", "name": "p", "fields": [{"name": "x", "type": "int"}]}
    fields = [{"name": "a", "type": point}, {"name": "b", "type": ["null", "p"]}]
    out = io.BytesIO()
    fastavro.writer(
        out, {"type": "record", "name": "r", "fields": fields}, [{"a": {"x": 1}, "b": {"x": 2}}]
    )
    assert decode_file(out.getvalue(), ["b"]).to_dicts() == [{"b": {"x": 2}}]


def test_nulls_in_required_fields_are_never_written() -> None:
    bad = frame(3).with_columns(pl.Series("l", [[1, None], [], [2]], pl.List(pl.Int32)))
    with pytest.raises(SchemaMismatch, match=r"l\[\]: required, found 1 nulls"):
        Encoder(TYPE, sync=SYNC).encode(bad.to_arrow())


@pytest.mark.parametrize(
    "kind",
    [
        ["string", "null"],
        {"type": "array", "items": ["int", "null"]},
        {"type": "fixed", "name": "d", "size": 6, "logicalType": "decimal", "precision": 9},
    ],
)
def test_what_can_only_be_read_is_not_written(kind: Any) -> None:
    schema = define({"type": "record", "name": "r", "fields": [{"name": "x", "type": kind}]})
    with pytest.raises(UnsupportedSchema, match="x"):
        Encoder(schema, sync=SYNC)


def test_unknown_codecs_and_schemas_are_refused_before_decoding() -> None:
    with pytest.raises(UnsupportedCodec, match="found 'lzo'"):
        Encoder(TYPE, "lzo", sync=SYNC)
    for text, codec, error in [
        (TYPE.text, "lzo", UnsupportedCodec),
        ("{not json", "null", InvalidSchema),
        (
            '{"type":"record","name":"r","fields":[{"name":"u","type":["int","string"]}]}',
            "null",
            UnsupportedSchema,
        ),
    ]:
        with pytest.raises(error):
            Decoder(read_header(header_bytes(text, codec, SYNC)))


@pytest.mark.parametrize("codec", CODECS)
def test_every_truncation_leaves_the_whole_blocks(codec: str) -> None:
    data = file(codec=codec)
    header = read_header(data)
    ends = [
        b.end for b in scan(data[header.length :], header, header.length) if isinstance(b, Block)
    ]
    for length in range(header.length, len(data)):
        whole = sum(end <= length for end in ends)
        parts = read(data[:length])
        assert rows_of(parts).equals(frame(20).head(6 * whole))
        damage = [p for p in parts if isinstance(p, Damage)]
        boundary = length in (header.length, *ends)
        assert [d.truncated for d in damage] == ([] if boundary else [True])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_costs_at_most_its_block(codec: str, bit: int) -> None:
    data = file(codec=codec)
    header = read_header(data)
    good = list(scan(data[header.length :], header, header.length))
    for position in range(header.length, len(data)):
        broken = bytearray(data)
        broken[position] ^= 1 << bit
        hit = next(i for i, b in enumerate(good) if isinstance(b, Block) and position < b.end)
        first, rows = 6 * hit, (6, 6, 6, 2)[hit]
        parts = read(bytes(broken))
        found = rows_of(parts)
        damaged = [p for p in parts if isinstance(p, Damage)]
        assert found.head(first).equals(frame(20).head(first))
        assert found.tail(20 - first - rows).equals(frame(20).tail(20 - first - rows))
        assert found.height == (20 - rows if damaged else 20)
        block = good[hit]
        assert isinstance(block, Block)
        framing = not block.start <= position < block.start + block.size
        assert damaged or not (framing or codec == "snappy") or found.equals(frame(20))
        assert sum(d.length for d in damaged) in (0, block.end - block.offset)


def one_block(rows: int, payload: bytes) -> bytes:
    return put_long(rows) + put_long(len(payload)) + payload + SYNC


@pytest.mark.timeout(30)
@pytest.mark.parametrize("columns", [None, ["n"], ["e"], ["s", "l"]])
@pytest.mark.parametrize("declared", [0, 1, 4, 6, 7, 5_000_000, 2**62, 2**63 - 1])
def test_a_wrong_count_is_damage_and_never_a_hang(declared: int, columns: list[str] | None) -> None:
    data = file(5)
    header = read_header(data)
    block = next(scan(data[header.length :], header, 0))
    assert isinstance(block, Block)
    payload = data[header.length :][block.start : block.start + block.size]
    good = one_block(5, payload)
    whole = data[: header.length] + good + one_block(declared, payload) + good
    first, damage, last = read(whole, columns)
    expected = frame(5) if columns is None else frame(5).select(columns)
    assert isinstance(first, pl.DataFrame)
    assert isinstance(last, pl.DataFrame)
    assert isinstance(damage, Damage)
    assert first.equals(expected)
    assert last.equals(expected)
    assert damage.offset == header.length + len(good)
    assert damage.rows == (declared if declared in (1, 4, 6, 7) else 1)
    with pytest.raises(CorruptBlock, match=f"block at byte {damage.offset}: ") as raised:
        decode_file(whole, columns)
    assert raised.value.offset == damage.offset


def test_counts_that_make_up_for_each_other_lose_nothing() -> None:
    data = file(5)
    header = read_header(data)
    block = next(scan(data[header.length :], header, 0))
    assert isinstance(block, Block)
    payload = data[header.length :][block.start : block.start + block.size]
    whole = data[: header.length] + one_block(4, payload) + one_block(6, payload)
    # Together they hold what they declare: nothing is lost, and no row is wrong.
    assert decode_file(whole).equals(pl.concat([frame(5), frame(5)]))


def test_decoders_and_encoders_work_from_many_threads() -> None:
    data = file(400, "snappy", 50)
    header = read_header(data)
    decoder, encoder = Decoder(header), Encoder(TYPE, "snappy", sync=SYNC, block_rows=50)

    def work(_: int) -> bytes:
        return encoder.encode(decoder.decode(data[header.length :]).to_arrow())

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(40))) == {data[header.length :]}


ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | st.text(max_size=5),
        st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        st.sampled_from("ABC"),
    ),
    max_size=30,
)


@settings(max_examples=50, deadline=None)
@given(
    rows=ROWS, cuts=st.lists(st.integers(0, 30), max_size=3), codec=st.sampled_from(sorted(CODECS))
)
def test_any_rows_however_cut_into_frames_come_back(
    rows: list[Any], cuts: list[int], codec: str
) -> None:
    whole = pl.DataFrame(rows, FRAME_SCHEMA, orient="row")
    edges = [0, *sorted(cuts), whole.height]
    parts = [whole[a:b].to_arrow() for a, b in pairwise(edges)]
    data = encode_file(parts, TYPE, codec, sync=sync_marker(b"key", TYPE.fingerprint))
    assert decode_file(data).equals(whole)
    again = list(fastavro.reader(io.BytesIO(data))) if codec in ("null", "deflate") else None
    expected = [dict(zip(FRAME_SCHEMA, row, strict=True)) for row in rows]
    assert again is None or again == expected


def test_a_run_with_much_damage_keeps_every_good_block() -> None:
    data = bytearray(file(60, "snappy", 2))
    header = read_header(bytes(data))
    blocks = [
        b for b in scan(bytes(data[header.length :]), header, header.length) if isinstance(b, Block)
    ]
    spoilt = blocks[::3]
    for block in spoilt:
        data[block.start + 3] ^= 0xFF
    parts = read(bytes(data))
    kept = chain.from_iterable((2 * i, 2 * i + 1) for i in range(30) if i % 3)
    assert rows_of(parts).equals(frame(60)[list(kept)])
    assert [p.offset for p in parts if isinstance(p, Damage)] == [b.offset for b in spoilt]


def test_candidates_survive_the_way_through_a_frame() -> None:
    candidate = record_type("candidate")
    at = dt.datetime(2017, 3, 1, 12, tzinfo=dt.UTC)
    score = {"modelId": "m", "value": 0.5, "confidence": 1.0, "timestamp": at, "metadata": None}
    given = [
        {
            "customerId": f"c{i}",
            "context": [{"type": "marketplace", "id": "US"}][: i % 2],
            "subject": {
                "type": "product",
                "id": f"p{i}",
                "metadata": {"k": "v"} if i % 2 else None,
            },
            "scores": {"response": score, "value": score | {"metadata": {"a": "b"}}}
            if i % 3
            else {},
            "attributes": {
                "eventDate": at,
                "deliveryDate": None,
                "timingWindow": None,
                "orderValue": i / 3 if i % 2 else None,
                "mediaEligible": True,
                "channelEligibility": {"email": True, "in-app": i % 2 == 0},
            },
            "metadata": {
                "createdAt": at,
                "updatedAt": at,
                "expiresAt": at,
                "version": 1,
                "sourceConnectorId": "s",
                "workflowExecutionId": "w",
                "band": None,
                "treatments": {"e": "t"} if i % 4 else None,
            },
            "rejectionHistory": None
            if i % 2
            else [{"filterId": "f", "reason": "r", "reasonCode": "C", "timestamp": at}] * (i % 3),
        }
        for i in range(50)
    ]
    out = io.BytesIO()
    fastavro.writer(out, dict(candidate.schema), given)
    frame = decode_file(out.getvalue())
    data = encode_file(frame.to_arrow(), candidate, sync=SYNC)
    assert (
        list(
            fastavro.reader(io.BytesIO(encode_file(frame.to_arrow(), candidate, "null", sync=SYNC)))
        )
        == given
    )
    assert decode_file(data).equals(frame)
    parts = [frame[a : a + 7].to_arrow() for a in range(0, 50, 7)]
    assert decode_file(encode_file(parts, candidate, sync=SYNC)).equals(frame)
    assert decode_file(encode_file([frame.to_arrow().slice(11, 20)], candidate, sync=SYNC)).equals(
        frame[11:31]
    )
