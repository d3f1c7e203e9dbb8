from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import AvroConnector
from pipelines.batch import Batch
from pipelines.errors import InputMoved, NothingToRead, ObjectNotFound
from pipelines.sources import avro
from pipelines.sources.avro import NO_FILE, AvroSource
from pipelines.sources.entry import Damaged
from schemas.container import Block, Damage, read_header, scan
from schemas.errors import SchemaMismatch, UnsupportedSchema
from schemas.registry import define
from transforms.kernel import ROW

DAY = "2017-03-01"
SYNC = bytes(range(200, 216))
#: The least that must be read behind a range: a marker that begins in it ends there.
MARKER = 16
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": ["null", "string"]}],
}
RECORDS = [{"n": i, "s": None if i % 3 == 0 else "text" * (i % 5)} for i in range(30)]


def written(
    records: Sequence[dict[str, Any]] = RECORDS,
    schema: dict[str, Any] = SCHEMA,
    codec: str = "null",
    block_bytes: int = 40,
) -> bytes:
    """Return a file by another writer, in many small blocks."""
    file = io.BytesIO()
    fastavro.writer(
        file,
        fastavro.parse_schema(schema),
        records,
        codec=codec,
        sync_interval=block_bytes,
        sync_marker=SYNC,
    )
    return file.getvalue()


def connector(path: str = "orders/{date}/*.avro", **changes: Any) -> AvroConnector:
    said = {
        "sourceId": "orders",
        "connectorType": "avro",
        "path": path,
        "subjectType": "product",
        "marketplace": "US",
        "fieldMappings": {"customerId": "n", "subjectId": "n", "eventDate": "n"},
    }
    return AvroConnector.model_validate({**said, **changes})


def source(root: Path, split_bytes: int = 1 << 20, **changes: Any) -> AvroSource:
    made = AvroSource(str(root), connector(), None, 7, split_bytes, 2)
    return replace(made, **changes)


def put(root: Path, data: bytes, key: str = f"orders/{DAY}/a.avro") -> None:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def everything(made: AvroSource, units: Sequence[str] = (DAY,)) -> list[Batch | Damaged]:
    with closing(made.open()) as reader:
        return [found for entry in made.plan(units, ()) for found in reader.read(entry)]


def rows(found: Sequence[Batch | Damaged]) -> list[dict[str, Any]]:
    frames = [each.frame.drop(ROW) for each in found if isinstance(each, Batch)]
    return pl.concat(frames).to_dicts() if frames else []


def damage(found: Sequence[Batch | Damaged]) -> list[Damage]:
    return [each.damage for each in found if isinstance(each, Damaged)]


def blocks(data: bytes) -> list[Block]:
    header = read_header(data)
    found = list(scan(memoryview(data)[header.length :], header, header.length))
    return [each for each in found if isinstance(each, Block)]


def check_laws(made: AvroSource, found: Sequence[Batch | Damaged]) -> None:
    """One last batch a split, at its end; rows numbered upwards within a split."""
    batches = [each for each in found if isinstance(each, Batch)]
    by_split: dict[int, list[Batch]] = {}
    for batch in batches:
        by_split.setdefault(batch.split, []).append(batch)
    assert sorted(by_split) == [entry.parts[0].split for entry in made.plan((DAY,), ())]
    for parts in by_split.values():
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        numbers = pl.concat([part.frame[ROW] for part in parts]).to_list()
        assert numbers == sorted(set(numbers))
        assert all(part.frame.schema[ROW] == pl.UInt32 for part in parts)


@pytest.mark.parametrize("codec", ["null", "snappy", "deflate", "zstandard"])
def test_reading_whole_gives_the_rows_that_another_writer_wrote(tmp_path: Path, codec: str) -> None:
    put(tmp_path, written(codec=codec))
    made = source(tmp_path)
    found = everything(made)
    assert rows(found) == RECORDS
    check_laws(made, found)
    numbers = [n for each in found if isinstance(each, Batch) for n in each.frame[ROW]]
    assert numbers == list(range(30))


