from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from jobs.backfill.plan import MODES, Mode, Plan
from jobs.backfill.stop import Stop
from jobs.backfill.work import Wave
from jobs.errors import Cancelled, OverBudget, UnitsHeld
from pipelines.errors import Fenced, WarehouseFailed
from pipelines.ledger.record import Record
from pipelines.ledger.runs import Run, run_info
from pipelines.publisher import Publisher
from pipelines.tally import QUARANTINED, READ
from tests.properties.works import (
    FakeWork,
    Make,
    applied,
    breaking,
    day,
    days,
    environment,
    events,
    fail_day,
    failing,
    ledger_at,
    made,
    make_all,
    make_day,
    plan_of,
    publish_day,
    table,
    work,
)

MADE = ["planned", "leased", "published", "succeeded"]
CANCELLED = ["planned", "leased", "cancelled"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def reviews(out: Path) -> FakeWork:
    return work(out)


def unit(number: int, program: str = "reviews") -> str:
    return f"solicit/{program}/{day(number)}"


def last(out: Path, number: int, program: str = "reviews") -> Record:
    found = ledger_at(out).last(unit(number, program))
    assert found is not None
    return found


def held(out: Path) -> list[str]:
    return [name for name, record in ledger_at(out).latest().items() if record.held]


def take(out: Path, number: int, run: str = "other") -> Record:
    """Claim a unit for another run."""
    ledger = ledger_at(out)
    before = ledger.last(unit(number))
    return ledger.append(before, "planned", unit=unit(number), run=run, fingerprint="x", plan="x")


def caused(error: Exception, by: Exception) -> Exception:
    """Return an error as an engine reports that of the code that it runs."""
    error.__cause__ = by
    return error


# What is made


def test_the_units_of_a_plan_are_made(reviews: FakeWork, out: Path) -> None:
    plan = plan_of(reviews)
    done = applied(plan, reviews)
    assert events(out) == dict.fromkeys(days(3), MADE)
    assert (done.lost, done.stopped) == ({}, None)
    for record in ledger_at(out).latest().values():
        assert (record.run, record.plan, record.attempt) == (done.run, f"missing/{plan.hash}", 1)
    assert {ledger_at(out).history(unit(0))[0].details["why"]} == {"never made"}


def test_what_is_published_says_what_it_was_made_of(reviews: FakeWork, out: Path) -> None:
    plan = plan_of(reviews, last=0)
    applied(plan, reviews)
    published = ledger_at(out).publication(last(out, 0))
    assert published is not None
    (part,) = plan.programs
    assert published.details["inputs"] == {"reviews/2017-03-01": ["a", 10, None]}
    assert published.details["settings"] == part.settings_fingerprint
    assert published.details["code"] == part.code_fingerprint
    assert published.details["codeVersion"] == "1.2.3"
    assert {"python", "polars"} <= published.details["libraries"].keys()
    assert published.fingerprint == part.units[0].fingerprint
    kept = ledger_at(out).kept
    assert kept("settings", part.settings_fingerprint) == part.settings
    assert kept("code", part.code_fingerprint) == part.code


def test_a_plan_of_nothing_writes_nothing(reviews: FakeWork, tmp_path: Path) -> None:
    reviews.enabled = False
    assert applied(plan_of(reviews), reviews).run == ""
    assert list(tmp_path.iterdir()) == []


def test_units_come_in_waves_in_the_order_of_the_plan(out: Path) -> None:
    reviews = work(out, rows=5)
    made(reviews, last=4)
    assert reviews.waves == [days(5)]
    for order, expected in (
        ("oldest", [days(2), days(4)[2:], days(5)[4:]]),
        ("newest", [days(5)[3:], days(3)[1:], days(1)]),
    ):
        reviews.waves.clear()
        applied(plan_of(reviews, last=4, reprocess="all", order=order), reviews, max_active=2)
        assert reviews.waves == expected


def test_a_wave_holds_no_more_rows_than_the_environment_says(out: Path) -> None:
    reviews = work(out, environment=environment(out, rows_per_run=20, units_per_run=9))
    made(reviews, order="oldest")
    assert reviews.waves == [days(2), (day(2),)]


def test_programs_take_turns(out: Path) -> None:
    order: list[str] = []

    def noting(program: str) -> Make:
        def make(wave: Wave, publisher: Publisher) -> None:
            order.append(program)
            make_all(wave, publisher)

        return make

    programs = [work(out, name, make=noting(name)) for name in ("reviews", "polls")]
    applied(plan_of(*programs), *programs, max_active=1)
    assert order == ["reviews", "polls"] * 3


# Again


def test_a_plan_that_is_applied_again_makes_what_is_left(reviews: FakeWork, out: Path) -> None:
    plan = plan_of(reviews)
    reviews.make = failing(day(1))
    applied(plan, reviews)
    reviews.make, reviews.waves = make_all, []
    applied(plan, reviews)
    assert reviews.waves == [(day(1),)]
    assert events(out) == {
        day(0): MADE,
        day(1): ["planned", "leased", "failed", *MADE],
        day(2): MADE,
    }
    applied(plan, reviews)
    assert reviews.waves == [(day(1),)]


def test_a_plan_of_all_that_is_applied_again_makes_what_is_left(reviews: FakeWork) -> None:
    made(reviews)
    plan = plan_of(reviews, reprocess="all", order="oldest")
    reviews.make = breaking(day(1), KeyboardInterrupt())
    with pytest.raises(Cancelled):
        applied(plan, reviews)
    reviews.make, reviews.waves = make_all, []
    applied(plan, reviews)
    assert reviews.waves == [days(3)[1:]]


def test_a_unit_that_another_run_made_meanwhile_is_left(reviews: FakeWork, out: Path) -> None:
    plan = plan_of(reviews)
    made(reviews, first=1, last=1)
    reviews.waves.clear()
    applied(plan, reviews)
    assert reviews.waves == [(day(0), day(2))]
    assert events(out)[day(1)] == MADE


def test_a_unit_that_was_made_of_something_else_meanwhile_is_made(
    reviews: FakeWork, out: Path
) -> None:
    plan = plan_of(reviews, last=0)
    before = reviews.reads
    reviews.reads = table("reviews", {day(0): 11}, "b")
    made(reviews, last=0)
    reviews.reads = before
    applied(plan, reviews)
    assert events(out)[day(0)] == [*MADE, *MADE]


@pytest.mark.parametrize(
    ("transient", "attempts", "slept"), [(True, 3, 2), (False, 1, 0)], ids=["away", "wrong"]
)
def test_only_what_was_out_of_reach_is_tried_again(
    out: Path, transient: bool, attempts: int, slept: int
) -> None:
    reviews = work(
        out,
        environment=environment(out, retries=2),
        make=failing(day(1), transient=transient),
    )
    delays: list[float] = []
    applied(plan_of(reviews), reviews, sleep=delays.append)
    assert (last(out, 1).event, last(out, 1).attempt) == ("failed", attempts)
    assert len(delays) == slept
    assert reviews.waves == [days(3), *[(day(1),)] * slept]
    assert {last(out, n).attempt for n in (0, 2)} == {1}


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionError("reset"), 2),
        (WarehouseFailed("duckdb://", "connecting", "busy", transient=True), 2),
        (WarehouseFailed("duckdb://", "query", "no such column"), 1),
        (RuntimeError("a bug"), 1),
        (caused(RuntimeError("bundle failed"), ConnectionError("reset")), 2),
        (caused(RuntimeError("bundle failed"), KeyError("a bug")), 1),
    ],
)
def test_what_a_pipeline_raises_fails_what_it_has_not_made(
    out: Path, error: Exception, attempts: int
) -> None:
    reviews = work(out, environment=environment(out, retries=1), make=breaking(day(1), error))
    made(reviews)
    assert events(out)[day(0)] == MADE
    for number in (1, 2):
        record = last(out, number)
        assert (record.event, record.attempt) == ("failed", attempts)
        assert record.details["error"] == f"pipeline: {error}"


