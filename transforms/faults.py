"""Splitting rows by the first check that they fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from transforms.kernel import REJECTION_SCHEMA, Split, nothing_rejected, rejections


@dataclass(frozen=True, slots=True)
class Reason:
    """What a rejection says of the check that a row failed."""

    filter_id: str
    filter_type: str
    reason: str
    reason_code: str


def split_by_first_fault(
    frame: pl.DataFrame, faults: pl.DataFrame, reasons: Sequence[Reason]
) -> Split:
    """Reject the rows that have a fault, each with the reason of its first.

    ``faults`` has a row for each row of ``frame`` and a Boolean column for each of ``reasons``, in
    the order of the checks: true is a fault, false and null are none.
    """
    faulty = faults.select(pl.any_horizontal(pl.all()).fill_null(False)).to_series()
    if not faulty.any():
        return Split(frame, nothing_rejected())
    identity = [name for name in REJECTION_SCHEMA if name in frame.columns]
    first = faults.filter(faulty).select(
        pl.coalesce(pl.when(name).then(i) for i, name in enumerate(faults.columns))
    )
    turned_away = (
        frame.select(identity).filter(faulty).with_columns(first.to_series().alias(_FIRST))
    )
    return Split(frame.filter(~faulty), _reject(turned_away, reasons))


_FIRST = "first fault"


def _reject(turned_away: pl.DataFrame, reasons: Sequence[Reason]) -> pl.DataFrame:
    def of_first(texts: list[str]) -> pl.Expr:
        return pl.lit(pl.Series(texts)).gather(pl.col(_FIRST))

    return rejections(
        turned_away,
        filter_id=of_first([r.filter_id for r in reasons]),
        filter_type=of_first([r.filter_type for r in reasons]),
        reason=of_first([r.reason for r in reasons]),
        reason_code=of_first([r.reason_code for r in reasons]),
    )
