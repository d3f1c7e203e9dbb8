from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backfill.retry import until_nothing_is_left
from jobs.backfill.work import Wave
from pipelines.publisher import Publisher
from tests.properties.works import (
    applied,
    days,
    environment,
    fail_day,
    ledger_at,
    make_day,
    new_folder,
    plan_of,
    work,
)

DELAYS = (1, 2, 4, 8, 16, 16, 16, 16, 16, 16)

#: What each attempt leaves to do; after the last of them nothing is left.
outcomes = st.lists(st.lists(st.integers(), max_size=2), max_size=12)
#: How often units are out of reach; None fails for a reason that waiting does not mend.
fates = st.lists(st.none() | st.integers(0, 3) | st.integers(0, 11), min_size=1, max_size=3)


def calls_of(left: Sequence[list[int]], retries: int) -> int:
    """Return how many attempts there must be: up to the first that leaves nothing."""
    first = next((n for n, each in enumerate(left) if not each), len(left))
    return min(first, retries) + 1


class Flaky:
    """Makes a wave of units that are out of reach for a while."""

    def __init__(self, fates: Sequence[int | None]) -> None:
        self.left = dict(zip(days(len(fates)), fates, strict=True))

    def __call__(self, wave: Wave, publisher: Publisher) -> None:
        for day in wave.days:
            left = self.left[day]
            if left == 0:
                make_day(wave, publisher, day)
            else:
                fail_day(wave, publisher, day, transient=left is not None)
                self.left[day] = left and left - 1


@settings(max_examples=100, deadline=None)
@given(outcomes, st.integers(0, 10), st.sampled_from([0.0, 1.0]), fates)
def test_what_is_out_of_reach_is_tried_again_after_growing_delays(
    left: list[list[int]], retries: int, jitter: float, fates: list[int | None]
) -> None:
    """Feature: solicitation-platform, Property 25: Workflow retry with exponential backoff"""
    calls, slept = calls_of(left, retries), list[float]()
    attempts = iter([*left, []])
    result = until_nothing_is_left(lambda: next(attempts), retries, slept.append, jitter)
    assert result == [*left, []][calls - 1]
    assert len([*attempts]) == len(left) + 1 - calls
    assert len(slept) == calls - 1
    assert all(d <= s <= d + jitter for d, s in zip(DELAYS, slept, strict=False))
    the_units_of_a_plan_are_tried_again_as_often(fates, retries)


def the_units_of_a_plan_are_tried_again_as_often(fates: Sequence[int | None], retries: int) -> None:
    """The same through a plan: the ledger counts the attempts of each unit."""
    slept: list[float] = []
    with new_folder() as out:
        flaky = work(
            out, rows=len(fates), environment=environment(out, retries=retries), make=Flaky(fates)
        )
        applied(plan_of(flaky, last=len(fates) - 1), flaky, sleep=slept.append)
        latest = [*ledger_at(out).latest().values()]
    tries = [1 if fate is None else min(fate, retries) + 1 for fate in fates]
    assert [record.attempt for record in latest] == tries
    assert [record.event for record in latest] == [
        "failed" if fate is None or fate > retries else "succeeded" for fate in fates
    ]
    assert len(slept) == max(tries) - 1
    assert all(d <= s <= d + 1 for d, s in zip(DELAYS, slept, strict=False))
