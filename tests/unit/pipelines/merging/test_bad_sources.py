"""Sources that must not be merged: named, left out whole, and no other source suffers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.errors import StorageFailed
from pipelines.merging import ahead, feed, rewrite
from pipelines.merging.parts import Fragment, Merged, Piece
from pipelines.storage import Storage
from schemas.codec import Encoder
from schemas.compression import pack
from schemas.container import Buffer, read_header
from schemas.registry import define, record_type
from tests.unit.pipelines.merging.lakes import (
    CODES,
    FOREIGN,
    SmallLake,
    foreign,
    pieces_of,
    problems,
    read,
    rows,
)

WHOLE = foreign(rows(range(30)))
HEADER = read_header(WHOLE).length
#: A count and a size of two bytes each; the payload begins behind them.
FIRST = HEADER + 3
LARGE = foreign(rows(range(60)))
GOOD = [*rows([100, 101]), *rows([200])]


def flipped(data: bytes, at: int, mask: int = 0x04) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def around(small: SmallLake, bad: Fragment, **changes: object) -> Merged:
    """Merge a bad fragment between two good ones; whatever happens, the good ones are merged."""
    before = small.put("before", small.own(GOOD[:2]))
    after = small.put("behind", foreign(GOOD[2:]))
    merged = small.merge([before, bad, after], **changes)
    assert small.rows(merged) == GOOD
    [(file, sources)] = merged.files
    assert [s.fragment for s in file.segments] == [before.key, after.key]
    assert [s.key for s in sources] == [before.key, after.key]
    assert [p.version for p in merged.problems] == [bad.version]
    return merged


def told(small: SmallLake, data: bytes, **changes: object) -> str:
    return problems(around(small, small.put("bad", data), **changes))["bad"]


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (0, "expected an Avro file, found no bytes"),
        (2, "only 2 bytes"),
        (4, "4 bytes end within the header"),
        (HEADER - 20, "end within the header"),
        (HEADER - 1, "end within the header"),
        (HEADER + 1, f"block at byte {HEADER}: the file ends within the block"),
        (FIRST, f"block at byte {HEADER}: the file ends within the block"),
        (FIRST + 100, f"block at byte {HEADER}: the file ends within the block"),
        (len(WHOLE) - 16, r"block at byte \d+: the file ends within the block"),
        (len(WHOLE) - 1, r"block at byte \d+: the file ends within the block"),
    ],
)
@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_file_that_was_cut_off(small: SmallLake, size: int, what: str, codec: str) -> None:
    assert re.search(what, told(small, WHOLE[:size], codec=codec))


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (HEADER + 2, f"block at byte {HEADER}: "),
        (len(WHOLE) - 1, r"block at byte \d{4}: no sync marker after the bytes that it declares"),
        (HEADER - 1, f"block at byte {HEADER}: no sync marker"),
        (0, r"expected to begin with b'Obj\\x01', found b'Kbj\\x01'"),
        (4, "the header"),
    ],
)
@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_flipped_byte_of_a_size_a_marker_or_the_header(
    small: SmallLake, at: int, what: str, codec: str
) -> None:
    assert re.search(what, told(small, flipped(WHOLE, at), codec=codec))


def test_no_flipped_byte_of_a_known_file_gets_through(small: SmallLake) -> None:
    """The ledger knows the SHA-256 of what runs wrote, so all of its bytes are checked."""
    fragment = small.put("a", WHOLE, records=30, sha=True)
    for at in range(HEADER, len(WHOLE), 7):
        small.lake.storage.write(fragment.key, [flipped(WHOLE, at)])
        merged = small.merge([replace(fragment, etag=None)])
        assert merged.files == ()
        assert problems(merged)["a"], at
    small.lake.storage.write(fragment.key, [flipped(WHOLE, FIRST + 20)])
    sha = str(fragment.sha256)
    found = problems(small.merge([replace(fragment, etag=None)]))["a"]
    assert re.fullmatch(f"expected bytes of SHA-256 {sha}, found [0-9a-f]{{64}}", found)


def test_other_rows_than_the_ledger_knows(small: SmallLake) -> None:
    bad = small.put("bad", WHOLE, records=31)
    assert problems(around(small, bad))["bad"] == "expected 31 rows, found 30"


@pytest.mark.parametrize("whose", ["own", "foreign"])
def test_checksums_of_snappy_are_checked_on_request(snappy: SmallLake, whose: str) -> None:
    data = snappy.own(rows(range(30))) if whose == "own" else foreign(rows(range(30)), "snappy")
    at = len(data) - 16 - 30
    clean = snappy.merge([snappy.put("clean", data)], check_crc=True)
    assert snappy.rows(clean) == rows(range(30))
    assert re.search(r"block at byte \d+: snappy", told(snappy, flipped(data, at), check_crc=True))


def test_a_repacked_file_is_unpacked_and_so_checked(small: SmallLake) -> None:
    data = foreign(rows(range(30)), "snappy")
    assert "snappy: " in told(small, flipped(data, len(data) - 50))


def test_nobody_can_know_a_payload_without_any_checksum(small: SmallLake) -> None:
    """Not compressed, and landed by a program that told no SHA-256: it is merged as it is."""
    data = WHOLE.replace(b"code-7", b"code-8")
    merged = small.merge([small.put("a", data)], check_crc=True)
    assert merged.problems == ()
    assert small.rows(merged) == read(data)


def test_a_file_of_something_else(small: SmallLake) -> None:
    told_text = told(small, b"PAR1" + b"\x00" * 200)
    assert "expected to begin with b'Obj\\x01', found b'PAR1'" in told_text


def test_a_file_of_another_record_type(small: SmallLake) -> None:
    other = foreign([], schema=record_type("rejection").schema)
    assert told(small, other) == "expected record type 'codeAssignment', found 'rejection'"


def test_a_file_of_an_unknown_record_type(small: SmallLake) -> None:
    fields = [{"name": "n", "type": "long"}]
    other = foreign([{"n": 1}], schema={"type": "record", "name": "thing", "fields": fields})
    assert "expected a schema that resolves to codeAssignment v1, found" in told(small, other)


def test_a_header_whose_schema_is_none(small: SmallLake) -> None:
    for text in (b"{", b'"long"', b"[]", b'{"type":"record","name":"r"}'):
        data = b"Obj\x01\x02\x16avro.schema" + bytes([len(text) * 2]) + text + b"\x00" + b"s" * 16
        assert "expected a schema of 'codeAssignment', found one of no use" in told(small, data)


def test_an_unknown_codec(small: SmallLake) -> None:
    data = WHOLE.replace(b"\x08null", b"\x08lz99")
    assert re.match("expected a codec of null, snappy, .*, found 'lz99'", told(small, data))


def test_a_file_that_vanished(small: SmallLake) -> None:
    bad = small.put("bad", WHOLE)
    small.lake.storage.delete([bad.key])
    found = problems(around(small, bad))["bad"]
    assert found == "expected a file, found none: it vanished since it was planned"


def test_a_file_that_was_replaced(small: SmallLake) -> None:
    """By one that is as good: it is not the one that was planned, and its rows are not known."""
    bad = small.put("bad", WHOLE)
    small.put("bad", foreign(rows(range(31))))
    found = problems(around(small, bad))["bad"]
    assert "expected the version that was planned, found another" in found
    assert str(bad.etag) in found


def test_a_bad_block_behind_good_ones(small: SmallLake) -> None:
    """What is compressed anew goes out block by block: the output begins anew without it."""
    data = foreign(rows(range(200)), "snappy")
    merged = around(small, small.put("bad", flipped(data, len(data) - 50)))
    assert "snappy: " in problems(merged)["bad"]


def test_rows_that_cannot_be_decoded(small: SmallLake) -> None:
    schema = dict(CODES.schema) | {
        "fields": [f for f in CODES.schema["fields"] if f["name"] != "memberId"]
    }
    data = bytearray(foreign(rows(range(40)), schema=schema))
    at = data.rindex(b"code-38") - 1
    data[at] = 0x7F  # the length of a text that no block holds
    assert define(schema).fingerprint != CODES.fingerprint
    assert re.search(r"block at byte \d+: ", told(small, bytes(data)))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of several windows need not be large then."""
    monkeypatch.setattr(ahead, "WINDOW", 1000)
    monkeypatch.setattr(feed, "WINDOW", 1000)
    monkeypatch.setattr(ahead, "_BATCH", 300)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("whose", ["own", "foreign"])
