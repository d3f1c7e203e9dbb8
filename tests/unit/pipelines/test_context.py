from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.context import RunContext, logical_time


@pytest.mark.parametrize("day", ["2017-03-01", "2016-02-29", "2017-12-31", "1970-01-01"])
def test_logical_time_is_the_last_millisecond_of_the_day(day: str) -> None:
    time = logical_time(day)
    assert time.tzinfo is UTC
    assert time.date().isoformat() == day
    assert (time + timedelta(milliseconds=1)).date().isoformat() > day


def test_an_execution_is_named_by_unit_and_settings(context: RunContext) -> None:
    assert context.unit_name("2017-03-01") == "solicit/reviews/2017-03-01"
    assert context.execution_id("2017-03-01") == f"solicit/reviews/2017-03-01/{'f' * 12}"
    other = replace(context, config_fingerprint="e" * 64)
    assert other.execution_id("2017-03-01") != context.execution_id("2017-03-01")
    assert replace(context, code_version="9").execution_id("x") == context.execution_id("x")


def test_what_kernels_know_of_a_unit(context: RunContext) -> None:
    known = context.unit("2017-03-01")
    assert (known.program_id, known.unit) == ("reviews", "2017-03-01")
    assert known.execution_id == context.execution_id("2017-03-01")
    assert known.logical_time == datetime(2017, 3, 1, 23, 59, 59, 999_000, UTC)
