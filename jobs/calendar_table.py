"""A calendar of days for a terminal of 80 columns: a row a month, a mark a day."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Literal, get_args

from rich import box
from rich.columns import Columns
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Mark = Literal["done", "running", "planned", "failed", "abandoned", "cancelled", "none"]

#: Sign and style of each mark: no two signs are alike, so that colour is not needed.
_SIGNS: dict[str, tuple[str, str]] = {
    "done": ("✓", "green"),
    "running": ("▶", "cyan"),
    "planned": ("◌", "blue"),
    "failed": ("✗", "bold red"),
    "abandoned": ("!", "yellow"),
    "cancelled": ("–", "yellow"),
    "none": ("·", "dim"),
}
_LABELLED = (1, 5, 10, 15, 20, 25, 30)
_LONGEST = 31


def calendar_table(marks: Mapping[date, str], first: date, last: date) -> Group:
    """Return the days from ``first`` to ``last``, each with its mark, and what the marks mean.

    ``marks`` says a ``Mark`` for a day; a day that it leaves out is "none", one outside the range
    is not shown. The right column counts the days done of those shown. The legend names only marks
    that occur.

    Raises:
        KeyError: a day has a mark that is none.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("month", no_wrap=True)
    table.add_column(_header(), no_wrap=True)
    table.add_column("done", justify="right", no_wrap=True)
    total: Counter[str] = Counter()
    for year, month in _months(first, last):
        shown = _shown(marks, year, month, first, last)
        counts = Counter(mark for mark in shown if mark is not None)
        table.add_row(f"{year:04}-{month:02}", _row(shown), f"{counts['done']}/{counts.total()}")
        total += counts
    return Group(table, Padding(_legend(total), (0, 0, 0, 1)))


def _months(first: date, last: date) -> Iterator[tuple[int, int]]:
    for count in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        yield count // 12, count % 12 + 1


def _shown(
    marks: Mapping[date, str], year: int, month: int, first: date, last: date
) -> list[str | None]:
    days = (date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1))
    return [marks.get(day, "none") if first <= day <= last else None for day in days]


def _header() -> str:
    """Return the numbers of some days, each where its day stands.

    >>> _header()
    '1       5         10        15        20        25        30 '
    """
    cells = (str(day) if day in _LABELLED else "" for day in range(1, _LONGEST + 1))
    return "".join(f"{cell:<2}" for cell in cells)[:-1]


def _row(shown: Iterable[str | None]) -> Text:
    cells = ((" ", "") if mark is None else _SIGNS[mark] for mark in shown)
    return Text(" ").join(Text(sign, style=style) for sign, style in cells)


def _legend(counts: Mapping[str, int]) -> Columns:
    present = (mark for mark in get_args(Mark) if counts.get(mark))
    return Columns(
        [Text.assemble(_SIGNS[mark], f" {counts[mark]:,} {mark}") for mark in present],
        padding=(0, 2),
    )
