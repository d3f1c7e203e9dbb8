"""How values of a source become canonical fields, by their type, and back again."""

from __future__ import annotations

import polars as pl

from transforms.instants import format_iso_8601, parse_iso_8601


def is_text(dtype: pl.DataType) -> bool:
    """Say whether a column of this type holds text, plain or encoded."""
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def value_given(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column's values; of text, what trimming leaves, or null where it leaves nothing."""
    value = pl.col(column)
    if not is_text(dtype):
        return value
    text = value if dtype == pl.String else value.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def as_id(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return String, or None where ``dtype`` holds neither text nor numbers.

    Whole numbers are written without decimals; a number that is not whole becomes null.
    """
    if dtype in (pl.String, pl.Null) or dtype.is_integer():
        return value.cast(pl.String)
    if dtype.is_numeric():
        whole = value.cast(pl.Int128, strict=False)
        return pl.when(whole.cast(dtype, strict=False) == value).then(whole.cast(pl.String))
    return None


def as_instant(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return Datetime("ms", "UTC"), or None where ``dtype`` is neither text, date nor time.

    Dates are at midnight, times without a zone in UTC; text that is not ISO 8601 becomes null.
    """
    if dtype == pl.String:
        return parse_iso_8601(value)
    if dtype in (pl.Date, pl.Null):
        return value.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    if isinstance(dtype, pl.Datetime):
        zoned = value if dtype.time_zone else value.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("ms")
    return None


def as_amount(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return Float64, or None where ``dtype`` holds neither text nor numbers.

    Text that is no number, and a number that is not finite, become null.
    """
    if not (dtype in (pl.String, pl.Null) or dtype.is_numeric()):
        return None
    number = value.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def from_canonical(field: str, dtype: pl.DataType) -> pl.Expr:
    """Return the canonical ``field`` as a source of type ``dtype`` would hold it."""
    value = pl.col(field)
    if field == "eventDate":
        return _from_instant(value, dtype)
    if field == "orderValue" or not dtype.is_decimal():
        return value.cast(dtype)
    return value.cast(pl.Int128).cast(dtype)


def _from_instant(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype == pl.String:
        return format_iso_8601(value)
    if not isinstance(dtype, pl.Datetime):
        return value.dt.date().cast(dtype)
    instant = value.dt.cast_time_unit(dtype.time_unit)
    if dtype.time_zone is None:
        return instant.dt.replace_time_zone(None)
    return instant.dt.convert_time_zone(dtype.time_zone)
