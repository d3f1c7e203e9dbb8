from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import date, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from jobs.calendar_table import Mark, calendar_table

SIGNS = dict(zip(get_args(Mark), "✓▶◌✗!–·", strict=True))
FIRST = date(2017, 1, 1)


def printed(marks: Mapping[date, str], first: date, last: date, *, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, width=80, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(calendar_table(marks, first, last))
    return file.getvalue()


def lines(marks: Mapping[date, str], first: date, last: date) -> list[str]:
    """The header, a line a month and the legend."""
    text = [line.rstrip() for line in printed(marks, first, last).splitlines()]
    return [line[1:] for line in text if line and "─" not in line]


def marked(first: date, days: int, mark: str = "done") -> dict[date, str]:
    return {first + timedelta(n): mark for n in range(days)}


def test_a_day_stands_under_its_number() -> None:
    days = (1, 5, 10, 15, 20, 25, 30)
    header, row, _ = lines(
        {FIRST.replace(day=day): "failed" for day in days}, FIRST, date(2017, 1, 31)
    )
    for day in days:
        column = 8 + 2 * (day - 1)
        assert row[column] == "✗"
        assert header[column:].startswith(f"{day} ")
    assert row.count("✗") == len(days)
    assert row.count("·") == 31 - len(days)
    assert row.endswith(" 0/31")


def test_days_outside_the_range_are_blank_and_not_counted() -> None:
    marks = marked(date(2017, 1, 1), 90)
    _, january, february, legend = lines(marks, date(2017, 1, 30), date(2017, 2, 2))
    assert january.split() == ["2017-01", "✓", "✓", "2/2"]
    assert january.index("✓") == 8 + 2 * 29
    assert february.split() == ["2017-02", "✓", "✓", "2/2"]
    assert february.index("✓") == 8
    assert legend == "✓ 4 done"


def test_each_mark_has_its_sign_and_its_count() -> None:
    marks = {FIRST + timedelta(n): mark for n, mark in enumerate(SIGNS)}
    _, row, *legend = lines(marks, FIRST, FIRST + timedelta(len(SIGNS)))
    assert row.split() == ["2017-01", *SIGNS.values(), "·", "1/8"]
    assert " ".join(" ".join(legend).split()) == (
        "✓ 1 done ▶ 1 running ◌ 1 planned ✗ 1 failed ! 1 abandoned – 1 cancelled · 2 none"
    )


def test_the_legend_names_only_what_occurs() -> None:
    marks = {**marked(FIRST, 2000), FIRST: "failed", date(2016, 12, 31): "running"}
    assert lines(marks, FIRST, FIRST + timedelta(1999))[-1] == "✓ 1,999 done  ✗ 1 failed"


def test_an_unknown_mark_is_refused() -> None:
    with pytest.raises(KeyError, match="lost"):
        calendar_table({FIRST: "lost"}, FIRST, FIRST)


def test_signs_differ_without_colour_and_are_one_column_wide() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS)
    assert {cell_len(sign) for sign in SIGNS.values()} == {1}
    coloured = printed({FIRST: "failed"}, FIRST, FIRST, colour=True)
    assert "\x1b[1;31m✗\x1b[0m" in coloured
    assert "\x1b" not in printed({FIRST: "failed"}, FIRST, FIRST)


@pytest.mark.parametrize("mark", ["done", "none"])
def test_a_year_fits_eighty_columns(mark: str) -> None:
    text = printed(marked(FIRST, 365, mark), FIRST, date(2017, 12, 31))
    rows = [line for line in text.splitlines() if line.startswith(" 2017-")]
    assert [line[1:8] for line in rows] == [f"2017-{month:02}" for month in range(1, 13)]
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert len(text.splitlines()) == 3 + 12 + 2


def test_all_marks_in_large_numbers_fit_eighty_columns() -> None:
    marks = {FIRST + timedelta(n): tuple(SIGNS)[n // 1200] for n in range(1200 * len(SIGNS))}
    text = printed(marks, FIRST, max(marks))
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert all(f"{sign} 1,200 {mark}" in text for mark, sign in SIGNS.items())


@given(
    st.dates(date(1, 1, 1), date(9999, 1, 1)),
    st.integers(0, 100),
    st.lists(st.sampled_from(list(SIGNS)), max_size=120),
)
def test_every_day_of_the_range_is_shown_once(first: date, length: int, said: list[str]) -> None:
    last = first + timedelta(length)
    marks = {first + timedelta(n): mark for n, mark in enumerate(said)}
    rows = [line for line in lines(marks, first, last)[1:] if "/" in line]
    shown = [row[8:69] for row in rows]
    assert sum(len(row.split()) for row in shown) == length + 1
    assert "".join("".join(row.split()) for row in shown) == "".join(
        SIGNS[marks.get(first + timedelta(n), "none")] for n in range(length + 1)
    )
    assert [row[:7] for row in rows] == sorted(
        {(first + timedelta(n)).isoformat()[:7] for n in range(length + 1)}
    )
