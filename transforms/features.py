"""Features: what the feature store knew of a customer before the unit's day, joined to its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import polars as pl

from transforms.errors import ColumnTaken, DuplicateFeatures, FeatureNotNumeric, MissingFeature
from transforms.kernel import Split, UnitContext, nothing_rejected

KEY = ("customerId", "date")


@dataclass(frozen=True, eq=False)
class FeatureJoin:
    """Adds a customer's features as they were known for the unit's day; rejects nothing.

    ``features`` has ``customerId`` (String), ``date`` (Date) and one numeric or Boolean column for
    each of ``columns``, at most one row a customer and day (a row without either matches nothing).
    Input: ``customerId`` (String). Output: ``columns`` as Float64, null where the store knows
    nothing of the customer on that day. Rows keep their order and number.

    Raises ``MissingFeature`` or ``FeatureNotNumeric`` for a column that ``features`` lacks or that
    holds no numbers, ``DuplicateFeatures`` for a second row of a customer and day, and
    ``ColumnTaken`` when a frame already has a column of a feature's name.

    Source: solicitation-platform, property 8.
    """

    features: pl.DataFrame
    columns: tuple[str, ...]
    _days: dict[date, tuple[int, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tidy = _tidy(self.features, self.columns)
        _refuse_duplicates(tidy)
        object.__setattr__(self, "features", tidy)
        object.__setattr__(self, "_days", _slices(tidy))

    @property
    def name(self) -> str:
        """The stage's name."""
        return "features"

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:
        """Join the features of ``context.unit``'s day."""
        taken = [column for column in self.columns if column in frame.columns]
        if taken:
            raise ColumnTaken(self.name, taken)
        known = self._of_day(date.fromisoformat(context.unit))
        found = frame.select("customerId").join(
            known, on="customerId", how="left", maintain_order="left"
        )
        return Split(frame.hstack(found.select(self.columns)), nothing_rejected())

    def _of_day(self, day: date) -> pl.DataFrame:
        """Return the day's rows: a slice of the table that is sorted by day, without a copy."""
        offset, length = self._days.get(day, (0, 0))
        return self.features.slice(offset, length)


def _tidy(features: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return the columns that are used, sorted by day and customer."""
    missing = [column for column in (*KEY, *columns) if column not in features.columns]
    if missing:
        raise MissingFeature("features", missing, features.columns)
    for column in columns:
        dtype = features.schema[column]
        if not (dtype.is_numeric() or dtype == pl.Boolean):
            raise FeatureNotNumeric("features", column, dtype)
    return features.select(
        pl.col("customerId").cast(pl.String),
        pl.col("date").cast(pl.Date),
        pl.col(columns).cast(pl.Float64),
    ).sort("date", "customerId")


def _refuse_duplicates(features: pl.DataFrame) -> None:
    """Raise ``DuplicateFeatures`` for the first customer and day that occur twice."""
    same = pl.all_horizontal(pl.col(column) == pl.col(column).shift() for column in KEY)
    twice = features.select(KEY).filter(same)
    if twice.height:
        customer_id, day = twice.row(0)
        rows = features.filter(customerId=customer_id, date=day).height
        raise DuplicateFeatures(customer_id, day.isoformat(), rows)


def _slices(features: pl.DataFrame) -> dict[date, tuple[int, int]]:
    """Return each day's offset and length in ``features``, which is sorted by day."""
    runs = features.select(pl.col("date").rle()).unnest("date")
    lengths = runs["len"].to_list()
    offsets = (runs["len"].cum_sum() - runs["len"]).to_list()
    return {
        day: (offset, length)
        for day, offset, length in zip(runs["value"], offsets, lengths, strict=True)
    }
