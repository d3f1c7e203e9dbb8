from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backfill.work import Wave
from pipelines.errors import Unbalanced
from pipelines.ledger.record import Record
from pipelines.publisher import Promise, Publisher
from pipelines.tally import QUARANTINED, READ
from tests.properties.works import days, ledger_at, new_folder, work

names = st.lists(st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True), unique=True, max_size=3)
#: The days of a run, and how many rows each is found to have; None does not balance.
runs = st.dictionaries(st.sampled_from(days(4)), st.none() | st.integers(0, 3), min_size=1)


def leased(out: Path, run: str, wanted: Iterable[str]) -> dict[str, Record]:
    ledger, leases = ledger_at(out), {}
    for day in wanted:
        unit = f"solicit/reviews/{day}"
        planned = ledger.append(
            ledger.last(unit), "planned", unit=unit, run=run, fingerprint="f", plan="p"
        )
        leases[day] = ledger.go_on(planned, "leased")
    return leases


def complete(publisher: Publisher, day: str, lease: Record, rows: int | None) -> None:
    """Do what the last step of a pipeline does; twice, as if its answer had been lost."""
    if rows is None:
        with pytest.raises(Unbalanced):
            publisher.publish(day, Counter({READ: 1}), ())
        publisher.fail(lease, "does not balance", {})
        return
    published = publisher.publish(day, Counter({READ: rows, QUARANTINED: rows}), ())
    assert publisher.finish(published) == publisher.finish(published)


def run_once(out: Path, triggers: list[str], run: str, found: Mapping[str, int | None]) -> None:
    leases = leased(out, run, found)
    wave = Wave(leases, {day: Promise({}) for day in found})
    to = work(out, triggers=tuple(triggers)).publication(wave, {"settings": "s", "code": "c"})
    with closing(Publisher(to)) as publisher:
        for day, rows in found.items():
            complete(publisher, day, leases[day], rows)


def told(out: Path) -> list[tuple[str, str, int]]:
    """Return whom the objects below ``triggers/`` tell of which unit with how many rows."""
    storage, found = ledger_at(out).storage, []
    for each in storage.list("triggers"):
        said = json.loads(storage.read(each.key))
        _, name, *unit, day = each.key.split("/")
        assert said["unit"] == "/".join((*unit, day[:10]))
        assert said["executionId"].startswith(said["unit"])
        found.append((name, day[:10], said["balance"]["read"]))
    return sorted(found)


@settings(max_examples=100, deadline=None)
@given(names, st.lists(runs, min_size=1, max_size=3))
def test_each_content_of_a_unit_that_succeeds_is_told_once_to_everyone(
    triggers: list[str], history: list[dict[str, int | None]]
) -> None:
    """Feature: solicitation-platform, Property 27: Workflow completion triggers

    After every run there is one object for each name, unit that succeeded and content that it has
    had: none for units that failed, and none more for content that was told before.
    """
    expected: set[tuple[str, str, int]] = set()
    with new_folder() as out:
        for number, found in enumerate(history):
            run_once(out, triggers, f"run {number}", found)
            expected |= {
                (name, day, rows)
                for name in triggers
                for day, rows in found.items()
                if rows is not None
            }
            assert told(out) == sorted(expected)
