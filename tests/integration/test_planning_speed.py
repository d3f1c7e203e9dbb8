"""A year is planned while its user waits: 365 units over 1.5 million rows of real data."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.backfill.loading import loader
from jobs.backfill.plan import Request
from jobs.backfill.planning import make_plan

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: The issue's bound; the best of a few tries is taken, as other work shares the machine.
SECONDS = 5.0


def test_a_year_is_planned_in_seconds(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    year = ("2017-01-01", "2017-12-31")
    request = Request("solicit", ("product-reviews",), "local", out, *year)
    load = loader(request)
    load("product-reviews")
    took = []
    for _ in range(3):
        started = time.perf_counter()
        plan = make_plan(request, load)
        took.append(time.perf_counter() - started)
    assert sum(1 for _ in plan.units) == 365
    assert plan.predicted.rows == 1_468_773
    assert min(took) < SECONDS, took