def test_files_of_many_windows(small: SmallLake, codec: str, whose: str) -> None:
    data = small.own(rows(range(60))) if whose == "own" else foreign(rows(range(60)))
    assert len(data) > 5000
    merged = small.merge([small.put("a", data, records=60, sha=True)], codec=codec)
    assert small.rows(merged) == rows(range(60))
    [(file, _)] = merged.files
    assert merged.moved == len(data) + file.size


Spoil = Callable[[bytes], bytes]


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: flipped(d, len(d) - 1)])
def test_a_file_that_turns_out_bad_at_its_end(small: SmallLake, codec: str, spoil: Spoil) -> None:
    """By then its first windows are written, and the output is written anew."""
    around(small, small.put("bad", spoil(foreign(rows(range(60))))), codec=codec)


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("at", [0, HEADER + 2, LARGE.index(FOREIGN, 3000)])
def test_what_was_read_ahead_of_a_bad_file_is_left(small: SmallLake, codec: str, at: int) -> None:
    """Its windows are there already when its header, or a block of it, turns out bad."""
    around(small, small.put("bad", flipped(LARGE, at, 0x80)), codec=codec)


@pytest.mark.usefixtures("windows")
def test_a_large_file_of_another_sha256(small: SmallLake) -> None:
    data = foreign(rows(range(60)))
    bad = small.put("bad", data, records=60, sha=True)
    small.put("bad", data.replace(b"code-59", b"code-60"))
    found = problems(around(small, replace(bad, etag=None)))["bad"]
    assert f"expected bytes of SHA-256 {bad.sha256}, found " in found


