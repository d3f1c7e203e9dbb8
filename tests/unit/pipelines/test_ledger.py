from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import Fenced, LedgerError, NotMyUnit, ObjectNotFound
from pipelines.ledger.ledger import Ledger, stamp
from pipelines.ledger.record import FREE, Event, Record, follow
from pipelines.storage import Storage

UNIT = "solicit/reviews/2017-03-01"
NOON = datetime(2017, 3, 1, 12, tzinfo=UTC)
EVENTS: tuple[Event, ...] = get_args(Event)
#: What the run that holds a unit may do next.
ALLOWED: dict[Event, set[Event]] = {
    "planned": {"leased", "failed", "cancelled"},
    "leased": {"progressed", "published", "succeeded", "failed", "cancelled"},
    "progressed": {"published", "failed", "cancelled"},
    "published": {"succeeded", "failed", "cancelled"},
    "succeeded": {"planned"},
    "failed": {"planned", "leased"},
    "cancelled": {"planned"},
}
#: An attempt from beginning to end.
WHOLE: tuple[Event, ...] = ("planned", "leased", "published", "succeeded")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "lake"))


@pytest.fixture
def ledger(storage: Storage) -> Ledger:
    return Ledger(storage, lambda: NOON)


def add(
    ledger: Ledger, last: Record | None, event: Event, run: str = "a", unit: str = UNIT
) -> Record:
    return ledger.append(last, event, unit=unit, run=run, fingerprint="f", plan="p")


def add_all(
    ledger: Ledger, *events: Event, last: Record | None = None, run: str = "a", unit: str = UNIT
) -> Record:
    for event in events:
        last = add(ledger, last, event, run, unit)
    assert last is not None
    return last


def after(last: Record | None, event: Event, run: str = "a") -> Record:
    return follow(last, event, unit=UNIT, run=run, at=stamp(NOON), fingerprint="f", plan="p")


def record(event: Event, seq: int = 5, attempt: int = 2, run: str = "a") -> Record:
    return Record(UNIT, seq, event, attempt, run, stamp(NOON), "f", "p")


# --- which record may follow which


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("last", EVENTS)
def test_its_holder_takes_a_unit_forward_only(last: Event, event: Event) -> None:
    if event in ALLOWED[last]:
        found = after(record(last), event)
        assert (found.seq, found.event, found.run) == (6, event, "a")
    else:
        with pytest.raises(NotMyUnit, match=f"go on to '{event}', found '{last}' of run a"):
            after(record(last), event)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("last", EVENTS)
def test_another_run_may_plan_a_unit_and_nothing_else(last: Event, event: Event) -> None:
    if event == "planned":
        assert after(record(last), event, run="b").run == "b"
    else:
        with pytest.raises(NotMyUnit, match=f"found '{last}' of run a"):
            after(record(last), event, run="b")


@pytest.mark.parametrize("event", EVENTS)
def test_a_history_begins_with_a_plan(event: Event) -> None:
    if event == "planned":
        found = after(None, event)
        assert (found.seq, found.attempt, found.publication, found.completed) == (1, 0, None, True)
    else:
        with pytest.raises(NotMyUnit, match="found no record"):
            after(None, event)


@pytest.mark.parametrize(
    ("events", "attempt", "publication", "completed"),
    [
        ("planned", 0, None, True),
        ("planned leased", 1, None, True),
        ("planned leased failed", 1, None, True),
        ("planned leased failed leased", 2, None, True),
        ("planned leased published", 1, 3, False),
        ("planned leased published failed", 1, 3, False),
        ("planned leased published failed leased", 2, 3, False),
        ("planned leased published failed leased succeeded", 2, 3, True),
        ("planned leased published succeeded", 1, 3, True),
        ("planned leased published succeeded planned cancelled", 1, 3, True),
        ("planned leased published succeeded planned leased failed", 2, 3, True),
        ("planned leased published succeeded planned leased published", 2, 7, False),
    ],
)
def test_a_record_tells_attempt_and_what_is_visible(
    events: str, attempt: int, publication: int | None, completed: bool
) -> None:
    last: Record | None = None
    for event in events.split():
        last = after(last, event)  # type: ignore[arg-type]
    assert last is not None
    assert (last.attempt, last.publication, last.completed) == (attempt, publication, completed)
    assert last.fresh == (publication is not None and completed)
    assert last.held == (last.event not in FREE)


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from("ab")), max_size=30))
def test_whatever_is_tried_a_history_is_numbered_and_publishes_once_an_attempt(
    steps: list[tuple[Event, str]],
) -> None:
    history: list[Record] = []
    for event, run in steps:
        try:
            history.append(after(history[-1] if history else None, event, run))
        except NotMyUnit:
            continue
    assert [each.seq for each in history] == list(range(1, len(history) + 1))
    published = [each.attempt for each in history if each.event == "published"]
    assert published == sorted(set(published))
    assert [each.attempt for each in history] == sorted(each.attempt for each in history)


