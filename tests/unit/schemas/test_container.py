from __future__ import annotations

import io
from itertools import pairwise

import fastavro
import pytest

from schemas.container import (
    Block,
    Damage,
    Header,
    find_sync,
    header_bytes,
    read_header,
    scan,
    sync_marker,
)
from schemas.errors import NotAnAvroFile, TruncatedHeader

SCHEMA = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]}
SYNC = bytes(range(16))


def small_file(rows: int = 12, interval: int = 6) -> bytes:
    out = io.BytesIO()
    records = [{"n": 1000 + i} for i in range(rows)]
    fastavro.writer(out, SCHEMA, records, sync_interval=interval, sync_marker=SYNC)
    return out.getvalue()


def walk(data: bytes, header: Header) -> list[Block | Damage]:
    return list(scan(data[header.length :], header, header.length))


def test_header_of_another_writer_is_read() -> None:
    data = small_file()
    header = read_header(data)
    assert header.codec == "null"
    assert header.sync == SYNC
    assert data[header.length - 16 : header.length] == SYNC
    assert '"name": "n"' in header.schema_text


def test_header_round_trips_with_extra_metadata() -> None:
    data = header_bytes('{"x":"ä"}', "snappy", SYNC, {"b": b"2", "a": b"\x00"})
    assert read_header(data) == Header(
        '{"x":"ä"}',
        "snappy",
        SYNC,
        {
            "avro.schema": '{"x":"ä"}'.encode(),
            "avro.codec": b"snappy",
            "a": b"\x00",
            "b": b"2",
        },
        len(data),
    )


def test_header_with_a_sized_metadata_block_is_read() -> None:
    entries = b"\x16avro.schema\x04{}"
    data = b"Obj\x01" + b"\x01" + bytes([2 * len(entries)]) + entries + b"\x00" + SYNC
    header = read_header(data)
    assert (header.schema_text, header.codec, header.length) == ("{}", "null", len(data))


def test_every_truncation_of_a_header_is_named() -> None:
    data = header_bytes("{}", "null", SYNC)
    for length in range(len(data)):
        with pytest.raises(TruncatedHeader):
            read_header(data[:length])


@pytest.mark.parametrize(
    "data",
    [
        b"PAR1 and more",
        b"Obj\x02",
        b"Obj\x01" + b"\xff" * 20,
        b"Obj\x01\x00" + SYNC,
        b"Obj\x01\x02\x02\xff\x02a\x00" + SYNC,
    ],
)
def test_other_bytes_are_no_avro_file(data: bytes) -> None:
    with pytest.raises(NotAnAvroFile) as raised:
        read_header(data)
    assert not isinstance(raised.value, TruncatedHeader)


def test_a_sync_marker_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, found 3"):
        header_bytes("{}", "null", b"abc")


def test_blocks_tile_the_file() -> None:
    data = small_file()
    header = read_header(data)
    blocks = walk(data, header)
    assert [b.rows for b in blocks] == [3, 3, 3, 3]
    assert blocks[0].offset == header.length
    assert blocks[-1].offset + blocks[-1].size + 18 == len(data)
    for before, after in pairwise(blocks):
        assert isinstance(before, Block)
        assert before.end == after.offset
        assert before.end == before.start + before.size + 16


def test_no_blocks_and_an_empty_block() -> None:
    header = read_header(header_bytes("{}", "null", SYNC))
    assert list(scan(b"", header, 7)) == []
    assert list(scan(b"\x00\x00" + SYNC, header, 7)) == [Block(7, 0, 9, 0, 25)]


def test_ranges_cut_anywhere_share_the_blocks_out() -> None:
    data = small_file()
    header = read_header(data)
    everything = walk(data, header)
    for cut in range(len(data) + 1):
        first = list(scan(data[header.length :], header, header.length, stop=cut))
        found = find_sync(data, SYNC, cut)
        second = [] if found < 0 else list(scan(data[found + 16 :], header, found + 16))
        assert [*first, *second] == everything


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_find_sync(kind: type) -> None:
    buffer = kind(b"ab" + SYNC + b"\n" + SYNC)
    assert find_sync(buffer, SYNC) == 2
    assert find_sync(buffer, SYNC, 3) == 19
    assert find_sync(buffer, SYNC, 20) == -1


def test_sync_markers_differ_by_key_and_by_schema() -> None:
    markers = {sync_marker(k, f) for k in (b"one", b"two") for f in ("aa", "bb")}
    assert len(markers) == 4
    assert all(len(m) == 16 for m in markers)
    assert sync_marker(b"one", "aa") in markers


def test_every_truncation_loses_the_last_block_only() -> None:
    data = small_file()
    header = read_header(data)
    blocks = walk(data, header)
    for length in range(header.length, len(data)):
        found = walk(data[:length], header)
        whole = [b for b in blocks if b.offset + b.size + 18 <= length]
        assert found[: len(whole)] == whole
        cut = found[len(whole) :]
        at_boundary = length == (whole[-1].end if whole else header.length)  # type: ignore[union-attr]
        assert len(cut) == (0 if at_boundary else 1)
        for damage in cut:
            assert isinstance(damage, Damage)
            assert damage.truncated
            assert damage.offset + damage.length == length
            assert damage.rows == 3


def test_a_flipped_bit_in_the_framing_costs_its_block_only() -> None:
    data = small_file()
    header = read_header(data)
    blocks = walk(data, header)
    payload = {p for b in blocks for p in range(b.start, b.start + b.size)}  # type: ignore[union-attr]
    for position in range(header.length, len(data)):
        if position in payload:
            continue
        broken = bytearray(data)
        broken[position] ^= 0x40
        found = walk(bytes(broken), header)
        hit = next(i for i, b in enumerate(blocks) if position < b.end)  # type: ignore[union-attr]
        others = [b for i, b in enumerate(blocks) if i != hit]
        assert [f for f in found if f in others] == others
        assert sum(_length(f) for f in found) == len(data) - header.length
        assert [f for f in found if f not in others] != [blocks[hit]]


def _length(each: Block | Damage) -> int:
    return each.length if isinstance(each, Damage) else each.end - each.offset


def test_a_spoilt_marker_does_not_cost_the_next_block() -> None:
    data = bytearray(small_file())
    header = read_header(bytes(data))
    first = walk(bytes(data), header)[0]
    assert isinstance(first, Block)
    data[first.end - 1] ^= 1
    found = walk(bytes(data), header)
    expected = Damage(first.offset, first.end - first.offset, 3, "no sync marker after its 6 bytes")
    assert found[0] == expected
    assert [type(f) for f in found[1:]] == [Block] * 3


def test_incredible_counts_are_taken_for_one_row() -> None:
    header = read_header(header_bytes("{}", "null", SYNC))
    huge = b"\xfe\xff\xff\xff\xff\x0f" + b"\x08abcd" + b"?" * 16
    (damage,) = scan(huge, header, 0)
    assert isinstance(damage, Damage)
    assert (damage.rows, damage.length, damage.truncated) == (1, len(huge), False)


def test_a_number_that_never_ends_is_damage() -> None:
    header = read_header(header_bytes("{}", "null", SYNC))
    (damage, block) = scan(b"\xff" * 11 + SYNC + b"\x02\x02a" + SYNC, header, 100)
    assert damage == Damage(100, 27, 1, "its count or size is not a number")
    assert block == Block(127, 1, 129, 1, 146)