@pytest.mark.usefixtures("windows")
def test_several_bad_files_at_once(small: SmallLake) -> None:
    """Some are found before anything of them is written, some behind it; none is forgotten."""
    late = foreign(rows(range(60)))[:-1]
    sources = [
        small.put("a", late),
        small.put("b", b""),
        small.put("c", foreign(rows([7]))),
        small.put("d", late),
        small.put("e", b"nothing"),
    ]
    merged = small.merge(sources)
    assert small.rows(merged) == rows([7])
    assert sorted(problems(merged)) == ["a", "b", "d", "e"]
    assert len(merged.problems) == 4


@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("data", [b"", b"nothing", foreign(rows(range(60)))[:-1]])
def test_no_good_source_is_no_file(small: SmallLake, data: bytes) -> None:
    merged = small.merge([small.put("a", data), small.put("b", data)])
    assert merged.files == ()
    assert sorted(problems(merged)) == ["a", "b"]
    assert list(small.lake.storage.list("merged")) == []


def test_merged_rows_stay_when_all_that_is_new_is_bad(small: SmallLake) -> None:
    [(day, _)] = small.merge([small.put("a", foreign(rows(range(5))))]).files
    bad = small.put("bad", WHOLE[:-1])
    merged = small.merge([*pieces_of(day), bad], location="merged/codeAssignment/2017-03/g2")
    assert small.rows(merged) == rows(range(5))
    assert sorted(problems(merged)) == ["bad"]


def test_parts_of_a_bad_file_go_with_it(small: SmallLake) -> None:
    """A large file goes into an output in parts, and the last of them is bad."""
    data = foreign(rows(range(30)), block_bytes=1)
    at = data.index(read_header(data).sync, data.index(b"code-20")) + 16
    bad = small.put("bad", data[:-1])
    parts = [
        Piece(fragment=bad, start=HEADER, end=at),
        Piece(fragment=bad, start=at, end=bad.size),
    ]
    good = small.put("good", foreign(rows([77])))
    assert small.rows(small.merge([*parts[:1], good])) == [*rows(range(21)), *rows([77])]
    merged = small.merge([*parts, good])
    assert small.rows(merged) == rows([77])
    assert sorted(problems(merged)) == ["bad"]


def test_what_is_compressed_anew_is_unpacked_again(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(payload: bytes, codec: str) -> Buffer:
        return pack(bytes(payload).replace(b"code-7", b"code-8"), codec)

    monkeypatch.setattr(rewrite, "pack", losing)
    assert "compressed anew, it does not unpack to the same" in told(small, WHOLE, codec="deflate")


def test_what_is_encoded_anew_is_decoded_again(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(encoder: Encoder, table: pa.Table) -> bytes:
        return encode(encoder, table.slice(1))

    encode = Encoder.encode
    fields = [f for f in CODES.schema["fields"] if f["name"] != "memberId"]
    bad = small.put("bad", foreign(rows(range(9)), schema={**CODES.schema, "fields": fields}))
    monkeypatch.setattr(Encoder, "encode", losing)
    merged = small.merge([bad])
    assert merged.files == ()
    assert "encoded anew, it does not decode to the same rows" in problems(merged)["bad"]


class Failing(Storage):
    """A storage that breaks on reads of one key."""

    def read_range(self, key: str, start: int, end: int, *, etag: str | None = None) -> memoryview:
        if key.endswith("/bad.avro"):
            raise StorageFailed(self.root, key, "out of reach")
        return super().read_range(key, start, end, etag=etag)


def test_a_storage_that_breaks_makes_no_source_bad(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run may find it whole: it is the merge that fails."""
    monkeypatch.setattr("pipelines.lake.Storage", Failing)
    sources = [small.put("good", foreign(rows([1]))), small.put("bad", WHOLE)]
    with pytest.raises(StorageFailed, match="out of reach"):
        small.merge(sources)
    assert list(small.lake.storage.list("merged")) == []


def test_any_damage_leaves_the_others_alone(small: SmallLake) -> None:
    """Whatever happens to one file, its rows are all there, or it is named and none is."""
    chance = random.Random(7)
    good = small.put("good", foreign(rows([77])))
    for _ in range(60):
        data = bytearray(WHOLE)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        del data[chance.choice([len(data), chance.randrange(len(data))]) :]
        merged = small.merge([small.put("bad", bytes(data)), good], codec="deflate")
        [(file, sources)] = merged.files
        if merged.problems:
            assert small.rows(merged) == rows([77])
        assert file.records == sum(s.records for s in sources)
