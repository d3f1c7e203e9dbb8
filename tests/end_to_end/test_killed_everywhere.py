"""A run that dies at any moment, and is asked for again, ends as if nothing had happened.

A child process carries out a small backfill and kills itself before its nth write; another child,
with the same arguments, goes on. This is done for every n.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml

from jobs.backfill.apply import Options
from jobs.backfill.plan import Mode, Request
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.sinks.sqlite_store import SqliteStore
from pipelines.sinks.stores import open_store
from pipelines.storage import Storage
from tests.end_to_end.dying import AT_ONCE, ROOT, Doom, Fault, doom_storage, log_to, run_child

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

Tree = Callable[[Path], dict[str, str]]

DAYS = tuple(f"2017-03-0{n}" for n in range(1, 6))
CUSTOMERS, PAGES, ROWS = 12, 9, 48
SCHEMA = {
    "type": "record",
    "name": "visit",
    "fields": [
        {"name": "visitor", "type": "string"},
        {"name": "page", "type": "string"},
        {"name": "at", "type": "string"},
        {"name": "spent", "type": "double"},
    ],
}
PROGRAM: dict[str, Any] = {
    "programId": "visits",
    "programName": "Visits",
    "enabled": True,
    "marketplaces": ["US"],
    "candidateTTLDays": 10,
    "dataConnectors": [
        {
            "sourceId": "visits",
            "connectorType": "avro",
            "subjectType": "content",
            "marketplace": "US",
            "path": "visits/{date}/*.avro",
            "fieldMappings": {
                "customerId": "visitor",
                "subjectId": "page",
                "eventDate": "at",
                "orderValue": "spent",
            },
        }
    ],
    "scoringModels": [
        {
            "modelId": "value",
            "type": "linear",
            "coefficients": {"orderValue": 0.01},
            "fallbackScore": 0.25,
        }
    ],
    "filterChain": {
        "filters": [
            {
                "filterId": "home-page",
                "filterType": "BUSINESS_RULE",
                "order": 1,
                "reasonCode": "HOME_PAGE",
                "reason": "the home page says nothing",
                "parameters": {"expression": "page <> 'p0'"},
            }
        ]
    },
    "dedupe": {"windowHours": 24},
    "capacity": {"perCustomer": 2, "score": "value"},
    "channels": [{"channelId": "email", "channelType": "EMAIL"}],
    "onCompletion": ["mailing"],
}
ENVIRONMENT: dict[str, Any] = {
    "name": "site",
    "warehouse": {"url": "duckdb://"},
    "lake": {"root": "{out}/lake", "syncKey": "00" * 32},
    "store": {"url": "sqlite:///{out}/candidates.sqlite"},
    "runs": {"retries": 0, "shards": 2, "threads": 1},
}


# --- in the child ---------------------------------------------------------------------------------


def _install(doom: Doom) -> None:
    """Let the store pass by ``doom`` as well."""
    load = SqliteStore.apply

    def doomed_load(self: SqliteStore, unit: str, *given: Any, **named: Any) -> Any:
        doom.before(f"load {unit}")
        receipt = load(self, unit, *given, **named)
        doom.loaded(unit)
        return receipt

    doom_storage(doom)
    SqliteStore.apply = doomed_load  # type: ignore[method-assign]


def _child(request: Request, fault: Fault | None) -> None:
    """Do what ``muster run`` does; what was done stands in ``writes.json`` of a run that lived."""
    from jobs.backfill.application import carry_out
    from jobs.backfill.loading import loader
    from jobs.backfill.planning import make_plan

    gc.disable()  # a child is short, and there are many
    out = Path(request.out)
    log_to(out)
    doom = Doom(fault)
    _install(doom)
    load = loader(request)
    outcome = carry_out(make_plan(request, load), load, Options(max_active=3))
    (out / "writes.json").write_text(json.dumps({"writes": doom.writes, "loads": doom.loads}))
    sys.exit(outcome.exit_code)


# --- what is asked of it --------------------------------------------------------------------------


class Site:
    """A folder with a program, an environment and a file of visits a day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number in range(-1, len(DAYS)):
            self._write((date.fromisoformat(DAYS[0]) + timedelta(days=number)).isoformat())
        self._save("environment", {**ENVIRONMENT, "sourceRoot": str(folder / "source")})
        self._save("program", PROGRAM)
        self._save("changed", {**PROGRAM, "capacity": {"perCustomer": 3, "score": "value"}})

    def _save(self, name: str, settings: dict[str, Any]) -> None:
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))

    def _write(self, day: str) -> None:
        path = self.folder / "source" / "visits" / day / "part-0.avro"
        path.parent.mkdir(parents=True)
        drawn = random.Random(day)
        rows = [_visit(drawn, day) for _ in range(ROWS)]
        with path.open("wb") as file:
            fastavro.writer(file, SCHEMA, rows, sync_marker=day.ljust(16).encode())

    def request(self, out: str, program: str = "program", mode: Mode = "missing") -> Request:
        paths = (str(self.folder / f"{name}.yaml") for name in (program, "environment"))
        asked, environment = paths
        where = str(self.folder / out)
        return Request("solicit", (asked,), environment, where, DAYS[0], DAYS[-1], mode)


