from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conf.environment import Store
from conf.errors import ConfigurationError, Problem
from jobs.backfill.plan import MODES, LeftUnit, Mode, Plan
from jobs.backfill.planning import make_plan
from jobs.backfill.work import Wave
from jobs.errors import Cancelled
from pipelines.errors import NothingToRead, PipelineError, WarehouseFailed
from pipelines.ledger.runs import Run
from pipelines.publisher import Publisher
from pipelines.sinks.stores import open_store
from tests.properties.stored import frame_of
from tests.properties.works import (
    FakeWork,
    applied,
    breaking,
    day,
    days,
    failing,
    files,
    ledger_at,
    loader,
    made,
    plan_of,
    publish_day,
    request,
    table,
    work,
)


@pytest.fixture
def reviews(tmp_path: Path) -> FakeWork:
    return work(tmp_path / "out", rows=6)


def planned(plan: Plan) -> list[str]:
    return [unit.day for _, unit in plan.units]


def reasons(plan: Plan) -> dict[str, str]:
    return {unit.day: unit.why for _, unit in plan.units}


def left(plan: Plan) -> list[LeftUnit]:
    return [unit for part in plan.programs for unit in part.left]


def grow(work: FakeWork, *grown: str) -> None:
    work.reads |= table(work.program, dict.fromkeys(grown, 11), "b")


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_planning_makes_nothing_at_all(reviews: FakeWork, tmp_path: Path) -> None:
    plan = plan_of(reviews)
    assert len(planned(plan)) == 3
    assert list(tmp_path.iterdir()) == []
    assert reviews.waves == []


def test_planning_changes_nothing_of_what_is_there(reviews: FakeWork, tmp_path: Path) -> None:
    reviews.make = failing(day(1))
    made(reviews)
    before = snapshot(tmp_path)
    for mode in ("missing", "failed", "stale", "all"):
        plan_of(reviews, reprocess=mode)
    assert snapshot(tmp_path) == before


def test_planning_twice_gives_the_same_plan(reviews: FakeWork) -> None:
    reviews.make = failing(day(1))
    assert plan_of(reviews).hash == plan_of(reviews).hash
    made(reviews)
    again = [plan_of(reviews, last=5, reprocess="all") for _ in range(2)]
    assert again[0] == again[1]
    assert again[0].hash == again[1].hash


def test_a_plan_says_what_each_unit_reads_and_writes(reviews: FakeWork, tmp_path: Path) -> None:
    reviews.reads |= files("reviews", {day(1): 2_000})
    plan = plan_of(reviews, last=1)
    (part,) = plan.programs
    assert part.inputs == {
        "reviews/2017-03-01": reviews.reads[day(0)],
        "reviews/2017-03-02.avro": reviews.reads[day(1)],
    }
    one, other = part.units
    assert one.inputs == {"reads": ("reviews/2017-03-02.avro",)}
    assert one.outputs == (f"{tmp_path}/out/lake/reviews/2017-03-02/",)
    assert (one.predicted.rows, other.predicted.rows) == (20, 10)
    assert one.fingerprint != other.fingerprint
    assert (one.attempts, other.attempts) == (0, 0)


def test_what_has_no_output_is_planned(reviews: FakeWork) -> None:
    made(reviews, first=1, last=2)
    plan = plan_of(reviews, last=4)
    assert planned(plan) == [day(4), day(3), day(0)]
    assert left(plan) == [LeftUnit(day(n), "done", "up to date") for n in (1, 2)]


def test_of_failed_units_those_are_planned_that_were_tried(reviews: FakeWork) -> None:
    reviews.make = failing(day(1))
    made(reviews)
    plan = plan_of(reviews, last=3, reprocess="failed")
    assert reasons(plan) == {day(1): "failed: out of reach"}
    assert left(plan) == [
        LeftUnit(day(0), "done", "up to date"),
        LeftUnit(day(2), "done", "up to date"),
        LeftUnit(day(3), "missing", "never made"),
    ]
    (_, unit), *_ = plan.units
    assert unit.attempts == 1


def test_stale_units_are_left_until_they_are_asked_for(reviews: FakeWork) -> None:
    made(reviews)
    grow(reviews, day(1))
    why = (
        "inputs changed: reviews/2017-03-02: expected 10 rows, version a, found 11 rows, version b"
    )
    assert planned(plan_of(reviews)) == []
    assert left(plan_of(reviews))[1] == LeftUnit(day(1), "stale", why)
    assert reasons(plan_of(reviews, reprocess="stale", last=4)) == {day(1): why}


