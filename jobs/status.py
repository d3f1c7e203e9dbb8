"""``muster status``: what the ledger says of units: a calendar, and what needs a person."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from conf.load import load_environment, program_names
from jobs.calendar_table import Mark, calendar_table
from jobs.errors import NothingFound
from jobs.options import Day, as_json_option, environment_option, out_option
from jobs.sizes import size_text
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Living
from pipelines.merging.publisher import STATES
from pipelines.merging.survey import JOB as MERGE
from pipelines.storage import Storage

#: States that do not mend themselves.
NEEDS_A_PERSON: frozenset[Mark] = frozenset({"failed", "abandoned"})
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """One unit as it stands; ``output`` says whether a whole output of it is visible."""

    job: str
    program: str
    day: str
    mark: Mark
    output: bool
    record: Record

    @property
    def error(self) -> str | None:
        """Why it needs a person."""
        if self.mark == "abandoned":
            done = "published, not completed" if self.record.event == "published" else "left"
            return f"{done} by run {self.record.run}, which is gone; run it again"
        return self.record.details.get("error") if self.mark == "failed" else None

    def document(self) -> dict[str, Any]:
        """Return the unit as ``--json`` prints it."""
        record = self.record
        told: dict[str, Any] = {
            "unit": self.day,
            "state": self.mark,
            "output": self.output,
            "event": record.event,
            "attempt": record.attempt,
            "at": record.at,
            "run": record.run,
            "fingerprint": record.fingerprint,
        }
        if self.error:
            told["error"] = self.error
        if "balance" in record.details:
            told["balance"] = record.details["balance"]
        return told


def statuses(records: Iterable[Record], living: Living) -> tuple[UnitStatus, ...]:
    """Return what each unit's latest record says, in the order of their names."""
    found = []
    for record in sorted(records, key=lambda record: record.unit):
        job, program, day = record.unit.split("/")
        mark = _mark(record, living)
        found.append(UnitStatus(job, program, day, mark, record.fresh, record))
    return tuple(found)


def _mark(record: Record, living: Living) -> Mark:
    if record.held:
        if living[record.run] is None:
            return "abandoned"
        return "planned" if record.event == "planned" else "running"
    if record.event == "cancelled":
        return "done" if record.fresh else "cancelled"
    return "failed" if record.event == "failed" else "done"


@click.command()
@click.argument("job", required=False)
@click.option("--program", help="Only this program.")
@click.option("--from", "first", type=Day(), help="First day; the first there is if left out.")
@click.option("--to", "last", type=Day(), help="Last day; the last there is if left out.")
@environment_option
@out_option("Where local runs write.")
@as_json_option
def status(
    job: str | None,
    program: str | None,
    first: date | None,
    last: date | None,
    environment: str,
    out: Path,
    as_json: bool,
) -> None:
    """Show what has been made, what is being made, and what needs a person.

    \b
    Example:
      muster status --out demo
      muster status solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 --json
    """
    lake = load_environment(environment).with_out(out).lake
    ledger = Ledger(Storage(lake.root))
    records = ledger.latest(job or "")
    found = tuple(
        unit
        for unit in statuses(records.values(), Living(ledger))
        if (program is None or unit.program == program) and _within(unit.day, first, last)
    )
    if as_json:
        click.echo(json.dumps(document(found), indent=1))
        return
    if not found:
        what = "/".join(filter(None, (job, program))) or "any job"
        raise NothingFound(f"{lake.root}: expected units of {what} in the ledger, found none")
    console = Console()
    for (of_job, of_program), units in _grouped(found).items():
        console.print(Text(f"{of_job} {of_program}", style="bold"))
        if of_job == MERGE:
            console.print(_month_table(units))
            continue
        days = {date.fromisoformat(unit.day): unit.mark for unit in units}
        console.print(calendar_table(days, first or min(days), last or max(days)))
    where = f"--env {environment} --out {out}"
    _print_needs(console, found, where)


def document(found: Iterable[UnitStatus]) -> dict[str, Any]:
    """Return all units by job and program, with counts, as ``--json`` prints them."""
    programs = [
        {
            "job": job,
            "program": program,
            "counts": dict(sorted(Counter(unit.mark for unit in units).items())),
            "needPerson": [unit.day for unit in units if unit.mark in NEEDS_A_PERSON],
            "units": [unit.document() for unit in units],
        }
        for (job, program), units in _grouped(found).items()
    ]
    return {"programs": programs}


def _grouped(found: Iterable[UnitStatus]) -> Mapping[tuple[str, str], list[UnitStatus]]:
    groups: dict[tuple[str, str], list[UnitStatus]] = {}
    for unit in found:
        groups.setdefault((unit.job, unit.program), []).append(unit)
    return groups


def _within(unit: str, first: date | None, last: date | None) -> bool:
    """Say whether a day, or a part of a month, is within a range."""
    width = len(unit)
    return (first is None or unit >= first.isoformat()[:width]) and (
        last is None or unit <= last.isoformat()[:width]
    )


def _month_table(units: Iterable[UnitStatus]) -> Table:
    """Return the months of a record type, each with the state of its latest merge."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("month", "is", "state", "at"):
        table.add_column(name, no_wrap=True)
    for name in ("gen.", "files", "rows", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    for unit in units:
        said = unit.record.details
        numbers: tuple[str, ...] = ("-",) * 4
        if "generation" in said and "files" in said:
            counts = (f"{said[name]:,}" for name in ("generation", "files", "records"))
            numbers = (*counts, size_text(said["bytes"]))
        state = STATES.get(unit.record.event, "-")
        table.add_row(unit.day, unit.mark, state, unit.record.at[:19], *numbers)
    return table


def _print_needs(console: Console, found: Iterable[UnitStatus], where: str) -> None:
    needing = [unit for unit in found if unit.mark in NEEDS_A_PERSON]
    if not needing:
        console.print(Text("nothing needs a person", style="green"))
        return
    console.print(Text(f"{len(needing):,} need a person:", style="bold"))
    reasons = list(_by_reason(needing).items())
    for (mark, error), days in reasons[:_SHOWN]:
        span = days[0] if len(days) == 1 else f"{min(days)} to {max(days)} ({len(days):,} units)"
        style = "red" if mark == "failed" else "yellow"
        console.print(Text(f"  {span}  {mark}  {error or ''}", style=style))
    if len(reasons) > _SHOWN:
        console.print(f"  and {len(reasons) - _SHOWN:,} more reasons (--json lists all units)")
    for (job, program), units in _grouped(needing).items():
        first, last = units[0].day, units[-1].day
        if job == MERGE:
            command = f"muster merge monthly --type {program} --month {first} --to {last} {where}"
            console.out(f"once mended: {command} (or daily, as it was)", highlight=False)
            continue
        asked = program if program in program_names() else f"<the YAML of {program}>"
        command = f"muster run {job} --program {asked} --from {first} --to {last} {where}"
        console.out(f"once mended: {command} --reprocess failed", highlight=False)


def _by_reason(units: Iterable[UnitStatus]) -> dict[tuple[str, str | None], list[str]]:
    """Return the days that need a person for the same reason, in order."""
    reasons: dict[tuple[str, str | None], list[str]] = {}
    for unit in units:
        reasons.setdefault((unit.mark, unit.error), []).append(unit.day)
    return reasons
