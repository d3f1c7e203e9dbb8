"""How large files get: fragments that are cut, and outputs that roll to a second file."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.merging import cut as cutting
from pipelines.merging.cut import cut
from pipelines.merging.parts import Piece
from schemas.container import read_header
from tests.unit.pipelines.merging.lakes import SmallLake, foreign, pieces_of, problems, rows

BLOCKS = foreign(rows(range(40)), block_bytes=1)
HEADER = read_header(BLOCKS).length


@pytest.fixture(params=[40, 300, 1 << 20])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read around a cut: less than a block, two blocks, all; the header is read whole."""
    monkeypatch.setattr(cutting, "_WINDOW", request.param)
    monkeypatch.setattr(cutting, "read_header", lambda _: read_header(BLOCKS))


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(("target", "count"), [(100, 40), (700, 8), (1500, 4), (3000, 2)])
def test_a_large_fragment_is_cut_at_its_blocks(small: SmallLake, target: int, count: int) -> None:
    fragment = small.put("a", BLOCKS)
    pieces = cut(small.lake.storage, fragment, target)
    assert (pieces[0].start, pieces[-1].end) == (HEADER, len(BLOCKS))
    assert all(one.end == other.start for one, other in pairwise(pieces))
    assert all(piece.size < 1.5 * target + 250 for piece in pieces)
    assert len(pieces) == count
    for way in ({}, {"codec": "deflate"}):
        found = [row for p in pieces for row in small.rows(small.merge([p], **way))]
        assert found == rows(range(40))
        assert small.rows(small.merge(pieces, **way)) == rows(range(40))


def test_a_cut_fragment_is_one_source(small: SmallLake) -> None:
    fragment = small.put("a", BLOCKS)
    pieces = cut(small.lake.storage, fragment, 3000)
    [(file, [source])] = small.merge(pieces).files
    assert (source.key, source.records, source.size) == (fragment.key, 40, len(BLOCKS))
    assert source.digest == file.digest
    assert [s.start for s in file.segments] == [p.start for p in pieces]


def test_what_is_not_large_is_not_cut(small: SmallLake) -> None:
    fragment = small.put("a", BLOCKS)
    assert cut(small.lake.storage, fragment, len(BLOCKS)) == (Piece(fragment=fragment),)


@pytest.mark.parametrize("data", [b"nothing" * 900, BLOCKS[:100]])
def test_what_cannot_be_cut_is_left_to_its_reader(small: SmallLake, data: bytes) -> None:
    fragment = small.put("a", data)
    assert cut(small.lake.storage, fragment, 50) == (Piece(fragment=fragment),)
    small.lake.storage.delete([fragment.key])
    assert cut(small.lake.storage, fragment, 50) == (Piece(fragment=fragment),)


def test_one_large_block_stays_whole(small: SmallLake) -> None:
    data = foreign(rows(range(40)), block_bytes=1 << 20)
    [piece] = cut(small.lake.storage, small.put("a", data), 1000)
    assert (piece.start, piece.end) == (HEADER, len(data))
    assert small.rows(small.merge([piece])) == rows(range(40))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    limit=st.integers(HEADER + 700, HEADER + 6000),
)
def test_no_file_that_is_made_anew_exceeds_the_limit(
    small: SmallLake, counts: list[int], limit: int
) -> None:
    """Compressed, the rows fit one file; nobody knows what they need before they are unpacked."""
    ends = [sum(counts[: n + 1]) for n in range(len(counts))]
    parts = [rows(range(end - n, end)) for n, end in zip(counts, ends, strict=True)]
    fragments = [
        small.put(str(at), foreign(some, "deflate", block_bytes=400))
        for at, some in enumerate(parts)
    ]
    merged = small.merge(fragments, limit_bytes=limit)
    assert small.rows(merged) == rows(range(ends[-1]))
    assert all(file.size <= limit for file, _ in merged.files)
    names = [file.name for file, _ in merged.files]
    assert names == ["out.avro", *(f"out.{n}.avro" for n in range(1, len(names)))]
    for file, sources in merged.files:
        assert file.records == sum(s.records for s in sources)
        assert {s.key for s in sources} == {s.fragment for s in file.segments}
    assert {s.key for _, sources in merged.files for s in sources} == {f.key for f in fragments}


def test_a_large_source_is_named_by_each_of_its_files(small: SmallLake) -> None:
    fragment = small.put("a", foreign(rows(range(60)), "deflate", block_bytes=400))
    merged = small.merge([fragment], limit_bytes=HEADER + 3000)
    assert len(merged.files) == 3
    for file, sources in merged.files:
        assert [(s.key, s.records, s.size) for s in sources] == [
            (fragment.key, file.records, fragment.size)
        ]
    assert sum(s.records for _, sources in merged.files for s in sources) == 60


def test_segments_that_were_split_keep_their_order(small: SmallLake) -> None:
    """Merged, split because they are made anew, and merged again: by then order is all there is."""
    fragments = [
        small.put(n, foreign(rows(range(at, at + 20)), "deflate"))
        for at, n in ((0, "a"), (20, "b"))
    ]
    [(day, _)] = small.merge(fragments, codec="deflate").files
    split = small.merge(pieces_of(day, same=False), limit_bytes=HEADER + 2000)
    assert len(split.files) > 2
    pieces = [p for file, _ in split.files for p in pieces_of(file)]
    assert len({piece.order for piece in pieces}) == len(pieces)
    assert sorted(pieces, key=lambda piece: piece.order) == pieces
    assert small.rows(split) == rows(range(40))


def test_copied_files_roll_too(small: SmallLake) -> None:
    fragments = [small.put(str(n), foreign(rows(range(5 * n, 5 * n + 5)))) for n in range(6)]
    limit = 2 * fragments[0].size
    merged = small.merge(fragments, limit_bytes=limit)
    assert small.rows(merged) == rows(range(30))
    assert [len(file.segments) for file, _ in merged.files] == [2, 2, 2]
    assert all(file.size <= limit for file, _ in merged.files)
    bad = small.put("bad", b"")
    again = small.merge([*fragments[:3], bad, *fragments[3:]], limit_bytes=limit)
    assert small.rows(again) == rows(range(30))
    assert sorted(problems(again)) == ["bad"]
