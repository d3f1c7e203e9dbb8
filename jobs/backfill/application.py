"""A plan carried out from beginning to end: log, progress, application, results, reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.backfill.apply import Applied, Options, apply, check_unmoved
from jobs.backfill.plan import Plan, ProgramPlan, Request
from jobs.backfill.planning import Loader, ledger_of, make_plan
from jobs.backfill.stop import Stop
from jobs.backfill.work import Work
from jobs.errors import PlanMoved
from jobs.logs import log_metrics, logging_to
from jobs.metrics import stage_metrics
from jobs.outcomes import gather
from jobs.progress import Progress
from jobs.report import write_report
from jobs.results import RunResult, UnitResult


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan: a result and a report for each program, and what was not done."""

    results: tuple[tuple[RunResult, Path], ...]
    applied: Applied
    refused: dict[str, str]

    def document(self) -> dict[str, Any]:
        """Return the document of the one program, or those of all as ``runs``."""
        documents = [result.document() for result, _ in self.results]
        return documents[0] if len(documents) == 1 else {"runs": documents}

    def complaints(self) -> Iterator[str]:
        """Yield what a user must know that no table shows."""
        if self.applied.stopped:
            yield f"{self.applied.stopped}; the same command with a higher budget makes the rest"
        yield from self.applied.lost.values()
        yield from (f"{program}: {why}" for program, why in self.refused.items())

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 when units or programs failed, 3 when another run has units."""
        failed = any(result.failed for result, _ in self.results)
        if failed or self.refused or self.applied.stopped:
            return 1
        return 3 if self.applied.lost else 0


def current(plan: Plan, load: Loader, *, accept_moved: bool) -> tuple[Plan, PlanMoved | None]:
    """Return the plan if nothing moved; else, if that is accepted, a new one and what moved.

    Raises:
        PlanMoved: something moved and that is not accepted.
    """
    try:
        check_unmoved(plan, load)
    except PlanMoved as moved:
        if not accept_moved:
            raise
        return make_plan(plan.request, load), moved
    return plan, None


def carry_out(plan: Plan, load: Loader, options: Options) -> Outcome:
    """Apply a plan, show progress meanwhile, and write log and reports.

    Raises:
        UnitsHeld, OverBudget, Cancelled: as ``apply``.
    """
    started = time.perf_counter()
    works = {part.asked: load(part.asked) for part in plan.programs}
    folder = _folder(plan, works)
    with ExitStack() as stack:
        stack.enter_context(logging_to(folder / "log.jsonl", folder.name))
        stop = stack.enter_context(Stop())
        units = sum(1 for _ in plan.units)
        if units:
            stack.enter_context(Progress(units))
        applied = apply(plan, load, options, stop)
        seconds = time.perf_counter() - started
        results = tuple(
            (
                _result(plan.request, part, works[part.asked], applied.run, seconds),
                works[part.asked],
            )
            for part in plan.programs
        )
        for result, _ in results:
            log_metrics(stage_metrics(result.units))
    return Outcome(
        tuple((result, _report(result, plan.request, work)) for result, work in results),
        applied,
        dict(plan.refused),
    )


def _folder(plan: Plan, works: dict[str, Work]) -> Path:
    """Return where the log goes: the program's own folder, or one of all programs together."""
    request = plan.request
    if len(works) == 1:
        (work,) = works.values()
        return work.folder(request.first, request.last)
    return Path(request.out, "runs", f"{request.job}-{plan.hash[:12]}")


def _result(request: Request, part: ProgramPlan, work: Work, run: str, seconds: float) -> RunResult:
    """Return what became of every unit of the range, and of those that data came late for."""
    days = sorted({*(unit.day for unit in part.units), *(unit.day for unit in part.left)})
    disabled = {unit.day: unit.why for unit in part.left if unit.state == "disabled"}
    names = {day: work.context.unit_name(day) for day in days if day not in disabled}
    found = gather(ledger_of(work), names, run, work.tiers)
    skipped = (UnitResult(day, "skipped", error=why) for day, why in disabled.items())
    return RunResult(
        work.folder(request.first, request.last).name,
        request.job,
        part.program,
        work.environment.name,
        part.settings_fingerprint,
        work.context.code_version,
        (*found, *skipped),
        seconds,
        work.steps,
    )


def _report(result: RunResult, request: Request, work: Work) -> Path:
    path = work.folder(request.first, request.last) / "report.html"
    write_report(result, path)
    return path
