from __future__ import annotations

import io
from dataclasses import replace
from datetime import date, timedelta

import pytest
from rich.console import Console

from jobs.results import Balance, Rejected, RunResult, UnitResult

REJECTED = (Rejected("TRUST", "quantity-sane", "QUANTITY_OUT_OF_RANGE", 100_000),)
BALANCE = Balance(read=131_042, written=31_000, deduplicated=42, rejected=REJECTED)


def year(days: int) -> tuple[UnitResult, ...]:
    first = date(2017, 1, 1)
    return tuple(
        UnitResult((first + timedelta(n)).isoformat(), "published", BALANCE) for n in range(days)
    )


def lines(units: tuple[UnitResult, ...], width: int = 100) -> list[str]:
    result = RunResult("run-7", "solicit", "reviews", "local", "4f0c", "0.1.0", units)
    console = Console(file=io.StringIO(), width=width)
    console.print(result.balance_table())
    assert isinstance(console.file, io.StringIO)
    text = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return [line.strip() for line in text if line.strip() and "─" not in line]


def test_one_line_a_unit_and_the_sum() -> None:
    header, first, second, total = lines(year(2))
    assert header.split()[:3] == ["unit", "status", "read"]
    assert first.split() == [
        *("2017-01-01", "published", "131,042", "31,000", "42", "0", "100,000", "✓")
    ]
    assert second.startswith("2017-01-02")
    assert total.split() == [
        *("total", "2", "units", "262,084", "62,000", "84", "0", "200,000", "✓")
    ]


def test_a_long_run_is_summed_by_month_with_failed_units_by_themselves() -> None:
    units = list(year(59))
    units[40] = UnitResult(units[40].partition, "failed", Balance(read=7), error="no such table")
    shown = lines(tuple(units))
    assert [line.split()[0] for line in shown[1:]] == [
        *("2017-01", "2017-02", "2017-02-10", "total")
    ]
    assert "31 units" in shown[1]
    assert "1 of 28 failed" in shown[2]
    assert shown[3].split() == ["2017-02-10", "failed", "7", "0", "0", "0", "0", "-"]
    assert "1 of 59 failed" in shown[4]
    assert shown[4].endswith("✓")


def test_a_sheet_that_is_off_is_said_in_its_line_and_in_the_sum() -> None:
    units = list(year(3))
    units[0] = replace(units[0], balance=replace(BALANCE, written=0))
    units[1] = replace(units[1], balance=replace(BALANCE, written=62_000))
    shown = lines(tuple(units))
    assert shown[1].endswith("off by 31,000")
    assert shown[2].endswith("off by 31,000")
    assert shown[4].endswith("off by 62,000")


@pytest.mark.parametrize("days", [0, 1, 40, 41, 365])
def test_a_hundred_columns_suffice(days: int) -> None:
    shown = lines(year(days))
    assert max(map(len, shown)) <= 100
    assert not any("…" in line for line in shown)
    assert len(shown) == {0: 2, 1: 3, 40: 42, 41: 4, 365: 14}[days]


def test_names_are_no_markup() -> None:
    shown = lines((UnitResult("[red]shard", "skipped"),))
    assert shown[1].startswith("[red]shard")
