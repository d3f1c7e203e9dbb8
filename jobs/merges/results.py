"""What became of the months that a merge was asked for, as the ledger says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from jobs.backfill.plan import LeftUnit, ProgramPlan
from jobs.merges.job import MergeJob
from jobs.sizes import size_text
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.publisher import STATES

_STYLE = {"failed": "bold red", "lost": "yellow", "bad": "bold red", "waits": "yellow"}


@dataclass(frozen=True, slots=True)
class MonthResult:
    """One month: ``status`` is merged, failed or lost, or the state in which it was left, and why.

    ``details`` are those of the record that made its generation, in this run; ``states`` are the
    document's merge states with the times at which this run came to them.
    """

    record_type: str
    month: str
    status: str
    why: str | None
    details: Mapping[str, Any]
    states: tuple[tuple[str, str], ...] = ()

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Sources that were left out."""
        return list(self.details.get("problems", ()))

    @property
    def is_well(self) -> bool:
        """Whether nothing of it needs a person."""
        return self.status not in ("failed", "lost", "bad") and not self.problems

    def document(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        names = ("kind", "generation", "location", "receipts", "files", "records", "bytes",
                 "balance", "days", "deferred", "problems")  # fmt: skip
        return {
            "recordType": self.record_type,
            "month": self.month,
            "status": self.status,
            "why": self.why,
            "states": [{"state": state, "at": at} for state, at in self.states],
            **{name: self.details[name] for name in names if name in self.details},
        }


def results(
    job: MergeJob, ledger: Ledger, part: ProgramPlan, run: str, lost: Mapping[str, str]
) -> list[MonthResult]:
    """Return what became of every month of a record type, in order."""
    found = [_left(job.record.name, unit) for unit in part.left]
    for unit in part.units:
        name = job.context.unit_name(unit.day)
        found.append(_made(job.record.name, unit.day, ledger.history(name), run, lost.get(name)))
    return sorted(found, key=lambda result: result.month)


def _left(record_type: str, unit: LeftUnit) -> MonthResult:
    status = {"done": "unchanged", "missing": "nothing"}.get(unit.state, unit.state)
    return MonthResult(record_type, unit.day, status, unit.why, {})


def _made(
    record_type: str, month: str, history: Sequence[Record], run: str, lost: str | None
) -> MonthResult:
    mine = [record for record in history if record.run == run]
    last = mine[-1] if mine else None
    states = tuple((STATES[r.event], r.at) for r in mine if r.event in STATES)
    if lost is None and last is None and history and history[-1].event == "succeeded":
        return MonthResult(record_type, month, "unchanged", None, history[-1].details)
    if lost is not None or last is None:
        return MonthResult(record_type, month, "lost", lost, {}, states)
    if last.event == "succeeded":
        return MonthResult(record_type, month, "merged", None, last.details, states)
    return MonthResult(
        record_type, month, "failed", last.details.get("error"), last.details, states
    )


def result_table(found: Sequence[MonthResult]) -> Table:
    """Return one line a month, for a terminal of 100 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in ("type", "month", "status"):
        table.add_column(name, no_wrap=True)
    for name in ("gen.", "from", "files", "rows", "bytes", "dropped", "bad"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        status = Text(each.status, style=_STYLE.get(each.status, ""))
        table.add_row(each.record_type, each.month, status, *_numbers(each))
    return table


def _numbers(result: MonthResult) -> tuple[str, ...]:
    said = result.details
    if "generation" not in said:
        return ("-",) * 7
    files = sum(day["files"] for day in said["days"])
    return (
        f"{said['generation']:,}",
        f"{files:,}",
        f"{said['files']:,}",
        f"{said['records']:,}",
        size_text(said["bytes"]),
        f"{said['balance']['deduplicated']:,}",
        f"{len(said['problems']):,}",
    )
