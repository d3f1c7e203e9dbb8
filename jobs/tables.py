"""The balance sheet as a table for a terminal of 100 columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text

from jobs.results import Balance, RunResult, UnitResult

#: More units than this are summed by month; failed ones keep a line of their own.
LINES = 40

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_STYLE = {"failed": "bold red", "skipped": "yellow", "unchanged": "dim"}

Units = tuple[UnitResult, ...]


def balance_table(result: RunResult) -> Table:
    """Return one line a unit (a month, above ``LINES`` units) and the sum over all.

    The last column has no word on failed units: they stand by their error, not by their sheet.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("unit", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for name in ("read", "written", "deduplicated", "quarantined", "rejected", "ok"):
        table.add_column(name, justify="right", overflow="fold")
    for label, units in _lines(result.units):
        table.add_row(label, _status(units), *_numbers(units))
    table.add_section()
    table.add_row("total", _status(result.units), *_numbers(result.units), style="bold")
    return table


def _lines(units: Units) -> Iterator[tuple[Text, Units]]:
    if len(units) <= LINES:
        yield from ((Text(unit.partition), (unit,)) for unit in units)
        return
    for month, group in groupby(units, key=_month):
        members = tuple(group)
        yield Text(month), members
        if len(members) > 1:
            failed = (unit for unit in members if unit.status == "failed")
            yield from ((Text(f"  {unit.partition}"), (unit,)) for unit in failed)


def _month(unit: UnitResult) -> str:
    return unit.partition[:7] if _DAY.fullmatch(unit.partition) else unit.partition


def _status(units: Units) -> Text:
    counts = Counter(unit.status for unit in units)
    if len(units) == 1:
        return Text(units[0].status, style=_STYLE.get(units[0].status, ""))
    for status in ("failed", "skipped"):
        if counts[status]:
            words = f"{counts[status]:,} of {len(units):,} {status}"
            return Text(words, style=_STYLE[status])
    return Text(f"{len(units):,} units")


def _numbers(units: Units) -> Iterator[Text]:
    balance = reduce(Balance.__add__, (unit.balance for unit in units), Balance())
    lines = (balance.read, balance.written, balance.deduplicated, balance.quarantined)
    yield from (Text(f"{count:,}") for count in (*lines, balance.rejected_total))
    yield _check([unit.balance.difference for unit in units if unit.status != "failed"])


def _check(differences: list[int]) -> Text:
    if not differences:
        return Text("-")
    if any(differences):
        return Text(f"off by {sum(map(abs, differences)):,}", style="bold red")
    return Text("✓", style="green")