def test_a_record_is_its_bytes() -> None:
    said = replace(record("published"), publication=5, completed=False, details={"é": [1, None]})
    assert Record.from_json(said.to_json()) == said
    assert said.to_json().endswith(b"}\n")


# --- whose record it is that is written


def test_records_are_numbered_objects_that_name_their_time(
    ledger: Ledger, storage: Storage
) -> None:
    last = add_all(ledger, *WHOLE)
    assert [each.key for each in storage.list("")] == [
        f"_ledger/units/{UNIT}/00000{n}.json" for n in (1, 2, 3, 4)
    ]
    assert last.at == "2017-03-01T12:00:00.000Z"
    assert ledger.history(UNIT)[-1] == ledger.last(UNIT) == ledger.record(UNIT, 4) == last


def test_of_many_that_claim_a_unit_one_does(storage: Storage) -> None:
    ledgers = [Ledger(Storage(storage.root)) for _ in range(8)]
    together = Barrier(len(ledgers))

    def claim(number: int) -> Record | None:
        together.wait()
        try:
            return add(ledgers[number], None, "planned", run=f"run-{number}")
        except Fenced:
            return None

    with ThreadPoolExecutor(len(ledgers)) as pool:
        (won,) = filter(None, pool.map(claim, range(len(ledgers))))
    assert ledgers[0].history(UNIT) == (won,)


@pytest.mark.parametrize("times", range(5))
def test_of_two_that_go_on_from_one_record_one_does(
    storage: Storage, ledger: Ledger, times: int
) -> None:
    last = add_all(ledger, "planned", "leased", "failed")
    together = Barrier(2)

    def plan(run: str) -> str | None:
        together.wait()
        try:
            return add(Ledger(Storage(storage.root)), last, "planned", run).run
        except Fenced:
            return None

    with ThreadPoolExecutor(2) as pool:
        won = [run for run in pool.map(plan, ["a", "b"]) if run]
    assert won == [ledger.record(UNIT, 4).run]


def test_a_unit_is_taken_over_by_planning_it(ledger: Ledger) -> None:
    mine = add_all(ledger, "planned", "leased")
    taken = add(ledger, mine, "planned", run="b")
    assert (taken.seq, taken.attempt, taken.run) == (3, 1, "b")
    assert add(ledger, taken, "leased", run="b").attempt == 2


@pytest.mark.parametrize("event", ["published", "succeeded", "failed", "cancelled"])
def test_its_former_holder_is_fenced_and_changes_nothing(ledger: Ledger, event: Event) -> None:
    mine = add_all(ledger, "planned", "leased")
    add(ledger, mine, "planned", run="b")
    before = ledger.history(UNIT)
    with pytest.raises(Fenced, match=f"next to write \\('{event}'\\), found 'planned' of run b"):
        ledger.go_on(mine, event)
    assert ledger.history(UNIT) == before


def test_its_former_holder_may_not_go_on_from_the_new_record(ledger: Ledger) -> None:
    taken = add(ledger, add_all(ledger, "planned", "leased"), "planned", run="b")
    with pytest.raises(NotMyUnit, match="of run b"):
        add(ledger, taken, "leased", run="a")


@pytest.mark.parametrize("events", [WHOLE[:1], WHOLE[:2], WHOLE[:3], WHOLE])
def test_a_put_whose_answer_was_lost_finds_its_record(
    ledger: Ledger, events: tuple[Event, ...]
) -> None:
    last = add_all(ledger, *events[:-1]) if events[1:] else None
    written = add(ledger, last, events[-1])
    assert add(ledger, last, events[-1]) == written
    assert len(ledger.history(UNIT)) == len(events)


def test_what_is_found_is_what_was_written_first(ledger: Ledger) -> None:
    """Two workers of one attempt publish: what the first one said holds for both."""
    lease = add_all(ledger, "planned", "leased")
    first = ledger.go_on(lease, "published", {"rows": 1})
    assert ledger.go_on(lease, "published", {"rows": 2}) == first
    assert ledger.publication(first) == first


def test_another_step_of_the_same_run_is_not_ones_own_lost_one(ledger: Ledger) -> None:
    lease = add_all(ledger, "planned", "leased")
    ledger.go_on(lease, "failed")
    with pytest.raises(Fenced, match="found 'failed' of run a"):
        ledger.go_on(lease, "published")


# --- what is there


