"""Columns of a frame as canonical JSON text: keys sorted, timestamps ISO 8601, no blanks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import polars as pl

#: Format of every timestamp that leaves the program; the value is in UTC.
ISO = "%Y-%m-%dT%H:%M:%S%.3fZ"


def canonical_json(columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return an expression of one JSON object a row, made of these columns.

    Structs and maps become objects with sorted keys, lists arrays, timestamps (UTC) text with
    milliseconds and ``Z``; null stays null. Numbers must be finite, see ``not_finite``.
    """
    ordered = sorted(columns.items())
    return pl.struct(_plain(pl.col(n), d).alias(n) for n, d in ordered).struct.json_encode()


def not_finite(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return whether NaN or an infinity lies anywhere in ``value``; never null."""
    if dtype.is_float():
        return value.is_finite().not_().fill_null(False)
    if isinstance(dtype, pl.Struct):
        fields = [
            not_finite(value.struct.field(f.name), cast(pl.DataType, f.dtype)) for f in dtype.fields
        ]
        return pl.any_horizontal(pl.lit(False), *fields)
    if isinstance(dtype, pl.Map):
        return _any(value.map.values(), cast(pl.DataType, dtype.value))
    if isinstance(dtype, pl.List):
        return _any(value, cast(pl.DataType, dtype.inner))
    return pl.lit(False)


def _any(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_nested() or dtype.is_float():
        return values.list.eval(not_finite(pl.element(), dtype)).list.any().fill_null(False)
    return pl.lit(False)


def _plain(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Struct):
        fields = [
            _plain(value.struct.field(f.name), cast(pl.DataType, f.dtype)).alias(f.name)
            for f in sorted(dtype.fields, key=lambda f: f.name)
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    if isinstance(dtype, pl.Map):
        return _plain_map(value, cast(pl.DataType, dtype.value))
    if isinstance(dtype, pl.List):
        return value.list.eval(_plain(pl.element(), cast(pl.DataType, dtype.inner)))
    return value.dt.strftime(ISO) if isinstance(dtype, pl.Datetime) else value


def _plain_map(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    key, inner = pl.element().struct.field("key"), pl.element().struct.field("value")
    entry = pl.struct(key, _plain(inner, dtype).alias("value")).sort_by(key)
    return value.map.entries().list.eval(entry).list.to_map()