def test_frames_hold_at_least_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    put(tmp_path, written())
    heights = [b.frame.height for b in everything(source(tmp_path)) if isinstance(b, Batch)]
    assert heights[-1] == 0
    assert len(heights) > 3
    assert min(heights[:-2]) >= 7


def test_ranges_of_any_size_give_exactly_the_rows_of_the_whole(tmp_path: Path) -> None:
    data = written()
    put(tmp_path, data)
    with closing(source(tmp_path).open()) as reader:
        for size in (*range(1, 130), *range(130, len(data) + 2, 9), len(data)):
            made = source(tmp_path, size)
            entries = made.plan((DAY,), ())
            assert len(entries) == -(-len(data) // size)
            found = [each for entry in entries for each in reader.read(entry)]
            assert rows(found) == RECORDS, size
            assert damage(found) == []
            check_laws(made, found)


def test_a_last_block_longer_than_the_first_look_behind_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(avro, "_LOOKAHEAD", MARKER)
    put(tmp_path, written(block_bytes=300))
    for size in (1, 10, 100, 170, 400):
        found = everything(source(tmp_path, size))
        assert rows(found) == RECORDS
        assert damage(found) == []


@pytest.mark.parametrize("first_read", [1, 5, 20, 200])
def test_a_header_longer_than_the_first_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_read: int
) -> None:
    monkeypatch.setattr(avro, "_HEADER", first_read)
    put(tmp_path, written(schema={**SCHEMA, "doc": "long " * 200}))
    for size in (50, 5000):
        assert rows(everything(source(tmp_path, size))) == RECORDS


def spoilt(data: bytes, which: int, how: str) -> bytes:
    """Spoil one block of a file that has no codec."""
    block, changed = blocks(data)[which], bytearray(data)
    if how == "marker":
        changed[block.end - 3] ^= 0xFF
    elif how == "size":
        changed[block.offset + 1] = 0x7E
    elif how == "negative size":
        changed[block.offset + 1] = 0x03
    elif how == "payload":
        changed[data.index(b"text", block.start, block.end)] = 0xFF  # no UTF-8
    return bytes(changed)


def accounted(data: bytes, found: Sequence[Batch | Damaged]) -> None:
    """Every block is read once, or all its bytes are in quarantine once; nothing else is."""
    read = [row["n"] for row in rows(found)]
    assert len(read) == len(set(read))
    stretches = damage(found)
    first = 0
    for block in blocks(written()):
        end = min(block.end, len(data))
        lost = [d for d in stretches if d.offset < end and block.offset < d.offset + d.length]
        here = list(range(first, first + block.rows))
        if lost:
            assert not set(here) & set(read)
            assert [d.offset <= block.offset for d in lost] == [True]
            assert end <= lost[0].offset + lost[0].length
        else:
            assert set(here) <= set(read), f"rows {here} are neither read nor in quarantine"
        first += block.rows
    for each in found:
        if isinstance(each, Damaged):
            start = each.damage.offset
            assert each.content == data[start : start + each.damage.length]
            assert each.damage.rows >= 1


