"""Applying a plan: claims its units, makes them in waves, tries again what may be tried again.

Everything that happened stands in the ledger; what is kept here is only for telling the user.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jobs.backfill.budget import Budget, check_budget
from jobs.backfill.claims import Wanted, claim, give_back, leases, made_since
from jobs.backfill.moved import what_moved
from jobs.backfill.plan import Plan, PlannedUnit, ProgramPlan
from jobs.backfill.planning import Loader, ledger_of
from jobs.backfill.retry import Sleep, until_nothing_is_left
from jobs.backfill.stop import Stop
from jobs.backfill.waves import in_turn, waves
from jobs.backfill.work import Completing, Wave, Work
from jobs.errors import Cancelled, PlanMoved, UnitsHeld
from pipelines.errors import Fenced, PipelineError
from pipelines.failure import is_transient
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Run
from pipelines.publisher import Promise
from pipelines.telling import tell_unit, tell_waiting
from pipelines.versions import libraries

_LOG = logging.getLogger("muster.apply")


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is applied: units at once, most money, whether to wait for units that are held."""

    max_active: int | None = None
    budget_usd: float | None = None
    wait: bool = False
    poll_seconds: float = 2.0
    sleep: Sleep = time.sleep


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an application: the run's name, and the units that others hold or took over."""

    run: str
    lost: Mapping[str, str]
    spent_usd: float
    stopped: str | None = None


@dataclass(slots=True)
class _Part:
    """One program at work: its units by day, the records that it holds, and what others took."""

    plan: ProgramPlan
    work: Work
    ledger: Ledger
    units: dict[str, PlannedUnit]
    records: dict[str, Record] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    def name(self, day: str) -> str:
        return self.work.context.unit_name(day)


def check_unmoved(plan: Plan, load: Loader) -> None:
    """Check that what is left of a plan would still be made of what the plan says.

    Raises:
        PlanMoved: inputs, settings or code differ; every difference is named.
    """
    told = []
    for part in plan.programs:
        work = load(part.asked)
        names = [work.context.unit_name(unit.day) for unit in part.units]
        latest = ledger_of(work).latest_of(names) if names else {}
        left = {
            unit.day
            for unit, name in zip(part.units, names, strict=True)
            if not made_since(latest.get(name), _wanted(name, unit))
        }
        if left:
            told += [f"{part.program}: {line}" for line in what_moved(part, work, left)]
    if told:
        raise PlanMoved(
            "the plan does not hold any more; plan again, or apply with --accept-moved:\n  "
            + "\n  ".join(told)
        )


def apply(plan: Plan, load: Loader, options: Options, stop: Stop | None = None) -> Applied:
    """Make the units of a plan, and return what came of it.

    One program's failure leaves the others alone (property 39): each has pipelines of its own, and
    whatever is raised there fails its own units.

    Raises:
        UnitsHeld: another run holds units of the plan (and ``wait`` is off); nothing was done.
        OverBudget: the plan is taken to cost more than ``budget_usd``; nothing was done.
        Cancelled: the run was interrupted; units that it held are free again.
    """
    check_budget(plan, options.budget_usd)
    parts = [_open(part, load) for part in plan.programs if part.units]
    if not parts:
        return Applied("", {}, 0.0)
    first = parts[0]
    lease = first.work.environment.runs.lease_seconds
    with Run(first.ledger, lease) as run:
        return _Application(plan, parts, run.token, options, stop or Stop()).run()


def _open(part: ProgramPlan, load: Loader) -> _Part:
    work = load(part.asked)
    return _Part(part, work, ledger_of(work), {unit.day: unit for unit in part.units})


def _wanted(name: str, unit: PlannedUnit) -> Wanted:
    return Wanted(name, unit.fingerprint, unit.attempts, unit.why)


