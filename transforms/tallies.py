"""Counts of rejections by filter type, filter and reason code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import polars as pl

_KEYS = ("filterType", "filterId", "reasonCode")

#: Columns of a tally.
TALLY_SCHEMA = pl.Schema(dict.fromkeys(_KEYS, pl.String) | {"count": pl.Int64})


def tally(rejected: pl.DataFrame) -> pl.DataFrame:
    """Count rejections (solicitation-platform, property 38).

    Input: ``kernel.REJECTION_SCHEMA``. Output: ``TALLY_SCHEMA``, one row a combination that
    occurs, sorted by it.
    """
    return rejected.group_by(_KEYS).agg(pl.len().cast(pl.Int64).alias("count")).sort(_KEYS)


def merge_tallies(tallies: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Add tallies up: the tally of all their rejections together, in whatever order they come."""
    every = pl.concat([TALLY_SCHEMA.to_frame(), *tallies])
    return every.group_by(_KEYS).agg(pl.col("count").sum()).sort(_KEYS)


def tally_by_period(tallies: Mapping[date, pl.DataFrame], every: str = "1mo") -> pl.DataFrame:
    """Add the tallies of days up by period: a duration such as ``1d``, ``1w``, ``1mo`` or ``1y``.

    Output: ``period`` (Date, its first day) and the columns of a tally, sorted by all but count.
    """
    empty = TALLY_SCHEMA.to_frame().select(pl.lit(None, pl.Date).alias("period"), pl.all())
    dated = [
        one.select(pl.lit(day, pl.Date).dt.truncate(every).alias("period"), pl.all())
        for day, one in tallies.items()
    ]
    keys = ("period", *_KEYS)
    return pl.concat([empty, *dated]).group_by(keys).agg(pl.col("count").sum()).sort(keys)