def test_settings_and_code_that_changed_are_named_from_what_was_kept(reviews: FakeWork) -> None:
    made(reviews, last=0)
    reviews.settings = {"program": {"ttl": 60}}
    reviews.code = type(reviews.code)({"pipelines.solicit": "1" * 16})
    assert reasons(plan_of(reviews, reprocess="stale")) == {
        day(0): "settings changed: program.ttl: expected 30, found 60; "
        "code changed: pipelines.solicit changed"
    }


def test_what_was_not_kept_is_not_named(reviews: FakeWork, tmp_path: Path) -> None:
    made(reviews, last=0)
    reviews.settings = {"program": {"ttl": 60}}
    for path in (tmp_path / "out/lake/_ledger/settings").iterdir():
        path.unlink()
    assert reasons(plan_of(reviews, reprocess="stale")) == {day(0): "settings changed"}


def test_all_means_every_day_of_the_range(reviews: FakeWork) -> None:
    made(reviews, last=1)
    assert reasons(plan_of(reviews, reprocess="all")) == {
        day(2): "never made",
        day(1): "asked for",
        day(0): "asked for",
    }


def test_an_interrupted_plan_of_all_goes_on_where_it_stopped(reviews: FakeWork) -> None:
    made(reviews)
    reviews.make = breaking(day(1), KeyboardInterrupt())
    with pytest.raises(Cancelled):
        made(reviews, reprocess="all", order="oldest")
    assert reasons(plan_of(reviews, reprocess="all", order="oldest")) == {
        day(1): "made, but the latest attempt: cancelled: interrupted",
        day(2): "made, but the latest attempt: cancelled: interrupted",
    }


def test_an_interrupted_plan_of_all_goes_on_however_often_it_is_interrupted(
    reviews: FakeWork,
) -> None:
    made(reviews)
    for number in (1, 2):
        reviews.make = breaking(day(number), KeyboardInterrupt())
        plan = plan_of(reviews, reprocess="all", order="oldest")
        with pytest.raises(Cancelled):
            applied(plan, reviews, max_active=1)
    assert planned(plan_of(reviews, reprocess="all")) == [day(2)]


def test_an_interrupted_plan_of_what_is_missing_does_not_count_for_all(reviews: FakeWork) -> None:
    reviews.make = breaking(day(1), KeyboardInterrupt())
    with pytest.raises(Cancelled):
        applied(plan_of(reviews, order="oldest"), reviews, max_active=1)
    assert planned(plan_of(reviews, reprocess="all", order="oldest")) == list(days(3))


@pytest.mark.parametrize("mode", MODES)
def test_what_is_published_and_not_completed_is_always_planned(
    reviews: FakeWork, mode: Mode
) -> None:
    def publish_only(wave: Wave, publisher: Publisher) -> None:
        publish_day(wave, publisher, day(0))
        raise RuntimeError("the engine broke")

    reviews.make = publish_only
    made(reviews, last=0)
    plan = plan_of(reviews, last=0, reprocess=mode)
    why = "published, not completed: failed: pipeline: the engine broke"
    assert reasons(plan) == {day(0): why}


def test_a_unit_that_is_held_says_by_whom(reviews: FakeWork, tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path / "out")
    with Run(ledger, 60.0, "busy") as run:
        ledger.append(
            None,
            "planned",
            unit=f"solicit/reviews/{day(0)}",
            run=run.token,
            fingerprint="f",
            plan="p",
        )
        (why,) = reasons(plan_of(reviews, last=0)).values()
        assert why.startswith("held by run busy (process ")
    assert reasons(plan_of(reviews, last=0)) == {day(0): "left by a run that is gone"}


def test_days_before_the_range_are_planned_when_data_came_late_for_them(
    reviews: FakeWork,
) -> None:
    made(reviews, last=5)
    reviews.late_days = 3
    grow(reviews, day(1), day(2), day(4), day(5))
    plan = plan_of(reviews, first=4, last=5)
    assert reasons(plan) == {
        day(n): f"late data: reviews/{day(n)}: 10 rows, now 11 rows" for n in (5, 4, 2)
    }
    assert left(plan) == []


def test_a_range_longer_than_the_days_of_late_data_has_late_data_at_its_end(
    reviews: FakeWork,
) -> None:
    made(reviews, last=5)
    reviews.late_days = 1
    grow(reviews, *days(6))
    plan = plan_of(reviews, first=1, last=5)
    assert planned(plan) == [day(5), day(4)]
    assert [(unit.day, unit.state) for unit in left(plan)] == [(day(n), "stale") for n in (1, 2, 3)]


@pytest.mark.parametrize("mode", MODES)
def test_days_before_the_range_are_not_planned_for_any_other_reason(
    reviews: FakeWork, mode: Mode
) -> None:
    reviews.make = failing(day(1))
    made(reviews, first=1, last=2)
    reviews.late_days, reviews.settings = 9, {"program": {"ttl": 60}}
    plan = plan_of(reviews, first=4, last=5, reprocess=mode)
    assert {*planned(plan)} <= {day(4), day(5)}
    assert {unit.day for unit in left(plan)} | {*planned(plan)} == {day(4), day(5)}


