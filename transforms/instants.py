"""Points in time: ISO 8601 text to UTC milliseconds and back."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

INSTANT = pl.Datetime("ms", "UTC")

_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
_ZONE = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
_ISO_8601 = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(T{_TIME}{_ZONE})?$"
_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def utc(moment: datetime) -> datetime:
    """Return ``moment`` in UTC; without a zone it is UTC already.

    >>> utc(datetime(2017, 3, 1, 12)).isoformat()
    '2017-03-01T12:00:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_iso_8601(text: pl.Expr) -> pl.Expr:
    """Turn ISO 8601 text into instants; what is not ISO 8601, or no day of the calendar, is null.

    Input: String, nullable: a calendar date in the extended format, alone (midnight) or with ``T``
    and a time to the minute, second or fraction, and ``Z``, an offset, or none (UTC). Output:
    Datetime("ms", "UTC"), fractions cut to milliseconds. A second of 60 and an hour of 24 are null.
    Source: solicitation-platform, property 50.

    >>> pl.select(parse_iso_8601(pl.lit("2017-03-01T01:30+02:00"))).item().isoformat()
    '2017-02-28T23:30:00+00:00'
    """
    valid = pl.when(text.str.contains(_ISO_8601)).then(text)
    day = valid.str.head(10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64) * _DAY
    return (day + _time_of_day(valid) - _offset(valid)).cast(pl.Datetime("ms")).cast(INSTANT)


def _number(digits: pl.Expr) -> pl.Expr:
    return digits.cast(pl.Int64, strict=False).fill_null(0)


def _time_of_day(text: pl.Expr) -> pl.Expr:
    hours, minutes = _number(text.str.slice(11, 2)), _number(text.str.slice(14, 2))
    seconds = pl.when(text.str.slice(16, 1) == ":").then(_number(text.str.slice(17, 2)))
    fraction = text.str.slice(19).str.extract("^[.,]([0-9]{1,3})").str.pad_end(3, "0")
    return hours * _HOUR + minutes * _MINUTE + seconds.fill_null(0) * 1000 + _number(fraction)


def _offset(text: pl.Expr) -> pl.Expr:
    zone = text.str.slice(16).str.extract("([+-].*)$").str.replace(":", "", literal=True)
    minutes = _number(zone.str.slice(1, 2)) * 60 + _number(zone.str.slice(3, 2))
    return pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes) * _MINUTE


def format_iso_8601(instant: pl.Expr) -> pl.Expr:
    """Turn instants (Datetime("ms", "UTC"), nullable) into ISO 8601 text with milliseconds and Z.

    >>> pl.select(format_iso_8601(pl.lit(datetime(2017, 3, 1, 12)).cast(INSTANT))).item()
    '2017-03-01T12:00:00.000Z'
    """
    return instant.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
