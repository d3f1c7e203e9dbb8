from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from schemas.container import put_long
from schemas.errors import CorruptBlock
from schemas.walk import BlockSum, BlockWalk, block_digest

SYNC, OTHER = bytes(range(16)), bytes(range(100, 116))
BEGAN = 1000
MOST = (1 << 63) - 1

#: Payloads may hold parts of a marker, and whole ones: only a marker's place makes it one.
payloads = st.lists(st.sampled_from([b"", b"\x00", b"abc", SYNC, SYNC[:9], OTHER]), max_size=4)
blocks = st.tuples(st.integers(0, 300) | st.integers(0, MOST), payloads.map(b"".join))
cuttings = st.lists(st.integers(0, 400), max_size=12)


def block(rows: int, payload: bytes, sync: bytes = SYNC) -> bytes:
    return put_long(rows) + put_long(len(payload)) + payload + sync


def stretch(some: list[tuple[int, bytes]], sync: bytes = SYNC) -> bytes:
    return b"".join(block(rows, payload, sync) for rows, payload in some)


def pieces(data: bytes, cuts: list[int]) -> list[memoryview]:
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [memoryview(data)[a:b] for a, b in pairwise(at)]


def by_feed(walk: BlockWalk, chunk: memoryview) -> bytes:
    walk.feed(chunk)
    return b""


def by_through(walk: BlockWalk, chunk: memoryview) -> bytes:
    return b"".join(map(bytes, walk.through(chunk)))


Take = Callable[[BlockWalk, memoryview], bytes]
ways = pytest.mark.parametrize("take", [by_feed, by_through])


def expected(some: list[tuple[int, bytes]]) -> BlockSum:
    """The sum as its docstring has it."""
    digest = sum(
        int.from_bytes(xxhash.xxh3_128_digest(rows.to_bytes(8, "big") + payload), "big")
        for rows, payload in some
    )
    return BlockSum(sum(rows for rows, _ in some), len(some), digest % (1 << 128))