@pytest.mark.parametrize("how", ["marker", "size", "negative size", "payload"])
@pytest.mark.parametrize("lookahead", [MARKER, 40, 1 << 20])
def test_a_spoilt_block_loses_itself_alone_however_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, lookahead: int
) -> None:
    monkeypatch.setattr(avro, "_LOOKAHEAD", lookahead)
    good = written()
    count = len(blocks(good))
    for which in (0, count // 2, count - 1):
        data = spoilt(good, which, how)
        put(tmp_path, data)
        whole = everything(source(tmp_path))
        accounted(data, whole)
        assert damage(whole)
        with closing(source(tmp_path).open()) as reader:
            for size in range(1, len(data) + 1, 11):
                made = source(tmp_path, size)
                entries = made.plan((DAY,), ())
                found = [each for entry in entries for each in reader.read(entry)]
                accounted(data, found)
                assert rows(found) == rows(whole), size
                check_laws(made, found)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(30, 700),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_bytes_changed_at_random_never_make_a_row_come_twice(
    tmp_path_factory: pytest.TempPathFactory, size: int, changes: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.getbasetemp()
    changed = bytearray(written(codec="snappy"))
    length = read_header(changed).length
    for place, by in changes:
        changed[length + place % (len(changed) - length)] ^= by
    put(root, bytes(changed))
    # A size that is changed to end at a later marker hides the blocks between from who reads whole.
    read = [[row["n"] for row in rows(everything(source(root, n)))] for n in (size, 5000)]
    found = [set(numbers) for numbers in read]
    assert [len(numbers) for numbers in read] == [len(numbers) for numbers in found]
    assert found[1] <= found[0] <= set(range(30))


@pytest.mark.parametrize("cut", [1, 17, 30])
def test_a_file_cut_off_keeps_its_whole_blocks(tmp_path: Path, cut: int) -> None:
    data = written()[:-cut]
    put(tmp_path, data)
    for size in (7, 60, 5000):
        found = everything(source(tmp_path, size))
        accounted(data, found)
        (last,) = damage(found)
        assert last.offset + last.length == len(data)
        assert rows(found) == RECORDS[: len(rows(found))]
        assert len(rows(found)) > 15


def test_what_is_no_avro_file_is_quarantined_whole(tmp_path: Path) -> None:
    put(tmp_path, b"PAR1" + bytes(100))
    for size in (10, 5000):
        found = everything(source(tmp_path, size))
        kept = b"".join(each.content for each in found if isinstance(each, Damaged))
        assert kept == b"PAR1" + bytes(100)
        assert rows(found) == []


def test_an_empty_file_is_damage_of_no_bytes(tmp_path: Path) -> None:
    put(tmp_path, b"")
    found = everything(source(tmp_path))
    assert [(d.offset, d.length, d.rows) for d in damage(found)] == [(0, 0, 1)]
    assert rows(found) == []


def test_a_file_of_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    put(tmp_path, written([]))
    made = source(tmp_path, 50)
    found = everything(made)
    check_laws(made, found)
    assert rows(found) == []
    assert all(each.frame.columns == ["n", "s", ROW] for each in found if isinstance(each, Batch))


def test_a_day_without_a_file_fails_when_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, written())
    made = source(tmp_path)
    found, missing = made.plan((DAY, "2017-03-02"), ("2017-02-28",))
    assert (found.end > 0, missing.end) == (True, NO_FILE)
    with closing(made.open()) as reader, pytest.raises(NothingToRead) as told:
        list(reader.read(missing))
    assert "orders/2017-03-02/*.avro" in str(told.value)
    assert "'orders', unit 2017-03-02" in str(told.value)


def test_a_plan_is_in_the_order_of_day_file_and_position(tmp_path: Path) -> None:
    data = written()
    for key in ("b.avro", "a.avro", "c.txt"):
        put(tmp_path, data, f"orders/{DAY}/{key}")
    put(tmp_path, data, "orders/2017-02-28/z.avro")
    half = len(data) // 2 + 1
    entries = source(tmp_path, half).plan((DAY,), ("2017-02-28",))
    assert [(e.index, e.location, e.start, e.end, e.emits) for e in entries] == [
        (0, "orders/2017-02-28/z.avro", 0, half, False),
        (1, "orders/2017-02-28/z.avro", half, len(data), False),
        (2, f"orders/{DAY}/a.avro", 0, half, True),
        (3, f"orders/{DAY}/a.avro", half, len(data), True),
        (4, f"orders/{DAY}/b.avro", 0, half, True),
        (5, f"orders/{DAY}/b.avro", half, len(data), True),
    ]
    assert [e.parts[0].split for e in entries] == [0, 1, 0, 1, 2, 3]


def test_a_path_without_a_wildcard_names_one_file(tmp_path: Path) -> None:
    for key in (f"day-{DAY}.avro", f"day-{DAY}.avro.bak", "day-2017-03-02.avro"):
        put(tmp_path, written(), key)
    made = source(tmp_path, connector=connector("day-{date}.avro"))
    assert [entry.location for entry in made.plan((DAY,), ())] == [f"day-{DAY}.avro"]


def test_only_the_columns_that_are_wanted_are_decoded(tmp_path: Path) -> None:
    put(tmp_path, written())
    found = everything(source(tmp_path, columns=("s", "elsewhere")))
    frames = [each.frame for each in found if isinstance(each, Batch)]
    assert all(frame.columns == ["s", ROW] for frame in frames)
    assert [row["s"] for row in rows(found)] == [record["s"] for record in RECORDS]


def test_rows_have_one_number_whichever_columns_are_decoded(tmp_path: Path) -> None:
    """A block that is spoilt in a column not asked for must not move the rows behind it."""
    data = bytearray(written())
    block = blocks(bytes(data))[2]
    spot = data.index(b"text", block.start, block.end)
    data[spot] = 0xFF  # no UTF-8
    put(tmp_path, bytes(data))

    def numbered(columns: tuple[str, ...]) -> dict[int, int]:
        frames = [
            each.frame
            for each in everything(source(tmp_path, columns=columns))
            if isinstance(each, Batch)
        ]
        return {row["n"]: row[ROW] for row in pl.concat(frames).to_dicts()}

    keys, whole = numbered(("n",)), numbered(("n", "s"))
    assert len(whole) < len(RECORDS)
    assert {n: keys[n] for n in whole} == whole


def old_and_new() -> tuple[dict[str, Any], dict[str, Any]]:
    old = {**SCHEMA, "fields": [{"name": "n", "type": "int"}, SCHEMA["fields"][1]]}
    new = {
        **SCHEMA,
        "fields": [
            SCHEMA["fields"][1],
            {"name": "n", "type": "long"},
            {"name": "kind", "type": "string", "default": "plain"},
        ],
    }
    return old, new


def test_files_of_an_older_schema_are_brought_to_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = old_and_new()
    monkeypatch.setattr(avro, "record_type", {"order": define(new)}.__getitem__)
    put(tmp_path, written(schema=old))
    put(tmp_path, written([{**RECORDS[1], "kind": "odd"}], new), f"orders/{DAY}/b.avro")
    wanted = connector(recordSchema="order")
    for size in (30, 5000):
        made = source(tmp_path, size, connector=wanted, columns=("n",))
        found = everything(made)
        assert rows(found) == [
            *({"s": r["s"], "n": r["n"], "kind": "plain"} for r in RECORDS),
            {"s": RECORDS[1]["s"], "n": 1, "kind": "odd"},
        ]
        frame = made.preview(made.plan((DAY,), ()))
        assert frame is not None
        assert frame.columns == ["s", "n", "kind", ROW]


def test_a_schema_that_cannot_be_resolved_fails_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "needed", "type": "string"}]}
    monkeypatch.setattr(avro, "record_type", {"order": define(wanted)}.__getitem__)
    put(tmp_path, written())
    with pytest.raises(SchemaMismatch, match="needed"):
        everything(source(tmp_path, connector=connector(recordSchema="order")))


