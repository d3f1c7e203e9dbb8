"""Sets of row positions, a bit a row: however many rows are in one, it is no larger.

Bit n of byte m stands for row 8 m + n; rows beyond the last byte are not in the set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint64]


def add(bits: bytearray, rows: Rows) -> None:
    """Add rows to a set; the set grows as far as it must."""
    if not len(rows):
        return
    needed = int(rows.max() >> np.uint64(3)) + 1
    if len(bits) < needed:
        bits.extend(bytes(needed - len(bits)))
    places = (rows >> np.uint64(3)).astype(np.int64)
    values = np.left_shift(np.uint8(1), (rows & np.uint64(7)).astype(np.uint8))
    np.bitwise_or.at(np.frombuffer(bits, np.uint8), places, values)


def union(one: bytes, other: bytes) -> bytes:
    """Return the rows of both sets.

    >>> union(bytes([1]), bytes([2, 4]))
    b'\\x03\\x04'
    """
    short, long = sorted((one, other), key=len)
    joined = bytearray(long)
    part = np.frombuffer(joined, np.uint8)[: len(short)]
    np.bitwise_or(part, np.frombuffer(short, np.uint8), out=part)
    return bytes(joined)


def within(bits: bytes, start: int, count: int) -> npt.NDArray[np.intp]:
    """Return which of ``count`` rows from ``start`` on are in a set, counted from ``start``.

    >>> within(bytes([0b1000_0001, 0b10]), 7, 4).tolist()
    [0, 2]
    """
    first = start >> 3
    some = np.frombuffer(bits[first : (start + count + 7) >> 3], np.uint8)
    spread = np.unpackbits(some, bitorder="little")
    skipped = start & 7
    return np.flatnonzero(spread[skipped : skipped + count])
