from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jobs.backfill.plan import ORDERS, Order
from jobs.backfill.waves import in_turn, waves
from tests.properties.works import day

some_days = st.dictionaries(st.integers(0, 400).map(day), st.integers(0, 20), max_size=30)


@given(some_days, st.sampled_from(ORDERS), st.integers(1, 8), st.integers(1, 40))
def test_waves_hold_every_day_once_in_order_and_no_more_than_they_may(
    days: dict[str, int], order: Order, most_units: int, most_rows: int
) -> None:
    cut = list(waves(days, order, most_units, most_rows))
    assert sorted(day for wave in cut for day in wave) == sorted(days)
    for wave in cut:
        assert list(wave) == sorted(wave)
        assert 1 <= len(wave) <= most_units
        assert len(wave) == 1 or sum(days[day] for day in wave) <= most_rows
    for one, after in pairwise(cut):
        assert one[-1] < after[0] if order == "oldest" else after[-1] < one[0]


@given(some_days, st.sampled_from(ORDERS), st.integers(1, 8), st.integers(1, 40))
def test_a_wave_ends_only_where_the_next_day_does_not_fit(
    days: dict[str, int], order: Order, most_units: int, most_rows: int
) -> None:
    for wave, after in pairwise(waves(days, order, most_units, most_rows)):
        following = after[0] if order == "oldest" else after[-1]
        rows = sum(days[day] for day in (*wave, following))
        assert len(wave) == most_units or rows > most_rows


def test_a_day_of_too_many_rows_has_a_wave_of_its_own() -> None:
    days = dict(zip(map(day, range(4)), (1, 99, 1, 1), strict=True))
    assert list(waves(days, "oldest", 9, 10)) == [(day(0),), (day(1),), (day(2), day(3))]


def test_no_days_make_no_waves() -> None:
    assert list(waves({}, "newest", 1, 1)) == []


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=5))
def test_queues_take_turns(queues: list[list[int]]) -> None:
    longest = max(map(len, queues), default=0)
    assert list(in_turn(queues)) == [
        queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)
    ]