def _visit(drawn: random.Random, day: str) -> dict[str, Any]:
    return {
        "visitor": f"v{drawn.randrange(CUSTOMERS)}",
        "page": f"p{drawn.randrange(PAGES)}",
        "at": f"{day}T{drawn.randrange(24):02d}:00:00Z",
        "spent": float(drawn.randrange(100)),
    }


def _run(request: Request, fault: Fault | None = None) -> int:
    return run_child(_child, request, fault)


def _run_well(request: Request) -> None:
    code = _run(request)
    assert code == 0, Path(request.out, "child.log").read_text()


# --- what is left of it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """What runs left behind, without what tells one run from another."""

    files: dict[str, str]
    items: list[dict[str, Any]]
    units: dict[str, Any]

    def differences(self, other: Left) -> list[str]:
        """Name what is not the same."""
        files = sorted(dict(self.files.items() ^ other.files.items()))
        units = [u for u in self.units if self.units[u] != other.units.get(u)]
        stored = [] if self.items == other.items else ["the store's items"]
        return [*files, *units, *stored]


def _ledger(out: Path) -> Ledger:
    return Ledger(Storage(str(out / "lake")))


def _settled(ledger: Ledger, last: Record) -> dict[str, Any]:
    visible = ledger.publication(last)
    assert visible is not None, last
    said = {name: visible.details[name] for name in ("balance", "fragments")}
    return {
        **said,
        "fingerprint": (visible.fingerprint, last.fingerprint),
        "end": (last.event, last.completed),
    }


def _items(store: Path, *, versions: bool) -> list[dict[str, Any]]:
    """Return every item, with or without its version.

    Where units are replaced a version counts visible changes, and waves cut otherwise bring these
    in another order; where units are only added it counts them, in whatever order.
    """
    with open_store(f"sqlite:///{store}", write=False) as opened:
        days = (date.fromisoformat(day) for day in DAYS)
        items = [dict(item) for day in days for item in opened.export("visits", day)]
    if versions:
        return items
    return [{**item, "metadata": {**item["metadata"], "version": None}} for item in items]


def _left(request: Request, tree: Tree) -> Left:
    out = Path(request.out)
    ledger = _ledger(out)
    return Left(
        tree(out / "lake"),
        _items(out / "candidates.sqlite", versions=request.reprocess != "all"),
        {unit: _settled(ledger, last) for unit, last in ledger.latest().items()},
    )


# --- one run, killed everywhere -------------------------------------------------------------------


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed, what it left, and how to begin where it began."""

    request: Request
    left: Left
    latest: dict[str, Record]
    writes: list[str]
    loads: list[str]
    before: Path | None

    @property
    def faults(self) -> Iterator[Fault]:
        """Every moment at which it might have died."""
        yield from (Fault(n + 1) for n in range(len(self.writes)))
        yield from (Fault(n + 1, after_loading=True) for n in range(len(self.loads)))

    def again(self, name: str) -> Request:
        """Return the same request for another folder, which is as it was before the run."""
        out = Path(self.request.out).with_name(f"{Path(self.request.out).name}-{name}")
        if self.before is not None:
            shutil.copytree(self.before, out)
        return replace(self.request, out=str(out))


def _undisturbed(request: Request, tree: Tree, before: Path | None = None) -> Undisturbed:
    out = Path(request.out)
    if before is not None:
        shutil.copytree(before, out)
    _run_well(request)
    done = json.loads((out / "writes.json").read_text())
    left, latest = _left(request, tree), _ledger(out).latest()
    return Undisturbed(request, left, latest, done["writes"], done["loads"], before)


def _disturbed(whole: Undisturbed, fault: Fault, tree: Tree) -> list[str]:
    """Kill a run and ask for the same again; return what is not as it would have been."""
    request = whole.again(str(fault).replace(" ", "-"))
    out = Path(request.out)
    code = _run(request, fault)
    if code != -signal.SIGKILL:
        return [f"expected it to be killed, found exit code {code}"]
    killed = _ledger(out).latest()
    code = _run(request)
    if code != 0:
        return [f"expected exit code 0, found {code}", *_errors(out)]
    told = whole.left.differences(_left(request, tree)) + _repeated(whole, killed, out)
    shutil.rmtree(out)
    return told


def _errors(out: Path) -> list[str]:
    latest = _ledger(out).latest().values()
    return [f"{last.unit}: {last.details['error']}" for last in latest if last.event == "failed"]


def _repeated(whole: Undisturbed, killed: dict[str, Record], out: Path) -> list[str]:
    """Name units that were made once more than they had to be."""
    done = {unit: last for unit, last in killed.items() if _is_done(whole, last)}
    if len(done) == len(DAYS) and whole.request.reprocess == "all":
        return []  # nothing was left to do: to ask for all is to ask for all of it once more
    told = []
    for unit, last in _ledger(out).latest().items():
        if unit in done and last != done[unit]:
            told.append(f"{unit}: was done, and was made again")
        if last.attempt > whole.latest[unit].attempt + 1:
            told.append(f"{unit}: expected one attempt more, found attempt {last.attempt}")
    return told


def _is_done(whole: Undisturbed, last: Record) -> bool:
    return last.event == "succeeded" and last.fingerprint == whole.latest[last.unit].fingerprint


def _killed(whole: Undisturbed, faults: list[Fault], tree: Tree) -> dict[str, list[str]]:
    """Return what went wrong, by the moment at which the run was killed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda fault: _disturbed(whole, fault, tree), faults)
        return {_moment(whole, f): told for f, told in zip(faults, found, strict=True) if told}


