"""Programs in memory, for planning and applying: what they read, and how their units are made."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from conf.environment import Environment
from conf.load import load_environment
from conf.prices import PriceTable
from jobs.backfill.apply import Applied, Options, apply
from jobs.backfill.plan import Plan, ProgramPlan, Request
from jobs.backfill.planning import Loader, make_plan, plan_days
from jobs.backfill.stop import Stop
from jobs.backfill.work import UnitInputs, Wave
from jobs.code_fingerprint import Code
from pipelines.context import RunContext
from pipelines.lake import LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.publisher import Publication, Publisher
from pipelines.sources.inputs import Input
from pipelines.storage import Storage
from pipelines.tally import QUARANTINED, READ

FIRST = date(2017, 3, 1)
_LOCAL = load_environment("local")
#: A ledger is many small files: in memory, where there is such a place, no disk is waited for.
_MEMORY = Path("/dev/shm")

#: Makes the units of a wave, as a pipeline would.
Make = Callable[[Wave, Publisher], None]


def day(number: int) -> str:
    """Return a day, counted from 2017-03-01."""
    return (FIRST + timedelta(days=number)).isoformat()


def days(count: int) -> tuple[str, ...]:
    """Return as many days."""
    return tuple(map(day, range(count)))


def table(program: str, rows: Mapping[str, int], version: str = "a") -> dict[str, Input]:
    """Return days of a table, as a warehouse knows them."""
    return {d: Input(f"{program}/{d}", version, n) for d, n in rows.items()}


def files(program: str, sizes: Mapping[str, int], version: str = "a") -> dict[str, Input]:
    """Return a file a day, whose rows nobody knows."""
    return {d: Input(f"{program}/{d}.avro", version, None, n) for d, n in sizes.items()}


def publish_day(wave: Wave, publisher: Publisher, day: str) -> Record:
    """Publish a unit all of whose rows are damaged: it balances without fragments."""
    rows = wave.promises[day].rows or 0
    return publisher.publish(day, Counter({READ: rows, QUARANTINED: rows}), ())


def make_day(wave: Wave, publisher: Publisher, day: str) -> Record:
    """Publish a unit and complete it."""
    return publisher.finish(publish_day(wave, publisher, day))


def fail_day(wave: Wave, publisher: Publisher, day: str, *, transient: bool = False) -> Record:
    """Say that a unit failed, as the step that publishes does."""
    return publisher.fail(wave.leases[day], "out of reach", {"transient": transient})


def make_all(wave: Wave, publisher: Publisher) -> None:
    """Make every unit of a wave."""
    for each in wave.days:
        make_day(wave, publisher, each)


def failing(*wrong: str, transient: bool = False) -> Make:
    """Return what makes every unit of a wave but those of some days, which fail."""

    def make(wave: Wave, publisher: Publisher) -> None:
        for each in wave.days:
            if each in wrong:
                fail_day(wave, publisher, each, transient=transient)
            else:
                make_day(wave, publisher, each)

    return make


def breaking(first: str, error: BaseException) -> Make:
    """Return what makes the units of a wave up to a day, and then breaks."""

    def make(wave: Wave, publisher: Publisher) -> None:
        for each in wave.days:
            if each >= first:
                raise error
            make_day(wave, publisher, each)

    return make


@dataclass
class FakeWork:
    """A program whose days read one input each; ``waves`` takes down what it was asked to make.

    ``make`` makes a wave, ``wrong`` is raised by ``check`` and ``unread`` by ``inputs``;
    ``unlike`` are days whose inputs are seen to have moved when their wave begins.
    """

    program: str
    environment: Environment
    reads: dict[str, Input]
    settings: dict[str, Any] = field(default_factory=lambda: {"program": {"ttl": 30}})
    code: Code = field(default_factory=lambda: Code({"pipelines.solicit": "0" * 16}))
    enabled: bool = True
    late_days: int = 0
    make: Make = make_all
    wrong: Exception | None = None
    unread: Exception | None = None
    unlike: dict[str, str] = field(default_factory=dict)
    waves: list[tuple[str, ...]] = field(default_factory=list)
    job: str = "solicit"
    steps: tuple[str, ...] = ("conform",)
    tiers: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    path: str | None = None

    @property
    def asked(self) -> str:
        return self.path or self.program

    @property
    def context(self) -> RunContext:
        said = json.dumps(self.settings, sort_keys=True).encode()
        return RunContext(self.job, self.program, hashlib.sha256(said).hexdigest(), "1.2.3")

    def check(self, day: str) -> None:
        if self.wrong is not None:
            raise self.wrong

    def inputs(self, days: Sequence[str]) -> dict[str, UnitInputs]:
        if self.unread is not None:
            raise self.unread
        nothing = Input(f"{self.program}/nothing", rows=0)
        return {d: UnitInputs({"reads": (self.reads.get(d, nothing),)}) for d in days}

    def outputs(self, day: str) -> tuple[str, ...]:
        return (f"{self.environment.lake.root}/{self.program}/{day}/",)

    def moved(self, wave: Wave) -> dict[str, str]:
        return {day: why for day, why in self.unlike.items() if day in wave.leases}

    def publication(self, wave: Wave, about: Mapping[str, Any]) -> Publication:
        lake = self.environment.lake
        to = LakeSettings(lake.root, lake.codec, lake.sync_key)
        return Publication(
            lake=to,
            store_url=None,
            ranked_by="worth",
            quarantine_threshold=1.0,
            context=self.context,
            leases=wave.leases,
            promises=wave.promises,
            about=about,
            triggers=self.triggers,
        )

    def plan(self, request: Request, prices: PriceTable) -> ProgramPlan:
        return plan_days(self, request, prices)

    def completing(self, wave: Wave, about: Mapping[str, Any]) -> Publisher:
        return Publisher(self.publication(wave, about))

    def run(self, wave: Wave, about: Mapping[str, Any]) -> None:
        self.waves.append(wave.days)
        publisher = self.completing(wave, about)
        try:
            self.make(wave, publisher)
        finally:
            publisher.close()

    def folder(self, first: str, last: str) -> Path:
        return Path(self.environment.lake.root).parent / "runs" / f"{self.program}-{first}-{last}"


def environment(out: Path, **runs: Any) -> Environment:
    """Return the local environment without a store; ``runs`` changes how runs work."""
    local = _LOCAL.with_out(out)
    return local.model_copy(update={"store": None, "runs": local.runs.model_copy(update=runs)})


def work(
    out: Path, program: str = "reviews", rows: Mapping[str, int] | int = 3, **changes: Any
) -> FakeWork:
    """Return a program over days of so many rows each, or over as many days of ten rows."""
    said = dict.fromkeys(days(rows), 10) if isinstance(rows, int) else rows
    fresh = {"environment": environment(out), "reads": table(program, said)}
    return FakeWork(program, **{**fresh, **changes})


def loader(works: Iterable[FakeWork], refusals: Mapping[str, Exception] | None = None) -> Loader:
    """Return what loads each of ``works`` by its name, and raises for those of ``refusals``."""
    known = {each.asked: each for each in works}

    def load(asked: str) -> FakeWork:
        if refusals and asked in refusals:
            raise refusals[asked]
        return known[asked]

    return load


def request(out: Path, *programs: str, first: int = 0, last: int = 2, **changes: Any) -> Request:
    """Return a request for days by their numbers, of ``reviews`` unless others are named."""
    named = programs or ("reviews",)
    return Request("solicit", named, "local", str(out), day(first), day(last), **changes)


def plan_of(*works: FakeWork, **changes: Any) -> Plan:
    """Plan programs of one lake together."""
    out = Path(works[0].environment.lake.root).parent
    return make_plan(request(out, *(each.asked for each in works), **changes), loader(works))


def applied(plan: Plan, *works: FakeWork, stop: Stop | None = None, **options: Any) -> Applied:
    """Apply a plan; nothing ever sleeps."""
    how = Options(**{"sleep": lambda _: None, **options})
    return apply(plan, loader(works), how, stop)


def made(*works: FakeWork, **changes: Any) -> Applied:
    """Plan programs and apply the plan."""
    return applied(plan_of(*works, **changes), *works)


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder for one example."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        yield Path(folder)


def ledger_at(out: Path) -> Ledger:
    """Return the ledger of what was written below a folder."""
    return Ledger(Storage(str(out / "lake")))


def events(out: Path, program: str = "reviews") -> dict[str, list[str]]:
    """Return the events of every unit of a program, by day."""
    ledger = ledger_at(out)
    return {
        name.rpartition("/")[2]: [record.event for record in ledger.history(name)]
        for name in ledger.newest(f"solicit/{program}")
    }
