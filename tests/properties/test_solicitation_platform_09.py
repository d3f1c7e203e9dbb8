from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import ExpressionRule, Filter, FilterChain, FunctionRule, LookupRule
from transforms.filters import Filters
from transforms.kernel import UnitContext

CONTEXT = UnitContext("reviews", "2017-03-01", "run", datetime(2017, 3, 1, 23, 59, 59, 999_000))
LOOKUPS = {("allowed", "n"): pl.Series([0, 2, 4, 6, 8])}
MODULE = "filters_that_take_notes"

# what each kind of filter lets pass, said a second time in plain Python
KINDS: list[tuple[Any, Any]] = [
    (ExpressionRule(expression="n > 2"), lambda n: n is not None and n > 2),
    (ExpressionRule(expression="n <> 5 OR n IS NULL"), lambda n: n is None or n != 5),
    (ExpressionRule(expression="n IN (1, 2, 3, 4, 5, 6)"), lambda n: n in range(1, 7)),
    (LookupRule(column="n", table="allowed", key="n"), lambda n: n in (0, 2, 4, 6, 8)),
    (FunctionRule(function=f"{MODULE}:below"), lambda n: n is not None and n < 7),
    (FunctionRule(function=f"{MODULE}:present"), lambda n: n is not None),
]


@contextmanager
def notes() -> Iterator[list[list[int]]]:
    """Install functions for filters that note the rows that they were given."""
    seen: list[list[int]] = []

    def below(frame: pl.DataFrame) -> pl.Series:
        seen.append(frame["_row"].to_list())
        return frame["n"] < 7

    def present(frame: pl.DataFrame) -> pl.Series:
        seen.append(frame["_row"].to_list())
        return frame["n"].is_not_null()

    module = ModuleType(MODULE)
    module.below, module.present = below, present  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    try:
        yield seen
    finally:
        del sys.modules[MODULE]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.booleans()), min_size=1, max_size=7),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.lists(st.none() | st.integers(0, 9), max_size=15),
)
def test_filters_run_by_their_numbers_each_on_what_the_last_let_pass(
    drawn: list[tuple[int, bool]], random: Any, together: bool, values: list[int | None]
) -> None:
    """Feature: solicitation-platform, Property 9: Filter chain ordering"""
    orders = random.sample(range(-50, 50), len(drawn))
    rules = [
        Filter(
            filter_id=f"f{order + 50}",
            filter_type="QUALITY",
            enabled=enabled,
            order=order,
            reason_code="NO",
            reason="no",
            parameters=KINDS[kind][0],
        )
        for (kind, enabled), order in zip(drawn, orders, strict=True)
    ]
    frame = pl.DataFrame({"n": values}, schema={"n": pl.Int64}).with_row_index("_row")
    with notes() as seen:
        chain = FilterChain(filters=rules, parallel_execution=together)
        split = Filters(chain, LOOKUPS)(frame, CONTEXT)

    left, verdicts, expected_notes = dict(enumerate(values)), {}, []
    for order, (kind, enabled) in sorted(zip(orders, drawn, strict=True)):
        if not enabled:
            continue
        rule, passes = KINDS[kind]
        if isinstance(rule, FunctionRule):
            expected_notes.append(list(left))
        for row in [row for row, n in left.items() if not passes(n)]:
            verdicts[row] = f"f{order + 50}"
            del left[row]

    assert split.passed["_row"].to_list() == list(left)
    assert dict(split.rejected.select("_row", "filterId").iter_rows()) == verdicts
    assert seen == expected_notes
