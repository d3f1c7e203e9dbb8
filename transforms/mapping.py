"""Field mappings: from the columns of a source to the canonical ones, and back."""

from __future__ import annotations

import polars as pl

from conf.program import Connector
from transforms.errors import ColumnTaken, MissingColumn, UnmappableColumn
from transforms.fields import as_amount, as_id, as_instant, from_canonical, value_given
from transforms.instants import INSTANT

#: The columns that every source is mapped to; ``orderValue`` alone may be null.
CANONICAL = pl.Schema(
    [
        ("customerId", pl.String()),
        ("subjectType", pl.String()),
        ("subjectId", pl.String()),
        ("marketplace", pl.String()),
        ("eventDate", INSTANT),
        ("orderValue", pl.Float64()),
    ]
)

_CONVERSIONS = {
    "customerId": as_id,
    "subjectId": as_id,
    "eventDate": as_instant,
    "marketplace": as_id,
    "orderValue": as_amount,
}


def values_given(connector: Connector, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the values of the mapped columns, one column a field, null where a row has none.

    Raises MissingColumn, and ColumnTaken where a column has a canonical name by chance.
    """
    sources = _sources(connector)
    taken = [name for name in CANONICAL if name in frame.columns and sources.get(name) != name]
    if taken:
        raise ColumnTaken(f"source '{connector.source_id}'", taken)
    for column in sources.values():
        if column not in frame.columns:
            raise MissingColumn(connector.source_id, column, frame.columns)
    return frame.select(
        value_given(column, frame.schema[column]).alias(field) for field, column in sources.items()
    )


def canonical(connector: Connector, given: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of ``CANONICAL``; null where what is given cannot become the field.

    Raises UnmappableColumn.
    """
    constants = {"subjectType": connector.subject_type, "marketplace": connector.marketplace}
    fields = [
        _converted(connector, name, given.schema[name])
        if name in given.columns
        else pl.lit(constants.get(name), dtype)
        for name, dtype in CANONICAL.items()
    ]
    named = [value.alias(name) for value, name in zip(fields, CANONICAL, strict=True)]
    # Lazily, because only then are the shared parts of the expressions evaluated once.
    return given.lazy().select(named).collect()


def restore(frame: pl.DataFrame, connector: Connector, schema: pl.Schema) -> pl.DataFrame:
    """Return the mapped source columns in the types of ``schema``, made from the canonical ones.

    The inverse of ``Conform`` on the rows that it passed: values come back equal, up to trimming,
    milliseconds, and the spelling of numbers and times that were text (property 1).
    """
    fields = {column: field for field, column in _sources(connector).items()}
    return frame.select(
        from_canonical(field, schema[column]).alias(column) for column, field in fields.items()
    )


def _converted(connector: Connector, field: str, dtype: pl.DataType) -> pl.Expr:
    value = _CONVERSIONS[field](pl.col(field), dtype)
    if value is None:
        raise UnmappableColumn(connector.source_id, _sources(connector)[field], field, dtype)
    return value


def _sources(connector: Connector) -> dict[str, str]:
    mappings = connector.field_mappings
    columns = {
        "customerId": mappings.customer_id,
        "subjectId": mappings.subject_id,
        "eventDate": mappings.event_date,
        "marketplace": mappings.marketplace,
        "orderValue": mappings.order_value,
    }
    return {field: column for field, column in columns.items() if column is not None}
