"""Sets of rows, against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.merging import bitmap

SETS = st.frozensets(st.integers(0, 300), max_size=40)


def of(rows: frozenset[int]) -> bytes:
    bits = bytearray()
    some = sorted(rows)
    for at in range(0, len(some), 7):
        bitmap.add(bits, np.array(some[at : at + 7], np.uint64))
    return bytes(bits)


@given(SETS, st.integers(0, 320), st.integers(0, 60))
def test_what_was_added_is_found(rows: frozenset[int], start: int, count: int) -> None:
    found = bitmap.within(of(rows), start, count).tolist()
    assert found == [row - start for row in sorted(rows) if start <= row < start + count]


@given(SETS, SETS)
def test_a_union_has_the_rows_of_both(one: frozenset[int], other: frozenset[int]) -> None:
    joined = bitmap.union(of(one), of(other))
    assert bitmap.within(joined, 0, 400).tolist() == sorted(one | other)
    assert joined == of(one | other)