def _moment(whole: Undisturbed, fault: Fault) -> str:
    done = whole.loads if fault.after_loading else whole.writes
    return f"{fault} ({done[fault.at - 1]})"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # where a child finds this module
        yield Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def backfill(site: Site, tree: Tree) -> Undisturbed:
    return _undisturbed(site.request("backfill"), tree)


@pytest.fixture(scope="module")
def reprocessing(site: Site, backfill: Undisturbed, tree: Tree) -> Undisturbed:
    request = site.request("reprocessing", "changed", "all")
    return _undisturbed(request, tree, Path(backfill.request.out))


def test_a_backfill_does_something_at_every_step(backfill: Undisturbed) -> None:
    balances = [unit["balance"] for unit in backfill.left.units.values()]
    assert len(balances) == len(backfill.loads) == len(DAYS)
    assert all(found["written"] and found["deduplicated"] for found in balances)
    assert backfill.left.items


def test_a_backfill_that_is_killed_anywhere_ends_as_if_it_was_not(
    backfill: Undisturbed, tree: Tree
) -> None:
    assert _killed(backfill, list(backfill.faults), tree) == {}


def test_reprocessing_replaces_what_was_there(
    backfill: Undisturbed, reprocessing: Undisturbed
) -> None:
    deleted = [what for what in reprocessing.writes if what.startswith("delete fragments/")]
    assert len(deleted) >= len(DAYS)
    assert all(last.attempt == 2 for last in reprocessing.latest.values())
    assert reprocessing.left.items != backfill.left.items


def test_reprocessing_that_is_killed_ends_as_if_it_was_not(
    reprocessing: Undisturbed, tree: Tree
) -> None:
    """Two moments in five, which meet every step of publishing: it has six, and five is no divisor.

    All moments take a minute more; they passed when this was written.
    """
    faults = [fault for n, fault in enumerate(reprocessing.faults) if n % 5 in (0, 2)]
    assert _killed(reprocessing, faults, tree) == {}


# --- the real command on real data ----------------------------------------------------------------

REAL = (
    *("run", "solicit", "--program", "product-reviews"),
    *("--from", "2017-03-01", "--to", "2017-03-10"),
)
_DRAWN = random.Random(1)
#: Parts of the time that a whole run takes: it imports before them, and reports after them.
MOMENTS = [_DRAWN.uniform(0.5, 0.85) for _ in range(4)]


def _kill_after(muster: Any, out: str, seconds: float) -> None:
    running = subprocess.Popen(
        muster.arguments(*REAL, "--out", out),
        cwd=muster.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_real_run_that_is_killed_at_some_moment_ends_as_if_it_was_not(
    shared_muster: Any, tree: Tree, items: Callable[[Path], list[dict[str, Any]]]
) -> None:
    started = time.monotonic()
    shared_muster(*REAL, "--out", "whole")
    seconds = time.monotonic() - started
    whole = shared_muster.folder / "whole"

    def differs(part: float) -> list[str]:
        out = shared_muster.folder / f"killed-{part:.3f}"
        _kill_after(shared_muster, out.name, part * seconds)
        shared_muster(*REAL, "--out", out.name)
        files = sorted(dict(tree(whole / "lake").items() ^ tree(out / "lake").items()))
        store = "candidates.sqlite"
        return files + ([] if items(out / store) == items(whole / store) else [store])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(pool.map(differs, MOMENTS)) == [[], [], [], []]