def test_a_schema_that_cannot_be_carried_fails_the_unit(tmp_path: Path) -> None:
    strange = {**SCHEMA, "fields": [{"name": "n", "type": ["null", "int", "string"]}]}
    put(tmp_path, written([{"n": 1}], strange))
    with pytest.raises(UnsupportedSchema, match="n"):
        everything(source(tmp_path))


def test_a_preview_has_the_columns_and_types_of_the_rows(tmp_path: Path) -> None:
    put(tmp_path, b"", f"orders/{DAY}/0.avro")
    put(tmp_path, written())
    made = source(tmp_path)
    frame = made.preview(made.plan((DAY, "2017-03-02"), ()))
    assert frame is not None
    assert frame.is_empty()
    batches = [each for each in everything(made) if isinstance(each, Batch)]
    assert frame.schema == batches[0].frame.schema


def test_there_is_no_preview_without_a_file(tmp_path: Path) -> None:
    made = source(tmp_path)
    assert made.preview(made.plan((DAY,), ())) is None


def test_files_are_read_in_order_by_several_threads(tmp_path: Path) -> None:
    put(tmp_path, written([{"n": i, "s": "x"} for i in range(2000)]))
    found = everything(source(tmp_path, frame_rows=1, threads=4))
    assert [row["n"] for row in rows(found)] == list(range(2000))