def test_a_unit_that_a_pipeline_forgot_has_failed(reviews: FakeWork, out: Path) -> None:
    reviews.make = lambda wave, publisher: None
    made(reviews, last=0)
    assert last(out, 0).event == "failed"
    assert last(out, 0).details["error"] == "the run did not come to it"


# What is published already


def left_published(reviews: FakeWork, out: Path) -> None:
    """Leave a unit as a run does that is killed between publishing and completing it."""

    def make(wave: Wave, publisher: Publisher) -> None:
        publish_day(wave, publisher, day(0))
        raise KeyboardInterrupt

    reviews.make = make
    with pytest.raises(Cancelled):
        made(reviews, last=0)
    reviews.make, reviews.waves = make_all, []


@pytest.mark.parametrize("mode", MODES)
def test_what_is_published_is_completed_without_a_run(
    reviews: FakeWork, out: Path, mode: Mode
) -> None:
    left_published(reviews, out)
    assert not last(out, 0).completed
    made(reviews, last=0, reprocess=mode)
    assert reviews.waves == []
    assert last(out, 0).completed
    assert events(out)[day(0)] == [
        *["planned", "leased", "published", "cancelled"],
        *["planned", "leased", "succeeded"],
    ]


def test_units_to_complete_and_units_to_make_may_share_a_wave(reviews: FakeWork, out: Path) -> None:
    left_published(reviews, out)
    made(reviews)
    assert reviews.waves == [(day(1), day(2))]
    assert {last(out, n).event for n in range(3)} == {"succeeded"}


