"""The filter chain: which rows are eligible, and the first reason why a row is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, ClassVar

import polars as pl

from conf.program import ExpressionRule, FilterChain, LookupRule
from transforms.checks import Check, FunctionCheck, check_of
from transforms.errors import FilterFailed
from transforms.expressions import columns_of, require_boolean, require_columns, row_expression
from transforms.faults import split_by_first_fault
from transforms.kernel import Split, UnitContext, concat_rejections

Lookups = Mapping[tuple[str, str], pl.Series]


@dataclass(frozen=True, eq=False)
class Filters:
    """Run the active filters in order (solicitation-platform, properties 9, 10 and 11).

    Input: the columns that the filters read, of any type. Output: the same columns; a row passes
    where every filter says true, and is rejected with the reason of the first that says false or
    null. Order kept; every row comes out once. Functions, and with ``parallel_execution`` off all
    filters, see only the rows that passed the filters before them.

    ``lookups`` holds the values of each lookup's (table, key). Text is trimmed, as rows are; where
    types differ, values are compared as text.

    Raises on construction: ExpressionRefused, MissingLookup, FunctionNotFound. Raises on rows:
    UnknownColumn, NotBoolean, FilterFailed; each names the filter.
    """

    chain: FilterChain
    lookups: Lookups = field(default_factory=dict)
    name: ClassVar[str] = "filters"
    _passes: tuple[tuple[Check, ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        checks = [check_of(rule, self.lookups) for rule in self.chain.active]
        object.__setattr__(self, "_passes", tuple(_passes(checks, self.chain.parallel_execution)))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.chain, self.lookups)

    def __call__(self, frame: pl.DataFrame, context: UnitContext) -> Split:  # noqa: ARG002
        """Split ``frame``; see the class."""
        for check in (check for checks in self._passes for check in checks):
            require_columns(check.reader, check.columns, frame)
        return _in_turn(frame, self._passes)


def _passes(checks: Iterable[Check], together: bool) -> list[tuple[Check, ...]]:
    """Put neighbours that can be evaluated together into one pass; a function is its own."""

    def alone(numbered: tuple[int, Check]) -> int:
        position, check = numbered
        return position if not together or isinstance(check, FunctionCheck) else -1

    grouped = groupby(enumerate(checks), key=alone)
    return [tuple(check for _, check in group) for _, group in grouped]


def _in_turn(frame: pl.DataFrame, passes: Iterable[tuple[Check, ...]]) -> Split:
    rejected: list[pl.DataFrame] = []
    for checks in passes:
        split = _one_pass(frame, checks)
        frame = split.passed
        if split.rejected.height:
            rejected.append(split.rejected)
    return Split(frame, rejected[0] if len(rejected) == 1 else concat_rejections(rejected))


def _one_pass(frame: pl.DataFrame, checks: tuple[Check, ...]) -> Split:
    try:
        outcomes = _outcomes(frame, checks)
    except pl.exceptions.PolarsError as error:
        if len(checks) == 1:
            raise FilterFailed(checks[0].reader, str(error)) from error
        # A later filter may rely on an earlier one having turned away what it cannot evaluate.
        return _in_turn(frame, ((check,) for check in checks))
    faults = outcomes.select(~pl.all().fill_null(False))
    return split_by_first_fault(frame, faults, [check.reason for check in checks])


def _outcomes(frame: pl.DataFrame, checks: tuple[Check, ...]) -> pl.DataFrame:
    outcomes = [check.outcome(frame) for check in checks]
    names = [f"outcome {i}" for i in range(len(checks))]
    frame = frame.with_columns(**dict(zip(names, outcomes, strict=True))).select(names)
    for check, outcome in zip(checks, frame, strict=True):
        require_boolean(check.reader, outcome, frame.height)
    return frame


def columns_read(chain: FilterChain) -> tuple[str, ...]:
    """Return the sorted names of the columns that active expressions and lookups read.

    Functions are not looked into: what they read, the source must be told apart from this.
    """
    names: set[str] = set()
    for rule in chain.active:
        if isinstance(rule.parameters, ExpressionRule):
            reader = f"filter '{rule.filter_id}'"
            names.update(columns_of(row_expression(reader, rule.parameters.expression)))
        elif isinstance(rule.parameters, LookupRule):
            names.add(rule.parameters.column)
    return tuple(sorted(names))
