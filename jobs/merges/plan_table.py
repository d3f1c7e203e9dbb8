"""What a merge would do, day by day, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.merges.job import MergeJob
from jobs.sizes import size_text
from pipelines.merging.parts import total
from pipelines.merging.plan import DayPlan, MergePlan
from pipelines.merging.survey import Partition

#: More days than this of a type are shown in groups of days of which the same is said.
_DAYS = 40
_STYLE = {"merge": "green", "waits": "yellow", "deferred": "yellow", "refused": "red", "bad": "red"}
_NAMED = 10

Found = tuple[Partition, MergePlan]


def print_merge_plan(jobs: Iterable[MergeJob], console: Console) -> None:
    """Print, for each record type, the days with what becomes of them, and the files to come."""
    for job in jobs:
        months = job.findings
        console.print(_table(job, months))
        for month, found in months.items():
            for line in _lines(month, *found):
                console.print(line)


def _table(job: MergeJob, months: dict[str, Found]) -> Table:
    title = Text(f"{job.record.name}: {job.options.kind} merge", style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    table.add_column("day", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold")
    days = [day for _, made in months.values() for day in made.days]
    for label, files, size, day in _grouped(days):
        state = Text(day.state, style=_STYLE.get(day.state, "dim"))
        table.add_row(label, f"{files:,}", size_text(size), state, day.why)
    return table


def _grouped(days: list[DayPlan]) -> Iterator[tuple[str, int, int, DayPlan]]:
    if len(days) <= _DAYS:
        yield from ((day.day, day.files, day.size, day) for day in days)
        return
    for _, group in groupby(days, key=lambda day: (day.day[:7], day.state, day.why)):
        some = list(group)
        label = some[0].day if len(some) == 1 else f"{some[0].day} to {some[-1].day}"
        yield label, sum(d.files for d in some), sum(d.size for d in some), some[0]


def _lines(month: str, partition: Partition, made: MergePlan) -> Iterator[Text]:
    if made.makes:
        names = [f"{output.stem} ({size_text(output.size)})" for output in made.outputs]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield Text(
            f"{month}: generation {partition.generation + 1}: {len(names)} files of "
            f"{size_text(total(made.outputs))} written, {len(made.carried)} carried: "
            + ", ".join(names[:_NAMED])
            + more
        )
    for problem in partition.problems:
        yield Text(f"{month}: left out: {problem}", style="red")
    for key, what in sorted(made.bad.items()):
        yield Text(f"{month}: left out: {key}: {what}", style="red")
    if partition.strays:
        yield Text(
            f"{month}: {len(partition.strays):,} files are of no published unit and do not count",
            style="dim",
        )


def plan_document(job: MergeJob) -> list[dict[str, Any]]:
    """Return the same as JSON, a month an item."""
    return [
        {
            "recordType": job.record.name,
            "month": month,
            "kind": job.options.kind,
            "generation": partition.generation + bool(made.makes),
            "days": [
                {
                    "day": day.day,
                    "state": day.state,
                    "why": day.why,
                    "files": day.files,
                    "bytes": day.size,
                }
                for day in made.days
            ],
            "sources": [{"key": f.key, "bytes": f.size, "rows": f.records} for f in made.taken],
            "outputs": [
                {"name": o.stem, "bytes": o.size, "sources": len(o.pieces)} for o in made.outputs
            ],
            "carried": [file.key for file in made.carried],
            "problems": [
                *({"key": p.key, "what": p.what} for p in partition.problems),
                *({"key": key, "what": what} for key, what in sorted(made.bad.items())),
            ],
            "strays": list(partition.strays),
        }
        for month, (partition, made) in job.findings.items()
    ]