def test_a_program_that_is_disabled_is_left_and_says_so(reviews: FakeWork, tmp_path: Path) -> None:
    reviews.enabled, reviews.wrong = False, WarehouseFailed("duckdb://", "connecting", "gone")
    plan = plan_of(reviews, last=1, reprocess="all")
    assert planned(plan) == []
    why = "program 'reviews' is disabled"
    assert left(plan) == [LeftUnit(day(n), "disabled", why) for n in (0, 1)]
    assert applied(plan, reviews).run == ""
    assert list(tmp_path.iterdir()) == []


def test_units_come_in_the_order_that_is_asked_for(reviews: FakeWork) -> None:
    assert planned(plan_of(reviews)) == [*reversed(days(3))]
    assert planned(plan_of(reviews, order="newest")) == [*reversed(days(3))]
    assert planned(plan_of(reviews, order="oldest")) == [*days(3)]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"wrong": WarehouseFailed("duckdb://", "connecting", "gone")}, "connecting: gone"),
    ({"unread": NothingToRead("orders", day(0), "a table")}, "expected a table, found nothing"),
]


@pytest.mark.parametrize(("fault", "told"), REFUSED)
def test_a_program_that_cannot_be_planned_is_refused_and_the_others_are_planned(
    reviews: FakeWork, tmp_path: Path, fault: dict[str, Any], told: str
) -> None:
    polls = work(tmp_path / "out", "polls", **fault)
    plan = plan_of(polls, reviews)
    assert [part.program for part in plan.programs] == ["reviews"]
    assert len(planned(plan)) == 3
    assert [*plan.refused] == ["polls"]
    assert told in plan.refused["polls"]
    with pytest.raises(PipelineError, match=told):
        plan_of(polls)


def test_a_program_whose_settings_are_wrong_is_refused(reviews: FakeWork, tmp_path: Path) -> None:
    wrong = ConfigurationError([Problem("polls.yaml", "enabled", "a boolean", "3")])
    load = loader([reviews], {"polls.yaml": wrong})
    plan = make_plan(request(tmp_path / "out", "polls.yaml", "reviews"), load)
    assert plan.refused == {"polls.yaml": str(wrong)}
    assert len(planned(plan)) == 3
    with pytest.raises(ConfigurationError):
        make_plan(request(tmp_path / "out", "polls.yaml"), load)


def test_a_program_that_is_asked_for_twice_is_refused_the_second_time(
    reviews: FakeWork, tmp_path: Path
) -> None:
    copy = work(tmp_path / "out", "reviews", path="copy.yaml")
    plan = plan_of(reviews, copy)
    assert [part.asked for part in plan.programs] == ["reviews"]
    assert (
        "--program copy.yaml: expected another program than 'reviews'"
        in (plan.refused["copy.yaml"])
    )


def test_a_fault_of_our_own_refuses_nobody(reviews: FakeWork, tmp_path: Path) -> None:
    broken = work(tmp_path / "out", "polls", unread=KeyError("a bug"))
    with pytest.raises(KeyError, match="a bug"):
        plan_of(reviews, broken)


def test_a_unit_that_the_store_does_not_hold_is_planned(reviews: FakeWork, tmp_path: Path) -> None:
    made(reviews, last=1)
    url = f"sqlite:///{tmp_path}/candidates.sqlite"
    reviews.environment = reviews.environment.model_copy(update={"store": Store(url=url)})
    why = "the store does not hold it"
    assert reasons(plan_of(reviews, last=1)) == {day(1): why, day(0): why}
    assert not (tmp_path / "candidates.sqlite").exists()
    with open_store(url, write=True) as store:
        store.apply(f"solicit/reviews/{day(1)}", frame_of([]), attempt=1)
    assert reasons(plan_of(reviews, last=1)) == {day(0): why}


def test_predictions_are_made_from_what_was_made_before(reviews: FakeWork) -> None:
    assert "estimates of the environment" in plan_of(reviews).programs[0].basis
    made(reviews, last=1)
    (part,) = plan_of(reviews).programs
    assert part.basis == "2 units of this program that were made before"
    assert part.units[0].predicted.written == 0


def test_other_prices_may_be_asked_for(reviews: FakeWork) -> None:
    free, billed = plan_of(reviews), plan_of(reviews, prices="aws-us-east-1")
    assert (free.prices["name"], free.predicted.usd) == ("local", 0.0)
    assert billed.prices["name"] == "aws-us-east-1"
    assert billed.predicted.usd > 0
    assert free.hash != billed.hash
    with pytest.raises(ConfigurationError, match="price"):
        plan_of(reviews, prices="moon")
