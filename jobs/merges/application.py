"""A merge carried out from beginning to end: log, progress, application, results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from jobs.backfill.apply import Applied, Options, apply
from jobs.backfill.plan import Plan, Request
from jobs.backfill.planning import Loader, make_plan
from jobs.backfill.stop import Stop
from jobs.logs import logging_to
from jobs.merges.job import MergeJob
from jobs.merges.plan_table import plan_document, print_merge_plan
from jobs.merges.results import MonthResult, result_table, results
from jobs.progress import Progress
from pipelines.ledger.ledger import Ledger
from pipelines.storage import Storage


@dataclass(frozen=True, slots=True)
class MergeOutcome:
    """What came of a merge."""

    months: tuple[MonthResult, ...]
    applied: Applied
    refused: dict[str, str]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"merges": [month.document() for month in self.months], "refused": self.refused}

    def complaints(self) -> Iterator[str]:
        """Yield what needs a person, a line each."""
        for month in self.months:
            name = f"{month.record_type} {month.month}"
            if month.status in ("failed", "bad", "waits"):
                yield f"{name}: {month.status}: {month.why}"
            for problem in month.problems:
                yield f"{name}: left out: {problem['key']}: {problem['what']}"
        yield from self.applied.lost.values()
        yield from (f"{name}: {why}" for name, why in self.refused.items())

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 when something was left out or failed, 3 when others have it."""
        wrong = any(not month.is_well and month.status != "lost" for month in self.months)
        if wrong or self.refused or self.applied.stopped:
            return 1
        return 3 if self.applied.lost else 0


def carry_out(plan: Plan, load: Loader, options: Options) -> MergeOutcome:
    """Apply a plan of merges, with progress and a log.

    Raises:
        UnitsHeld, OverBudget, Cancelled: as ``apply``.
    """
    works = {part.asked: load(part.asked) for part in plan.programs}
    request = plan.request
    with ExitStack() as stack:
        folder = Path(request.out, "runs", f"merge-{plan.hash[:12]}")
        units = sum(1 for _ in plan.units)
        if units:
            stack.enter_context(logging_to(folder / "log.jsonl", folder.name))
        for work in works.values():
            assert isinstance(work, MergeJob), "loaded for merges"
            stack.enter_context(work.engine)  # one for all: it ends once
        stop = stack.enter_context(Stop())
        if units:
            stack.enter_context(Progress(units))
        applied = apply(plan, load, options, stop)
    months: list[MonthResult] = []
    for part in plan.programs:
        work = works[part.asked]
        assert isinstance(work, MergeJob), "loaded for merges"
        ledger = Ledger(Storage(work.environment.lake.root))
        months += results(work, ledger, part, applied.run, applied.lost)
    return MergeOutcome(tuple(months), applied, dict(plan.refused))


def show(outcome: MergeOutcome, *, as_json: bool) -> None:
    """Print what came of a merge, and exit with what that means."""
    if as_json:
        click.echo(json.dumps(outcome.document(), indent=1))
    else:
        console = Console()
        console.print(result_table(outcome.months))
        if all(month.status in ("unchanged", "nothing") for month in outcome.months):
            console.out("nothing to merge: every fragment that counts is merged", highlight=False)
    for line in outcome.complaints():
        click.echo(f"muster: {line}", err=True)
    if outcome.exit_code:
        raise SystemExit(outcome.exit_code)


def show_plan(request: Request, load: Loader, *, output: Path | None, as_json: bool) -> None:
    """Print what a merge would do, and write nothing but the plan to ``output``."""
    plan = make_plan(request, load)
    if output is not None:
        plan.write(output)
    jobs = _jobs(request.programs, load, plan)
    if as_json:
        document = {
            "merges": [month for job in jobs for month in plan_document(job)],
            "refused": dict(plan.refused),
            "hash": plan.hash,
        }
        click.echo(json.dumps(document, indent=1))
    else:
        console = Console()
        print_merge_plan(jobs, console)
        if output is not None:
            console.out(f"written to {output}; run it with: muster apply {output}", highlight=False)
    for name, why in plan.refused.items():
        click.echo(f"muster: {name}: {why}", err=True)
    if plan.refused:
        raise SystemExit(1)


def _jobs(types: Sequence[str], load: Loader, plan: Plan) -> list[MergeJob]:
    found = [load(name) for name in types if name not in plan.refused]
    return [job for job in found if isinstance(job, MergeJob)]
