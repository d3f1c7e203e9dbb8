"""Code assignments in any number, and what an independent reader finds of them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

import fastavro
import numpy as np
import pyarrow as pa

from schemas.codec import Encoder
from schemas.registry import record_type

CODES = record_type("codeAssignment")
#: A sync marker of somebody else's.
FOREIGN = bytes(range(50, 66))


def table(numbers: Iterable[int], wide: int = 0) -> pa.Table:
    """Return a row for each number; the number is in its user and in its dedupeHash.

    ``wide`` are random bytes for each row to have more, which hardly compress.
    """
    some = list(numbers)
    text = pa.array([f"{n:064x}" for n in some])
    chance = np.random.default_rng(some[:1])
    code = pa.array([chance.bytes(wide).hex() for _ in some])
    constant = {name: pa.repeat(name, len(some)) for name in ("type", "campaignId")}
    created = pa.array(np.array(some, np.int64), pa.timestamp("ms"))
    columns = {
        **constant,
        **dict.fromkeys(("categoryId", "memberId", "marketId"), pa.nulls(len(some), pa.string())),
        "date": pa.StructArray.from_arrays([created], ["created"]),
        "globalUserId": text,
        "code": code,
        "dedupeHash": text,
    }
    return pa.table({name: columns[name] for name in CODES.arrow.names}).cast(CODES.arrow)


def numbers_of(files: Iterable[bytes]) -> Counter[int]:
    """Return how often the row of each number is in files, as fastavro reads them."""
    return Counter(
        int(row["globalUserId"], 16)  # type: ignore[index, call-overload]
        for data in files
        for row in fastavro.reader(io.BytesIO(data))
    )


def once(*numbers: Sequence[int]) -> Counter[int]:
    """Return what ``numbers_of`` finds where each row is there once."""
    return Counter(n for some in numbers for n in some)


#: Rows of ``body``.
ROWS_OF_BODY = 20_000


@cache
def body(codec: str, sync: bytes) -> bytes:
    """Return the blocks of random rows, to be written again and again."""
    numbers = np.random.default_rng(1).integers(0, 1 << 60, ROWS_OF_BODY)
    return Encoder(CODES, codec, sync=sync).encode(table(numbers.tolist()))
