"""Which way a fragment's rows take into a merged file, and that they arrive."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipelines.merging.parts import Merged, Output, Piece
from schemas.container import Block, find_sync, read_header, scan
from schemas.registry import define
from schemas.walk import BlockSum, block_digest
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


def payloads(data: bytes) -> list[tuple[int, bytes]]:
    """Return rows and stored bytes of every block."""
    header = read_header(data)
    blocks = list(scan(data[header.length :], header, header.length))
    assert all(isinstance(each, Block) for each in blocks)
    return [(b.rows, data[b.start : b.start + b.size]) for b in blocks if isinstance(b, Block)]


def digest(data: bytes) -> str:
    return sum((BlockSum(n, 1, block_digest(n, p)) for n, p in payloads(data)), BlockSum()).hex


def paths(merged: Merged) -> list[str]:
    return [segment.path for file, _ in merged.files for segment in file.segments]


def output(*sources: Piece) -> Output:
    return Output("month", "monthly", sources)


def changed(change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    schema = copy.deepcopy(dict(CODES.schema))
    change(schema)
    return schema


def without_market(schema: dict[str, Any]) -> None:
    """An older version: the field came later, with a default."""
    schema["fields"] = [f for f in schema["fields"] if f["name"] not in ("marketId", "memberId")]


def in_micros(schema: dict[str, Any]) -> None:
    """The fingerprint is the same, for it sees no logical types."""
    schema["fields"][1]["type"]["fields"][0]["type"]["logicalType"] = "timestamp-micros"


OLDER, MICROS = changed(without_market), changed(in_micros)


def test_files_of_the_lake_are_copied_whole(small: SmallLake) -> None:
    """Not a byte of their bodies changes, so the header and both bodies are the whole file."""
    one, two = small.own(rows(range(7))), small.own(rows(range(7, 9)))
    a, b = small.put("a", one, records=7, sha=True), small.put("b", two)
    merged = small.merge([a, b])
    [(file, sources)] = merged.files
    length = read_header(one).length
    assert small.data(file) == one + two[length:]
    assert paths(merged) == ["whole", "whole"]
    assert [(s.offset, s.length, s.records) for s in file.segments] == [
        (length, len(one) - length, 7),
        (len(one), len(two) - length, 2),
    ]
    assert [s.sha256 for s in file.segments] == [hashlib.sha256(one).hexdigest(), None]
    assert [(s.key, s.size, s.etag, s.records, s.fingerprint, s.digest) for s in sources] == [
        (f.key, f.size, f.etag, n, CODES.fingerprint, digest(data))
        for f, n, data in ((a, 7, one), (b, 2, two))
    ]
    assert small.rows(merged) == rows(range(9))
    assert merged.moved == len(one) + len(two) + file.size
    assert merged.problems == ()


def test_blocks_of_another_marker_are_put_under_the_lakes(small: SmallLake) -> None:
    data = foreign(rows(range(40)))
    merged = small.merge([small.put("a", data)])
    [(file, _)] = merged.files
    made = small.data(file)
    assert paths(merged) == ["blocks"]
    assert len(payloads(data)) > 3
    assert payloads(made) == payloads(data)
    assert len(made) == file.size
    assert read_header(made).sync == small.sync
    assert file.segments[0].digest == file.digest == digest(data)
    assert read(made) == rows(range(40))


@pytest.mark.parametrize("codec", ["deflate", "zstandard", "snappy", "bzip2", "xz"])
def test_blocks_of_another_codec_are_compressed_anew(small: SmallLake, codec: str) -> None:
    data = foreign(rows(range(40)), codec)
    merged = small.merge([small.put("a", data)], schema_policy="current-only")
    [(file, [source])] = merged.files
    assert paths(merged) == ["repacked"]
    assert payloads(small.data(file)) == payloads(foreign(rows(range(40))))
    assert (source.digest, source.path) == (digest(data), "repacked")
    assert file.segments[0].digest == digest(small.data(file)) != source.digest
    assert small.rows(merged) == rows(range(40))


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_rows_of_an_older_schema_are_written_anew(small: SmallLake, codec: str) -> None:
    data = foreign(rows(range(40)), codec, OLDER)
    merged = small.merge([small.put("a", data)])
    [(file, [source])] = merged.files
    assert paths(merged) == ["rewritten"]
    assert (source.fingerprint, source.records) == (define(OLDER).fingerprint, 40)
    assert source.fingerprint != CODES.fingerprint
    assert small.rows(merged) == [row | {"marketId": None} for row in rows(range(40))]
    assert (file.records, file.version) == (40, 1)


def test_an_older_schema_is_refused_where_only_the_current_may_be(small: SmallLake) -> None:
    old = small.put("old", foreign(rows(range(5)), schema=OLDER))
    good = small.put("good", foreign(rows(range(5, 9))))
    merged = small.merge([old, good], schema_policy="current-only")
    assert small.rows(merged) == rows(range(5, 9))
    told = problems(merged)["old"]
    assert f"expected the current schema {CODES.name} v1 ({CODES.fingerprint[:12]})" in told
    assert f"found {define(OLDER).fingerprint[:12]}" in told
    assert "merges.schemaPolicy: resolve rewrites such files" in told


def test_another_unit_of_time_is_never_copied(small: SmallLake) -> None:
    """The fingerprints agree; copied, every time would be wrong by a factor of 1,000."""
    assert define(MICROS).fingerprint == CODES.fingerprint
    source = small.put("a", foreign(rows(range(5)), schema=MICROS))
    for policy in ("current-only", "resolve"):
        merged = small.merge([source], schema_policy=policy)
        assert merged.files == ()
        assert "wrote timestamp-micros, wanted timestamp-millis" in problems(merged)["a"]


def test_a_schema_that_only_tells_more_is_the_same(small: SmallLake) -> None:
    """Documentation and the order of keys change nothing on the wire."""

    def documented(schema: dict[str, Any]) -> None:
        schema["doc"] = "another"
        schema["fields"][0] = {"doc": "more", **dict(reversed(schema["fields"][0].items()))}

    data = foreign(rows(range(5)), schema=changed(documented))
    merged = small.merge([small.put("a", data)], schema_policy="current-only")
    assert paths(merged) == ["blocks"]
    assert small.rows(merged) == rows(range(5))


def test_every_file_takes_its_own_path_in_one_output(small: SmallLake) -> None:
    merged = small.merge(
        [
            small.put("a", small.own(rows(range(5)))),
            small.put("b", foreign(rows(range(5, 20)))),
            small.put("c", foreign(rows(range(20, 50)), "deflate")),
            small.put("d", foreign(rows(range(50, 60)), schema=OLDER)),
            small.put("e", small.own(rows(range(60, 70)))),
        ]
    )
    [(file, sources)] = merged.files
    assert paths(merged) == ["whole", "blocks", "repacked", "rewritten", "whole"]
    assert [s.path for s in sources] == paths(merged)
    found = small.rows(merged)
    assert found[:50] + found[60:] == rows([*range(50), *range(60, 70)])
    assert [row["code"] for row in found[50:60]] == [row["code"] for row in rows(range(50, 60))]
    assert sum(s.records for s in sources) == file.records == 70


def test_a_header_alone_is_a_file_without_rows(small: SmallLake) -> None:
    empty = [
        small.put("a", small.own([])),
        small.put("b", foreign([])),
        small.put("c", foreign([], "deflate")),
        small.put("d", foreign([], "deflate", OLDER)),
    ]
    merged = small.merge(empty)
    [(file, sources)] = merged.files
    assert small.rows(merged) == []
    assert [s.key for s in sources] == [f.key for f in empty]
    # Each has its segment, or a later merge would look for it.
    assert [(s.fragment, s.length) for s in file.segments] == [(f.key, 0) for f in empty]


def test_blocks_without_rows_are_blocks(small: SmallLake) -> None:
    """Some writers leave them behind; others compress nothing to nothing."""
    header = read_header(foreign([]))
    empty = b"\x00\x00" + header.sync
    data = foreign([])[: header.length] + empty + foreign(rows(range(3)))[header.length :] + empty
    for codec in ("null", "snappy"):
        merged = small.merge([small.put("a", data)], codec=codec)
        assert small.rows(merged) == rows(range(3))


def test_a_merged_file_is_copied_by_the_storage(small: SmallLake) -> None:
    """Nothing of it goes through the process, and its segments keep what is known of them."""
    fragments = [small.put(n, foreign(rows([i]))) for i, n in enumerate("abc")]
    [(day, _)] = small.merge(fragments).files
    extra = small.put("d", foreign(rows([9])))
    merged = small.writer()(output(*pieces_of(day)[:2], Piece(fragment=extra), *pieces_of(day)[2:]))
    [(file, sources)] = merged.files
    assert small.rows(merged) == rows([0, 1, 9, 2])
    assert [s.fragment for s in file.segments] == [
        f.key for f in (*fragments[:2], extra, fragments[2])
    ]
    assert [(s.key, s.records) for s in sources] == [(day.key, 3), (extra.key, 1)]
    assert sources[0].digest == day.digest
    header = read_header(small.own([])).length
    copied = sum(segment.length for segment in day.segments)
    assert merged.moved - extra.size == file.size - copied
    assert file.segments[0].offset == header


def test_a_merged_file_of_another_codec_is_repacked(small: SmallLake) -> None:
    fragments = [small.put(n, foreign(rows([i] if n != "b" else []))) for i, n in enumerate("abc")]
    [(day, _)] = small.merge(fragments).files
    merged = small.writer(codec="deflate")(output(*pieces_of(day, same=False)))
    assert merged.error is None
    [(file, sources)] = merged.files
    assert (file.codec, paths(merged)) == ("deflate", ["repacked"] * 3)
    assert [s.fragment for s in file.segments] == [f.key for f in fragments]
    assert small.rows(merged) == rows([0, 2])
    assert [(s.key, s.records, s.path) for s in sources] == [(day.key, 2, "repacked")]


@pytest.mark.parametrize(("same", "codec"), [(True, "null"), (False, "deflate")])
def test_a_damaged_merged_file_stops_the_merge(small: SmallLake, same: bool, codec: str) -> None:
    """Its sources are in the archive: leaving it out would lose rows that were there before."""
    [(day, _)] = small.merge([small.put("a", foreign(rows(range(5))))]).files
    damaged = small.data(day).replace(b"code-3", b"code-4")
    small.lake.storage.write(day.key, [damaged])
    pieces = pieces_of(replace(day, etag=None), same=same)
    merged = small.writer(codec=codec)(output(*pieces))
    assert merged.files == ()
    assert "expected every row of its sources once" in str(merged.error)


@pytest.mark.parametrize("policy", ["resolve", "current-only"])
def test_a_merged_file_of_an_older_version_is_rewritten(
    small: SmallLake, register: Callable[..., None], policy: str
) -> None:
    """Its rows count already: no policy can refuse them any more."""
    fields = [{"name": "n", "type": "long"}]
    old = define({"type": "record", "name": "thing", "fields": fields})
    more = [*fields, {"name": "more", "type": ["null", "string"], "default": None}]
    new = define({"type": "record", "name": "thing", "fields": more}, 2)
    register(old)
    before = SmallLake(small.settings, old)
    [(file, _)] = before.merge([before.put("a", before.own([{"n": 1}, {"n": 2}]))]).files
    assert file.version == 1
    register(old, new)
    after = SmallLake(small.settings, new)
    merged = after.writer(schema_policy=policy)(output(*pieces_of(file, same=False)))
    assert merged.error is None
    assert (paths(merged), merged.files[0][0].version) == (["rewritten"], 2)
    assert after.rows(merged) == [{"n": 1, "more": None}, {"n": 2, "more": None}]


def test_markers_in_the_data_are_data(small: SmallLake) -> None:
    """Whoever guesses a marker gains nothing: blocks are found by their lengths."""
    planted = rows(range(4))
    planted[1]["code"] = (small.sync * 3).decode("latin-1")
    planted[2]["code"] = FOREIGN.decode("latin-1")
    data = foreign(planted, block_bytes=10)
    assert find_sync(data, FOREIGN) > 0
    for codec in ("null", "snappy"):
        assert small.rows(small.merge([small.put("a", data)], codec=codec)) == planted
