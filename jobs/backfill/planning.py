"""Making a plan: looks at inputs, settings, code and ledger, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from conf.errors import ConfigurationError
from conf.load import load_prices
from conf.prices import PriceTable
from jobs.backfill.moved import said_of, setting_differences
from jobs.backfill.plan import LeftUnit, Plan, PlannedUnit, ProgramPlan, Request
from jobs.backfill.predict import Rates, nearest, predict, rates
from jobs.backfill.reasons import Known, Verdict, judge
from jobs.backfill.work import Work
from jobs.code_fingerprint import difference
from jobs.days import DateRange
from jobs.errors import JobError, WrongUse
from pipelines.errors import PipelineError, StoreNotFound
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Living
from pipelines.sinks.stores import open_store
from pipelines.sources.inputs import Input
from pipelines.storage import Storage
from schemas.errors import SchemaError
from transforms.errors import TransformError

#: What refuses one program and leaves the others.
REFUSALS = (ConfigurationError, JobError, PipelineError, SchemaError, TransformError)

Loader = Callable[[str], Work]


def make_plan(request: Request, load: Loader) -> Plan:
    """Plan every program of a request; ``load`` reads one program's settings.

    A program that cannot be planned is refused with its reason, and the others go on (property 39).

    Raises:
        ConfigurationError, JobError, PipelineError, SchemaError, TransformError: the only program
            cannot be planned.
    """
    parts: list[ProgramPlan] = []
    refused: dict[str, str] = {}
    prices: PriceTable | None = None
    for asked in request.programs:
        try:
            work = load(asked)
            _check_distinct(asked, work.context.program_id, parts)
            prices = prices or load_prices(request.prices or work.environment.prices)
            parts.append(work.plan(request, prices))
        except REFUSALS as error:
            if len(request.programs) == 1:
                raise
            refused[asked] = str(error)
    return Plan(request, _document(prices), tuple(parts), refused)


def _check_distinct(asked: str, program: str, parts: Sequence[ProgramPlan]) -> None:
    for part in parts:
        if part.program == program:
            raise WrongUse(
                f"--program {asked}: expected another program than '{program}', which "
                f"{part.asked} is too: their units would be the same"
            )


def ledger_of(work: Work) -> Ledger:
    """Return the ledger of the work's lake."""
    return Ledger(Storage(work.environment.lake.root))


def _document(prices: PriceTable | None) -> Mapping[str, object]:
    return {} if prices is None else prices.model_dump(mode="json", by_alias=True)


def plan_days(work: Work, request: Request, prices: PriceTable) -> ProgramPlan:
    """Plan one program whose units are days: those of the request, and late ones before them."""
    asked_for = DateRange(date.fromisoformat(request.first), date.fromisoformat(request.last))
    if not work.enabled:
        why = f"program '{work.context.program_id}' is disabled"
        left = tuple(LeftUnit(day, "disabled", why) for day in asked_for.units)
        return _plan_of(work, {}, "nothing to predict", (), left)
    days = _with_late_days(asked_for, work.late_days)
    work.check(days[0])
    found = _Findings(work, request, days)
    made: list[PlannedUnit] = []
    rest: list[LeftUnit] = []
    for day in days:
        verdict = found.verdict(day)
        # Nothing but late data makes a stale unit part of a plan for what is missing.
        late = request.reprocess == "missing" and verdict.state == "stale"
        if verdict.make and (late or day >= request.first):
            made.append(found.planned(day, verdict, prices))
        elif day >= request.first:
            rest.append(LeftUnit(day, verdict.state, verdict.why))
    used = {name: item for unit in made for name, item in found.inputs[unit.day].by_name.items()}
    made.sort(key=lambda unit: unit.day, reverse=request.order == "newest")
    plan = _plan_of(work, used, found.rates.basis, tuple(made), tuple(rest))
    return replace(plan, resumes=found.resumes) if made else plan


def _plan_of(
    work: Work,
    inputs: Mapping[str, Input],
    basis: str,
    units: tuple[PlannedUnit, ...],
    left: tuple[LeftUnit, ...],
) -> ProgramPlan:
    return ProgramPlan(
        work.asked,
        work.context.program_id,
        work.context.config_fingerprint,
        work.code.fingerprint,
        work.settings,
        said_of(work.code),
        inputs,
        basis,
        units,
        left,
    )


def _with_late_days(days: DateRange, late_days: int) -> tuple[str, ...]:
    """Return the days of the range and those before it whose inputs may have grown since."""
    first = min(days.first, days.last - timedelta(days=late_days))
    return DateRange(first, days.last).units


