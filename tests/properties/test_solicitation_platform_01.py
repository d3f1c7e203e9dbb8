from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import AvroConnector, FieldMappings
from transforms.conform import Conform
from transforms.kernel import UnitContext
from transforms.mapping import restore

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
START, END = datetime(2000, 1, 1), datetime(2017, 3, 1)
WORDS = st.text(min_size=1, max_size=8).filter(lambda text: text == text.strip() != "")


def same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Kind:
    """A type that a source may hold a field in, and what a value of it means."""

    dtype: pl.DataType
    values: st.SearchStrategy[Any]
    meaning: Any = same


def to_the_millisecond(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return to_the_millisecond(
        (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    )


# A day within the range at either end, so that no time zone leads out of it.
MOMENTS = st.datetimes(START + timedelta(days=1), END - timedelta(days=1)).map(to_the_millisecond)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
IDS = [
    Kind(pl.String(), WORDS),
    Kind(pl.Categorical(), WORDS),
    Kind(pl.Int32(), st.integers(-(2**31), 2**31 - 1)),
    Kind(pl.UInt64(), st.integers(0, 2**64 - 1)),
    Kind(pl.Float64(), st.integers(-(2**53), 2**53).map(float)),
    Kind(pl.Decimal(20, 3), st.integers(-(10**16), 10**16).map(Decimal)),
]
DATES = [
    Kind(pl.Date(), st.dates(START.date(), END.date())),
    Kind(pl.Datetime("ms"), MOMENTS),
    Kind(pl.Datetime("us"), MOMENTS),
    Kind(pl.Datetime("ns", "Asia/Kolkata"), MOMENTS.map(lambda m: m.replace(tzinfo=UTC))),
    Kind(pl.String(), MOMENTS.map(datetime.isoformat), instant),
    Kind(
        pl.String(),
        st.builds(lambda m, zone: m.replace(tzinfo=zone).isoformat(), MOMENTS, OFFSETS),
        instant,
    ),
    Kind(pl.String(), st.dates(START.date(), END.date()).map(date.isoformat), instant),
]
AMOUNTS = [
    Kind(pl.Float64(), st.floats(allow_nan=False, allow_infinity=False)),
    Kind(pl.Int16(), st.integers(-(2**15), 2**15 - 1)),
    Kind(pl.Decimal(9, 2), st.integers(-(10**9) + 1, 10**9 - 1).map(lambda c: Decimal(c) / 100)),
    Kind(pl.String(), st.floats(-1e9, 1e9).map(repr), float),
]
MARKETS = ("US", "CA", "UK")


@st.composite
def sources(draw: st.DrawFn) -> tuple[AvroConnector, pl.DataFrame, dict[str, Kind]]:
    fields = ["customer_id", "subject_id", "event_date", "order_value", "marketplace"]
    names = draw(
        st.lists(st.from_regex(r"[a-z]{3,9}_", fullmatch=True), min_size=5, max_size=5, unique=True)
    )
    kinds = {
        "customer_id": draw(st.sampled_from(IDS)),
        "subject_id": draw(st.sampled_from(IDS)),
        "event_date": draw(st.sampled_from(DATES)),
        "order_value": draw(st.sampled_from(AMOUNTS)),
        "marketplace": Kind(pl.String(), st.sampled_from(MARKETS)),
    }
    rows = draw(st.integers(1, 5))
    columns = {}
    for name, field in zip(names, fields, strict=True):
        kind = kinds[field]
        values = st.none() | kind.values if field == "order_value" else kind.values
        drawn = draw(st.lists(values, min_size=rows, max_size=rows))
        columns[name] = pl.Series(drawn, dtype=kind.dtype)
    mappings = FieldMappings(**dict(zip(fields, names, strict=True)))
    connector = AvroConnector(
        connector_type="avro",
        path="{date}",
        source_id="shop",
        subject_type="product",
        field_mappings=mappings,
    )
    by_column = {name: kinds[field] for name, field in zip(names, fields, strict=True)}
    return connector, pl.DataFrame(columns).with_row_index("_row"), by_column


def meanings(frame: pl.DataFrame, kinds: dict[str, Kind]) -> dict[str, list[Any]]:
    return {
        name: [None if value is None else kind.meaning(value) for value in frame[name]]
        for name, kind in kinds.items()
    }


@settings(max_examples=200, deadline=None)
@given(sources())
def test_what_was_mapped_can_be_mapped_back(
    source: tuple[AvroConnector, pl.DataFrame, dict[str, Kind]],
) -> None:
    """Feature: solicitation-platform, Property 1: Data connector transformation preserves semantics"""
    connector, frame, kinds = source
    split = Conform(connector, MARKETS)(frame, CONTEXT)
    assert split.rejected.is_empty()
    restored = restore(split.passed, connector, frame.schema)
    assert {name: restored.schema[name] for name in kinds} == {
        name: frame.schema[name] for name in kinds
    }
    assert meanings(restored, kinds) == meanings(frame, kinds)