def test_the_latest_record_of_every_unit_below_a_prefix(ledger: Ledger) -> None:
    units = ["job/prog/2017-03-01", "job/prog/2017-03-02", "job/prog2/2017-03-01", "job2/prog/x"]
    for length, unit in enumerate(reversed(units), 1):
        add_all(ledger, *WHOLE[:length], unit=unit)
    found = {prefix: list(ledger.latest(prefix)) for prefix in ("", "job", "job/prog", units[0])}
    assert found == {
        "": units,
        "job": units[:3],
        "job/prog": units[:2],
        units[0]: units[:1],
    }
    assert [each.seq for each in ledger.latest().values()] == [4, 3, 2, 1]
    assert ledger.latest("job/pro") == ledger.latest("nowhere") == {}
    assert list(ledger.latest("job", units[1:])) == units[1:3]


def test_the_latest_records_of_units_of_several_programs(ledger: Ledger) -> None:
    units = ["job/prog/1", "job/prog/2", "job/prog2/1", "job/prog2/2"]
    for unit in units[:-1]:
        add(ledger, None, "planned", unit=unit)
    assert list(ledger.latest_of(units[1:])) == units[1:3]
    assert list(ledger.latest_of(units[:1])) == units[:1]
    assert ledger.latest_of(units[3:]) == ledger.latest_of([]) == {}


def test_the_newest_keys_are_of_the_latest_records(ledger: Ledger) -> None:
    add_all(ledger, *WHOLE)
    add(ledger, None, "planned", unit="solicit/reviews/2017-03-02")
    assert ledger.newest("solicit/reviews") == {
        UNIT: f"_ledger/units/{UNIT}/000004.json",
        "solicit/reviews/2017-03-02": "_ledger/units/solicit/reviews/2017-03-02/000001.json",
    }


def test_the_tenth_record_comes_after_the_ninth(ledger: Ledger) -> None:
    add_all(ledger, "planned", *["leased", "failed"] * 5)
    assert [each.seq for each in ledger.history(UNIT)] == list(range(1, 12))
    assert ledger.newest()[UNIT].endswith("/000011.json")


@pytest.mark.parametrize("name", ["000003.json#1", "000003.json#12", "3.json", "000003.json.tmp"])
def test_what_is_no_record_is_passed_over(ledger: Ledger, storage: Storage, name: str) -> None:
    last = add_all(ledger, "planned", "leased")
    Path(storage.root, "_ledger/units", UNIT, name).write_bytes(b"{half")
    assert ledger.last(UNIT) == last
    assert ledger.latest() == ledger.latest(UNIT) == {UNIT: last}
    assert ledger.history(UNIT) == (ledger.record(UNIT, 1), last)
    assert ledger.go_on(last, "published").seq == 3


def test_a_unit_without_records_has_none(ledger: Ledger, storage: Storage) -> None:
    assert ledger.last(UNIT) is None
    assert ledger.history(UNIT) == ()
    assert ledger.latest() == ledger.newest() == {}
    with pytest.raises(ObjectNotFound):
        ledger.record(UNIT, 1)
    assert not Path(storage.root).exists()


@pytest.mark.parametrize(
    ("events", "visible"),
    [
        ("planned leased", None),
        ("planned leased published", 3),
        ("planned leased published failed leased", 3),
        ("planned leased published succeeded planned leased", 3),
        ("planned leased published succeeded planned leased published", 7),
    ],
)
def test_what_is_visible_is_the_latest_publication(
    ledger: Ledger, events: str, visible: int | None
) -> None:
    last = add_all(ledger, *events.split())  # type: ignore[arg-type]
    found = ledger.publication(last)
    assert (found.seq if found else None) == visible
    assert found is None or found.event == "published"


@pytest.mark.parametrize("kind", ["settings", "code"])
def test_what_a_fingerprint_stands_for_is_kept_once(ledger: Ledger, kind: str) -> None:
    assert ledger.kept(kind, "f0") is None
    ledger.keep(kind, "f0", {"b": 1, "a": {"ü": [1, None]}})
    ledger.keep(kind, "f0", {"other": 2})
    assert ledger.kept(kind, "f0") == {"a": {"ü": [1, None]}, "b": 1}
    assert ledger.kept(kind, "f1") is None
    assert ledger.latest() == {}


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (NOON, "2017-03-01T12:00:00.000Z"),
        (NOON + timedelta(microseconds=999_999), "2017-03-01T12:00:00.999Z"),
        (datetime(2017, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2017-03-01T10:00:00.000Z"),
    ],
)
def test_a_time_is_said_in_utc_to_the_millisecond(moment: datetime, said: str) -> None:
    assert stamp(moment) == said


def test_what_the_ledger_refuses_is_one_kind_of_error() -> None:
    assert issubclass(Fenced, LedgerError)
    assert issubclass(NotMyUnit, LedgerError)