class _Findings:
    """All that is known of the units of one program: read once, then asked day by day."""

    def __init__(self, work: Work, request: Request, days: Sequence[str]) -> None:
        self._work, self._request = work, request
        self.inputs = work.inputs(days)
        made_under = (work.context.config_fingerprint, work.code.fingerprint)
        self._fingerprints = {d: each.fingerprint(*made_under) for d, each in self.inputs.items()}
        self._ledger = ledger_of(work)
        self._living = Living(self._ledger)
        self._explained: dict[tuple[str, str], list[str]] = {}
        names = {day: work.context.unit_name(day) for day in days}
        newest = self._ledger.newest(f"{work.job}/{work.context.program_id}")
        sample = nearest(list(newest), names.values())
        wanted = {*names.values(), *sample}
        records = self._ledger.read({u: key for u, key in newest.items() if u in wanted})
        self._last = {day: records.get(name) for day, name in names.items()}
        self.rates: Rates = rates((records[u] for u in sample), work.environment.runs.estimates)
        self._published = self._publications()
        store = work.environment.store
        prefix = work.context.unit_name("")
        self._stored = _stored(store.url, prefix) if store else None
        self.resumes = _interrupted(self._last.values()) if request.reprocess == "all" else None
        self._late_from = date.fromisoformat(request.last) - timedelta(days=work.late_days)

    def _publications(self) -> dict[str, Record | None]:
        """Return the visible record of each unit; the latest one serves where it says the same."""
        wanted = {day: last for day, last in self._last.items() if last and last.publication}
        keys: dict[str, str] = {}
        found: dict[str, Record | None] = dict.fromkeys(self._last)
        for day, last in wanted.items():
            if last.event == "succeeded" and last.fingerprint == self._fingerprints[day]:
                found[day] = last
            else:
                keys[day] = self._ledger.key(last.unit, last.publication or 0)
        return {**found, **self._ledger.read(keys)}

    def verdict(self, day: str) -> Verdict:
        """Return whether the day is to be made."""
        return judge(self._known(day), self._request.reprocess, self.resumes)

    def _known(self, day: str) -> Known:
        last, context = self._last[day], self._work.context
        held = last is not None and last.held
        return Known(
            last,
            self._published[day],
            self._living[last.run] if held and last else None,
            self._fingerprints[day],
            self.inputs[day].by_name,
            context.config_fingerprint,
            self._work.code.fingerprint,
            late=self._work.late_days > 0 and date.fromisoformat(day) >= self._late_from,
            stored=self._is_stored(day),
            explain=self._explain,
        )

    def _is_stored(self, day: str) -> bool:
        """Say whether the store holds what is visible, and not an earlier output or none."""
        published = self._published[day]
        if self._stored is None or published is None:
            return True
        attempt = published.details.get("publishedAttempt", published.attempt)
        return bool(self._stored.get(self._work.context.unit_name(day)) == attempt)

    def _explain(self, kind: str, fingerprint: str) -> list[str]:
        """Say how settings or code of a fingerprint differ from those of now, if they were kept."""
        if (kind, fingerprint) not in self._explained:
            before, work = self._ledger.kept(kind, fingerprint), self._work
            now = work.settings if kind == "settings" else said_of(work.code)
            compare = setting_differences if kind == "settings" else difference
            self._explained[kind, fingerprint] = [] if before is None else compare(before, now)
        return self._explained[kind, fingerprint]

    def planned(self, day: str, verdict: Verdict, prices: PriceTable) -> PlannedUnit:
        """Return the unit as a plan has it."""
        last, inputs = self._last[day], self.inputs[day]
        return PlannedUnit(
            day,
            verdict.why,
            self._fingerprints[day],
            last.attempt if last else 0,
            {role: _names(items) for role, items in inputs.roles.items()},
            self._work.outputs(day),
            predict(
                inputs,
                self.rates,
                prices,
                read_again=bool(inputs.roles.get("lookback")),
                split_bytes=self._work.environment.runs.split_bytes,
            ),
        )


def _interrupted(latest: Iterable[Record | None]) -> str | None:
    """Return the plan that was making everything anew when its run ended, if there is one."""
    left = (r.plan for r in latest if r and r.event not in ("succeeded", "failed"))
    return min((plan for plan in left if plan.startswith("all/")), default=None)


def _stored(url: str, prefix: str) -> dict[str, int]:
    """Return the units that the store holds, each with the attempt that it holds it of."""
    try:
        with open_store(url, write=False) as store:
            return store.applied(prefix)
    except StoreNotFound:
        return {}


def _names(items: Iterable[Input]) -> tuple[str, ...]:
    return tuple(item.name for item in items)
