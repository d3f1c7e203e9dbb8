"""``muster run``: one command a job."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import date
from pathlib import Path

import click
from rich.console import Console

from jobs.days import DateRange
from jobs.options import Day, as_json_option, out_option
from jobs.results import RunResult
from jobs.run_lock import exclusive


@click.group()
def run() -> None:
    """Run a job over a range of days, one unit a day.

    \b
    Example:
      muster run solicit --program product-reviews --from 2017-03-01
    """


@run.command()
@click.option("--program", required=True, help="A program's name, or the path of its YAML.")
@click.option("--from", "first", type=Day(), required=True, help="First day.")
@click.option("--to", "last", type=Day(), help="Last day, included; the first day if left out.")
@click.option(
    "--env", "environment", default="local", show_default=True, help="An environment, or its YAML."
)
@out_option("Where a local run writes.")
@as_json_option
def solicit(
    program: str,
    first: date,
    last: date | None,
    environment: str,
    out: Path,
    as_json: bool,
) -> None:
    """Decide, for each day, whom a program may ask.

    \b
    Example:
      muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 --env local
    """
    days = DateRange(first, last or first)
    with ExitStack() as stack:
        stack.enter_context(exclusive(out))
        # Beam takes seconds to import: only a run pays for it, and only when it may start.
        from jobs import solicit as job_module
        from jobs.logs import log_metrics, logging_to
        from jobs.metrics import stage_metrics
        from jobs.progress import Progress
        from jobs.report import write_report

        job = job_module.SolicitJob.load(program, environment, days, out)
        report = job.folder / "report.html"
        stack.enter_context(logging_to(job.folder / "log.jsonl", job.run_id))
        stack.enter_context(Progress(len(days.units)))
        result = job_module.run(job)
        log_metrics(stage_metrics(result.units))
        write_report(result, report)
    show(result, report, as_json=as_json)
    if result.failed:
        raise SystemExit(1)


def show(result: RunResult, report: Path, *, as_json: bool) -> None:
    """Print a run's document, or its balance sheet and where its report is."""
    if as_json:
        click.echo(json.dumps(result.document(), indent=2))
        return
    console = Console()
    console.print(result.balance_table())
    console.out(f"report  {report}", highlight=False)