@given(some=st.lists(blocks, max_size=5), cuts=cuttings)
@ways
def test_any_cutting_of_any_blocks_gives_the_same_sum(
    take: Take, some: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = stretch(some)
    walk = BlockWalk(SYNC, BEGAN)
    for chunk in pieces(data, cuts):
        take(walk, chunk)
    assert walk.end() == expected(some)
    assert walk.offset == BEGAN + len(data)


@given(some=st.lists(blocks, max_size=5), cuts=cuttings, marker=st.sampled_from([SYNC, OTHER]))
def test_bytes_come_through_with_the_wanted_marker(
    some: list[tuple[int, bytes]], cuts: list[int], marker: bytes
) -> None:
    walk = BlockWalk(SYNC, 0, marker)
    found = b"".join(by_through(walk, chunk) for chunk in pieces(stretch(some), cuts))
    assert found == stretch(some, marker)
    assert walk.end() == expected(some)


@given(some=st.lists(blocks, min_size=1, max_size=5), split=st.integers(0, 5))
def test_sums_of_parts_add_up_in_any_order(some: list[tuple[int, bytes]], split: int) -> None:
    parts = [expected(some[split:]), expected(some[:split])]
    assert sum(parts, BlockSum()) == expected(some)
    assert BlockSum.of(expected(some).hex).digest == expected(some).digest
    assert block_digest(*some[0]) == expected(some[:1]).digest


def test_the_same_block_twice_is_not_the_same_as_not_at_all() -> None:
    """A sum by exclusive or would not tell."""
    once, twice = expected([(1, b"a")]), expected([(1, b"a"), (1, b"a")])
    assert len({once.digest, twice.digest, expected([]).digest}) == 3


def test_rows_and_payload_do_not_run_into_each_other() -> None:
    assert block_digest(1, b"") != block_digest(0, b"\x01")
    assert block_digest(0, b"") != 0


@dataclass(frozen=True)
class Parts:
    """Where the bytes of a stretch are from: of each, its block's offset and what it is."""

    data: bytes
    kinds: list[tuple[int, str]]


def parts() -> Parts:
    """Three blocks; counts and sizes are of one byte and of two, one payload is empty."""
    data, kinds = b"", list[tuple[int, str]]()
    for rows, payload in [(3, b"abc" * 70), (200, b""), (5, b"xyz")]:
        began = BEGAN + len(data)
        for kind, some in [
            ("count", put_long(rows)),
            ("size", put_long(len(payload))),
            ("payload", payload),
            ("marker", SYNC),
        ]:
            data += some
            kinds += [(began, kind)] * len(some)
    return Parts(data, kinds)


def walked(data: bytes, cut: int, take: Take) -> BlockSum:
    walk = BlockWalk(SYNC, BEGAN)
    for chunk in pieces(data, [cut]):
        take(walk, chunk)
    return walk.end()


def tried(data: bytes, cut: int, take: Take) -> BlockSum | int:
    """Return the sum, or the offset of the damage."""
    try:
        return walked(data, cut, take)
    except CorruptBlock as error:
        return error.offset


@ways
def test_every_flipped_byte_is_found_at_its_block_or_in_the_sum(take: Take) -> None:
    whole = parts()
    clean = walked(whole.data, 0, take)
    for at, (began, kind) in enumerate(whole.kinds):
        for mask in (0x01, 0x02, 0x40, 0x80, 0xFF):
            data = bytearray(whole.data)
            data[at] ^= mask
            found, said = tried(bytes(data), at, take), (at, kind, mask)
            if kind in ("size", "marker"):
                assert found == began, said
            elif isinstance(found, BlockSum):
                assert found.digest != clean.digest, said
                assert (found.records != clean.records) == (kind == "count"), said
            else:
                assert (found, kind) == (began, "count"), said


@ways
def test_every_truncation_is_found_at_its_block(take: Take) -> None:
    whole = parts()
    begins = {began for began, _ in whole.kinds} | {BEGAN + len(whole.data)}
    for size in range(len(whole.data) + 1):
        if BEGAN + size in begins:
            walked(whole.data[:size], 7, take)
            continue
        with pytest.raises(CorruptBlock, match="the file ends within the block") as caught:
            walked(whole.data[:size], 7, take)
        assert caught.value.offset == whole.kinds[size][0], size


def number(value: int) -> bytes:
    """Any zigzag number, negative and too large ones too."""
    zigzag = (value << 1) ^ (value >> 70)
    encoded = bytearray()
    while zigzag >= 0x80:
        encoded.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*encoded, zigzag])


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (number(-1) + number(0), "declares -1 rows in 0 bytes"),
        (number(0) + number(-1), "declares 0 rows in -1 bytes"),
        (number(-(1 << 63)) + number(0), f"declares {-(1 << 63)} rows"),
        (number(1 << 63) + number(0), "declares 9223372036854775808 rows"),
        (number(1) + number(1 << 63), "in 9223372036854775808 bytes"),
        (b"\xff" * 30, "its count or size is not a number"),
        (b"\x80" * 10 + b"\x00\x00", "its count or size is not a number"),
        (b"\x02" + b"\x80" * 10 + b"\x00", "its count or size is not a number"),
        (b"\x80" * 9, "the file ends within the block"),
        (number(1) + number(MOST), "the file ends within the block"),
    ],
)
@ways
def test_numbers_that_cannot_be_are_refused(take: Take, head: bytes, what: str) -> None:
    first = block(1, b"ok")
    for cut in range(12):
        with pytest.raises(CorruptBlock, match=what) as caught:
            walked(first + head, len(first) + cut, take)
        assert caught.value.offset == BEGAN + len(first)


@ways
def test_the_largest_count_is_a_number(take: Take) -> None:
    assert walked(block(MOST, b""), 5, take) == expected([(MOST, b"")])


@ways
def test_nothing_is_a_stretch_without_blocks(take: Take) -> None:
    assert walked(b"", 0, take) == BlockSum()
