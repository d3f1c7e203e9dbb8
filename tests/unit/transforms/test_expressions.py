from __future__ import annotations

import polars as pl
import pytest

from transforms.errors import ExpressionRefused, NotBoolean, UnknownColumn
from transforms.expressions import columns_of, require_boolean, require_columns, row_expression

ROWS = pl.DataFrame({"a": [1, 5, None], "name": ["x", "now", None]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a >= 2", [False, True, None]),
        ("a BETWEEN 1 AND 4", [True, False, None]),
        ("a IN (1, 2)", [True, False, None]),
        ("name NOT IN ('x')", [False, True, None]),
        ("COALESCE(name, '') NOT IN ('x')", [False, True, True]),
        ("name = 'now'", [False, True, None]),
        ("name = 'MAX(a) OVER ()'", [False, False, None]),
        ("CAST(a AS VARCHAR(10)) = '5'", [False, True, None]),
        ('"name" IS NULL', [False, False, True]),
    ],
)
def test_says_of_each_row_what_sql_says(text: str, expected: list[bool | None]) -> None:
    assert ROWS.select(row_expression("filter 'f'", text)).to_series().to_list() == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a >", "unable to parse"),
        ("a > 1, a < 3", "unexpected token"),
        ("a > NOW()", "clock"),
        ("name < current_date", "clock"),
        ("a > MAX(a)", "other rows"),
        ("avg (a) > 1", "other rows"),
        ("ROW_NUMBER() OVER (ORDER BY a) = 1", "other rows"),
        ("a IN (SELECT a FROM self)", "other rows"),
    ],
)
def test_refuses_what_does_not_depend_on_the_row_alone(text: str, why: str) -> None:
    with pytest.raises(ExpressionRefused, match=f"(?is)filter 'f'.*{why}"):
        row_expression("filter 'f'", text)


def test_columns_are_sorted_and_named_once() -> None:
    assert columns_of(row_expression("f", 'b > 1 AND "score.x" > a AND a > 0')) == (
        "a",
        "b",
        "score.x",
    )


def test_an_unknown_column_is_named_with_what_was_found() -> None:
    with pytest.raises(UnknownColumn, match=r"channel 'c'.*'b'.*\['a', 'name'\]"):
        require_columns("channel 'c'", ("a", "b"), ROWS)


@pytest.mark.parametrize("outcome", [pl.Series([1, 2, 3]), pl.Series([True])])
def test_an_outcome_is_one_boolean_a_row(outcome: pl.Series) -> None:
    require_boolean("filter 'f'", pl.Series([True, None, False]), 3)
    with pytest.raises(NotBoolean, match="filter 'f'"):
        require_boolean("filter 'f'", outcome, 3)
