from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.backfill.apply import check_unmoved
from jobs.backfill.moved import setting_differences
from jobs.backfill.plan import Plan, read_plan
from jobs.code_fingerprint import Code
from jobs.errors import PlanMoved
from tests.properties.works import FakeWork, applied, day, failing, loader, plan_of, table, work

CODE = Code({"transforms.keyed": "a" * 16, "transforms.old": "b" * 16}, {"candidate": "c" * 16})
SETTINGS = {"program": {"ttl": 30, "channels": ["email"]}, "runs": {"frameRows": 65536}}


@pytest.fixture
def reviews(tmp_path: Path) -> FakeWork:
    return work(tmp_path, settings=SETTINGS, code=CODE)


def moved(plan: Plan, *works: FakeWork) -> list[str]:
    """Return what is said to have moved, a line each."""
    try:
        check_unmoved(plan, loader(works))
    except PlanMoved as error:
        first, *told = str(error).splitlines()
        assert "plan again, or apply with --accept-moved" in first
        return [line.strip() for line in told]
    return []


def test_nothing_has_moved_where_all_is_as_it_was(reviews: FakeWork, tmp_path: Path) -> None:
    plan = plan_of(reviews)
    plan.write(tmp_path / "plan.json")
    assert moved(plan, reviews) == []
    assert moved(read_plan(tmp_path / "plan.json"), reviews) == []


def test_a_setting_is_named_by_its_path(reviews: FakeWork) -> None:
    plan = plan_of(reviews)
    reviews.settings = {
        "program": {"ttl": 60, "channels": ["email", "push"]},
        "models": {"m.onnx": "0f"},
    }
    assert moved(plan, reviews) == [
        "reviews: settings: models.m.onnx: expected none, found '0f'",
        "reviews: settings: program.channels[1]: expected none, found 'push'",
        "reviews: settings: program.ttl: expected 30, found 60",
        "reviews: settings: runs.frameRows: expected 65536, found none",
    ]


def test_a_module_and_a_schema_are_named(reviews: FakeWork) -> None:
    plan = plan_of(reviews)
    modules = {"transforms.keyed": "d" * 16, "transforms.new": "e" * 16}
    reviews.code = Code(modules, {"candidate": "f" * 16})
    assert moved(plan, reviews) == [
        "reviews: code: schema candidate changed",
        "reviews: code: transforms.keyed changed",
        "reviews: code: transforms.new is new",
        "reviews: code: transforms.old is gone",
    ]


def test_an_input_is_named_with_expected_and_found(reviews: FakeWork) -> None:
    plan = plan_of(reviews)
    reviews.reads |= table("reviews", {day(1): 11}, "b")
    del reviews.reads[day(2)]
    assert moved(plan, reviews) == [
        "reviews: input reviews/2017-03-02: expected 10 rows, version a, found 11 rows, version b",
        "reviews: input reviews/2017-03-03: expected 10 rows, version a, found none",
        "reviews: input reviews/nothing: expected none, found 0 rows",
    ]


def test_inputs_of_days_that_are_not_planned_may_move(reviews: FakeWork) -> None:
    plan = plan_of(reviews, last=1)
    reviews.reads |= table("reviews", {day(2): 11}, "b")
    assert moved(plan, reviews) == []


def test_every_program_is_told_of(reviews: FakeWork, tmp_path: Path) -> None:
    polls, calls = work(tmp_path, "polls", settings=SETTINGS), work(tmp_path, "calls")
    plan = plan_of(reviews, polls, calls)
    for each in (reviews, polls):
        each.settings = {**SETTINGS, "runs": {"frameRows": 1}}
    assert [line.partition(":")[0] for line in moved(plan, reviews, polls, calls)] == [
        "reviews",
        "polls",
    ]


def test_a_unit_that_was_made_since_may_move(reviews: FakeWork) -> None:
    plan = plan_of(reviews)
    applied(plan, reviews)
    reviews.reads = {}
    assert moved(plan, reviews) == []


def test_of_a_plan_that_was_made_in_part_the_rest_may_not_move(reviews: FakeWork) -> None:
    plan = plan_of(reviews)
    reviews.make = failing(day(2))
    applied(plan, reviews)
    reviews.reads = table("reviews", dict.fromkeys(reviews.reads, 11), "b")
    told = moved(plan, reviews)
    assert [line.split(":")[1] for line in told] == [" input reviews/2017-03-03"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1.0}, ["a: expected 1, found 1.0"]),
        ({"a": None, "b": 1}, {"b": 1}, ["a: expected None, found none"]),
        ({"a": "None"}, {"a": None}, ["a: expected 'None', found None"]),
        ({"a": {"b": 1}}, {"a": {}}, ["a: expected none, found {}", "a.b: expected 1, found none"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a[0]: expected 1, found 2", "a[1]: expected 2, found 1"]),
        ({"a": [{"b": [1]}]}, {"a": [{"b": [3]}]}, ["a[0].b[0]: expected 1, found 3"]),
    ],
)
def test_settings_differ_leaf_by_leaf(before: Any, after: Any, told: list[str]) -> None:
    assert setting_differences(before, after) == told
