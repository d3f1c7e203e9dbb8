"""Keyed rules: dedupe window and capacity, decided on thin frames that hold keys alone.

A thin frame has one row for each row that is decided, or that another is judged by, and no row
twice. Its columns, never null but for ``score``:

- ``customerId``, ``subjectId``: String;
- ``eventDate``: Datetime(ms, UTC), or Int64 in milliseconds since 1970;
- ``order.0``, ``order.1``, ...: Int64 or String, the source's own order, as many as it has;
- ``unit``: Int32, days since 1970; ``split`` and ``_row``: UInt32, the row's place in the unit;
- ``entry``: UInt32, the entry of the plan that the row came from;
- ``score``: Float64 from 0 to 1, null or NaN where there is none;
- ``ranked``: Boolean, whether the row may become a candidate;
- ``emit``: Boolean, false for evidence: rows of the look-back, which are never decided.

Rows are ordered by (``eventDate``, ``order.*``, ``unit``, ``split``, ``_row``). No verdict depends
on how the rows lie in the frame. Frames are cut between customers, never within one.

Rows are grouped by a 64-bit hash of their key, which sorts several times faster than the key's
text. Neighbours with one hash are compared by their keys, and should two keys ever share a hash,
the frame is grouped again by exact codes: a collision costs time, never a wrong verdict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from conf.program import Capacity, Dedupe

#: Values of ``verdict``.
DUPLICATE = 1
OVER_CAPACITY = 2

#: Columns of the verdicts: which row of which plan entry loses, and why.
VERDICT_SCHEMA = pl.Schema(
    {
        "entry": pl.UInt32,
        "unit": pl.Int32,
        "split": pl.UInt32,
        "_row": pl.UInt32,
        "verdict": pl.UInt8,
    }
)

_HOUR = 3_600_000  # milliseconds
_ODD = 0x9E3779B97F4A7C15  # spreads one part of a key over 64 bits before the next is added


def verdicts(thin: pl.DataFrame, dedupe: Dedupe | None, capacity: Capacity | None) -> pl.DataFrame:
    """Return the ``emit`` rows that lose (VERDICT_SCHEMA), sorted by entry, unit, split and row.

    A row that is a duplicate and would be over capacity is a duplicate. A rule that is None turns
    nothing away.
    """
    nobody = pl.repeat(False, thin.height, dtype=pl.Boolean, eager=True)
    repeated = duplicates(thin, dedupe.window_hours) if dedupe else nobody
    over = over_capacity(thin, capacity.per_customer, repeated) if capacity else nobody
    verdict = pl.when(repeated).then(DUPLICATE).when(over).then(OVER_CAPACITY)
    return (
        thin.select("entry", "unit", "split", "_row", "emit", verdict=verdict.cast(pl.UInt8))
        .filter("emit", pl.col("verdict").is_not_null())
        .select(VERDICT_SCHEMA.names())
        .sort("entry", "unit", "split", "_row")
    )


def duplicates(thin: pl.DataFrame, window_hours: int) -> pl.Series:
    """Return which rows repeat an earlier one's customer and subject within the window (Boolean).

    A row is a duplicate when the row before it with the same customer and subject is at most
    ``window_hours`` older (included), whether or not that one is a duplicate itself. Evidence
    counts as any row does. One value a row, in the frame's order.
    """
    rows, codes = _grouped(thin, ("customerId", "subjectId"), _order(thin))
    time = thin.get_column("eventDate").cast(pl.Datetime("ms", "UTC")).to_physical()
    follows = (codes == codes.shift()).arg_true()
    later, earlier = rows.gather(follows), rows.gather(follows - 1)
    recent = time.gather(later) - time.gather(earlier) <= window_hours * _HOUR
    return _mask(later.filter(recent), thin.height)


def over_capacity(
    thin: pl.DataFrame, per_customer: int, repeated: pl.Series | None = None
) -> pl.Series:
    """Return which rows come after a customer's ``per_customer`` best of a unit (Boolean).

    Only ``emit`` and ``ranked`` rows that are not ``repeated`` take part. The best come first by
    ``score`` descending (none last), then ``subjectId`` ascending as text, then the rows' order.
    One value a row, in the frame's order.
    """
    keys = ("customerId", "unit")
    takes_part = pl.col("emit") & pl.col("ranked")
    if repeated is not None:
        takes_part &= ~pl.lit(repeated)
    rivals = _crowded(
        thin.select(
            *keys,
            "subjectId",
            *(column for column in _order(thin) if column != "unit"),
            # Ascending and never null: polars sorts by its slow path for anything else.
            shortfall=(-pl.col("score").fill_nan(None)).fill_null(float("inf")),
            position=pl.int_range(pl.len(), dtype=pl.UInt32),
            takes_part=takes_part,
        ).filter("takes_part"),
        keys,
        per_customer,
    )
    rows, codes = _grouped(rivals, keys, ("shortfall", "subjectId", *_order(rivals)))
    late = rows.filter(codes == codes.shift(per_customer))
    return _mask(rivals.get_column("position").gather(late), thin.height)


def _crowded(thin: pl.DataFrame, keys: Sequence[str], limit: int) -> pl.DataFrame:
    """Return the rows whose key has more than ``limit`` rows, and any that share its hash."""
    codes = _hashes(thin, keys)
    ascending = codes.sort()
    crowded = ascending.filter(ascending == ascending.shift(limit)).unique()
    return thin.filter(codes.is_in(crowded.implode()))


def _order(thin: pl.DataFrame) -> tuple[str, ...]:
    """Return the columns that order the rows of a key."""
    source = [column for column in thin.columns if column.startswith("order.")]
    source.sort(key=lambda column: int(column.removeprefix("order.")))
    return ("eventDate", *source, "unit", "split", "_row")


def _grouped(
    thin: pl.DataFrame, keys: Sequence[str], order: Sequence[str]
) -> tuple[pl.Series, pl.Series]:
    """Return the positions of the rows, those of a key together and in order, and their codes.

    Equal codes mean equal keys. The groups themselves come in no particular order.
    """
    codes = _hashes(thin, keys)
    rows = _sorted(thin, codes, order)
    if _collide(thin, keys, rows, codes):
        codes = _exact_codes(thin, keys)
        rows = _sorted(thin, codes, order)
    return rows, codes.gather(rows)


def _sorted(thin: pl.DataFrame, codes: pl.Series, order: Sequence[str]) -> pl.Series:
    """Return the positions of the rows by code, then by ``order``; no column has nulls."""
    return thin.with_columns(code=codes).select(pl.arg_sort_by("code", *order)).to_series()


def _hashes(thin: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Return a UInt64 for each row's key, alike for equal keys and seldom for others."""
    first, second = keys
    return thin.select(pl.col(first).hash() * _ODD + pl.col(second).hash()).to_series()


def _collide(thin: pl.DataFrame, keys: Sequence[str], rows: pl.Series, codes: pl.Series) -> bool:
    """Whether two rows of unlike keys have one code; ``rows`` are the positions by code."""
    ordered = codes.gather(rows)
    follows = (ordered == ordered.shift()).arg_true()
    later, earlier = rows.gather(follows), rows.gather(follows - 1)
    return any((thin[key].gather(later) != thin[key].gather(earlier)).any() for key in keys)


def _exact_codes(thin: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Return a number for each row's key, alike for equal keys alone."""
    numbered = thin.select(keys).unique().with_row_index("code")
    coded = thin.select(keys).join(numbered, on=list(keys), how="left", maintain_order="left")
    return coded.get_column("code").cast(pl.UInt64)


def _mask(positions: pl.Series, height: int) -> pl.Series:
    """Return ``height`` Booleans, true at ``positions``."""
    mask = np.zeros(height, np.bool_)
    mask[positions.to_numpy()] = True
    return pl.Series(mask)
