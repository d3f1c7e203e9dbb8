from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from jobs.backfill.claims import Wanted, claim, give_back, leases, made_since
from jobs.errors import UnitsHeld
from pipelines.errors import Fenced, StorageFailed
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event, Record
from pipelines.ledger.runs import Run
from pipelines.storage import Storage

NOON = datetime(2017, 3, 1, 12, tzinfo=UTC)
LEASE = 60.0
DAYS = [f"solicit/reviews/2017-03-0{n}" for n in range(1, 8)]
WHOLE: tuple[Event, ...] = ("leased", "published", "succeeded")


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    """A ledger of which the runs "a" and "b" have just given a sign of life."""
    made = Ledger(Storage(str(tmp_path / "lake")), clock)
    give_signs(made, "a", "b")
    return made


def give_signs(ledger: Ledger, *runs: str) -> None:
    for run in runs:
        Run(ledger, LEASE, run).renew()


def wanted(units: Iterable[str], fingerprint: str = "f", attempts: int = 0) -> list[Wanted]:
    return [Wanted(unit, fingerprint, attempts, "never made") for unit in units]


def take(ledger: Ledger, run: str, units: Iterable[str]) -> dict[str, Record]:
    return claim(ledger, run, f"plan of {run}", wanted(units))


def go_on(ledger: Ledger, record: Record, *events: Event) -> Record:
    for event in events:
        record = ledger.go_on(record, event)
    return record


def told(ledger: Ledger) -> dict[str, tuple[str, Event]]:
    """Return whose the latest record of each unit is, and what it says."""
    return {unit: (last.run, last.event) for unit, last in ledger.latest().items()}


# --- all or nothing


