"""What a kernel is: a pure function on frames, and what it returns.

The contract that every kernel keeps, and that the tests hold it to:

- no I/O, no clock, no random, no engine;
- rows keep their order: ``passed`` and ``rejected`` are subsequences of the input;
- every input row comes out once, in ``passed`` or in ``rejected``;
- indifferent to how rows were cut into frames: ``f(concat(a, b)) == concat(f(a), f(b))``.

Keyed kernels (dedupe, capacity) look at several rows together, so the last law holds for frames
that were cut between keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

#: Position of a row in its unit's source split: a lineage column that every source adds.
ROW = "_row"

#: Columns of ``Split.rejected``. Identity columns are null where the row never had them.
REJECTION_SCHEMA = pl.Schema(
    {
        ROW: pl.UInt32,
        "customerId": pl.String,
        "subjectType": pl.String,
        "subjectId": pl.String,
        "marketplace": pl.String,
        "filterId": pl.String,
        "filterType": pl.String,
        "reason": pl.String,
        "reasonCode": pl.String,
    }
)


@dataclass(frozen=True, slots=True)
class UnitContext:
    """What a kernel may know of the unit whose rows it sees (the document's FilterContext).

    ``logical_time`` is the last millisecond of the unit's day, in UTC: the only "now" there is.
    """

    program_id: str
    unit: str
    execution_id: str
    logical_time: datetime


@dataclass(frozen=True, slots=True)
class Split:
    """Rows that go on, and rows that were turned away with their reasons."""

    passed: pl.DataFrame
    rejected: pl.DataFrame


class Kernel(Protocol):
    """A named step of the chain; instances are small, immutable and picklable."""

    @property
    def name(self) -> str:
        """The stage that reports and balance sheets show."""
        ...

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        """Split ``frame``; see the contract of this module."""
        ...


_NOTHING = pl.DataFrame(schema=REJECTION_SCHEMA)


def nothing_rejected() -> pl.DataFrame:
    """Return the empty rejection frame."""
    return _NOTHING


def rejections(
    frame: pl.DataFrame,
    *,
    filter_id: str | pl.Expr,
    filter_type: str | pl.Expr,
    reason: str | pl.Expr,
    reason_code: str | pl.Expr,
) -> pl.DataFrame:
    """Return one rejection for each row of ``frame``, in order.

    Identity columns that ``frame`` does not have become null. Text arguments are constants,
    expressions are evaluated over ``frame``.
    """

    def text(value: str | pl.Expr) -> pl.Expr:
        return pl.lit(value) if isinstance(value, str) else value

    columns = {
        "filterId": text(filter_id),
        "filterType": text(filter_type),
        "reason": text(reason),
        "reasonCode": text(reason_code),
    }
    return frame.select(
        (
            columns[name]
            if name in columns
            else pl.col(name)
            if name in frame.columns
            else pl.lit(None)
        )
        .cast(dtype)
        .alias(name)
        for name, dtype in REJECTION_SCHEMA.items()
    )


def concat_rejections(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return all rejections in row order."""
    return pl.concat([nothing_rejected(), *frames]).sort(ROW, maintain_order=True)
