"""Rows whose ``dedupeHash`` came before: found in passes, left out of what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.merging import bitmap, dedupe
from pipelines.merging.dedupe import FindDuplicates, passes
from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import Merged, Piece, Problem
from pipelines.merging.rewrite import Made, Rewriter
from schemas.container import Block, read_header
from schemas.registry import define
from tests.unit.pipelines.merging.lakes import (
    CODES,
    Rows,
    SmallLake,
    foreign,
    pieces_of,
    rows,
)


def hashed(*hashes: str | None, start: int = 0) -> Rows:
    """Return rows of these hashes; each says by its code which it is."""
    made = rows(range(start, start + len(hashes)))
    return [row | {"dedupeHash": text} for row, text in zip(made, hashes, strict=True)]


def dropped(
    small: SmallLake, pieces: Sequence[Piece], of: int = 1
) -> tuple[dict[int, list[int]], list[Problem]]:
    """Return the positions of duplicates by piece; each range finds others."""
    work = FindDuplicates(
        small.settings, small.record.name, small.settings.codec, "resolve", tuple(pieces), of
    )
    found: dict[int, list[int]] = {}
    problems: list[Problem] = []
    for number in range(of):
        each = work(number)
        problems += each.problems
        assert not each.too_many
        for place, bits in each.dropped.items():
            found.setdefault(place, []).extend(bitmap.within(bits, 0, 8 * len(bits)).tolist())
    return {place: sorted(some) for place, some in found.items()}, problems


def of_rows(positions: Sequence[int]) -> bytes:
    bits = bytearray()
    bitmap.add(bits, np.array(positions, np.uint64))
    return bytes(bits)


def without_duplicates(small: SmallLake, pieces: Sequence[Piece], **changes: Any) -> Merged:
    found, _ = dropped(small, pieces)
    left = [
        replace(piece, dropped=of_rows(found.get(place, []))) for place, piece in enumerate(pieces)
    ]
    return small.merge(left, **changes)


def put(small: SmallLake, *files: bytes) -> list[Piece]:
    return [Piece(fragment=small.put(f"{at:02d}", data)) for at, data in enumerate(files)]


def codes(merged: Merged, small: SmallLake) -> list[str]:
    return [row["code"] for row in small.rows(merged)]


def test_duplicates_within_a_block(small: SmallLake) -> None:
    data = foreign(hashed("a", "b", "a", "c", "b", "a"), block_bytes=10_000)
    pieces = put(small, data)
    assert dropped(small, pieces) == ({0: [2, 4, 5]}, [])
    merged = without_duplicates(small, pieces)
    [(file, [source])] = merged.files
    assert small.rows(merged) == [hashed("a", "b", "a", "c")[at] for at in (0, 1, 3)]
    assert (source.records, source.duplicates, file.records) == (6, 3, 3)
    assert (source.path, file.segments[0].path) == ("rewritten", "rewritten")


def test_duplicates_over_blocks_and_fragments(small: SmallLake) -> None:
    """The first in the order of the pieces stays, whatever its time says."""
    one = foreign(hashed("a", "b", "c", "b"), block_bytes=1)
    two = small.own(hashed("c", "d", "a", "e", "d", start=10), block_rows=2)
    pieces = put(small, one, two)
    assert dropped(small, pieces) == ({0: [3], 1: [0, 2, 4]}, [])
    merged = without_duplicates(small, pieces)
    assert codes(merged, small) == ["code-0", "code-1", "code-2", "code-11", "code-13"]
    back = dropped(small, pieces[::-1])
    assert back == ({0: [4], 1: [0, 2, 3]}, [])


def test_blocks_without_duplicates_are_copied_verbatim(small: SmallLake) -> None:
    data = foreign(hashed("a", "b", "c", "d", "a", "e", "f"), block_bytes=400)
    header = read_header(data)
    [(file, _)] = without_duplicates(small, put(small, data)).files
    made = small.data(file)[read_header(small.data(file)).length :]
    # Blocks have as many rows as fit 400 bytes: the third of them has the duplicate.
    blocks = data[header.length :].split(header.sync)[:-1]
    assert [len(block) for block in blocks][-1] > 100
    kept = [block for block in blocks if b"code-4" not in block]
    assert len(kept) == len(blocks) - 1
    assert all(block + small.sync in made for block in kept)
    assert b"code-4" not in made


def test_only_blocks_with_duplicates_are_decoded(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    encoded = Rewriter._encoded

    def spy(self: Rewriter, block: Block, payload: Any, positions: Any) -> Made:
        decoded.append(positions.tolist())
        return encoded(self, block, payload, positions)

    monkeypatch.setattr(Rewriter, "_encoded", spy)
    data = small.own(hashed("a", "b", "c", "a", "d", "b", "e"), block_rows=2)
    without_duplicates(small, put(small, data))
    assert decoded == [[1], [1]]


def test_nothing_is_decoded_where_nothing_is_dropped(small: SmallLake) -> None:
    data = foreign(hashed("a", "b"))
    merged = without_duplicates(small, put(small, data))
    assert [s.path for s in merged.files[0][0].segments] == ["blocks"]


def test_a_fragment_of_nothing_but_duplicates_is_merged_all_the_same(small: SmallLake) -> None:
    """It has no rows in the file, and must be known as merged: else it would be missed for ever."""
    pieces = put(small, foreign(hashed("a", "b")), foreign(hashed("b", "a")))
    [(file, sources)] = without_duplicates(small, pieces).files
    assert [(s.fragment, s.records) for s in file.segments] == [
        (p.key, n) for p, n in zip(pieces, (2, 0), strict=True)
    ]
    assert [(s.key, s.records, s.duplicates) for s in sources] == [
        (pieces[0].key, 2, 0),
        (pieces[1].key, 2, 2),
    ]


def test_each_pass_finds_the_duplicates_of_its_range(
    small: SmallLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [hashed(*(f"h{n % 17}" for n in range(at, at + 20))) for at in (0, 5)]
    pieces = put(small, *map(foreign, some))
    once = dropped(small, pieces)
    assert sum(map(len, once[0].values())) == 40 - 17
    for of in (2, 3, 7, 40):
        assert dropped(small, pieces, of) == once
    monkeypatch.setattr(dedupe, "_HASHES_A_PASS", 15)
    known = [replace(p, fragment=replace(p.fragment, records=20)) for p in pieces if p.fragment]
    assert passes(known) == 3
    # Of what was landed only the size is known; a range that has more hashes than it may says so.
    assert passes(pieces) == -(-sum(p.size // 128 for p in pieces) // 15)
    work = FindDuplicates(small.settings, small.record.name, "null", "resolve", tuple(pieces), 1)
    monkeypatch.setattr(dedupe, "_ROWS_AT_ONCE", 10)
    assert (work(0).too_many, work(0).dropped) == (True, {})
    monkeypatch.setattr(dedupe, "_HASHES_A_PASS", 17)
    assert dropped(small, pieces) == once  # repeated ones were told from them on the way
    assert passes([]) == 1
    [(file, _)] = small.merge(pieces).files
    assert passes(pieces_of(file)) == 3


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=1, max_size=4),
    block=st.sampled_from([1, 300, 10_000]),
    of=st.integers(1, 4),
)
def test_the_first_of_each_hash_stays(
    small: SmallLake, files: list[list[int]], block: int, of: int
) -> None:
    some = [hashed(*(f"{n}" for n in numbers), start=100 * at) for at, numbers in enumerate(files)]
    pieces = put(small, *(foreign(each, block_bytes=block) for each in some))
    assert dropped(small, pieces, of) == dropped(small, pieces)
    seen: set[str] = set()
    expected = []
    for row in (row for each in some for row in each):
        if row["dedupeHash"] not in seen:
            seen.add(row["dedupeHash"])
            expected.append(row)
    assert small.rows(without_duplicates(small, pieces)) == expected


def test_rows_without_a_hash_are_all_kept(small: SmallLake, register: Callable[..., None]) -> None:
    maybe = {
        "type": "record",
        "name": "thing",
        "fields": [
            {"name": "n", "type": "long"},
            {"name": "dedupeHash", "type": ["null", "string"], "default": None},
        ],
    }
    thing = define(maybe)
    older = {**maybe, "fields": maybe["fields"][:1]}
    register(thing)
    things = SmallLake(small.settings, thing)
    some = [{"n": n, "dedupeHash": h} for n, h in enumerate([None, "a", None, "a", "", ""])]
    without: Rows = [{"n": n} for n in range(10, 13)]
    pieces = put(things, foreign(some, schema=maybe), foreign(without, schema=older))
    assert dropped(things, pieces) == ({0: [3, 5]}, [])
    merged = without_duplicates(things, pieces)
    assert [row["n"] for row in things.rows(merged)] == [0, 1, 2, 4, 10, 11, 12]


def test_an_older_file_without_the_field_may_have_blocks_without_rows(
    small: SmallLake, register: Callable[..., None]
) -> None:
    fields = [{"name": "n", "type": "long"}]
    more = [*fields, {"name": "dedupeHash", "type": ["null", "string"], "default": None}]
    thing = define({"type": "record", "name": "thing", "fields": more})
    register(thing)
    data = foreign([{"n": 1}], schema={"type": "record", "name": "thing", "fields": fields})
    data += b"\x00\x00" + read_header(data).sync
    things = SmallLake(small.settings, thing)
    assert dropped(things, put(things, data)) == ({}, [])


def test_bad_sources_are_named_and_their_rows_count_for_nothing(small: SmallLake) -> None:
    good = foreign(hashed("a", "b"))
    bad = foreign(hashed("a", "b"))[:-1]
    pieces = put(small, bad, b"", good, good)
    found, problems = dropped(small, pieces)
    assert found == {3: [0, 1]}
    assert [(p.key, p.version) for p in problems] == [
        (p.key, p.fragment and p.fragment.version) for p in pieces[:2]
    ]
    assert "the file ends within the block" in problems[0].what


def test_a_vanished_source_is_named_as_elsewhere(small: SmallLake) -> None:
    pieces = put(small, foreign(hashed("a")), foreign(hashed("b")))
    small.lake.storage.delete([pieces[0].key])
    _, [problem] = dropped(small, pieces)
    assert problem.what == "expected a file, found none: it vanished since it was planned"


def test_what_was_merged_is_looked_at_too(small: SmallLake) -> None:
    """By its header, or by that of the merged files where it is of the same schema and codec."""
    fragments = [small.put(n, foreign(hashed(*text))) for n, text in (("a", "xy"), ("b", "yz"))]
    [(day, _)] = small.merge(fragments).files
    new = Piece(fragment=small.put("c", foreign(hashed("z", "x", "w", start=10))))
    for same, lake in ((True, small), (False, small)):
        pieces = [*pieces_of(day, same=same), new]
        assert dropped(lake, pieces) == ({1: [0], 2: [0, 1]}, [])
    merged = without_duplicates(small, pieces, location="merged/codeAssignment/2017-03/g2")
    assert codes(merged, small) == ["code-0", "code-1", "code-1", "code-12"]
    [(_, sources)] = merged.files
    assert [(s.key, s.records, s.duplicates) for s in sources] == [
        (day.key, 4, 1),
        (new.key, 3, 2),
    ]


def test_a_damaged_merged_file_is_no_bad_source(small: SmallLake) -> None:
    """Left out, its rows would be gone, for its sources are in the archive."""
    [(day, _)] = small.merge([small.put("a", foreign(hashed("a", "b")))]).files
    data = small.data(day)
    small.lake.storage.write(day.key, [data[:-1] + b"?"])
    with pytest.raises(NotVerified, match="found its merged file damaged"):
        dropped(small, pieces_of(replace(day, etag=None)))


def test_hashes_are_compared_whole(small: SmallLake) -> None:
    some = ["a" * 63 + c for c in "abc"] + ["a" * 64, "A" * 64]
    assert dropped(small, put(small, foreign(hashed(*some)))) == ({0: [3]}, [])
    assert CODES.schema["fields"][-1]["name"] == dedupe.COLUMN
