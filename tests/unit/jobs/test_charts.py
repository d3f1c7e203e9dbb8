from __future__ import annotations

import itertools
from datetime import date, timedelta

from jobs.charts import DAY, Point, calendars, columns


def test_columns_keep_order_fit_and_scale_to_the_highest() -> None:
    points = [Point(float(n), n / 2, str(n)) for n in range(366)]
    bars = columns(points)
    assert [bar.title for bar in bars] == [str(n) for n in range(366)]
    assert bars[-1].x + bars[-1].width <= 100
    assert all(a.x + a.width <= b.x for a, b in itertools.pairwise(bars))
    assert (bars[-1].height, bars[-1].inner, bars[0].height) == (100.0, 50.0, 0.0)


def test_nothing_to_draw_is_drawn() -> None:
    assert columns([]) == ()
    assert columns([Point(0, 0, "a")])[0].height == 0.0
    assert calendars({}) == ()


def test_days_lie_in_weeks_from_monday() -> None:
    days = [date(2017, 1, 1), date(2017, 1, 2), date(2017, 1, 9), date(2017, 12, 31)]
    (year,) = calendars({day: Point(1, 0, day.isoformat()) for day in days})
    sunday, monday, next_monday, last = year.days
    assert sunday.y > monday.y == next_monday.y
    assert sunday.x < monday.x < next_monday.x
    assert (last.x + DAY <= year.width, last.y + DAY <= year.height) == (True, True)
    assert len(year.months) == 12


def test_levels_are_fifths_of_the_highest_day_of_all_years() -> None:
    first = date(2016, 12, 27)
    values = (0, 1, 19, 20, 99, 100)
    points = {first + timedelta(n): Point(v, 0, "") for n, v in enumerate(values)}
    years = calendars(points)
    assert [year.year for year in years] == [2016, 2017]
    assert [day.level for year in years for day in year.days] == [0, 1, 1, 2, 5, 5]


def test_no_day_of_a_leap_year_that_starts_on_sunday_leaves_the_picture() -> None:
    points = {date(2012, 1, 1) + timedelta(n): Point(1, 0, "") for n in range(366)}
    (year,) = calendars(points)
    assert max(day.x for day in year.days) + DAY <= year.width
    assert len({(day.x, day.y) for day in year.days}) == 366
