"""SQL expressions of the configuration: parsed, and held to what a kernel may know."""

from __future__ import annotations

import re

import polars as pl

from transforms.errors import ExpressionRefused, NotBoolean, UnknownColumn

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_CLOCK = re.compile(r"\b(NOW|CURRENT_(DATE|TIME|TIMESTAMP)|LOCALTIME(STAMP)?)\b", re.IGNORECASE)
_OTHER_ROWS = re.compile(
    r"\b(OVER|SELECT)\b"
    r"|\b(APPROX_\w+|ARRAY_AGG|AVG|CORR|COUNT|COVAR\w*|FIRST(_VALUE)?|LAST(_VALUE)?|LAG|LEAD|MAX"
    r"|MEDIAN|MIN|QUANTILE\w*|\w*RANK|ROW_NUMBER|STD\w*|STRING_AGG|SUM|TOTAL|UNNEST"
    r"|VAR(IANCE|_\w+)?)\s*\(",
    re.IGNORECASE,
)


def row_expression(reader: str, text: str) -> pl.Expr:
    """Parse a SQL expression whose outcome for a row depends on that row alone.

    ``reader`` names the filter or channel in messages. Raises ExpressionRefused where ``text`` is
    no SQL expression, reads the clock, or looks at other rows (aggregates, windows, subqueries):
    any of these would make the outcome depend on when, or in what frames, the rows were read.

    >>> row_expression("filter 'adult'", "age >= 18").meta.root_names()
    ['age']
    """
    bare = _QUOTED.sub("", text)
    if _CLOCK.search(bare):
        raise ExpressionRefused(reader, text, "it reads the clock")
    if _OTHER_ROWS.search(bare):
        raise ExpressionRefused(reader, text, "it looks at other rows")
    try:
        return pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise ExpressionRefused(reader, text, str(error)) from error


def columns_of(expression: pl.Expr) -> tuple[str, ...]:
    """Return the names of the columns that ``expression`` reads, sorted."""
    return tuple(sorted(set(expression.meta.root_names())))


def require_columns(reader: str, columns: tuple[str, ...], frame: pl.DataFrame) -> None:
    """Raise UnknownColumn for the first of ``columns`` that ``frame`` does not have."""
    for column in columns:
        if column not in frame.columns:
            raise UnknownColumn(reader, column, frame.columns)


def require_boolean(reader: str, outcome: pl.Series, rows: int) -> None:
    """Raise NotBoolean unless ``outcome`` is ``rows`` Booleans."""
    if outcome.dtype != pl.Boolean:
        raise NotBoolean(reader, "Boolean", outcome.dtype)
    if len(outcome) != rows:
        raise NotBoolean(reader, f"{rows} rows", f"{len(outcome)} rows")