def test_a_claim_takes_every_unit_in_the_order_of_names(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    create = ledger.storage.create
    monkeypatch.setattr(
        ledger.storage, "create", lambda key, data: written.append(key) or create(key, data)
    )
    claimed = take(ledger, "a", [DAYS[2], DAYS[0], DAYS[1]])
    assert written == [Ledger.key(unit, 1) for unit in DAYS[:3]]
    assert list(claimed) == DAYS[:3]
    assert claimed == ledger.latest()
    assert told(ledger) == dict.fromkeys(DAYS[:3], ("a", "planned"))


def test_a_claim_says_what_for_and_why(ledger: Ledger) -> None:
    (record,) = take(ledger, "a", DAYS[:1]).values()
    assert (record.fingerprint, record.plan, record.details) == (
        "f",
        "plan of a",
        {"why": "never made"},
    )


def test_nothing_wanted_is_nothing_taken(ledger: Ledger) -> None:
    assert take(ledger, "a", []) == {}
    assert ledger.latest() == {}


@pytest.mark.parametrize("events", [(), WHOLE[:1], WHOLE[:2]])
def test_who_meets_a_living_holder_is_told_and_gives_back(
    ledger: Ledger, events: tuple[Event, ...]
) -> None:
    (held,) = take(ledger, "b", DAYS[2:3]).values()
    go_on(ledger, held, *events)
    with pytest.raises(UnitsHeld) as raised:
        take(ledger, "a", DAYS[:4])
    message = str(raised.value)
    assert f"unit {DAYS[2]}: expected nobody at work on it, found run b (process " in message
    assert "holds it until 2017-03-01T12:01:00.000Z" in message
    assert told(ledger) == {
        DAYS[0]: ("a", "cancelled"),
        DAYS[1]: ("a", "cancelled"),
        DAYS[2]: ("b", events[-1] if events else "planned"),
    }


def test_what_was_given_back_can_be_taken_by_anybody(ledger: Ledger) -> None:
    take(ledger, "b", DAYS[2:3])
    with pytest.raises(UnitsHeld):
        take(ledger, "a", DAYS[:3])
    assert [each.seq for each in take(ledger, "b", DAYS[:2]).values()] == [3, 3]


@pytest.mark.parametrize(
    "events",
    [("failed",), ("cancelled",), ("leased", "failed"), (*WHOLE[:2], "failed"), WHOLE],
)
def test_a_unit_that_a_living_run_let_go_of_is_free(
    ledger: Ledger, events: tuple[Event, ...]
) -> None:
    (held,) = take(ledger, "b", DAYS[:1]).values()
    last = go_on(ledger, held, *events)
    (taken,) = claim(ledger, "a", "p", wanted(DAYS[:1], attempts=last.attempt)).values()
    assert (taken.run, taken.event, taken.seq) == ("a", "planned", last.seq + 1)


def test_whatever_goes_wrong_what_was_taken_is_given_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ledger.storage.create

    def fails_at_third(key: str, data: bytes) -> bool:
        if key == Ledger.key(DAYS[2], 1):
            raise StorageFailed(ledger.storage.root, key, "away")
        return create(key, data)

    monkeypatch.setattr(ledger.storage, "create", fails_at_third)
    with pytest.raises(StorageFailed):
        take(ledger, "a", DAYS[:4])
    assert told(ledger) == dict.fromkeys(DAYS[:2], ("a", "cancelled"))


# --- from the dead


@pytest.mark.parametrize("events", [(), WHOLE[:1], WHOLE[:2]])
def test_the_units_of_a_dead_holder_are_taken(
    ledger: Ledger, clock: Clock, events: tuple[Event, ...]
) -> None:
    (held,) = take(ledger, "b", DAYS[:1]).values()
    last = go_on(ledger, held, *events)
    clock.time += timedelta(seconds=LEASE)
    give_signs(ledger, "a")
    (taken,) = take(ledger, "a", DAYS[:1]).values()
    assert (taken.run, taken.seq, taken.publication) == ("a", last.seq + 1, last.publication)
    with pytest.raises(Fenced):
        ledger.go_on(last, "failed")


def test_a_holder_that_never_gave_a_sign_is_dead(ledger: Ledger) -> None:
    take(ledger, "silent", DAYS[:1])
    assert list(take(ledger, "a", DAYS[:1])) == DAYS[:1]


def test_a_holder_that_ended_is_dead(ledger: Ledger) -> None:
    with Run(ledger, LEASE, "c"):
        take(ledger, "c", DAYS[:1])
        with pytest.raises(UnitsHeld):
            take(ledger, "a", DAYS[:1])
    assert list(take(ledger, "a", DAYS[:1])) == DAYS[:1]


def test_who_was_overtaken_looks_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run takes the unit after the first look at the ledger, and lets it go again."""
    look = ledger.latest_of

    def overtaken(units: Sequence[str]) -> dict[str, Record]:
        found = look(units)
        other = Ledger(Storage(ledger.storage.root), ledger.clock)
        (record,) = take(other, "b", units).values()
        other.go_on(record, "cancelled")
        return found

    monkeypatch.setattr(ledger, "latest_of", overtaken)
    (taken,) = take(ledger, "a", DAYS[:1]).values()
    assert (taken.run, taken.seq) == ("a", 3)


# --- what was made meanwhile


@pytest.mark.parametrize(
    ("event", "attempt", "fingerprint", "made"),
    [
        ("succeeded", 2, "f", True),
        ("succeeded", 3, "f", True),
        ("succeeded", 1, "f", False),
        ("succeeded", 2, "other", False),
        ("published", 2, "f", False),
        ("failed", 2, "f", False),
        ("planned", 2, "f", False),
    ],
)
def test_a_unit_was_made_since_if_a_later_attempt_succeeded(
    event: Event, attempt: int, fingerprint: str, made: bool
) -> None:
    last = Record(DAYS[0], 9, event, attempt, "b", "at", fingerprint, "p", 3)
    (asked,) = wanted(DAYS[:1], attempts=1)
    assert made_since(last, asked) is made


def test_a_unit_without_records_was_not_made() -> None:
    (asked,) = wanted(DAYS[:1])
    assert not made_since(None, asked)


def test_what_was_made_since_it_was_planned_is_left_out(ledger: Ledger) -> None:
    (held,) = take(ledger, "b", DAYS[1:2]).values()
    done = go_on(ledger, held, *WHOLE)
    assert list(take(ledger, "a", DAYS[:3])) == [DAYS[0], DAYS[2]]
    assert ledger.last(DAYS[1]) == done


def test_what_was_made_of_something_else_is_taken(ledger: Ledger) -> None:
    (held,) = take(ledger, "b", DAYS[:1]).values()
    go_on(ledger, held, *WHOLE)
    (taken,) = claim(ledger, "a", "p", wanted(DAYS[:1], fingerprint="other")).values()
    assert (taken.fingerprint, taken.attempt) == ("other", 1)


# --- giving back and leasing


def test_only_what_is_still_held_is_given_back(ledger: Ledger, clock: Clock) -> None:
    claimed = take(ledger, "b", DAYS[:4])
    go_on(ledger, claimed[DAYS[1]], *WHOLE)
    go_on(ledger, claimed[DAYS[2]], "leased")
    clock.time += timedelta(seconds=LEASE)
    give_signs(ledger, "a")
    take(ledger, "a", DAYS[3:4])
    give_back(ledger, "b", claimed.values(), "enough")
    assert told(ledger) == {
        DAYS[0]: ("b", "cancelled"),
        DAYS[1]: ("b", "succeeded"),
        DAYS[2]: ("b", "cancelled"),
        DAYS[3]: ("a", "planned"),
    }
    assert ledger.latest()[DAYS[0]].details == {"error": "enough"}


def test_a_lease_is_an_attempt_and_what_others_took_is_told(ledger: Ledger, clock: Clock) -> None:
    claimed = take(ledger, "b", DAYS[:2])
    clock.time += timedelta(seconds=LEASE)
    give_signs(ledger, "a")
    take(ledger, "a", DAYS[1:2])
    found, lost = leases(ledger, {"one": claimed[DAYS[0]], "two": claimed[DAYS[1]]})
    assert {key: (each.event, each.attempt) for key, each in found.items()} == {
        "one": ("leased", 1)
    }
    assert list(lost) == ["two"]
    assert "found 'planned' of run a" in lost["two"]


# --- two at once


@pytest.mark.parametrize("time", range(30))
def test_of_two_that_claim_overlapping_units_one_gets_all_and_no_unit_has_two(
    ledger: Ledger, time: int
) -> None:
    """They ask in opposite orders; which ranges overlap, and by how much, goes with the time."""
    asked = {"a": DAYS[: 3 + time % 5], "b": DAYS[time % 3 :][::-1]}
    together = Barrier(2)

    def race(run: str) -> set[str] | None:
        own = Ledger(Storage(ledger.storage.root), ledger.clock)
        together.wait()
        try:
            return set(take(own, run, asked[run]))
        except UnitsHeld:
            return None

    with ThreadPoolExecutor(2) as pool:
        got = dict(zip(asked, pool.map(race, asked), strict=True))
    winners = [run for run, units in got.items() if units == set(asked[run])]
    losers = [run for run, units in got.items() if units is None]
    assert (len(winners), len(losers)) == (1, 1)
    held = {unit: run for unit, (run, event) in told(ledger).items() if event == "planned"}
    assert held == dict.fromkeys(asked[winners[0]], winners[0])
