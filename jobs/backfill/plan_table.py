"""A plan as tables for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import reduce
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.backfill.plan import LeftUnit, Plan, PlannedUnit, Predicted, ProgramPlan
from jobs.sizes import size_text

#: More units than this are summed by month.
LINES = 40
#: More reasons than this are not spelt out.
_REASONS = 10
_NUMBERS = ("rows", "candidates", "to lake", "requests", "write\nunits", "minutes", "USD")
_HINT = {
    "stale": "--reprocess stale makes them anew",
    "failed": "--reprocess failed tries them again",
    "missing": "--reprocess missing makes them",
}

Units = tuple[PlannedUnit, ...]


def print_plan(plan: Plan, console: Console) -> None:
    """Print every program's part, what is left as it is, and the totals."""
    for part in plan.programs:
        if part.units:
            console.print(_table(part))
        for line in _reason_lines(part):
            console.print(line)
        for line in _left_lines(part):
            console.print(line)
    for program, why in plan.refused.items():
        console.print(Text(f"{program}: not planned: {why}", style="red"))
    console.print(_last_lines(plan))


def _table(part: ProgramPlan) -> Table:
    whys = _reasons(part.units)
    why = f": {whys[0][0]}" if len(whys) == 1 else ""
    title = f"{part.program}: {len(part.units):,} {_units(len(part.units))} to make{why}"
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = 0, False
    table.add_column("unit", no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", overflow="fold")
    for label, units in _lines(part.units):
        table.add_row(label, *_numbers(_sum(units)))
    table.add_section()
    total = f"{len(part.units):,} {_units(len(part.units))}"
    table.add_row(total, *_numbers(part.predicted), style="bold")
    return table


def _lines(units: Units) -> Iterator[tuple[str, Units]]:
    if len(units) <= LINES:
        yield from ((unit.day, (unit,)) for unit in units)
        return
    for month, group in groupby(units, key=lambda unit: unit.day[:7]):
        yield month, tuple(group)


def _reasons(units: Units) -> list[tuple[str, list[str]]]:
    """Return each reason with its days, the commonest first."""
    days: dict[str, list[str]] = {}
    for unit in units:
        days.setdefault(unit.why, []).append(unit.day)
    return sorted(days.items(), key=lambda item: -len(item[1]))


def _reason_lines(part: ProgramPlan) -> Iterator[Text]:
    """Yield a line a reason where there are several, a few of them at most."""
    whys = _reasons(part.units)
    if len(whys) < 2:
        return
    for why, days in whys[:_REASONS]:
        yield Text(f"  {len(days):,} {_units(len(days))} ({_span(days)}): {why}")
    if len(whys) > _REASONS:
        yield Text(f"  and {len(whys) - _REASONS:,} more reasons; -o writes all")


def _sum(units: Units) -> Predicted:
    return reduce(Predicted.__add__, (unit.predicted for unit in units), Predicted())


def _numbers(said: Predicted) -> Iterator[str]:
    yield from (f"{said.rows:,}", f"{said.written:,}", size_text(said.bytes))
    yield from (f"{said.puts + said.gets:,}", f"{said.write_units:,}")
    yield from (f"{said.seconds / 60:,.3f}", f"{said.usd:,.4f}")


def _left_lines(part: ProgramPlan) -> Iterator[Text]:
    kinds: dict[str, list[LeftUnit]] = {}
    for unit in part.left:
        kinds.setdefault(unit.state, []).append(unit)
    for state, units in sorted(kinds.items()):
        whys = Counter(unit.why for unit in units)
        (why, _), *others = whys.most_common()
        more = f" (and {len(others):,} more)" if others else ""
        hint = f"; {_HINT[state]}" if state in _HINT else ""
        style = "yellow" if state in _HINT or state == "disabled" else "dim"
        span = _span([unit.day for unit in units])
        words = (
            f"{part.program}: {len(units):,} {_units(len(units))} left ({span}): {why}{more}{hint}"
        )
        yield Text(words, style=style)


def _span(days: list[str]) -> str:
    return days[0] if len(days) == 1 else f"{min(days)} to {max(days)}"


def _last_lines(plan: Plan) -> Text:
    bases = dict.fromkeys(part.basis for part in plan.programs if part.units)
    told = [f"predicted from {basis}" for basis in bases]
    if plan.prices:
        told.append(f"prices of {plan.prices['name']}, {plan.prices['date']}")
    told.append(f"plan {plan.hash[:12]}")
    return Text("; ".join(told), style="dim")


def _units(count: int) -> str:
    return "unit" if count == 1 else "units"