class _Application:
    """One application of a plan under way."""

    def __init__(
        self, plan: Plan, parts: list[_Part], run: str, options: Options, stop: Stop
    ) -> None:
        self._plan, self._parts, self._run, self._options = plan, parts, run, options
        self._stop = stop
        self._budget = Budget(plan, options.budget_usd)

    def run(self) -> Applied:
        try:
            self._claim_all()
            until_nothing_is_left(self._round, self._retries, self._options.sleep)
        except KeyboardInterrupt:
            self._give_back("interrupted")
            raise Cancelled(self._cancelled()) from None
        except BaseException:
            with suppress(PipelineError):  # what went wrong first is what the user must read
                self._give_back("the run failed")
            raise
        self._give_back(self._budget.stopped or "the run ended before it came to this unit")
        lost = {part.name(day): why for part in self._parts for day, why in part.lost.items()}
        return Applied(self._run, lost, round(self._budget.spent, 6), self._budget.stopped)

    @property
    def _retries(self) -> int:
        return max(part.work.environment.runs.retries for part in self._parts)

    def _claim_all(self) -> None:
        """Take the units of all programs, or none; waits for other runs if it may."""
        told = False
        while True:
            try:
                for part in self._parts:
                    self._claim(part)
                return
            except UnitsHeld as error:
                self._give_back("another run holds units of the plan")
                if not self._options.wait:
                    raise
                if not told:
                    tell_waiting(str(error))
                told = True
                self._options.sleep(self._options.poll_seconds)

    def _claim(self, part: _Part) -> None:
        wanted = {part.name(day): day for day in part.units}
        needs = [_wanted(name, part.units[day]) for name, day in wanted.items()]
        claimed = claim(part.ledger, self._run, self._plan.label(part.plan), needs)
        part.records = {wanted[name]: record for name, record in claimed.items()}
        part.ledger.keep("settings", part.plan.settings_fingerprint, part.plan.settings)
        part.ledger.keep("code", part.plan.code_fingerprint, part.plan.code)
        for day in part.units.keys() - part.records.keys():
            tell_unit(day, "unchanged", None)
        part.again = sorted(part.records)

    def _round(self) -> list[str]:
        """Make every unit that is left once; returns what may be tried again."""
        queues = []
        for part in self._parts:
            queues.append([(part, days) for days in self._waves(part)])
            part.again = []
        for part, days in in_turn(queues):
            if self._budget.allows(days, part.units):
                self._wave(part, days)
        left = [part.name(day) for part in self._parts for day in part.again]
        return [] if self._budget.stopped else left

    def _waves(self, part: _Part) -> Iterator[tuple[str, ...]]:
        runs = part.work.environment.runs
        rows = {day: part.units[day].predicted.rows for day in part.again}
        most = self._options.max_active or runs.units_per_run
        return waves(rows, self._plan.request.order, most, runs.rows_per_run)

    def _wave(self, part: _Part, days: tuple[str, ...]) -> None:
        """Make the units of one wave; whatever goes wrong is theirs alone."""
        taken, lost = leases(part.ledger, {day: part.records[day] for day in days})
        part.lost.update(lost)
        part.records.update(taken)
        promises = {day: _promise(part.plan, part.units[day]) for day in taken}
        wave = Wave(taken, promises)
        try:
            self._make(part, wave)
        except Exception as error:  # noqa: BLE001
            self._stop.check()
            _LOG.error("wave failed", exc_info=error, extra={"error": str(error)})
            self._fail(part, wave.leases, f"pipeline: {error}", transient=_may_pass(error))
        self._settle(part, tuple(wave.leases))

    def _make(self, part: _Part, wave: Wave) -> None:
        for day, why in part.work.moved(wave).items():
            self._fail(part, {day: wave.leases[day]}, why, transient=False)
            wave = _without(wave, day)
        wave = self._completed(part, wave)
        if wave.leases:
            with self._stop.deferred():
                part.work.run(wave, _about(part))

    def _completed(self, part: _Part, wave: Wave) -> Wave:
        """Complete what was published before; returns the units that must be made nevertheless."""
        behind = {
            day: lease for day, lease in wave.leases.items() if self._is_made(part, day, lease)
        }
        unfinished = {day: lease for day, lease in wave.leases.items() if not lease.completed}
        todo = {**behind, **unfinished}
        if not todo:
            return wave
        publisher = part.work.completing(wave, _about(part))
        try:
            for day, lease in todo.items():
                wave = self._complete(part, wave, day, lease, publisher, again=day not in behind)
        finally:
            publisher.close()
        return wave

    def _complete(
        self,
        part: _Part,
        wave: Wave,
        day: str,
        lease: Record,
        publisher: Completing,
        *,
        again: bool,
    ) -> Wave:
        try:
            done = publisher.finish(lease)
            if not again:
                tell_unit(day, "unchanged", None, done.details["balance"])
                return _without(wave, day)
            planned = part.ledger.append(
                done,
                "planned",
                unit=done.unit,
                run=self._run,
                fingerprint=lease.fingerprint,
                plan=lease.plan,
                details={"why": part.units[day].why},
            )
            leased = part.ledger.go_on(planned, "leased")
            part.records[day] = leased
            return Wave({**wave.leases, day: leased}, wave.promises)
        except Fenced as fenced:
            part.lost[day] = str(fenced)
        except PipelineError as error:
            self._fail(part, {day: lease}, str(error), transient=is_transient(error))
        return _without(wave, day)

    def _is_made(self, part: _Part, day: str, lease: Record) -> bool:
        """Say whether what is published is what was planned, so that no row need be read."""
        published = part.ledger.publication(lease)
        if published is None or published.fingerprint != part.units[day].fingerprint:
            return False
        return self._plan.request.reprocess != "all" or not lease.completed

    def _fail(
        self, part: _Part, held: Mapping[str, Record], error: str, *, transient: bool
    ) -> None:
        """Say that units failed which the pipeline did not come to say anything of."""
        latest = part.ledger.latest_of([record.unit for record in held.values()])
        for day, record in held.items():
            last = latest.get(record.unit, record)
            if last.run == self._run and last.held:
                try:
                    part.ledger.go_on(last, "failed", {"error": error, "transient": transient})
                    tell_unit(day, "failed", error)
                except Fenced as fenced:
                    part.lost[day] = str(fenced)

    def _settle(self, part: _Part, days: tuple[str, ...]) -> None:
        """Look up what became of a wave's units, and note which to try again."""
        latest = part.ledger.latest_of([part.name(day) for day in days]) if days else {}
        for day in days:
            last = latest[part.name(day)]
            if last.run != self._run:
                part.lost[day] = f"unit {last.unit}: run {last.run} took it over"
                continue
            if last.held:
                # What is published needs completing only, also where its worker never heard of it.
                published = last.event == "published"
                what = "published, not completed" if published else "the run did not come to it"
                self._fail(part, {day: last}, what, transient=published)
                last = part.ledger.last(last.unit) or last
            part.records[day] = last
            self._budget.add(part.units[day], last)
            if last.event == "failed" and last.details.get("transient"):
                part.again.append(day)

    def _give_back(self, why: str) -> None:
        for part in self._parts:
            if part.records:
                give_back(part.ledger, self._run, part.records.values(), why)

    def _cancelled(self) -> str:
        done = 0
        for part in self._parts:
            latest = part.ledger.latest_of([record.unit for record in part.records.values()])
            done += sum(record.event == "succeeded" for record in latest.values())
        units = sum(len(part.records) for part in self._parts)
        return (
            f"stopped: {done} of {units} units done; what was in work is free again, "
            "and the same command makes the rest"
        )


def _may_pass(error: BaseException | None) -> bool:
    """Say whether waiting may mend what an engine reports, or the error that it reports of."""
    while error is not None:
        if isinstance(error, Exception) and is_transient(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _promise(plan: ProgramPlan, unit: PlannedUnit) -> Promise:
    inputs = plan.inputs_of(unit)
    said = {name: item.said() for name, item in inputs.by_name.items()}
    return Promise(said, inputs.rows, inputs.size)


def _about(part: _Part) -> dict[str, Any]:
    """Return what a published record says of how it was made."""
    return {
        "settings": part.plan.settings_fingerprint,
        "code": part.plan.code_fingerprint,
        "codeVersion": part.work.context.code_version,
        "libraries": libraries(),
    }


def _without(wave: Wave, day: str) -> Wave:
    return Wave({d: lease for d, lease in wave.leases.items() if d != day}, wave.promises)
