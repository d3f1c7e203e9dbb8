"""The job ``merge``: a record type's months, each a unit, made by a daily or a monthly merge.

It says what its months read and write, and merges those of a wave: files are written by an engine,
wherever that runs, and each month is published for itself.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conf.digest import digest
from conf.environment import Environment
from conf.load import load_environment
from conf.prices import PriceTable
from jobs.backfill.moved import said_of
from jobs.backfill.plan import LeftUnit, PlannedUnit, ProgramPlan, Request
from jobs.backfill.work import UnitInputs, Wave
from jobs.code_fingerprint import Code
from jobs.days import DateRange
from jobs.errors import WrongUse
from jobs.merges.catalogs import open_catalog
from jobs.merges.consolidate import GONE, Consolidation, consolidate
from jobs.merges.options import MergeOptions
from jobs.merges.predict import predicted
from pipelines.context import RunContext
from pipelines.errors import Fenced, PipelineError
from pipelines.failure import is_transient
from pipelines.lake import LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.engines import Engine
from pipelines.merging.parts import Fragment, MergedFile
from pipelines.merging.plan import MergePlan, Rules, plan
from pipelines.merging.publisher import MergePublisher
from pipelines.merging.survey import JOB, Partition, day_of, survey
from pipelines.publisher import Promise
from pipelines.sources.inputs import Input
from pipelines.storage import Storage
from pipelines.telling import tell_unit
from schemas.registry import RecordType, record_type

_LOG = logging.getLogger("muster.merge")
#: Raised when merging the same sources gives other bytes on purpose. Not a hash of the code, as for
#: jobs that decide something: a merged file is compared with its sources whatever code wrote it.
_LAYOUT = "1"


@dataclass(frozen=True)
class MergeJob:
    """A record type in an environment, and what is asked of its months."""

    record: RecordType
    environment: Environment
    out: Path
    options: MergeOptions
    days: tuple[str, ...]
    engine: Engine = field(repr=False, compare=False)

    @classmethod
    def load(cls, record: str, request: Request, engine: Engine) -> MergeJob:
        """Read and check the settings.

        Raises:
            ConfigurationError: the environment's file is wrong.
            UnknownRecordType: there is no such record type.
            WrongUse: rows are to be told apart by a field that the type does not have.
        """
        found = record_type(record)
        options = MergeOptions.of(request.options)
        names = [each["name"] for each in found.schema["fields"]]
        if options.dedupe and "dedupeHash" not in names:
            raise WrongUse(
                f"--dedupe: expected a record type with a field 'dedupeHash', found '{record}' "
                f"with {', '.join(names)}"
            )
        environment = load_environment(request.environment).with_out(request.out)
        days = DateRange(date.fromisoformat(request.first), date.fromisoformat(request.last)).units
        return cls(found, environment, Path(request.out), options, days, engine)

    job = JOB
    enabled = True
    late_days = 0
    steps: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()

    @property
    def asked(self) -> str:
        """The record type's name."""
        return self.record.name

    @property
    def months(self) -> tuple[str, ...]:
        """The months of the days that were asked for, in order."""
        return tuple(sorted({day[:7] for day in self.days}))

    @cached_property
    def rules(self) -> Rules:
        """How files are merged."""
        return self.options.rules(self.environment, self.record)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that decide the bytes of the output."""
        rules = self.rules
        return {
            "kind": rules.kind,
            "codec": rules.codec,
            "targetBytes": rules.target_bytes,
            "limitBytes": rules.limit_bytes,
            "oversize": rules.oversize,
            "schemaPolicy": rules.schema_policy,
            "schemaVersion": rules.version,
            "dedupe": rules.dedupe,
        }

    @cached_property
    def code(self) -> Code:
        """What decides the bytes of the output beside the settings."""
        return Code({"merged files": _LAYOUT}, {self.record.name: self.record.fingerprint})

    @cached_property
    def context(self) -> RunContext:
        """What units are called."""
        return RunContext(JOB, self.record.name, digest(self.settings), version("muster"))

    @property
    def lake(self) -> LakeSettings:
        """The lake that the environment names."""
        lake = self.environment.lake
        return LakeSettings(lake.root, self.rules.codec, lake.sync_key)

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self.environment.lake.root)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self._storage)

    def check(self, day: str) -> None:
        """Nothing can be tried before files are read."""

    def surveyed(self, months: Iterable[str]) -> dict[str, Partition]:
        """Return what there is of months."""
        return survey(self._storage, self._ledger, self.record.name, months)

    def planned(self, months: Iterable[str]) -> dict[str, tuple[Partition, MergePlan]]:
        """Return what is merged of each month, in order; bounds hold for all of them together."""
        rules, found = self.rules, {}
        for month, partition in sorted(self.surveyed(months).items()):
            made = plan(partition, rules, self.days)
            found[month] = (partition, made)
            if rules.most_bytes is not None:
                rules = replace(rules, most_bytes=max(0, rules.most_bytes - made.size))
            if rules.most_files is not None:
                rules = replace(rules, most_files=max(0, rules.most_files - len(made.taken)))
        return found

    @cached_property
    def findings(self) -> dict[str, tuple[Partition, MergePlan]]:
        """What is merged of the months asked for, looked up once: the plan is what is shown."""
        return self.planned(self.months)

    def plan(self, request: Request, prices: PriceTable) -> ProgramPlan:  # noqa: ARG002
        """Say which months get a new generation, of what, and why."""
        units: list[PlannedUnit] = []
        left: list[LeftUnit] = []
        used: dict[str, Input] = {}
        names = {month: self.context.unit_name(month) for month in self.months}
        latest = self._ledger.latest_of(names.values()) if names else {}
        for month, (partition, made) in self.findings.items():
            last = latest.get(names[month])
            unfinished = last is not None and not last.completed
            if not made.makes and not unfinished:
                left.append(_left(month, made, self._nowhere(partition)))
                continue
            inputs = _inputs(partition, made)
            used |= inputs.by_name
            units.append(
                PlannedUnit(
                    month,
                    _why(made) if made.makes else "published, not completed",
                    self._fingerprint(inputs, made, last),
                    last.attempt if last else 0,
                    {role: tuple(i.name for i in items) for role, items in inputs.roles.items()},
                    self.outputs(month),
                    predicted(partition, made, prices),
                )
            )
        return ProgramPlan(
            self.record.name,
            self.record.name,
            self.context.config_fingerprint,
            self.code.fingerprint,
            self.settings,
            said_of(self.code),
            used,
            "sizes of the files",
            tuple(units),
            tuple(left),
        )

    def _nowhere(self, partition: Partition) -> str | None:
        """Say which fragments of the days asked for cannot be merged, whatever is done."""
        told = [str(p) for p in partition.problems if day_of(p.key) in self.days]
        return f"{len(told):,} fragments cannot be merged: {told[0]}" if told else None

    def _fingerprint(self, inputs: UnitInputs, made: MergePlan, last: Record | None) -> str:
        if not made.makes and last is not None:
            published = self._ledger.publication(last)
            assert published is not None, "only what is published can be left uncompleted"
            return published.fingerprint
        return inputs.fingerprint(self.context.config_fingerprint, self.code.fingerprint)

    def inputs(self, days: Sequence[str]) -> dict[str, UnitInputs]:
        """Return what each month reads, as it is now."""
        found = self.planned(days)
        return {month: _inputs(*found[month]) for month in days}

    def outputs(self, day: str) -> tuple[str, ...]:
        """Name where a month's output goes."""
        return (f"{self.environment.lake.root}/merged/{self.record.name}/{day}/",)

    def moved(self, wave: Wave) -> dict[str, str]:  # noqa: ARG002
        """Nothing stops a month: what moved is left out of it, and named."""
        return {}

    def completing(self, wave: Wave, about: Mapping[str, Any]) -> MergePublisher:  # noqa: ARG002
        """Return what completes months that were published before."""
        return self._publisher()

    def _publisher(self) -> MergePublisher:
        catalog = open_catalog(self.environment, self._storage, self.engine)
        return MergePublisher(self._storage, self._ledger, catalog)

    def run(self, wave: Wave, about: Mapping[str, Any]) -> None:
        """Merge the months of one wave; what became of them is in the ledger."""
        publisher = self._publisher()
        for month in wave.days:
            self._merge(month, wave.leases[month], wave.promises[month], publisher, about)

    def _merge(
        self,
        month: str,
        lease: Record,
        promise: Promise,
        publisher: MergePublisher,
        about: Mapping[str, Any],
    ) -> None:
        """Merge one month; whatever goes wrong is its alone."""
        started = time.perf_counter()
        work = Consolidation(
            self.lake,
            self._storage,
            self._ledger,
            publisher,
            self.engine,
            self.rules,
            self.settings,
            self.days,
        )
        record = lease
        try:
            partition = self.surveyed([month])[month]
            record = consolidate(work, partition, lease, promise, about, started)
            done = publisher.finish(record)
        except Fenced as fenced:
            _LOG.warning("month taken over", extra={"unit": month, "error": str(fenced)})
            tell_unit(month, "failed", str(fenced))
        except PipelineError as error:
            self._fail(publisher, month, lease, error)
        else:
            problems = len(done.details["problems"])
            told = f"{problems:,} sources were left out" if problems else None
            tell_unit(month, "published", told, done.details["balance"])

    def _fail(
        self, publisher: MergePublisher, month: str, lease: Record, error: PipelineError
    ) -> None:
        _LOG.error("merge failed", exc_info=error, extra={"unit": month, "error": str(error)})
        last = self._ledger.last(lease.unit) or lease
        problems = getattr(error, "problems", ())
        details = {
            "transient": is_transient(error),
            "problems": list(map(asdict, problems)),
        }
        try:
            publisher.fail(last, str(error), details)
        except Fenced as fenced:
            _LOG.warning("month taken over", extra={"unit": month, "error": str(fenced)})
        tell_unit(month, "failed", str(error))

    def folder(self, first: str, last: str) -> Path:
        """Return where the log of a merge over these days goes."""
        asked = digest([self.settings, self.options.document(), first, last])[:12]
        return self.out / "runs" / f"{JOB}-{self.record.name}-{asked}"


