"""Ranges of dates, as a command gives them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from jobs.errors import WrongUse


@dataclass(frozen=True, slots=True)
class DateRange:
    """Days from ``first`` to ``last``, both included.

    >>> DateRange(date(2017, 2, 27), date(2017, 3, 1)).units
    ('2017-02-27', '2017-02-28', '2017-03-01')
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise WrongUse(f"--to: expected {self.first} (--from) or later, found {self.last}")

    @property
    def units(self) -> tuple[str, ...]:
        """The days in order, one unit each."""
        return tuple(
            (self.first + timedelta(days=n)).isoformat()
            for n in range((self.last - self.first).days + 1)
        )


def days_before(day: str, count: int) -> tuple[str, ...]:
    """Return the ``count`` days before a day, in order.

    >>> days_before("2017-03-01", 2)
    ('2017-02-27', '2017-02-28')
    """
    first = date.fromisoformat(day)
    return tuple((first - timedelta(days=n)).isoformat() for n in range(count, 0, -1))
