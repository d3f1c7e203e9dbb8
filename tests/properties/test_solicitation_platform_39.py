from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from conf.errors import ConfigurationError, Problem
from jobs.backfill.planning import make_plan
from jobs.backfill.work import Wave
from pipelines.errors import NothingToRead, WarehouseFailed
from pipelines.publisher import Publisher
from tests.properties.works import (
    FakeWork,
    applied,
    day,
    environment,
    fail_day,
    ledger_at,
    loader,
    make_day,
    new_folder,
    publish_day,
    request,
    work,
)

REFUSALS: Mapping[str, Exception] = {
    "load": ConfigurationError([Problem("a.yaml", "enabled", "a boolean", "3")]),
    "check": WarehouseFailed("duckdb://", "connecting", "no such file"),
    "inputs": NothingToRead("orders", day(0), "a table"),
}
#: Each raises from the pipeline, but for "units", which fail one by one; "away" may be tried again.
FAULTS = ("at once", "half way", "published", "units", "away")


@dataclass(frozen=True)
class Fate:
    """What goes wrong with a program of some days; the ``spared`` first of them are made before."""

    kind: str
    days: int
    spared: int

    def make(self, wave: Wave, publisher: Publisher) -> None:
        if self.kind == "at once":
            raise RuntimeError("the engine broke")
        for each in wave.days:
            if self.kind == "healthy" or each < day(self.spared):
                make_day(wave, publisher, each)
            elif self.kind == "units":
                fail_day(wave, publisher, each)
            elif self.kind == "published":
                publish_day(wave, publisher, each)
        if self.kind == "away":
            raise ConnectionError("away")
        if self.kind in ("half way", "published"):
            raise RuntimeError("the engine broke")

    def work(self, out: Path, program: str, most: int) -> FakeWork:
        rows = {day(n): n + 1 for n in range(self.days)}
        wrong = {"wrong": REFUSALS["check"]} if self.kind == "check" else {}
        unread = {"unread": REFUSALS["inputs"]} if self.kind == "inputs" else {}
        runs = environment(out, retries=1, units_per_run=most)
        return work(out, program, rows, environment=runs, make=self.make, **wrong, **unread)


kinds = st.sampled_from(["healthy"]) | st.sampled_from([*FAULTS, *REFUSALS])
fates = st.builds(Fate, kinds, st.integers(1, 3), st.integers(0, 3))


def carry_out(out: Path, fates: Mapping[str, Fate], most: int) -> Mapping[str, str]:
    """Plan programs together and apply the plan; returns what was refused."""
    works = [fate.work(out, program, most) for program, fate in fates.items()]
    refusals = {p: REFUSALS["load"] for p, fate in fates.items() if fate.kind == "load"}
    last = max(fate.days for fate in fates.values()) - 1
    plan = make_plan(request(out, *fates, last=last), loader(works, refusals))
    applied(plan, *works)
    return plan.refused


def said(out: Path, program: str) -> dict[str, Any]:
    """Return how each unit of a program ended, and what is visible of it: no time, run or plan."""
    ledger, found = ledger_at(out), {}
    for name, last in ledger.latest(f"solicit/{program}").items():
        visible = ledger.publication(last)
        found[name] = (last.event, last.fingerprint, visible and visible.details)
    return found


@cache
def alone(program: str, days: int, last: int, most: int) -> dict[str, Any]:
    """Return what becomes of a healthy program in a lake of its own."""
    with new_folder() as out:
        made = Fate("healthy", days, 0).work(out, program, most)
        applied(make_plan(request(out, program, last=last), loader([made])), made)
        return said(out, program)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(fates, min_size=2, max_size=3).map(lambda some: dict(zip("abc", some, strict=False))),
    st.integers(1, 3),
)
def test_a_programs_failure_is_its_own(fates: dict[str, Fate], most: int) -> None:
    """Feature: solicitation-platform, Property 39: Program failure isolation

    Programs that nothing is wrong with end as if they had been run alone. Those that cannot be
    planned are named with the reason and leave nothing; of the others, what was not made has
    failed. Nothing stays held.
    """
    with new_folder() as out:
        refused = carry_out(out, fates, most)
        assert refused == {
            p: str(REFUSALS[fate.kind]) for p, fate in fates.items() if fate.kind in REFUSALS
        }
        last = max(fate.days for fate in fates.values()) - 1
        for program, fate in fates.items():
            found = said(out, program)
            if fate.kind == "healthy":
                assert found == alone(program, fate.days, last, most)
                assert {event for event, *_ in found.values()} == {"succeeded"}
            elif fate.kind in REFUSALS:
                assert found == {}
            else:
                spared = 0 if fate.kind == "at once" else fate.spared
                assert [event for event, *_ in found.values()] == [
                    "succeeded" if n < spared else "failed" for n in range(last + 1)
                ]
        assert not any(record.held for record in ledger_at(out).latest().values())