def fragment_input(fragment: Fragment) -> Input:
    """Return a fragment as plans name it."""
    return Input(fragment.key, fragment.version, fragment.records, fragment.size)


def file_input(file: MergedFile) -> Input:
    """Return a merged file as plans name it."""
    return Input(file.key, file.digest, file.records, file.size)


def _inputs(partition: Partition, made: MergePlan) -> UnitInputs:
    carried = {file.key for file in made.carried}
    return UnitInputs(
        {
            "reads": tuple(map(fragment_input, made.taken)),
            "merged": tuple(file_input(f) for f in partition.files if f.key not in carried),
            "carried": tuple(map(file_input, made.carried)),
            "gone": tuple(Input(key, GONE) for key in sorted(partition.gone)),
        }
    )


def _why(made: MergePlan) -> str:
    reasons: dict[str, list[str]] = defaultdict(list)
    for day in made.days:
        if day.state == "merge":
            reasons[day.why].append(day.day)
    told = [
        f"{why} ({days[0] if len(days) == 1 else f'{len(days)} days'})"
        for why, days in sorted(reasons.items(), key=lambda item: -len(item[1]))
    ]
    return "; ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")


def _left(month: str, made: MergePlan, nowhere: str | None) -> LeftUnit:
    if nowhere is not None:
        return LeftUnit(month, "bad", nowhere)
    states = {day.state: day.why for day in made.days}
    for state in ("refused", "bad"):
        if state in states:
            return LeftUnit(month, "bad", states[state])
    for state in ("waits", "deferred"):
        if state in states:
            return LeftUnit(month, "waits", states[state])
    if "done" in states:
        return LeftUnit(month, "done", "merged")
    return LeftUnit(month, "missing", "no fragments")
