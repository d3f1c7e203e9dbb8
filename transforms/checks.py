"""One filter of a chain, made ready to run: an expression, a lookup or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import polars as pl

from conf.program import ExpressionRule, Filter, LookupRule
from transforms.errors import FilterFailed, FunctionNotFound, MissingLookup
from transforms.expressions import columns_of, require_boolean, row_expression
from transforms.faults import Reason


@dataclass(frozen=True, eq=False)
class Check:
    """A filter's reason, the columns that it needs, and how it speaks of itself in messages."""

    reason: Reason
    columns: tuple[str, ...]

    @property
    def reader(self) -> str:
        """The filter, as messages name it."""
        return f"filter '{self.reason.filter_id}'"

    def outcome(self, frame: pl.DataFrame) -> pl.Expr | pl.Series:
        """Return what says true for each row of ``frame`` that passes."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class ExpressionCheck(Check):
    """Rows pass where an expression is true."""

    expression: pl.Expr

    def outcome(self, frame: pl.DataFrame) -> pl.Expr:  # noqa: ARG002
        """Return the expression."""
        return self.expression


@dataclass(frozen=True, eq=False)
class LookupCheck(Check):
    """Rows pass where the column's value is among ``values``; null never is."""

    values: pl.Series

    def outcome(self, frame: pl.DataFrame) -> pl.Expr:
        """Return membership, of text where the column's type is not that of the values."""
        (name,) = self.columns
        column, dtype = pl.col(name), frame.schema[name]
        if dtype == self.values.dtype or (dtype.is_integer() and self.values.dtype.is_integer()):
            return column.is_in(self.values.implode())
        return column.cast(pl.String).is_in(self.values.cast(pl.String).implode())


@dataclass(frozen=True, eq=False)
class FunctionCheck(Check):
    """Rows pass where a function of the frame says true."""

    function: Callable[..., pl.Series]
    arguments: Mapping[str, Any]

    def outcome(self, frame: pl.DataFrame) -> pl.Series:
        """Call the function; raise FilterFailed, or NotBoolean unless it answers for every row."""
        try:
            answer = self.function(frame, **self.arguments)
        except Exception as error:
            raise FilterFailed(self.reader, f"{type(error).__name__}: {error}") from error
        require_boolean(self.reader, answer, frame.height)
        return answer


def check_of(rule: Filter, lookups: Mapping[tuple[str, str], pl.Series]) -> Check:
    """Make a filter ready to run.

    Raises ExpressionRefused, MissingLookup and FunctionNotFound, naming the filter.
    """
    reader = f"filter '{rule.filter_id}'"
    reason = Reason(rule.filter_id, rule.filter_type, rule.reason, rule.reason_code)
    parameters = rule.parameters
    if isinstance(parameters, ExpressionRule):
        expression = row_expression(reader, parameters.expression)
        return ExpressionCheck(reason, columns_of(expression), expression)
    if isinstance(parameters, LookupRule):
        values = _values(reader, (parameters.table, parameters.key), lookups)
        return LookupCheck(reason, (parameters.column,), values)
    return FunctionCheck(reason, (), _imported(reader, parameters.function), parameters.arguments)


def _values(
    reader: str, lookup: tuple[str, str], lookups: Mapping[tuple[str, str], pl.Series]
) -> pl.Series:
    if lookup not in lookups:
        raise MissingLookup(reader, lookup, sorted(lookups))
    values = lookups[lookup].drop_nulls()
    if values.dtype == pl.String:
        values = values.str.strip_chars()
    return values.unique(maintain_order=True)


def _imported(reader: str, path: str) -> Callable[..., pl.Series]:
    module, _, name = path.partition(":")
    try:
        function: Callable[..., pl.Series] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FunctionNotFound(reader, path, str(error)) from error
    return function
