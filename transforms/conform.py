"""From a source's columns to the canonical ones that every later step reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import ClassVar

import polars as pl

from conf.program import Connector, FilterType
from transforms.faults import Reason, split_by_first_fault
from transforms.instants import utc
from transforms.kernel import Split, UnitContext
from transforms.mapping import canonical, values_given

_REQUIRED = ("customerId", "subjectId", "eventDate", "marketplace")


@dataclass(frozen=True, slots=True)
class Conform:
    """Map, trim and check what a source gave (solicitation-platform, properties 1, 49 and 50).

    Input: the source's columns. Output: all of them, String columns without surrounding white
    space, and the columns of ``CANONICAL``. Order kept; every row comes out once. Ids are text
    (whole numbers without decimals); empty text is a missing value; times without a zone are UTC
    and are cut to milliseconds.

    Rejections have filterId ``conform`` and type QUALITY; the first that holds names the reason:
    REQUIRED_FIELD_MISSING (customerId, subjectId, eventDate, marketplace, in that order),
    DATE_INVALID (text that is not ISO 8601), DATE_OUT_OF_RANGE (outside the connector's range,
    whose end is reckoned from the unit's logical time), TYPE_MISMATCH (an id that is a number but
    not a whole one; an order value that is no number, or not a finite one),
    MARKETPLACE_NOT_ENABLED.

    Raises MissingColumn where a mapped column is missing, UnmappableColumn where its type cannot
    become the field, ColumnTaken where a column that is not mapped has a canonical name.
    """

    connector: Connector
    marketplaces: tuple[str, ...]
    name: ClassVar[str] = "conform"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        """Split ``frame``; see the class."""
        trimmed = frame.with_columns(pl.col(pl.String).str.strip_chars())
        given = values_given(self.connector, trimmed)
        mapped = canonical(self.connector, given)
        absent = given.select(pl.all().is_null().name.prefix("absent."))
        checks = list(self._checks(given.columns, context))
        faults = mapped.with_columns(absent.get_columns()).select(
            fault.alias(f"fault {i}") for i, (_, fault) in enumerate(checks)
        )
        rows = trimmed.with_columns(mapped.get_columns())
        return split_by_first_fault(rows, faults, [reason for reason, _ in checks])

    def _checks(
        self, given: Iterable[str], context: UnitContext
    ) -> Iterator[tuple[Reason, pl.Expr]]:
        for field in _REQUIRED:
            if field in given:
                reason = _quality("REQUIRED_FIELD_MISSING", f"{field} is missing")
                yield reason, pl.col(f"absent.{field}")
        event = pl.col("eventDate")
        yield _quality("DATE_INVALID", "eventDate is not ISO 8601"), event.is_null()
        yield self._range_check(event, context)
        yield from _type_checks(given)
        reason = _quality("MARKETPLACE_NOT_ENABLED", "marketplace is not among the program's")
        yield reason, ~pl.col("marketplace").is_in(list(self.marketplaces))

    def _range_check(self, event: pl.Expr, context: UnitContext) -> tuple[Reason, pl.Expr]:
        allowed = self.connector.date_range
        earliest = datetime.combine(allowed.earliest, time(), UTC)
        latest = utc(context.logical_time) + timedelta(days=allowed.latest_days_ahead)
        reason = (
            f"eventDate is before {allowed.earliest} or more than {allowed.latest_days_ahead} "
            "days after its unit"
        )
        return _quality("DATE_OUT_OF_RANGE", reason), ~event.is_between(earliest, latest)


def _quality(code: str, reason: str) -> Reason:
    return Reason(Conform.name, FilterType.QUALITY, reason, code)


def _type_checks(given: Iterable[str]) -> Iterator[tuple[Reason, pl.Expr]]:
    for field, expected in (
        ("customerId", "text or a whole number"),
        ("subjectId", "text or a whole number"),
        ("marketplace", "text or a whole number"),
        ("orderValue", "a finite number"),
    ):
        if field in given:
            fault = pl.col(field).is_null() & ~pl.col(f"absent.{field}")
            yield _quality("TYPE_MISMATCH", f"{field} is not {expected}"), fault
