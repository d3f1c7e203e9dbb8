"""Which jobs there are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.table import Table

from jobs.options import as_json_option


@dataclass(frozen=True, slots=True)
class Job:
    """What a job reads and writes, and what one of its units is."""

    name: str
    what: str
    sources: tuple[str, ...]
    sinks: tuple[str, ...]
    grain: str


JOBS = (
    Job(
        "solicit",
        "filter, score, band and select rows of a program's source",
        ("warehouse", "avro"),
        ("candidates", "lake"),
        "day",
    ),
    Job(
        "merge",
        "merge the lake's fragments to few files, by day and by month ('muster merge')",
        ("lake",),
        ("lake",),
        "month",
    ),
)


@click.command()
@as_json_option
def jobs(as_json: bool) -> None:
    """List the jobs with their sources, sinks and grain.

    \b
    Example:
      muster jobs --json
    """
    if as_json:
        click.echo(json.dumps([asdict(job) for job in JOBS], indent=2))
        return
    table = Table("job", "what it does", "sources", "sinks", "grain", box=None, pad_edge=False)
    for job in JOBS:
        table.add_row(job.name, job.what, ", ".join(job.sources), ", ".join(job.sinks), job.grain)
    Console().print(table)