@pytest.mark.parametrize("mode", MODES)
def test_what_is_published_of_something_else_is_completed_and_then_made(
    reviews: FakeWork, out: Path, mode: Mode
) -> None:
    left_published(reviews, out)
    reviews.reads = table("reviews", {day(0): 11}, "b")
    made(reviews, last=0, reprocess=mode)
    assert reviews.waves == [(day(0),)]
    assert events(out)[day(0)] == [
        *["planned", "leased", "published", "cancelled"],
        *["planned", "leased", "succeeded"],
        *MADE,
    ]
    published = ledger_at(out).publication(last(out, 0))
    assert published is not None
    assert published.details["balance"]["read"] == 11


def test_a_unit_that_cannot_be_completed_fails_alone(
    reviews: FakeWork, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_published(reviews, out)
    finish = Publisher.finish

    def refuse(self: Publisher, record: Record, *seconds: float) -> Record:
        if record.unit == unit(0):
            raise WarehouseFailed("store", "apply", "full")
        return finish(self, record, *seconds)

    monkeypatch.setattr(Publisher, "finish", refuse)
    made(reviews)
    assert [last(out, n).event for n in range(3)] == ["failed", "succeeded", "succeeded"]
    assert reviews.waves == [(day(1), day(2))]


# What moved


def test_a_unit_whose_files_moved_fails_alone(reviews: FakeWork, out: Path) -> None:
    why = "unit 2017-03-02: inputs moved since they were planned: a.avro: expected 1, found 2"
    reviews.unlike = {day(1): why}
    made(reviews)
    assert reviews.waves == [(day(0), day(2))]
    assert [last(out, n).event for n in range(3)] == ["succeeded", "failed", "succeeded"]
    assert last(out, 1).details == {"error": why, "transient": False}


def test_a_unit_that_has_other_rows_than_were_planned_fails(reviews: FakeWork, out: Path) -> None:
    def make(wave: Wave, publisher: Publisher) -> None:
        publisher.publish(day(0), Counter({READ: 11, QUARANTINED: 11}), ())

    reviews.make = make
    made(reviews, last=0)
    assert last(out, 0).event == "failed"
    assert "expected 10 as planned, found 11" in last(out, 0).details["error"]


# Interrupted


def test_an_interrupted_run_holds_nothing(reviews: FakeWork, out: Path) -> None:
    reviews.make = breaking(day(0), KeyboardInterrupt())
    with pytest.raises(Cancelled, match=r"stopped: 0 of 3 units done; what was in work is free"):
        made(reviews)
    assert events(out) == dict.fromkeys(days(3), CANCELLED)
    info = run_info(ledger_at(out), last(out, 0).run)
    assert info is not None
    assert info.ended


def test_units_that_an_interrupted_run_did_not_come_to_are_free(
    reviews: FakeWork, out: Path
) -> None:
    reviews.make = breaking(day(1), KeyboardInterrupt())
    with pytest.raises(Cancelled, match="stopped: 1 of 3 units done"):
        applied(plan_of(reviews, order="oldest"), reviews, max_active=1)
    assert events(out) == {day(0): MADE, day(1): CANCELLED, day(2): ["planned", "cancelled"]}
    assert last(out, 2).details["error"] == "interrupted"


def test_what_an_engine_makes_of_an_interruption_is_still_one(reviews: FakeWork, out: Path) -> None:
    stop = Stop()

    def make(wave: Wave, publisher: Publisher) -> None:
        stop.requested = True
        raise RuntimeError("bundle failed: KeyboardInterrupt")

    reviews.make = make
    with pytest.raises(Cancelled):
        applied(plan_of(reviews), reviews, stop=stop)
    assert events(out) == dict.fromkeys(days(3), CANCELLED)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_interrupt(reviews: FakeWork, out: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def make(wave: Wave, publisher: Publisher) -> None:
        signal.raise_signal(number)

    reviews.make = make
    with Stop() as stop, pytest.raises(Cancelled):
        applied(plan_of(reviews), reviews, stop=stop)
    assert stop.requested
    assert signal.getsignal(number) is before
    assert events(out) == dict.fromkeys(days(3), CANCELLED)


def test_a_signal_waits_for_the_unit_at_work(
    reviews: FakeWork, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    progress = logging.getLogger("muster.progress")
    caplog.set_level(logging.INFO, progress.name)

    def make(wave: Wave, publisher: Publisher) -> None:
        signal.raise_signal(signal.SIGTERM)
        make_day(wave, publisher, day(0))
        progress.info("unit", extra={"unit": day(0), "status": "published"})
        make_day(wave, publisher, day(1))

    reviews.make = make
    with Stop() as stop, pytest.raises(Cancelled, match="stopped: 1 of 3 units done"):
        applied(plan_of(reviews), reviews, stop=stop)
    assert events(out) == {day(0): MADE, day(1): CANCELLED, day(2): CANCELLED}


def test_a_second_signal_does_not_wait(reviews: FakeWork, out: Path) -> None:
    def make(wave: Wave, publisher: Publisher) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        make_all(wave, publisher)

    reviews.make = make
    with Stop() as stop, pytest.raises(Cancelled):
        applied(plan_of(reviews), reviews, stop=stop)
    assert events(out) == dict.fromkeys(days(3), CANCELLED)


def test_an_interruption_between_attempts_leaves_what_failed_as_it_is(
    reviews: FakeWork, out: Path
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    reviews.make = failing(day(1), transient=True)
    with pytest.raises(Cancelled, match="stopped: 2 of 3 units done"):
        applied(plan_of(reviews), reviews, sleep=interrupted)
    assert [last(out, n).event for n in range(3)] == ["succeeded", "failed", "succeeded"]


def test_a_run_that_breaks_holds_nothing(reviews: FakeWork, out: Path) -> None:
    reviews.make = breaking(day(1), SystemExit(3))
    with pytest.raises(SystemExit):
        applied(plan_of(reviews, order="oldest"), reviews, max_active=1)
    assert events(out) == {day(0): MADE, day(1): CANCELLED, day(2): ["planned", "cancelled"]}
    assert last(out, 1).details["error"] == "the run failed"


# Other runs


@contextmanager
def other_run(out: Path) -> Iterator[Run]:
    with Run(ledger_at(out), 60.0, "other") as run:
        yield run


def test_units_that_a_living_run_holds_stop_all(reviews: FakeWork, out: Path) -> None:
    polls = work(out, "polls")
    with other_run(out):
        take(out, 1)
        with pytest.raises(UnitsHeld, match=rf"unit {unit(1)}: .* found run other .*--wait"):
            made(polls, reviews)
        assert reviews.waves == polls.waves == []
        assert held(out) == [unit(1)]
        assert events(out)[day(1)] == ["planned"]
    assert {*events(out)} == {day(0), day(1)}
    for record in ledger_at(out).latest().values():
        assert record.publication is None


def test_units_of_a_run_that_is_gone_are_taken_over(reviews: FakeWork, out: Path) -> None:
    with other_run(out):
        take(out, 1)
    made(reviews)
    assert events(out)[day(1)] == ["planned", *MADE]


def test_a_run_may_wait_for_another(reviews: FakeWork, out: Path) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert held(out) == [unit(1)]
        if len(slept) == 3:
            ledger_at(out).go_on(record, "cancelled")

    with other_run(out):
        record = take(out, 1)
        applied(plan_of(reviews), reviews, wait=True, poll_seconds=7.0, sleep=sleep)
    assert slept == [7.0] * 3
    assert [last(out, n).event for n in range(3)] == ["succeeded"] * 3


def test_what_another_run_made_while_this_one_waited_is_left(reviews: FakeWork, out: Path) -> None:
    plan = plan_of(reviews)
    with other_run(out):
        record = take(out, 1)

        def sleep(_: float) -> None:
            ledger_at(out).go_on(record, "cancelled")
            made(reviews, first=1, last=1)

        applied(plan, reviews, wait=True, sleep=sleep)
    assert reviews.waves == [(day(1),), (day(0), day(2))]


def test_a_unit_that_is_taken_over_at_work_is_lost(reviews: FakeWork, out: Path) -> None:
    def make(wave: Wave, publisher: Publisher) -> None:
        take(out, 1)
        make_day(wave, publisher, day(0))
        with pytest.raises(Fenced):
            publish_day(wave, publisher, day(1))
        with pytest.raises(Fenced):
            fail_day(wave, publisher, day(1))
        make_day(wave, publisher, day(2))

    reviews.make = make
    done = made(reviews)
    assert done.lost == {unit(1): f"unit {unit(1)}: run other took it over"}
    assert events(out) == {day(0): MADE, day(1): ["planned", "leased", "planned"], day(2): MADE}
    assert last(out, 1).run == "other"


def test_a_unit_that_is_taken_over_before_its_wave_is_lost(reviews: FakeWork, out: Path) -> None:
    def make(wave: Wave, publisher: Publisher) -> None:
        if day(0) in wave.days:
            take(out, 1)
        make_all(wave, publisher)

    reviews.make = make
    done = applied(plan_of(reviews, order="oldest"), reviews, max_active=1)
    assert [*done.lost] == [unit(1)]
    assert "run other" in done.lost[unit(1)]
    assert reviews.waves == [(day(0),), (day(2),)]
    assert last(out, 1).run == "other"


def test_a_unit_that_is_taken_over_between_attempts_is_lost(reviews: FakeWork, out: Path) -> None:
    reviews.make = failing(day(1), transient=True)
    done = applied(plan_of(reviews), reviews, sleep=lambda _: take(out, 1) and None)
    assert [*done.lost] == [unit(1)]
    assert last(out, 1).run == "other"


# Money

PRICES = """\
name: test
date: 2026-11-25
currency: USD
source: made up
putsPerThousand: 0
getsPerThousand: 0
writeUnitsPerMillion: 0
workerHour: 3600
scannedPerTerabyte: 0
"""


@pytest.fixture
def billed(tmp_path: Path, out: Path) -> Callable[..., Plan]:
    """Return what plans at a dollar a second of work, and takes each day to need one second."""
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)

    def plan(reviews: FakeWork, **changes: Any) -> Plan:
        reviews.reads = table("reviews", dict.fromkeys(reviews.reads, 25_000))
        return plan_of(reviews, prices=str(path), **changes)

    return plan


def taking(seconds: float, *wrong: str) -> Make:
    """Return what takes so long for each unit; some of them are out of reach instead."""

    def make(wave: Wave, publisher: Publisher) -> None:
        for each, lease in wave.leases.items():
            spent = timedelta(seconds=seconds * len(wave.leases))
            ended = datetime.fromisoformat(lease.at) + spent
            publisher.ledger.clock = repeat(ended).__next__
            if each in wrong:
                fail_day(wave, publisher, each, transient=True)
            else:
                make_day(wave, publisher, each)

    return make


def test_a_plan_over_the_budget_is_not_begun(
    reviews: FakeWork, billed: Callable[..., Plan], out: Path
) -> None:
    plan = billed(reviews)
    assert plan.predicted.usd == 3.0
    told = r"expected at most 2\.9900 USD \(--budget-usd\), found a plan of 3\.0000 USD"
    with pytest.raises(OverBudget, match=told):
        applied(plan, reviews, budget_usd=2.99)
    assert not out.exists()


@pytest.mark.parametrize(
    ("budget", "most", "done", "spent"),
    [(3.0, 1, 1, 3.0), (5.0, 1, 2, 6.0), (7.0, 1, 3, 9.0), (3.0, 3, 3, 9.0), (4.0, 2, 2, 6.0)],
)
def test_a_run_stops_when_the_next_wave_would_pass_the_budget(
    reviews: FakeWork,
    billed: Callable[..., Plan],
    out: Path,
    budget: float,
    most: int,
    done: int,
    spent: float,
) -> None:
    reviews.make = taking(3.0)
    plan = billed(reviews, order="oldest")
    result = applied(plan, reviews, budget_usd=budget, max_active=most)
    assert [last(out, n).event for n in range(3)] == [
        "succeeded" if n < done else "cancelled" for n in range(3)
    ]
    assert result.spent_usd == spent
    if done == 3:
        assert result.stopped is None
    else:
        assert result.stopped is not None
        assert f"{spent:.4f} of {budget:.4f} USD spent" in result.stopped
        assert last(out, 2).details["error"] == result.stopped
    assert held(out) == []


def test_what_fails_is_spent_as_it_was_planned(
    reviews: FakeWork, billed: Callable[..., Plan]
) -> None:
    reviews.make = failing(day(0))
    assert 1.0 <= applied(billed(reviews), reviews, budget_usd=3.0).spent_usd < 2.0


def test_at_the_budget_nothing_is_tried_again(
    reviews: FakeWork, billed: Callable[..., Plan], out: Path
) -> None:
    slept: list[float] = []
    reviews.make = taking(3.0, day(0))
    plan = billed(reviews, order="oldest")
    result = applied(plan, reviews, budget_usd=4.0, max_active=1, sleep=slept.append)
    assert (result.spent_usd, slept) == (4.0, [])
    assert [last(out, n).event for n in range(3)] == ["failed", "succeeded", "cancelled"]


def test_a_budget_that_stopped_a_run_lets_a_higher_one_make_the_rest(
    reviews: FakeWork, billed: Callable[..., Plan], out: Path
) -> None:
    reviews.make = taking(3.0)
    plan = billed(reviews)
    applied(plan, reviews, budget_usd=3.0, max_active=1)
    reviews.waves.clear()
    applied(plan, reviews)
    assert reviews.waves == [days(2)]
    assert {last(out, n).event for n in range(3)} == {"succeeded"}