def pieces(found: Sequence[Batch | Damaged]) -> Iterator[tuple[int, int]]:
    for each in found:
        if isinstance(each, Damaged):
            yield each.damage.offset, each.damage.length


def test_two_spoilt_markers_in_a_row_lose_nothing_silently(tmp_path: Path) -> None:
    """The block between them has no marker that a range could find it by."""
    good = written()
    third, fourth = blocks(good)[3:5]
    data = bytearray(good)
    data[third.end - 1] ^= 1
    data[fourth.end - 1] ^= 1
    put(tmp_path, bytes(data))
    whole = everything(source(tmp_path))
    for size in range(1, len(data)):
        found = everything(source(tmp_path, size)) if size % 9 == 0 else whole
        assert rows(found) == rows(whole), size
        assert list(pieces(found)) == list(pieces(whole)), size


def test_a_witness_names_every_file_with_its_version(tmp_path: Path) -> None:
    put(tmp_path, b"one")
    put(tmp_path, b"two!", f"orders/{DAY}/b.avro")
    put(tmp_path, b"x", f"orders/{DAY}/c.txt")
    put(tmp_path, b"x", "orders/2017-03-03/a.avro")
    found = source(tmp_path).witness([DAY, "2017-03-02"])
    assert [(item.name, item.size) for item in found[DAY]] == [
        (f"orders/{DAY}/a.avro", 3),
        (f"orders/{DAY}/b.avro", 4),
    ]
    assert found["2017-03-02"] == ()
    put(tmp_path, b"two?", f"orders/{DAY}/b.avro")
    again = source(tmp_path).witness([DAY])[DAY]
    assert [new == old for new, old in zip(again, found[DAY], strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("{date}.avro", f"{DAY}.avro"),
        ("in/dt={date}/part-*.avro", f"in/dt={DAY}/part-00.avro"),
        ("in/{date}/orders-{date}*.avro", f"in/{DAY}/orders-{DAY}T00.avro"),
        ("in/?/{date}.avro", f"in/7/{DAY}.avro"),
        ("in/[0-9]x/{date}.avro", f"in/7x/{DAY}.avro"),
        ("*/{date}/*.avro", f"region-1/{DAY}/x.avro"),
    ],
)
def test_the_date_is_found_wherever_the_path_has_it(tmp_path: Path, path: str, key: str) -> None:
    put(tmp_path, b"x", key)
    put(tmp_path, b"x", key.replace(DAY, "2017-03-02"))
    found = source(tmp_path, connector=connector(path)).witness([DAY])
    assert [item.name for item in found[DAY]] == [key]


@pytest.mark.parametrize("how", ["replaced", "gone"])
def test_a_file_that_is_not_the_planned_one_any_more_is_refused(tmp_path: Path, how: str) -> None:
    put(tmp_path, written())
    made = source(tmp_path)
    planned = made.plan((DAY,), ())
    path = tmp_path / "orders" / DAY / "a.avro"
    path.unlink()
    if how == "replaced":
        put(tmp_path, written(RECORDS[:20]))
    with closing(made.open()) as reader, pytest.raises((InputMoved, ObjectNotFound)) as told:
        list(reader.read(planned[0]))
    assert f"orders/{DAY}/a.avro" in str(told.value)
