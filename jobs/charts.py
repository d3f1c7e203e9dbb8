"""Geometry of the report's charts: where bars and days lie, as numbers that a template draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

#: Side of a day in a calendar and the step from one day to the next, in pixels.
DAY, STEP = 11, 13
_LEFT, _TOP = 26, 16
_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Column:
    """One bar of a column chart; ``height`` and ``inner`` are percent of the highest bar."""

    x: float
    width: float
    height: float
    inner: float
    title: str
    mark: str


@dataclass(frozen=True, slots=True)
class Day:
    """One square of a calendar; ``level`` is 0 for nothing, 1 to 5 for more and more."""

    x: int
    y: int
    level: int
    title: str
    mark: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """A year of days: weeks from left to right, Monday on top."""

    year: int
    width: int
    height: int
    months: tuple[tuple[int, str], ...]
    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What a chart is told of a unit: ``inner`` is the part of ``value`` that it sets off."""

    value: float
    inner: float
    title: str
    mark: str = ""


def columns(points: Sequence[Point]) -> tuple[Column, ...]:
    """Return one bar a point, side by side over 0..100, at most 4 wide; order and count are kept.

    >>> [(c.x, c.height, c.inner) for c in columns([Point(4, 1, "a"), Point(2, 2, "b")])]
    [(0.0, 100.0, 25.0), (4.0, 50.0, 50.0)]
    """
    top = max((point.value for point in points), default=0.0) or 1.0
    slot = min(4.0, 100.0 / max(1, len(points)))
    return tuple(
        Column(
            x=round(index * slot, 4),
            width=round(slot * 0.82, 4),
            height=round(100.0 * point.value / top, 3),
            inner=round(100.0 * point.inner / top, 3),
            title=point.title,
            mark=point.mark,
        )
        for index, point in enumerate(points)
    )


def calendars(points: Mapping[date, Point]) -> tuple[Calendar, ...]:
    """Return one calendar a year that has points, years ascending; days without one are left out.

    Levels are fifths of the highest value over all years.
    """
    top = max((point.value for point in points.values()), default=0.0)
    years = sorted({day.year for day in points})
    return tuple(_calendar(year, points, top) for year in years)


def _calendar(year: int, points: Mapping[date, Point], top: float) -> Calendar:
    first = date(year, 1, 1)
    monday = first - timedelta(first.weekday())

    def week(day: date) -> int:
        return _LEFT + (day - monday).days // 7 * STEP

    return Calendar(
        year=year,
        width=_LEFT + 54 * STEP,
        height=_TOP + 7 * STEP,
        months=tuple(
            (week(date(year, month, 1)), date(year, month, 1).strftime("%b"))
            for month in range(1, 13)
        ),
        days=tuple(
            Day(
                x=week(day),
                y=_TOP + day.weekday() * STEP,
                level=_level(point.value, top),
                title=point.title,
                mark=point.mark,
            )
            for day, point in sorted(points.items())
            if day.year == year
        ),
    )


def _level(value: float, top: float) -> int:
    return 0 if value <= 0 else min(_LEVELS, 1 + int(_LEVELS * value / top))
